"""
Series are bounded in number, and dropped when nobody uses them.
"""

from __future__ import annotations

from collections import Counter

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.observe.istio.series import AllSeries


class SeriesTests(SynchronousTestCase):
    """
    L{AllSeries}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.counted: Counter[str] = Counter()

    def make(self, limit: int = 2, eviction: float = 10.0) -> AllSeries:
        return AllSeries(
            self.clock.seconds, limit, eviction, lambda name: self.counted.update([name])
        )

    def test_same(self) -> None:
        """
        The same labels, the same series.
        """
        series = self.make()
        self.assertIs(series.get(("source", "a")), series.get(("source", "a")))
        self.assertIsNot(series.get(("source", "a")), series.get(("source", "b")))
        self.assertEqual(len(series), 2)

    def test_overflow(self) -> None:
        """
        Too many label sets share one series, by reporter, and nothing is lost.
        """
        series = self.make()
        for name in "abcdefgh":
            series.get(("source", name)).opened += 1
        series.get(("destination", "z")).opened += 1
        self.assertEqual(
            [(one.labels, one.opened) for one in series],
            [
                (("source", "a"), 1),
                (("source", "b"), 1),
                (("source", "overflow"), 6),
                (("destination", "overflow"), 1),
            ],
        )
        self.assertEqual(self.counted, {"stats.series_overflow": 7})

    def test_evicted(self) -> None:
        """
        After its time without a change; then there is room for another.
        """
        series = self.make()
        for name in "ab":
            series.get(("source", name))
        self.clock.advance(5)
        series.get(("source", "b")).touched = self.clock.seconds()
        self.clock.advance(5)
        series.evict()
        self.assertEqual([one.labels for one in series], [("source", "b")])
        self.assertEqual(series.get(("source", "c")).labels, ("source", "c"))

    def test_activeStays(self) -> None:
        """
        However long its connection is silent.
        """
        series = self.make()
        one = series.get(("source", "a"))
        one.opened += 1
        self.clock.advance(1000)
        series.evict()
        self.assertEqual(list(series), [one])
        one.closed += 1
        series.evict()
        self.assertEqual(list(series), [])

    def test_never(self) -> None:
        """
        Zero seconds are for ever.
        """
        series = self.make(eviction=0)
        one = series.get(("source", "a"))
        self.clock.advance(1e9)
        series.evict()
        self.assertEqual(list(series), [one])
        self.assertEqual(repr(one), "<Series ('source', 'a') opened 0 closed 0 sent 0 received 0>")
