"""
What is said when an address cannot be listened on.
"""

from __future__ import annotations

import errno
import os

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from mxproxy.lifecycle.refusal import whyNot


class RefusalTests(TestCase):
    def test_inUse(self) -> None:
        """
        As Twisted says it, of a port and of a UNIX socket.
        """
        from twisted.internet import reactor

        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        again = self.assertRaises(
            CannotListenError,
            reactor.listenTCP,  # type: ignore[attr-defined]
            number,
            Factory(),
            interface="127.0.0.1",
        )
        self.assertEqual(
            whyNot(again),
            "Address already in use: end what listens there (ss -ltnp tells what), or choose "
            "another port",
        )
        path = os.path.relpath(self.mktemp())
        port = reactor.listenUNIX(path, Factory())  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        again = self.assertRaises(
            CannotListenError,
            reactor.listenUNIX,  # type: ignore[attr-defined]
            path,
            Factory(),
        )
        self.assertEqual(
            whyNot(again),
            "Address already in use: end what listens there (ss -lxp tells what), or remove the "
            "file if nobody does",
        )

    def test_others(self) -> None:
        """
        Without advice where there is none, and in one line whatever it is.
        """
        for error, text in (
            (
                CannotListenError("any", 80, PermissionError(errno.EACCES, "no")),
                "Permission denied: ",
            ),
            (
                CannotListenError("any", 80, OSError(errno.ENOBUFS, "no")),
                "No buffer space available",
            ),
            (
                CannotListenError("any", 80, ValueError("what?")),
                "Couldn't listen on any:80: what?.",
            ),
            (ValueError("two\n lines"), "two lines"),
            (
                FileNotFoundError(errno.ENOENT, "no"),
                "No such file or directory: its directory has to be there",
            ),
        ):
            self.assertTrue(whyNot(error).startswith(text), whyNot(error))
        self.assertEqual(
            whyNot(CannotListenError("any", 80, OSError(errno.ENOBUFS, "no"))),
            "No buffer space available",
        )
