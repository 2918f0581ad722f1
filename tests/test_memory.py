"""
When memory is given back.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy import memory
from mxproxy.memory import CROWD, Crowd


class CrowdTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.trimmedAt: list[int] = []
        self.crowd = Crowd(lambda pad: self.trimmedAt.append(self.crowd.number))

    def come(self, number: int) -> None:
        for _ in range(number):
            self.crowd.came()

    def go(self, number: int) -> None:
        for _ in range(number):
            self.crowd.went()

    def test_halves(self) -> None:
        """
        Each time that half of a crowd has gone, until it is none any more.
        """
        self.come(4 * CROWD)
        self.go(4 * CROWD)
        self.assertEqual(self.trimmedAt, [2 * CROWD, CROWD, CROWD // 2])

    def test_few(self) -> None:
        """
        A few that come and go, and a crowd that stays, cost nothing.
        """
        self.come(CROWD - 1)
        self.go(CROWD - 1)
        self.come(2 * CROWD)
        for _ in range(100):
            self.go(CROWD // 2)
            self.come(CROWD // 2)
        self.assertEqual(self.trimmedAt, [])

    def test_again(self) -> None:
        self.come(CROWD)
        self.go(CROWD)
        self.come(CROWD)
        self.go(CROWD)
        self.assertEqual(self.trimmedAt, [CROWD // 2] * 2)

    def test_otherLibraries(self) -> None:
        """
        Where there is nothing to be called, nothing is.
        """
        self.crowd = Crowd(None)
        self.come(CROWD)
        self.go(CROWD)
        self.assertEqual(self.crowd.number, 0)

        def none(name: object) -> object:
            raise OSError("no such library")

        self.patch(memory.ctypes, "CDLL", none)
        self.assertIsNone(memory._find())

    def test_real(self) -> None:
        """
        What the system has can be called.
        """
        crowd = Crowd()
        for _ in range(CROWD):
            crowd.came()
        for _ in range(CROWD):
            crowd.went()
