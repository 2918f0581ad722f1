"""
Command lines in tests: a directory with certificates, and what a command line is answered.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.options import Options
from mxproxy.pki import Authority

# Keys take time to make; nothing in these tests depends on which ones they are.
CA = Authority.create()
DB = CA.issue("spiffe://cluster.local/ns/shop/sa/db")
WEB = CA.issue("spiffe://cluster.local/ns/shop/sa/web")

TLS = ("--tls-cert", "db.crt", "--tls-key", "db.key", "--tls-ca", "ca.crt")
ENDS = ("--listen", "tcp:15006", "--upstream", "tcp:127.0.0.1:5432")
INBOUND = ("--mode", "inbound", *ENDS, *TLS)
OUTBOUND = ("--mode", "outbound", *ENDS, *TLS)
PLAIN = ("--mode", "inbound", *ENDS, "--downstream-tls", "disable")


def parse(arguments: Sequence[str], options: Options | None = None) -> Options:
    options = options or Options()
    options.parseOptions(list(arguments))
    return options


class CommandLineCase(SynchronousTestCase):
    """
    The current directory is a fresh one that holds C{ca.crt}, C{db.*} and C{web.*}.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        CA.write(self.directory, "ca")
        DB.write(self.directory, "db")
        WEB.write(self.directory, "web")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)

    def refusal(self, arguments: Sequence[str], options: Options | None = None) -> tuple[int, str]:
        """
        @return: exit status and the text after C{"twistd mxproxy: "}, which is one line.
        """
        stderr, stdout = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(stdout):
            stopped = self.assertRaises(SystemExit, parse, arguments, options)
        self.assertEqual(stdout.getvalue(), "")
        head, line, end = stderr.getvalue().partition("twistd mxproxy: ")
        self.assertEqual((head, end[-1:], end.count("\n")), ("", "\n", 1), stderr.getvalue())
        self.assertTrue(line)
        assert isinstance(stopped.code, int)
        return stopped.code, end[:-1]
