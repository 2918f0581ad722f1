"""
A sample of all faults, over real sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mxproxy import transports

from .case import Case
from .points import situations
from .sweep import BRISK, PATIENT, Sweep, closing, sweep
from .worlds import PATHS, overSockets

#: See C{test_memory.py}.
EVERY = 29


class SampleTests(TestCase):
    """
    Nothing is left, no descriptor either, and the right reason is said.
    """

    timeout = 120

    def test_direct(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.sample(transports.DIRECT))

    def test_python(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.sample(transports.PYTHON))

    def test_layered(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.sample(transports.LAYERED))

    async def sample(self, path: str) -> None:
        start = iter(range(PATHS.index(path), 1000))

        def pick(all: Iterator[Case]) -> Iterator[Case]:
            return islice(all, next(start) % EVERY, None, EVERY)

        with overSockets(path) as world, closing(BRISK):
            cases = Sweep(world, BRISK, slack=10.0, patient=PATIENT)
            # The reactor's own descriptors and trial's timer are there from its first turn on.
            await deferLater(world.reactor, 0)
            try:
                await sweep(cases, situations(), pick, every=31)
            finally:
                await cases.close()
        self.assertEqual(cases.report.wrong, [], str(cases.report))
        self.assertGreater(cases.report.cases, 80)
