"""
python -m benchmarks.profile: where the CPU time of a pair goes, under one load.

Two profilers, since each is blind to half of it: py-spy sees Python's functions, and what of C
each of them calls; perf (Debian's linux-perf), where it is installed and allowed, sees the kernel
and every library.  Both sample; neither changes what is profiled.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from .load import Client, Server, build
from .loads import LOADS, Bench
from .pair import Pair
from .peers.base import Credentials
from .peers.mxproxy import Mxproxy
from .processes import Failed, run

#: Samples a second.
_RATE = 499

_PY_SPY = Path(sys.executable).with_name("py-spy")

#: Seconds before a profiler is attached.
_AFTER = 1.0


def _pySpy(pid: int, seconds: float, native: bool, output: Path) -> Counter[tuple[str, ...]]:
    """
    @return: how often each stack was seen, the outermost frame first.
    """
    command = [_PY_SPY, "record", "--pid", str(pid), "--duration", str(int(seconds))]
    command += ["--format", "raw", "--output", output]
    # To unwind C stops the process, and is slow.
    command += ["--native", "--rate", "99"] if native else ["--nonblocking", "--rate", str(_RATE)]
    said = run(command, seconds + 60)
    if not output.exists():
        raise Failed(f"py-spy: {said.strip()}")
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in output.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        # One that could not be unwound has no count.
        stacks[tuple(stack.split(";"))] += int(count or 0)
    return stacks


def _place(frame: str) -> str:
    """
    A frame, short: a function of Python with its file, one of C by its name.
    """
    found = re.fullmatch(r"(\S+) \((?:.*/)?([^/]+?/)?([^/]+?)(?::\d+)?\)", frame)
    return f"{found[1]} ({found[2] or ''}{found[3]})" if found else frame


def largest(stacks: Mapping[tuple[str, ...], int], count: int) -> Iterator[str]:
    """
    The largest costs: where the time is spent itself, and including what is called.
    """
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for stack, times in stacks.items():
        frames = [_place(frame) for frame in stack]
        own[frames[-1]] += times
        for frame in set(frames):
            inclusive[frame] += times
    total = sum(own.values()) or 1
    yield "  itself"
    for frame, times in own.most_common(count):
        yield f"    {times / total:6.1%}  {frame}"
    yield "  with what it calls"
    # Not the way from main() to the reactor's loop.
    called = [(frame, times) for frame, times in inclusive.most_common() if times < 0.9 * total]
    for frame, times in called[: 3 * count]:
        yield f"    {times / total:6.1%}  {frame}"


def _perf(pid: int, seconds: float, directory: Path) -> list[str]:
    """
    @return: the largest costs, by symbol and by shared object; empty without perf.
    """
    if shutil.which("perf") is None:
        return ["  (perf is not installed: Debian's linux-perf)"]
    data = directory / f"perf-{pid}"
    run(
        ["perf", "record", "-q", "-F", str(_RATE), "-p", str(pid), "-o", data]
        + ["--", "sleep", str(seconds)],
        seconds + 30,
    )
    lines = []
    for title, keys in (("by object", "dso"), ("by symbol", "dso,symbol")):
        lines.append(f"  {title}")
        text = run(["perf", "report", "-i", data, "--stdio", "-q", "--sort", keys], 60)
        kept = [line.rstrip() for line in text.splitlines() if re.match(r"\s+\d", line)]
        lines += [f"  {line}" for line in kept[: 12 if keys == "dso" else 25]]
    return lines


def main(argv: Sequence[str]) -> int:
    """
    @return: the exit status.
    """
    names = [load.name for load in LOADS if load.name not in ("idle", "resumed")]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("loads", nargs="+", metavar="LOAD", choices=names, help=", ".join(names))
    parser.add_argument("--mxproxy", default=f"mxproxy={sys.prefix}", metavar="NAME=PATH ...")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--count", type=int, default=10, help="how many of the largest to show")
    options = parser.parse_args(argv)
    peer = Mxproxy.described(options.mxproxy)
    print(peer.name, peer.version())
    chosen = [load for load in LOADS if load.name in options.loads]
    with tempfile.TemporaryDirectory(prefix="mxproxy-profile-") as name:
        directory = Path(name)
        server = Server(build())
        try:
            for load in chosen:
                own = directory / load.name
                own.mkdir()
                pair = Pair(peer, own, Credentials.create(own), server.port)
                try:
                    _profile(load.name, pair, server, options.seconds, own, options.count)
                finally:
                    pair.stop()
        except Failed as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            server.stop()
    return 0


def _profile(
    load: str, pair: Pair, server: Server, seconds: float, directory: Path, count: int
) -> None:
    (chosen,) = (one for one in LOADS if one.name == load)
    kinds = ("perf", "python", "native")
    client = Client(build(), _AFTER + len(kinds) * (seconds + 2), 0.5)
    with ThreadPoolExecutor(3) as pool:
        before = {"requests-32.rate": 4000.0}
        bench = Bench(pair, client, server, before, before)
        running = pool.submit(chosen.run, bench)
        time.sleep(_AFTER)
        found: dict[tuple[str, str], Future[list[str]]] = {}
        for kind in kinds:
            for side, process in pair.processes.items():
                found[kind, side] = pool.submit(
                    _lines, kind, process.pid, seconds, directory, count
                )
            for side in pair.processes:
                found[kind, side].exception()
        values = running.result()
    print(f"\n==== {chosen.title}")
    print("  ".join(f"{name} {value:.4g}" for name, value in values.items()))
    for (kind, side), lines in found.items():
        print(f"\n-- {side}, {kind}")
        try:
            print("\n".join(lines.result()))
        except (Failed, subprocess.SubprocessError) as error:
            print(f"  failed: {error}")


def _lines(kind: str, pid: int, seconds: float, directory: Path, count: int) -> list[str]:
    if kind == "perf":
        return _perf(pid, seconds, directory)
    if not _PY_SPY.exists():
        return [f"  (py-spy is not installed: {sys.executable} -m pip install py-spy)"]
    output = directory / f"{kind}-{pid}"
    return list(largest(_pySpy(pid, seconds, kind == "native", output), count))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
