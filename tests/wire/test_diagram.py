"""
The diagram in the documentation is that of the table.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire import diagram
from mxproxy.wire.exchange import COUNTERS, TRANSITIONS, PeerState
from tests.wire.helpers import python

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire.md"


class DiagramTests(SynchronousTestCase):
    """
    Drawn from the table.
    """

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
        self.assertEqual(0, diagram.PART.main(["--check", str(DOCUMENT)]))

    def test_documentNamesEverything(self) -> None:
        """
        Each state of a peer and each counter is described.
        """
        text = DOCUMENT.read_text(encoding="utf-8")
        for name in (*PeerState, *COUNTERS):
            self.assertIn(f"`{name.value}`", text)

    def test_command(self) -> None:
        done = python("-m", "mxproxy.wire.diagram", "--check", str(DOCUMENT))
        self.assertEqual((0, "", ""), (done.returncode, done.stdout, done.stderr))
