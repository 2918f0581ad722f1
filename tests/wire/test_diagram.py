"""
The diagram in the documentation is that of the table.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire import diagram
from mxproxy.wire.exchange import COUNTERS, TRANSITIONS, PeerState
from tests.wire.helpers import python

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire.md"


class DiagramTests(SynchronousTestCase):
    """
    Drawn from the table, compared and written by a command.
    """

    def document(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        return path

    def test_everyTransition(self) -> None:
        drawn = diagram.stateDiagram()
        self.assertEqual(len(TRANSITIONS) + 1 + 6, drawn.count("-->"))
        self.assertIn(
            "    reading_magic --> bad_magic: magic differed / pass on +initial_header_not_found\n",
            drawn,
        )
        self.assertIn("    found --> [*]\n", drawn)
        self.assertIn("| `gave_up` | `timeout` |\n", drawn)

    def test_document(self) -> None:
        """
        The project's own document is up to date: python -m mxproxy.wire.diagram --write
        docs/wire.md.
        """
        self.assertEqual(0, diagram.main(["--check", str(DOCUMENT)]))

    def test_documentNamesEverything(self) -> None:
        """
        Each state of a peer and each counter is described.
        """
        text = DOCUMENT.read_text(encoding="utf-8")
        for name in (*PeerState, *COUNTERS):
            self.assertIn(f"`{name.value}`", text)

    def test_checkAndWrite(self) -> None:
        path = self.document(f"a\n{diagram.BEGIN}old\n{diagram.END}b\n")
        errors = io.StringIO()
        self.patch(sys, "stderr", errors)
        self.assertEqual(1, diagram.main(["--check", str(path)]))
        self.assertEqual(
            f"{path}: the state diagram is not that of the table; run --write\n", errors.getvalue()
        )
        self.assertIn("old", path.read_text(encoding="utf-8"))
        self.assertEqual(0, diagram.main(["--write", str(path)]))
        self.assertEqual(
            f"a\n{diagram.BEGIN}{diagram.stateDiagram()}{diagram.END}b\n",
            path.read_text(encoding="utf-8"),
        )
        self.assertEqual(0, diagram.main(["--check", str(path)]))

    def test_markers(self) -> None:
        """
        A document without the two markers is refused and left alone.
        """
        b, e = diagram.BEGIN, diagram.END
        for text in ("", b, e, e + b, b + e + b, b + e + e, e + b + e):
            self.assertRaises(ValueError, diagram.replaceDiagram, text)
        errors = io.StringIO()
        self.patch(sys, "stderr", errors)
        path = self.document("nothing\n")
        error = self.assertRaises(SystemExit, diagram.main, ["--write", str(path)])
        self.assertEqual(2, error.code)
        self.assertEqual("nothing\n", path.read_text(encoding="utf-8"))
        self.assertTrue(
            errors.getvalue().endswith(
                f"python -m mxproxy.wire.diagram: error: {path}: the markers {b.strip()} and "
                f"{e.strip()} are wanted once, in order\n"
            ),
            errors.getvalue(),
        )

    def test_checkOrWrite(self) -> None:
        """
        One of both is wanted, and the help says what they do.
        """
        errors, said = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", errors)
        self.patch(sys, "stdout", said)
        self.assertRaises(SystemExit, diagram.main, [])
        self.assertIn("one of the arguments --check --write is required", errors.getvalue())
        self.assertRaises(SystemExit, diagram.main, ["--help"])
        for line in (
            "--check FILE  compare, change nothing\n",
            "--write FILE  replace the diagram\n",
        ):
            self.assertIn(line, said.getvalue())

    def test_command(self) -> None:
        done = python("-m", "mxproxy.wire.diagram", "--check", str(DOCUMENT))
        self.assertEqual((0, "", ""), (done.returncode, done.stdout, done.stderr))
