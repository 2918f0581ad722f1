"""
C{python -m benchmarks}: the peers side by side.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import machine
from .loads import LOADS, Load
from .peers.base import Missing, Peer
from .peers.mxproxy import Mxproxy
from .peers.registry import ALL, DIRECT
from .processes import Failed
from .rounds import Rounds, Samples, Settings
from .summary import others, summarize
from .table import lines


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """
    The command line.
    """
    peers = [DIRECT, *(peer.name for peer in ALL)]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures pairs of proxies over mutual TLS on loopback, side by side.",
        epilog=f"Peers: {' '.join(peers)}. Loads: {' '.join(load.name for load in LOADS)}.",
    )
    add = parser.add_argument
    add("--peers", nargs="*", metavar="PEER", default=peers, help="default: all that are installed")
    add(
        "--mxproxy",
        action="append",
        default=[],
        metavar="'NAME=PATH [OPTION ...]'",
        help="another mxproxy: a virtual environment, or a source tree with one in .venv, and "
        "options for both its sidecars; repeatable",
    )
    add("--loads", nargs="+", metavar="LOAD", help="default: all")
    add("--rounds", type=int, default=3, help="default: %(default)s")
    add("--seconds", type=float, default=3, help="of each measurement; default: %(default)s")
    add("--warm", type=float, default=0.5, help="seconds before each; default: %(default)s")
    add("--baseline", metavar="PEER", help="of the ratios; default: envoy, or else the first")
    add("--pin", action="store_true", help="outbound and client on CPU 0, the others on CPU 1")
    add("--json", metavar="FILE", help="write everything that was measured")
    add("--plot", metavar="FILE", help="draw it: a PNG")
    add("--quiet", action="store_true", help="do not tell what is being measured")
    return parser.parse_args(argv)


def _chosen(options: argparse.Namespace) -> list[Peer | None]:
    known: dict[str, Peer | None] = {DIRECT: None, **{peer.name: peer for peer in ALL}}
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
        print(f"{peer.name}: {versions[peer.name]}")
    return present, versions


def report(
    samples: Samples, versions: dict[str, str], settings: Settings, baseline: str | None
) -> dict[str, Any]:
    """
    Print the table.

    @return: what goes into the JSON.
    """
    facts = machine.facts()
    figures = summarize(samples.values, baseline)
    print()
    for line in lines(figures, list(samples.values), baseline):
        print(line)
    print()
    for peer, failures in samples.failures.items():
        for load, why in failures.items():
            print(f"not measured: {peer}, {load}: {why}")
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
        "baseline": baseline,
        "figures": {
            name: {
                peer: {key: value and round(value, 4) for key, value in asdict(found).items()}
                for peer, found in by.items()
            }
            for name, by in figures.items()
        },
        "failures": samples.failures,
        "samples": samples.values,
    }


def main(argv: Sequence[str]) -> int:
    """
    @return: the exit status: 0, 1 when something that is installed could not be measured.
    """
    options = arguments(argv)
    # What has been started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    present, versions = _installed(_chosen(options))
    names = [DIRECT if peer is None else peer.name for peer in present]
    if len(set(names)) < len(names):
        raise SystemExit(f"a name twice: {' '.join(names)}")
    baseline = options.baseline or ("envoy" if "envoy" in names else None)
    if baseline is not None and baseline not in names:
        raise SystemExit(f"the baseline, {baseline}, is not measured")
    if baseline is None:
        baseline = next((name for name in names if name != DIRECT), None)
    settings = Settings(options.rounds, options.seconds, options.warm, options.pin)
    start = time.monotonic()

    def tell(what: str) -> None:
        if not options.quiet:
            print(f"{time.monotonic() - start:6.0f} s  {what}", file=sys.stderr, flush=True)

    rounds = Rounds(present, _loads(options.loads), settings, tell)
    try:
        samples = rounds.run()
    except Failed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # What there is.
        samples = rounds.samples
    written = report(samples, versions, settings, baseline)
    if options.json:
        Path(options.json).write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    if options.plot:
        from .plot import plot

        plot(written, options.plot)
    return 1 if any(samples.failures.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
