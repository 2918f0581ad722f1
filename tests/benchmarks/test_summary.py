"""
Medians, spreads and ratios, as a table.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.summary import METRICS, Values, others, summarize
from benchmarks.table import lines

UP = "bulk, MB/s: up"


def rates(*values: float | None) -> dict[str, list[Values | None]]:
    """
    Rounds of one load.
    """
    return {"up": [None if value is None else {"rate": value} for value in values]}


class SummaryTests(SynchronousTestCase):
    def test_median(self) -> None:
        """
        One round that was disturbed does not matter; the spread tells of it.
        """
        found = summarize({"a": rates(100, 10, 110)}, None)[UP]["a"]
        self.assertEqual((found.median, found.rounds, found.ratio), (100, 3, None))
        self.assertEqual((found.low, found.high, found.spread), (10, 110, 0.5))

    def test_ratio(self) -> None:
        """
        It is taken within each round: what slows down both does not change it.
        """
        samples = {"base": rates(100, 50, 10), "a": rates(50, 25, 5)}
        found = summarize(samples, "base")[UP]
        self.assertEqual((found["base"].ratio, found["a"].ratio), (1.0, 0.5))

    def test_ratioSkips(self) -> None:
        """
        A round in which one of the two failed has none.
        """
        samples = {"base": rates(None, 50, 10), "a": rates(50, None, 5)}
        self.assertEqual(summarize(samples, "base")[UP]["a"].ratio, 0.5)

    def test_nothing(self) -> None:
        """
        What was not measured at all has no figure, and no section.
        """
        self.assertEqual(summarize({"a": rates(None)}, "a"), {})

    def test_sides(self) -> None:
        """
        CPU is that of both proxies; without proxies there is none.
        """
        samples: dict[str, dict[str, list[Values | None]]] = {
            "direct": rates(4000),
            "a": {"up": [{"rate": 1000, "gb.outbound": 0.5, "gb.inbound": 0.25}]},
        }
        found = summarize(samples, None)["CPU seconds per GB, both proxies: up"]
        self.assertEqual({peer: one.median for peer, one in found.items()}, {"a": 0.75})

    def test_names(self) -> None:
        """
        By which a figure is found in the JSON.
        """
        names = [metric.name for metric in METRICS]
        self.assertEqual(len(names), len(set(names)))

    def test_others(self) -> None:
        """
        What others used is the median of all measurements that know it.
        """
        samples: dict[str, dict[str, list[Values | None]]] = {
            "a": {"up": [{"cpu.others": 1.0}, {"cpu.others": 0.0}, None]},
            "b": {"up": [{"cpu.others": 0.1}, {"rate": 1}]},
        }
        self.assertEqual(others(samples), 0.1)
        self.assertIsNone(others({"a": rates(1)}))


class TableTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """
        A line for each peer, with a dash for what it could not do.
        """
        samples = {
            "envoy": {**rates(1000, 1200), "down": [{"rate": 900.0}]},
            "mxproxy": rates(900, 960),
        }
        text = list(lines(summarize(samples, "envoy"), list(samples), "envoy"))
        self.assertEqual(
            text,
            [
                "median, spread, ratio to envoy",
                "",
                "bulk, MB/s",
                "                 up                  down",
                "envoy         1,100 ±9%    1.00       900        1.00",
                "mxproxy         930 ±3%    0.85         —",
            ],
        )
