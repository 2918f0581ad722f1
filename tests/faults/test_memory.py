"""
A sample of all faults, in memory: a few of each kind in each situation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from twisted.trial.unittest import SynchronousTestCase

from .case import Case, Times
from .points import situations
from .sweep import Sweep, now, sweep
from .worlds import Memory

#: Every so manieth; with no common divisor with how many kinds of faults and places there are.
EVERY = 13


class SampleTests(SynchronousTestCase):
    """
    Nothing is left, and the right reason is said.
    """

    def test_sample(self) -> None:
        cases = Sweep(Memory(), Times())
        start = iter(range(1000))

        def pick(all: Iterator[Case]) -> Iterator[Case]:
            return islice(all, next(start) % EVERY, None, EVERY)

        now(sweep(cases, situations(), pick, every=31))
        self.assertEqual(cases.report.wrong, [], str(cases.report))
        self.assertGreater(cases.report.cases, 200)
