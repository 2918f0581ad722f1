"""
Plays many cases, and says what became of them.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from mxproxy import terminal
from mxproxy.layers import base
from mxproxy.tls.settings import TLSVersion

from .case import Case, Stage, Times, Verdict, errors, leftovers
from .fault import Kind
from .peers import Script
from .points import HANDSHAKE, faults
from .reasons import judge, rowOf
from .worlds import World

#: What is said where the fault comes before it, and where it comes in the middle of it.
BRIEF, LONG = Script(1000), Script(150_000)

#: Where waiting takes time.
BRISK = Times(handshake=0.3, exchange=0.2, idle=0.4, halfClosed=0.2, close=0.3)

#: On a machine that is busy elsewhere, an honest peer may take longer than that: what has gone wrong
#: is played once more with these, and is wrong if it goes wrong again.
PATIENT = Times(handshake=6.0, exchange=4.0, idle=8.0, halfClosed=4.0, close=6.0)

#: How many peers that fall silent are waited for at once, where waiting takes time.
TOGETHER = 50


@dataclass
class Report:
    """
    @ivar cases: how many were played.
    @ivar reasons: what the access log has said, by the row of the table.
    @ivar wrong: the cases that did not end as they should, with what is wrong.
    @ivar doubtful: those that did at the second attempt, with what was wrong at the first.
    """

    cases: int = 0
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[tuple[str, list[str]]] = field(default_factory=list)
    doubtful: list[tuple[str, list[str]]] = field(default_factory=list)

    def add(self, case: Case, verdict: Verdict, wrong: list[str]) -> None:
        """One more."""
        self.cases += 1
        reason = verdict.reason.replace(case.side, "S").partition(" (tcp:")[0]
        token = ": ".join(reason.split(": ")[:2])
        self.reasons.setdefault(rowOf(case).what, Counter())[f"{case.fault.kind}: {token}"] += 1
        if wrong:
            self.wrong.append((str(case), wrong))

    def __str__(self) -> str:
        lines = [f"{self.cases} cases, {len(self.wrong)} of them wrong"]
        if self.doubtful:
            lines[0] += f", {len(self.doubtful)} only once"
        for what, reasons in self.reasons.items():
            lines.append(f"\n  {what}")
            lines += [f"    {number:6d}  {reason}" for reason, number in sorted(reasons.items())]
        for word, cases in ("WRONG", self.wrong), ("ONCE", self.doubtful):
            for case, wrong in cases[:20]:
                lines += [f"\n{word} {case}", *(f"    {what}" for what in wrong)]
        return "\n".join(lines)


class Sweep:
    """
    Cases, in one world.

    @ivar report: what has become of them so far.
    """

    def __init__(
        self, world: World, times: Times, slack: float = 0.0, patient: Times | None = None
    ) -> None:
        """
        @param slack: seconds that a machine may take longer.
        @param patient: with what a case is played once more that has gone wrong.
        """
        self.world = world
        self.times = times
        self.slack = slack
        self.patient = patient
        self.report = Report()
        self._again: list[tuple[Case, list[str]]] = []
        self._stages: dict[tuple[str, TLSVersion | None, Times, int], Stage] = {}

    def stage(self, case: Case, times: Times, number: int = 0) -> Stage:
        """The proxy for a case; of each kind there is one, or for cases at once several."""
        key = (case.mode, case.tls, times, number)
        if key not in self._stages:
            self._stages[key] = Stage(self.world, case.mode, case.tls, times)
        return self._stages[key]

    async def close(self) -> None:
        """End the proxies."""
        for stage in self._stages.values():
            await stage.close()
        self._stages.clear()

    async def sizes(self, case: Case) -> dict[str, int]:
        """
        @return: how many bytes the peer that is to be faulty sends when all goes well, by
            phase.
        @raise AssertionError: not all goes well.
        """
        verdict = await self.stage(case, self.patient or self.times).play(case, LONG)
        if verdict.wrong or ": closed" not in verdict.reason:
            raise AssertionError(f"{case}: {verdict}")
        return dict(verdict.sent)

    async def play(self, cases: Iterable[Case]) -> None:
        """One after the other."""
        for number, case in enumerate(cases):
            await self._one(case, self.stage(case, self.times))
            await self._onceMore()
            if number % 200 == 0:
                gc.collect()

    async def playTogether(self, cases: Iterable[Case]) -> None:
        """
        As many at once as L{TOGETHER}; what is left is looked for after each lot.
        """
        waiting = iter(cases)
        while lot := [case for case, _ in zip(waiting, range(TOGETHER), strict=False)]:
            stages = [self.stage(case, self.times, place) for place, case in enumerate(lot, 1)]
            timers, descriptors = self.world.timers(), self.world.descriptors()
            wrong: list[str] = []
            with errors(wrong):
                await gatherResults(
                    [
                        Deferred.fromCoroutine(self._one(case, stage, alone=False))
                        for case, stage in zip(lot, stages)
                    ]
                )
            wrong += await leftovers(self.world, timers, descriptors)
            if wrong:
                self.report.wrong.append((f"{len(lot)} cases, from: {lot[0]}", wrong))
            await self._onceMore()
            gc.collect()

    async def _one(self, case: Case, stage: Stage, alone: bool = True) -> None:
        verdict = await stage.play(case, script(case), alone=alone)
        if verdict.reached:
            wrong = judge(case, verdict, self.times, self.slack)
            if wrong and self.patient is not None:
                self._again.append((case, wrong))
            else:
                self.report.add(case, verdict, wrong)

    async def _onceMore(self) -> None:
        """
        What has gone wrong, with more time.
        """
        again, self._again = self._again, []
        for case, before in again:
            assert self.patient is not None
            stage = self.stage(case, self.patient)
            with closing(self.patient):
                verdict = await stage.play(case, script(case))
            wrong = judge(case, verdict, self.patient, self.slack)
            self.report.add(case, verdict, wrong)
            if not wrong:
                self.report.doubtful.append((str(case), before))


def script(case: Case) -> Script:
    """
    What the peers of a case say.
    """
    return BRIEF if case.fault.phase in HANDSHAKE else LONG


@contextmanager
def closing(times: Times) -> Iterator[None]:
    """
    The one time that is no option is theirs, too.
    """
    modules = (base, terminal)
    before = base.CLOSE_TIMEOUT
    for module in modules:
        module.CLOSE_TIMEOUT = times.close
    try:
        yield
    finally:
        for module in modules:
            module.CLOSE_TIMEOUT = before


async def sweep(
    world: Sweep,
    situations: Iterable[Case],
    pick: Callable[[Iterator[Case]], Iterable[Case]],
    every: int = 1,
) -> None:
    """
    Play all faults of the situations.

    @param pick: which of them.
    @param every: see L{mxproxy.tests.faults.points.offsets}.
    """
    for situation in situations:
        sent = await world.sizes(situation)
        chosen = list(pick(faults(situation, sent, every)))
        silent = [case for case in chosen if case.fault.kind is Kind.STALL]
        await world.play(case for case in chosen if case.fault.kind is not Kind.STALL)
        if world.world.waits:
            await world.playTogether(silent)
        else:
            await world.play(silent)


def now(awaitable: Awaitable[Any]) -> Any:
    """
    The result of what needs no time to pass.
    """
    results: list[Any] = []
    deferred = Deferred.fromCoroutine(awaitable)  # type: ignore[arg-type]
    deferred.addBoth(results.append)
    assert results, "something waits that nobody ends"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]
