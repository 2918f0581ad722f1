"""
Whoever installs without a compiler is told what he misses.
"""

from __future__ import annotations

import sys

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mxproxy import transports
from mxproxy.transports import flows


class MissingTests(SynchronousTestCase):
    def said(self, path: str, available: bool, platform: str = "linux") -> list[str]:
        self.patch(flows, "AVAILABLE", available)
        self.patch(sys, "platform", platform)
        self.addCleanup(transports.use, transports.DIRECT)
        transports.use(path)
        with capturedLogs() as events:
            transports.tellMissing()
        return [formatEvent(event) for event in events]

    def test_told(self) -> None:
        (line,) = self.said(transports.DIRECT, False)
        self.assertTrue(line.startswith("without the extension, and slower"), line)

    def test_nothingToTell(self) -> None:
        """
        It is there, or nobody wants it, or it could not be.
        """
        self.assertEqual(self.said(transports.DIRECT, True), [])
        self.assertEqual(self.said(transports.PYTHON, False), [])
        self.assertEqual(self.said(transports.LAYERED, False), [])
        self.assertEqual(self.said(transports.DIRECT, False, "darwin"), [])
