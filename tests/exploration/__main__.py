"""
python -m tests.exploration [--depth N]: explore, and print how many states there were.
"""

from __future__ import annotations

import argparse
import sys
import time

from .combinations import BASES, combinations

HELP = "how much applications say, and whether they pause: 0 takes seconds, 1 a minute, 2 many"


def main() -> int:
    """
    @return: the exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, choices=range(len(BASES)), default=0, help=HELP)
    depth = parser.parse_args().depth
    print(f"{'':52} {'states':>9} {'steps':>10} {'depth':>5} {'ends':>5} {'seconds':>7}")
    total = 0
    for name, explore in combinations(depth):
        begun = time.monotonic()
        count = explore()
        total += count.states
        print(
            f"{name:52} {count.states:9,} {count.steps:10,} {count.depth:5} {count.ends:5}"
            f" {time.monotonic() - begun:7.1f}",
            flush=True,
        )
    print(f"{'all':52} {total:9,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
