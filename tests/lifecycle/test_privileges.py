"""
Files that cannot be read any more.
"""

from __future__ import annotations

import os
from unittest import SkipTest

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.lifecycle.privileges import warnUnreadable


class UnreadableTests(SynchronousTestCase):
    def warned(self, *paths: str) -> list[str]:
        with capturedLogs() as events:
            warnUnreadable(paths)
        return [formatEvent(event) or "" for event in events]

    def test_readable(self) -> None:
        self.assertEqual(self.warned(__file__), [])

    def test_gone(self) -> None:
        """
        One line, however many there are.
        """
        (line,) = self.warned("a", __file__, "b", "c")
        self.assertIn("cannot read 'a' and 2 more, which was read before", line)

    def test_effective(self) -> None:
        """
        It counts who the process acts as.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can be somebody else")
        path = self.mktemp()
        os.close(os.open(path, os.O_CREAT, 0o600))
        os.seteuid(65534)
        try:
            (line,) = self.warned(os.path.abspath(path))
        finally:
            os.seteuid(0)
        self.assertIn("user 65534 cannot read", line)
