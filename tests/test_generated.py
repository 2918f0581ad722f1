"""
Parts of documents that are made of code.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.generated import Generated

PART = Generated("some.module", "the list", lambda: "new\n")

B, E = "<!-- begin: python -m some.module -->\n", "<!-- end: python -m some.module -->\n"


class GeneratedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.errors, self.output = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", self.errors)
        self.patch(sys, "stdout", self.output)

    def document(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        return path

    def test_checkAndWrite(self) -> None:
        """
        What is not current is told and left; written, it is, and what is around it is as before.
        """
        path = self.document(f"a\n{B}old\n{E}b\n")
        self.assertEqual(PART.main(["--check", str(path)]), 1)
        self.assertEqual(
            self.errors.getvalue(), f"{path}: not the list that the code has; run --write\n"
        )
        self.assertEqual(path.read_text(encoding="utf-8"), f"a\n{B}old\n{E}b\n")
        self.assertEqual(PART.main(["--write", str(path)]), 0)
        self.assertEqual(path.read_text(encoding="utf-8"), f"a\n{B}new\n{E}b\n")
        self.assertEqual(PART.main(["--check", str(path)]), 0)

    def test_markers(self) -> None:
        """
        A document without the two markers, once and in order, is refused and left alone.
        """
        for text in ("", B, E, E + B, B + E + B, B + E + E, E + B + E):
            self.assertRaises(ValueError, PART.replaced, text)
        path = self.document("nothing\n")
        error = self.assertRaises(SystemExit, PART.main, ["--write", str(path)])
        self.assertEqual(error.code, 2)
        self.assertEqual(path.read_text(encoding="utf-8"), "nothing\n")
        self.assertTrue(
            self.errors.getvalue().endswith(
                f"python -m some.module: error: {path}: the markers {B.strip()} and {E.strip()} are"
                " wanted once, in order\n"
            ),
            self.errors.getvalue(),
        )

    def test_checkOrWrite(self) -> None:
        """
        One of both is wanted, and the help says what they do.
        """
        self.assertRaises(SystemExit, PART.main, [])
        self.assertIn("one of the arguments --check --write is required", self.errors.getvalue())
        self.assertRaises(SystemExit, PART.main, ["--help"])
        for line in (
            "Keeps the list in a document as the code has it.",
            "--check FILE  compare, change nothing\n",
            "--write FILE  replace the list\n",
        ):
            self.assertIn(line, self.output.getvalue())
