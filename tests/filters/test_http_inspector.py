"""
What a request line tells of a connection, and what becomes of the rest.

The request line itself is the business of tests.wire.test_http.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.filters.http_inspector import HTTPInspector, configure
from mxproxy.filters.options import OptionError
from mxproxy.filters.tls_inspector import TLSInspector
from mxproxy.interfaces import IFilter
from mxproxy.testing import Bench, Conversation, checkFilter
from mxproxy.wire.http import MAX_REQUEST_LINE
from tests.wire.test_clienthello import alpn, hello, records

from .listening import CLOSES, GOES_ON, played, together

#: As most of Istio's listeners have them.
BOTH = together(TLSInspector(), HTTPInspector())


class HTTPInspectorTests(SynchronousTestCase):
    def test_found(self) -> None:
        for said, protocol, counted in (
            ("'GET / HTTP/1.0\\r\\n'", "http/1.0", "http10_found"),
            ("'GET / HTTP/1.1\\r\\n'", "http/1.1", "http11_found"),
            ("'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'", "h2c", "http2_found"),
        ):
            bench = played(
                HTTPInspector(),
                f"""
                >> {said}
                app<< connected
                app<< {said}
                left: http_inspector
                >> 'more'
                app<< 'more'
                """,
            )
            self.assertEqual(bench.peer.application_protocols, (protocol,))
            self.assertIsNone(bench.peer.transport_protocol)
            self.assertEqual(bench.counts, {f"http_inspector.{counted}": 1})

    def test_notFound(self) -> None:
        for script in (
            """
            >> '\\x00\\x01'
            app<< connected
            app<< '\\x00\\x01'
            left: http_inspector
            """,
            """
            >> 'GET /'
            wait 1
            app<< connected
            app<< 'GET /'
            left: http_inspector
            """,
        ):
            bench = played(HTTPInspector(), script)
            self.assertEqual(bench.peer.application_protocols, ())
            self.assertEqual(bench.counts, {"http_inspector.http_not_found": 1})

    def test_tooLarge(self) -> None:
        """
        A line without an end is closed, whatever the listener does at the end of its time.
        """
        for context in (GOES_ON, CLOSES):
            bench = Bench(HTTPInspector(), context=context)
            bench.play(
                f"""
                >> 'GET /' 'a' * {MAX_REQUEST_LINE}
                << reset
                closed: http_inspector: too_large: no end of line in {MAX_REQUEST_LINE} bytes
                """
            )
            self.assertEqual(bench.counts, {"http_inspector.read_error": 1})

    def test_behindTheTLSInspector(self) -> None:
        """
        What is TLS is not looked at; what is not, is.
        """
        for said, transport, protocols in (
            (records(hello(alpn(b"istio"))), "tls", ("istio",)),
            (records(hello()), "tls", ()),
            (b"GET / HTTP/1.1\r\n", None, ("http/1.1",)),
            (b"\x16\x03\x03 no hello", None, ()),
        ):
            for chunks in (None, 1):
                bench = Bench(BOTH, context=GOES_ON, chunks=chunks)
                bench.connect()
                bench.transport.feed(said)
                self.assertEqual(bench.application.received, said)
                self.assertEqual(bench.peer.transport_protocol, transport)
                self.assertEqual(bench.peer.application_protocols, protocols)
                # Which of them is rid of its bytes first depends on how they came.
                self.assertEqual(
                    sorted(bench.connection.trail),
                    ["downstream/http_inspector", "downstream/tls_inspector"],
                )
                self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_wanted(self) -> None:
        """
        It looks where nobody has said what it is, or that it is plaintext.
        """
        for transport, looks in ((None, True), ("raw_buffer", True), ("tls", False)):

            def prepare(peer: Any, transport: Any = transport) -> None:
                peer.transport_protocol = transport

            bench = Bench(HTTPInspector(), context=GOES_ON, prepare=prepare)
            bench.connect()
            self.assertEqual(bench.application.connections, 0 if looks else 1)

    def test_contract(self) -> None:
        for context in (GOES_ON, CLOSES):
            for filter in (HTTPInspector(), BOTH):
                checkFilter(
                    filter,
                    conversation=Conversation(
                        b"GET / HTTP/1.1\r\nHost: x\r\n",
                        context=context,
                        oversize=b"A" * (MAX_REQUEST_LINE + 1),
                    ),
                )

    def test_configure(self) -> None:
        self.assertEqual(configure({}), HTTPInspector())
        self.assertTrue(IFilter.providedBy(configure({})))
        self.assertRaises(OptionError, configure, {"max": "1"})
