"""
All faults, at every byte of the handshakes: make faults.

In memory every byte; over real sockets one of --every, where each case takes its time; and the
half-closes with 100 MB.  Prints how many cases there were, which reasons the access log has
named for them, and which were wrong; ends with status 1 if any was.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from .case import Case, Times
from .halves import matrix, play
from .points import situations
from .sweep import BRISK, PATIENT, Sweep, closing, now, sweep
from .worlds import PATHS, Memory, overSockets


def everything(cases: Iterator[Case]) -> Iterable[Case]:
    """No sample."""
    return cases


def tell(cases: Sweep, before: int) -> int:
    """
    Print what was wrong since there were C{before} that were.

    @return: how many there are now.
    """
    wrong = cases.report.wrong
    for case, what in wrong[before : before + 10]:
        print(f"WRONG {case}", *what, sep="\n    ", flush=True)
    return len(wrong)


def inMemory(every: int) -> int:
    """
    @return: how many cases were wrong.
    """
    cases, wrong = Sweep(Memory(), Times()), 0
    for situation in situations():
        begin, before = time.monotonic(), cases.report.cases
        now(sweep(cases, [situation], everything, every))
        print(
            f"memory: {str(situation).removesuffix(': nothing')}:"
            f" {cases.report.cases - before} cases, {time.monotonic() - begin:.0f} s",
            flush=True,
        )
        wrong = tell(cases, wrong)
    print(f"\nin memory: {cases.report}\n", flush=True)
    return len(cases.report.wrong)


async def inSockets(path: str, every: int) -> int:
    """
    @return: how many cases were wrong.
    """
    with overSockets(path) as world, closing(BRISK):
        cases, wrong = Sweep(world, BRISK, slack=10.0, patient=PATIENT), 0
        # The reactor's own descriptors are there from its first turn on.
        await deferLater(world.reactor, 0)
        for situation in situations():
            begin, before = time.monotonic(), cases.report.cases
            await sweep(cases, [situation], everything, every)
            print(
                f"sockets, {path}: {str(situation).removesuffix(': nothing')}:"
                f" {cases.report.cases - before} cases, {time.monotonic() - begin:.0f} s",
                flush=True,
            )
            wrong = tell(cases, wrong)
        await cases.close()
    print(f"\nover sockets, {path}: {cases.report}\n", flush=True)
    return wrong


async def halfClosed(path: str, size: int) -> int:
    """
    @return: how many cases were wrong.
    """
    failures = 0
    with overSockets(path) as world:
        await deferLater(world.reactor, 0)
        for case in matrix():
            begin = time.monotonic()
            wrong = await play(world, case, size, 300.0)
            print(
                f"half-close, {path}: {case}: {size / 1e6:g} MB,"
                f" {time.monotonic() - begin:.1f} s: {wrong or 'ok'}",
                flush=True,
            )
            failures += bool(wrong)
    return failures


def main() -> None:
    """
    See above.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--every", type=int, default=29, help="handshake bytes, over sockets")
    parser.add_argument("--every-memory", type=int, default=1, help="the same in memory")
    parser.add_argument("--megabytes", type=float, default=100, help="behind a half-close")
    parser.add_argument(
        "--only", choices=("memory", "sockets", "halves"), help="one of the three parts"
    )
    arguments = parser.parse_args()
    part = arguments.only

    async def run(reactor: Any) -> None:
        wrong = 0
        for path in PATHS:
            if part in (None, "halves"):
                wrong += await halfClosed(path, int(arguments.megabytes * 1e6))
            if part in (None, "sockets"):
                wrong += await inSockets(path, arguments.every)
        if part in (None, "memory"):
            wrong += inMemory(arguments.every_memory)
        if wrong:
            print(f"{wrong} wrong")
            sys.exit(1)
        print("all is well")

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main()
