"""
Half-closes over real sockets; C{make faults} does the same with 100 MB.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mxproxy import transports

from .halves import matrix, play
from .worlds import overSockets


class HalfCloseTests(TestCase):
    """
    After one side's end of stream the other direction carries on to its last byte.
    """

    timeout = 120

    def test_direct(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.matrix(transports.DIRECT))

    def test_python(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.matrix(transports.PYTHON))

    def test_layered(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.matrix(transports.LAYERED))

    async def matrix(self, path: str) -> None:
        with overSockets(path) as world:
            await deferLater(world.reactor, 0)
            for case in matrix():
                self.assertEqual(await play(world, case, 2_000_000, 30.0), [], str(case))
