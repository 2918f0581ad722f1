"""
Every scenario's file is played, and every entry of the list of differences is of one.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.sidebyside.differences import DIFFERENCES, Reason, document, unexplained
from tests.sidebyside.harness import HERE, SCENARIOS

NAMES = {path.stem for path in SCENARIOS.glob("*.yaml") if "." not in path.stem}


class ListTests(SynchronousTestCase):
    def test_played(self) -> None:
        """
        No file is forgotten, and no test's file is.
        """
        source = "".join(path.read_text() for path in HERE.glob("test_*.py"))
        played = set(re.findall(r'self\.compare\(\s*"(\w+)"', source))
        self.assertEqual(played ^ NAMES, set())
        self.assertGreaterEqual(len(NAMES), 40)

    def test_saysWhatItKeeps(self) -> None:
        for name in NAMES:
            self.assertRegex((SCENARIOS / f"{name}.yaml").read_text(), r"^# \w", name)

    def test_listed(self) -> None:
        """
        A difference is of a scenario that there is, or of a broken file.
        """
        for key in DIFFERENCES:
            if key.startswith("broken/"):
                self.assertTrue((HERE / f"{key}.yaml").exists(), key)
            else:
                self.assertIn(re.split("[,:]", key)[0], NAMES)

    def test_exact(self) -> None:
        """
        What differs and is not listed is a fault; so is what is listed and does not differ.
        """
        reason = Reason("a title", "a text", ("ended", "*.received"))
        DIFFERENCES["x: a"] = (reason,)
        self.addCleanup(DIFFERENCES.pop, "x: a")
        self.assertEqual(unexplained("x: a", ["ended"]), [])
        self.assertEqual(unexplained("x: a", ["ended", "alpha.received"]), [])
        self.assertEqual(unexplained("x: a", ["received"])[0], "x: a: differs in received")
        self.assertIn("no longer a difference", unexplained("x: a", [])[0])
        self.assertEqual(unexplained("x: b", ["ended"]), ["x: b: differs in ended"])
        self.assertIn("## a title\n\na text\n\nSeen in: `x: a`.\n", document(DIFFERENCES))
