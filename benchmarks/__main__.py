"""
C{python -m benchmarks}: the peers side by side.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import machine
from .document import RESULTS
from .loads import LOADS, Load
from .peers.base import Missing, Peer
from .peers.mxproxy import Mxproxy
from .peers.registry import ALL, DIRECT
from .processes import Failed
from .rounds import Rounds, Samples, Settings
from .sets import SETS, baseline
from .summary import others, summarize
from .table import lines

_USUAL = {"rounds": 3, "seconds": 3.0, "warm": 0.5, "idle": 1000}
_SMOKE = {"rounds": 1, "seconds": 0.3, "warm": 0.1, "idle": 50}


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures pairs of proxies over mutual TLS on loopback, side by side.",
        epilog=f"Peers: {' '.join([DIRECT, *(peer.name for peer in ALL)])}, where direct is no "
        f"proxy at all. Loads: {' '.join(load.name for load in LOADS)}.",
    )
    add = parser.add_argument
    add(
        "--set",
        choices=SETS,
        default="peers",
        help="what to put side by side: peers, all that are installed; self, mxproxy with other "
        "settings; workers, one and two; pythons, mxproxy with each Python found. "
        "Default: %(default)s",
    )
    add("--peers", nargs="*", metavar="PEER", help="of the set only these")
    add(
        "--mxproxy",
        action="append",
        default=[],
        metavar="'NAME=PATH [OPTION ...]'",
        help="another mxproxy: a virtual environment, or a source tree with one in .venv, and "
        "options for both its sidecars; repeatable",
    )
    add("--loads", nargs="+", metavar="LOAD", help="default: all")
    add("--rounds", type=_positive(int), help="default: 3")
    add("--seconds", type=_positive(float), help="of each measurement; default: 3")
    add("--warm", type=_positive(float), help="seconds before each; default: 0.5")
    add(
        "--idle",
        type=_positive(int),
        metavar="CONNECTIONS",
        help="that do nothing, for what each takes of memory; default: 1000",
    )
    add("--smoke", action="store_true", help="one short round: whether it works, not how fast")
    add("--baseline", metavar="PEER", help="of the ratios; default: envoy, mxproxy, or the first")
    add("--pin", action="store_true", help="outbound and client on CPU 0, the others on CPU 1")
    add(
        "--quota",
        type=_positive(float),
        metavar="SHARE",
        help="of a CPU, for each process of a proxy, so that two workers can be compared with one "
        "on few CPUs; needs root",
    )
    add("--json", metavar="FILE", help="write everything that was measured")
    add("--plot", metavar="FILE", help="draw it: a PNG")
    add(
        "--record",
        action="store_true",
        help="keep the figures, as a release's: benchmarks/results/SET.json, and docs/'s "
        "picture of the peers",
    )
    add("--quiet", action="store_true", help="do not tell what is being measured")
    options = parser.parse_args(argv)
    usual = _SMOKE if options.smoke else _USUAL
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        value = kind(text)
        if not 0 < value <= 10_000:
            raise ValueError
        return value

    number.__name__ = "positive number"
    return number


def _chosen(options: argparse.Namespace) -> list[Peer | None]:
    chosen = SETS[options.set]()
    if options.peers is not None:
        known = {_name(peer): peer for peer in [*chosen, *ALL]}
        unknown = [name for name in options.peers if name not in known]
        if unknown:
            raise SystemExit(f"unknown peers: {' '.join(unknown)}; there are {' '.join(known)}")
        chosen = [known[name] for name in options.peers]
    for text in options.mxproxy:
        try:
            chosen.append(Mxproxy.described(text))
        except ValueError as error:
            raise SystemExit(f"--mxproxy: {error}") from error
    return chosen


def _name(peer: Peer | None) -> str:
    return DIRECT if peer is None else peer.name


def _loads(names: Sequence[str] | None) -> list[Load]:
    unknown = set(names or ()) - {load.name for load in LOADS}
    if unknown:
        raise SystemExit(f"unknown loads: {' '.join(sorted(unknown))}")
    return [load for load in LOADS if not names or load.name in names]


def _installed(chosen: Sequence[Peer | None]) -> tuple[list[Peer | None], dict[str, str]]:
    present: list[Peer | None] = []
    versions = {}
    for peer in chosen:
        if peer is None:
            present.append(peer)
            continue
        try:
            versions[peer.name] = peer.version()
        except Missing as missing:
            versions[peer.name] = str(missing)
        else:
            present.append(peer)
        print(f"{peer.name}: {versions[peer.name]}", flush=True)
    return present, versions


def report(
    samples: Samples, versions: dict[str, str], settings: Settings, compared: str | None
) -> dict[str, Any]:
    """
    Print the table.

    @return: what goes into the JSON.
    """
    facts = machine.facts()
    figures = summarize(samples.values, compared)
    print()
    for line in lines(figures, list(samples.values), compared):
        print(line)
    print()
    for peer, tls in samples.tls.items():
        print(f"{peer}: {tls}")
    for peer, failures in samples.failures.items():
        for load, why in failures.items():
            print(f"not measured: {peer}, {load}: {why}")
    for peer, rates in samples.tooSlow.items():
        for load, rate in rates.items():
            print(f"too slow: {peer}, {load}: {rate}")
    used = others(samples.values)
    print(
        f"{facts['cpus']} CPUs, {facts['cpu']}, {facts['kernel']}; "
        f"{settings.rounds} rounds of {settings.seconds:g} s"
        + ("" if used is None else f"; others used {used:.2f} CPUs meanwhile (median)")
    )
    return {
        "machine": {**facts, "others_cpus": used},
        "settings": asdict(settings),
        "versions": versions,
        "tls": samples.tls,
        "baseline": compared,
        "peers": list(samples.values),
        "figures": {
            name: {
                peer: {key: value and round(value, 4) for key, value in asdict(found).items()}
                for peer, found in by.items()
            }
            for name, by in figures.items()
        },
        "failures": samples.failures,
        "too_slow": samples.tooSlow,
        "samples": samples.values,
    }


def main(argv: Sequence[str]) -> int:
    """
    @return: the exit status: 0, 1 when something that is installed could not be measured.
    """
    options = arguments(argv)
    # What has been started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    loads = _loads(options.loads)
    present, versions = _installed(_chosen(options))
    names = [_name(peer) for peer in present]
    if len(set(names)) < len(names):
        raise SystemExit(f"a name twice: {' '.join(names)}")
    compared = options.baseline or baseline(names)
    if compared is not None and compared not in names:
        raise SystemExit(f"the baseline, {compared}, is not measured")
    settings = Settings(
        options.rounds,
        options.seconds,
        options.warm,
        options.idle,
        options.pin,
        options.quota,
    )
    start = time.monotonic()

    def tell(what: str) -> None:
        if not options.quiet:
            print(f"{time.monotonic() - start:6.0f} s  {what}", file=sys.stderr, flush=True)

    rounds = Rounds(present, loads, settings, tell, compared)
    try:
        samples = rounds.run()
    except Failed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # What there is.
        samples = rounds.samples
    written = report(samples, versions, settings, compared)
    if options.json:
        Path(options.json).write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    if options.record:
        # Without the samples: what is kept stays small.
        kept = {name: value for name, value in written.items() if name != "samples"}
        path = RESULTS / f"{options.set}.json"
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    pictures = [options.plot] if options.plot else []
    if options.record and options.set == "peers":
        pictures.append(RESULTS.parents[1] / "docs" / "performance-peers.png")
    for path in pictures:
        from .plot import plot

        plot(written, path)
    return 1 if any(samples.failures.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
