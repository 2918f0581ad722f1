"""
Half-closes over real sockets; C{make faults} does the same with 100 MB.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from .halves import matrix, play


class HalfCloseTests(TestCase):
    """
    After one side's end of stream the other direction carries on to its last byte.
    """

    timeout = 120

    def test_matrix(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.matrix())

    async def matrix(self) -> None:
        from twisted.internet import reactor

        await deferLater(reactor, 0)  # type: ignore[arg-type]
        for case in matrix():
            self.assertEqual(await play(case, 2_000_000, 30.0), [], str(case))
