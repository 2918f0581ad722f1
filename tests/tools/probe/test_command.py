"""
C{mxproxy probe}'s command line.
"""

from __future__ import annotations

import contextlib
import io

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.testing import MemoryReactor
from mxproxy.testing.sidecars import SERVER_ID, authority, credential
from mxproxy.tls.context import ClientContext, ServerContext
from mxproxy.tools import probe
from mxproxy.tools.probe.command import parse, splitAddress


class ParseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        import os

        os.mkdir(self.directory)
        certificate, key = credential(SERVER_ID).write(self.directory, "own")
        self.own = ["--cert", str(certificate), "--key", str(key)]
        self.ca = ["--ca", str(authority().write(self.directory, "ca"))]

    def refused(self, *argv: str) -> str:
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr):
            stopped = self.assertRaises(SystemExit, parse, argv)
        self.assertEqual(stopped.code, 2)
        return stderr.getvalue().splitlines()[-1]

    def test_defaults(self) -> None:
        request = parse(["web:15006"])
        self.assertIsInstance(request.context, ClientContext)
        settings = request.context.settings
        self.assertEqual(settings.alpn, ("istio-peer-exchange", "istio"))
        self.assertEqual(settings.server_name, "web")  # type: ignore[union-attr]
        # Whom the whole world trusts has to be the one who was meant.
        self.assertEqual(request.accepted, ("web",))
        self.assertEqual((request.timeout, request.insecure, request.listens), (10.0, False, False))
        self.assertEqual(request.node.describe().workload, "mxproxy-probe")

    def test_accepted(self) -> None:
        """
        A mesh's authority signs workloads, whose certificates do not name hosts.
        """
        self.assertEqual(parse(["web:1", *self.ca]).accepted, ())
        request = parse(["web:1", *self.ca, "--san", SERVER_ID, "--san", "x.example"])
        self.assertEqual(request.accepted, (SERVER_ID, "x.example"))
        self.assertEqual(parse(["web:1", "--sni", "other"]).accepted, ("other",))
        self.assertEqual(parse(["unix:/x"]).accepted, ())

    def test_listen(self) -> None:
        request = parse(["--listen", "tcp:0", "--count", "3", *self.own, *self.ca])
        self.assertIsInstance(request.context, ServerContext)
        self.assertEqual((request.listens, request.count, request.accepted), (True, 3, ()))
        parse(["--listen", "tcp:0", "--insecure", *self.own])

    def test_alpn(self) -> None:
        self.assertEqual(parse(["h:1", "--alpn", " h2, x ,"]).context.settings.alpn, ("h2", "x"))
        self.assertEqual(parse(["h:1", "--alpn", ""]).context.settings.alpn, ())

    def test_refused(self) -> None:
        for argv, line in [
            ([], "say HOST:PORT, or --listen ENDPOINT, and one of them"),
            (["h:1", "--listen", "tcp:1"], "say HOST:PORT, or --listen ENDPOINT, and one of them"),
            (["h:1", "--count", "2"], "--count is for --listen"),
            (["h:1", "--timeout", "nan"], "'nan' is no number of seconds above 0"),
            (["h:1", "--san", "a:b"], "'a:b' is no identity"),
            (["--listen", "tcp:x"], "'tcp:x': that is no endpoint; write it as tcp:PORT"),
            (["--listen", "tcp:1"], "--listen needs --cert and --key"),
            (["--listen", "tcp:1", *self.own], "--listen needs --ca"),
            (
                ["--listen", "tcp:1", *self.own, "--insecure", "--sni", "x"],
                "--sni is what a client",
            ),
        ]:
            self.assertIn(line, self.refused(*argv))

    def test_addresses(self) -> None:
        self.assertEqual(splitAddress("a.b:1"), ("a.b", 1))
        self.assertEqual(splitAddress("[::1]:65535"), ("::1", 65535))
        for text in "a", "a:", ":1", "a:0", "a:65536", "::1:5", "[a]:5", "[1.2.3.4]:5", "a:x":
            self.assertRaises(ValueError, splitAddress, text)
            self.assertIn("is no address: write HOST:PORT", self.refused(text))

    def test_endpoints(self) -> None:
        reactor = MemoryReactor()
        self.assertIsInstance(parse(["[::1]:5"]).clientEndpoint(reactor), HostnameEndpoint)
        self.assertIsInstance(parse(["unix:/x"]).clientEndpoint(reactor), UNIXClientEndpoint)

    def test_files(self) -> None:
        """
        What is wrong with one is said in a line.
        """
        for argv in ["--ca", "gone"], ["--node-metadata", "gone"], ["--key", "gone"]:
            stderr = io.StringIO()
            with contextlib.redirect_stderr(stderr):
                self.assertEqual(probe.main(["h:1", *argv]), 1)
            self.assertRegex(stderr.getvalue(), r"^mxproxy probe: .*'gone'.*\n$")
