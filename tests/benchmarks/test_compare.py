"""
Small figures beside those of the last release.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.micro.compare import lines


def result(version: str, cpu: str = "a CPU", **medians: float) -> dict[str, Any]:
    """
    As it is committed.
    """
    figures = {name: {"median": median, "spread": 0.02} for name, median in medians.items()}
    return {"version": version, "python": "3.13.1", "machine": {"cpu": cpu}, "figures": figures}


class CompareTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """
        What is new, and what is gone, stand beside a dash.
        """
        new = result("2.0", both=1.5e-5, new=2e-9)
        old = result("1.0", both=1e-5, old=0.25)
        self.assertEqual(
            list(lines(new, old)),
            [
                "            now              1.0  ratio",
                "both    15.0 µs ±2%     10.0 µs ±2%    1.50",
                "new        2 ns ±2%           —",
                "old           —        250.0 ms ±2%",
            ],
        )

    def test_elsewhere(self) -> None:
        """
        Another machine's are no measure, which is said.
        """
        told = list(lines(result("2.0", "a CPU"), result("1.0", "another CPU")))
        self.assertEqual(told[-1], "not of the same CPU: a CPU now, another CPU then")

    def test_first(self) -> None:
        """
        With nothing to compare to there is no ratio.
        """
        self.assertEqual(
            list(lines(result("2.0", one=2.0), None))[-1], "one      2.0 s ±2%           —"
        )
