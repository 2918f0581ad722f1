"""
docs/observability.md: its tables are the declaration's, and its paths are those that there are.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.admin.paths import PATHS
from mxproxy.observe import docs
from mxproxy.observe.stats import STATS
from tests.packaging.environment import ROOT

DOCUMENT = ROOT / "docs" / "observability.md"


class DocumentTests(SynchronousTestCase):
    """
    The document and what checks it.
    """

    def test_current(self) -> None:
        self.assertEqual(docs.main(["--check", str(DOCUMENT)]), 0)

    def test_everything(self) -> None:
        """
        Each statistic has a line, and each path is told of.
        """
        text = DOCUMENT.read_text()
        for stat in STATS:
            self.assertIn(f"| `{stat.name}` |", text)
        for path in PATHS:
            self.assertRegex(text, rf"`{re.escape(path.path)}`", path.path)

    def test_stale(self) -> None:
        """
        A document that says something else is found, and mended.
        """
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"before\n{docs.BEGIN}old\n{docs.END}after\n")
        self.assertEqual(docs.main(["--check", path]), 1)
        self.assertEqual(docs.main(["--write", path]), 0)
        self.assertEqual(docs.main(["--check", path]), 0)
        self.assertRaises(ValueError, docs.replaceTables, "no markers")
