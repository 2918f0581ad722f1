"""
What a ClientHello tells of a connection, and what becomes of the rest.

The ClientHello itself is the business of tests.wire.test_clienthello.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.filters.options import OptionError
from mxproxy.filters.tls_inspector import TLSInspector, configure
from mxproxy.interfaces import IFilter
from mxproxy.testing import Conversation, checkFilter
from tests.wire.test_clienthello import alpn, hello, records, serverName

from .listening import CLOSES, GOES_ON, played

HELLO = records(hello(serverName(b"db.example") + alpn(b"h2", b"istio")), 40)

SYMBOLS = {
    "hello": HELLO,
    "half": HELLO[:40],
    "bare": records(hello()),
    "old": records(hello(version=0x0300)),
    "large": b"\x16\x03\x01\x41\x00\x01\x00\x40\x00",
}


class TLSInspectorTests(SynchronousTestCase):
    def play(self, script: str, **more: Any) -> Any:
        return played(TLSInspector(), script, symbols=SYMBOLS, **more)

    def test_found(self) -> None:
        bench = self.play(
            """
            >> <hello> 'more'
            app<< connected
            app<< <hello> 'more'
            left: tls_inspector
            """
        )
        peer = bench.peer
        self.assertEqual((peer.transport_protocol, peer.server_name), ("tls", "db.example"))
        self.assertEqual(peer.application_protocols, ("h2", "istio"))
        self.assertEqual(peer.alpn_offered, ("h2", "istio"))
        self.assertEqual(bench.counts, {"tls_inspector.tls_found": 1})

    def test_bare(self) -> None:
        peer = self.play(
            """
            >> <bare>
            app<< connected
            app<< <bare>
            left: tls_inspector
            """
        ).peer
        self.assertEqual((peer.transport_protocol, peer.server_name), ("tls", None))
        self.assertEqual(peer.application_protocols, ())

    def test_notFound(self) -> None:
        bench = self.play(
            """
            >> 'GET /'
            app<< connected
            app<< 'GET /'
            left: tls_inspector
            """
        )
        self.assertEqual((bench.peer.transport_protocol, bench.peer.server_name), (None, None))
        self.assertEqual(bench.counts, {"tls_inspector.tls_not_found": 1})

    def test_timeout(self) -> None:
        """
        What is not whole when the time is up, is not TLS, and goes on.
        """
        bench = self.play(
            """
            >> <half>
            wait 1
            app<< connected
            app<< <half>
            left: tls_inspector
            """
        )
        self.assertIsNone(bench.peer.transport_protocol)
        self.assertEqual(bench.counts, {"tls_inspector.tls_not_found": 1})

    def test_refused(self) -> None:
        """
        A hello that nobody can answer is closed, whatever the listener does at the end of its time.
        """
        for context in (GOES_ON, CLOSES):
            for name, reason in (
                ("old", "invalid_version: legacy_version 0x0300"),
                ("large", "too_large: the hello takes 16645 bytes or more, 16384 are allowed"),
            ):
                self.play(
                    f"""
                    >> <{name}>
                    << reset
                    closed: tls_inspector: {reason}
                    """,
                    context=context,
                )

    def test_contract(self) -> None:
        for context in (GOES_ON, CLOSES):
            for said in (HELLO + b"more", b"hello"):
                checkFilter(TLSInspector(), conversation=Conversation(said, context=context))

    def test_configure(self) -> None:
        self.assertEqual(configure({}), TLSInspector())
        self.assertTrue(IFilter.providedBy(configure({})))
        self.assertRaises(OptionError, configure, {"enable_ja3_fingerprinting": "true"})
