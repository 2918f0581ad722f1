"""
Endpoint descriptions, taken apart.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.descriptions import withBacklog


class BacklogTests(SynchronousTestCase):
    def test_withBacklog(self) -> None:
        """
        Where there can be one, and none is said; what was written stays as it was.
        """
        for text, wanted in (
            ("tcp:15006", "tcp:15006:backlog=4096"),
            (r"tcp:0:interface=\:\:1", r"tcp:0:interface=\:\:1:backlog=4096"),
            ("tcp6:80", "tcp6:80:backlog=4096"),
            (r"unix:/run/a\:b", r"unix:/run/a\:b:backlog=4096"),
            ("tcp:80:backlog=5", "tcp:80:backlog=5"),
            ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ):
            self.assertEqual(withBacklog(text), wanted)
