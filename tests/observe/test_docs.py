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
    The document is the declaration's.
    """

    def test_current(self) -> None:
        self.assertEqual(docs.PART.main(["--check", str(DOCUMENT)]), 0)

    def test_everything(self) -> None:
        """
        Each statistic has a line, and each path is told of.
        """
        text = DOCUMENT.read_text()
        for stat in STATS:
            self.assertIn(f"| `{stat.name}` |", text)
        for path in PATHS:
            self.assertRegex(text, rf"`{re.escape(path.path)}`", path.path)
