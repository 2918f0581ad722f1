"""
Numbers of things, in words.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.words import are, counted


class WordsTests(SynchronousTestCase):
    def test_counted(self) -> None:
        for number, said in ((0, "0 bytes"), (1, "1 byte"), (2, "2 bytes")):
            self.assertEqual(counted(number, "byte"), said)
        self.assertEqual(counted(1, "address", "es"), "1 address")
        self.assertEqual(counted(2, "address", "es"), "2 addresses")

    def test_are(self) -> None:
        self.assertEqual(are(1, "connection"), "1 connection is")
        self.assertEqual(are(0, "connection"), "0 connections are")
        self.assertEqual(are(1, "line", of="this log"), "1 line of this log is")
        self.assertEqual(are(7, "line", of="this log"), "7 lines of this log are")
