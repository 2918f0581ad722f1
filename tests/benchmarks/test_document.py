"""
Results as tables in a document.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.document import replaced

REPORT: dict[str, Any] = {
    "machine": {
        "date": "2026-01-02T03:04:05+00:00",
        "cpus": 2,
        "cpu": "a CPU",
        "kernel": "Linux 6.1",
        "others_cpus": 0.012,
    },
    "settings": {"rounds": 3, "seconds": 2.0, "quota": None},
    "versions": {"envoy": "1.40.0", "stunnel": "not installed"},
    "tls": {"envoy": "TLSv1.3"},
    "baseline": "envoy",
    "peers": ["direct", "envoy"],
    "figures": {
        "bulk, MB/s: up": {
            "direct": {"median": 4000.0, "spread": 0.02, "ratio": 4.0, "rounds": 3},
            "envoy": {"median": 1000.0, "spread": 0.1, "ratio": 1.0, "rounds": 3},
        },
        "new connections/s: resumed": {
            "envoy": {"median": 12.34, "spread": 0.0, "ratio": None, "rounds": 3}
        },
    },
}


class DocumentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.results = Path(self.mktemp())
        self.results.mkdir()
        (self.results / "peers.json").write_text(json.dumps(REPORT))

    def test_tables(self) -> None:
        """
        What was between the markers is replaced, what is around them is not.
        """
        text = (
            "above\n<!-- begin: benchmarks peers -->\nold\n<!-- end: benchmarks peers -->\nbelow\n"
        )
        self.assertEqual(
            replaced(text, self.results),
            """above
<!-- begin: benchmarks peers -->
| bulk, MB/s | up |
| --- | ---: |
| direct | 4,000 ±2% (4.00) |
| envoy | 1,000 ±10% (1.00) |

| new connections/s | resumed |
| --- | ---: |
| envoy | 12.3 ±0% |

2026-01-02, 2 CPUs (a CPU), Linux 6.1; medians of 3 rounds of 2 s; in brackets the ratio to envoy. \
Others used 0.01 CPUs meanwhile.

- envoy: 1.40.0; TLSv1.3
- stunnel: not installed
<!-- end: benchmarks peers -->
below
""",
        )

    def test_busy(self) -> None:
        """
        Where others were at work, that is said.
        """
        busy = {**REPORT, "machine": {**REPORT["machine"], "others_cpus": 0.75}}
        (self.results / "peers.json").write_text(json.dumps(busy))
        text = replaced(
            "<!-- begin: benchmarks peers --><!-- end: benchmarks peers -->", self.results
        )
        self.assertIn("used 0.75 CPUs meanwhile, so all are slower than they would be alone.", text)

    def test_twice(self) -> None:
        """
        What is current stays as it is.
        """
        text = "<!-- begin: benchmarks peers --><!-- end: benchmarks peers -->"
        once = replaced(text, self.results)
        self.assertEqual(replaced(once, self.results), once)

    def test_wrong(self) -> None:
        """
        A marker for which there is nothing, or without its end.
        """
        text = "<!-- begin: benchmarks self --><!-- end: benchmarks self -->"
        error = self.assertRaises(ValueError, replaced, text, self.results)
        self.assertIn("no results", str(error))
        text = "<!-- begin: benchmarks peers --><!-- end: benchmarks self -->"
        error = self.assertRaises(ValueError, replaced, text, self.results)
        self.assertEqual(str(error), "a begin without its end")
