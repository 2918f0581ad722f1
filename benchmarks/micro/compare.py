"""
C{python -m benchmarks.micro.compare RAW}: pyperf's results beside those of the last release.

Those are in C{benchmarks/results/micro.json}; C{--write} puts the new ones in their place, which is
what a release does.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mxproxy

from ..machine import facts

RELEASED = Path(__file__).parents[1] / "results" / "micro.json"


def read(path: str | Path) -> dict[str, Any]:
    """
    @return: what is kept of a file of pyperf's: seconds, the median and half of the range.
    """
    import pyperf

    figures = {}
    for bench in pyperf.BenchmarkSuite.load(str(path)).get_benchmarks():
        values = sorted(bench.get_values())
        figures[bench.get_name()] = {
            "median": bench.median(),
            "spread": (values[-1] - values[0]) / 2 / bench.median(),
        }
    return {
        "version": mxproxy.__version__,
        "python": platform.python_version(),
        "machine": facts(),
        "figures": figures,
    }


def time(seconds: float) -> str:
    """
    Seconds, in a unit that fits.
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def lines(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[str]:
    """
    A line for each benchmark.
    """
    before = old["figures"] if old else {}
    names = list(new["figures"]) + [name for name in before if name not in new["figures"]]
    width = max(map(len, names), default=0)
    title = f"{old['version']}" if old else "—"
    yield f"{'':{width}}  {'now':>9}  {title:>15}  ratio"
    for name in names:
        now, then = new["figures"].get(name), before.get(name)
        cells = [f"{time(one['median']) if one else '—':>9}" for one in (now, then)]
        spreads = [f"±{one['spread']:.0%}" if one else "" for one in (now, then)]
        ratio = f"{now['median'] / then['median']:.2f}" if now and then else ""
        yield (
            f"{name:{width}}  {cells[0]} {spreads[0]:<5} {cells[1]} {spreads[1]:<5} {ratio:>5}"
        ).rstrip()
    if old:
        for what, mine, theirs in (
            ("Python", new["python"], old["python"]),
            ("CPU", new["machine"]["cpu"], old["machine"]["cpu"]),
        ):
            if mine != theirs:
                yield f"not of the same {what}: {mine} now, {theirs} then"


def main(argv: Sequence[str]) -> int:
    """
    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.compare")
    parser.add_argument("raw", help="what python -m benchmarks.micro -o has written")
    parser.add_argument("--write", action="store_true", help="keep it, as the new release's")
    options = parser.parse_args(argv)
    new = read(options.raw)
    old = json.loads(RELEASED.read_text()) if RELEASED.exists() else None
    for line in lines(new, old):
        print(line)
    if options.write:
        RELEASED.write_text(json.dumps(new, indent=1, ensure_ascii=False) + "\n")
        print(f"written: {RELEASED}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
