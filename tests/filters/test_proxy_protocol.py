"""
What a PROXY header tells of a connection: it is believed, and taken out.

The header itself is the business of tests.wire.test_proxyprotocol.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.filters.http_inspector import HTTPInspector
from mxproxy.filters.options import OptionError
from mxproxy.filters.proxy_protocol import HEADER, ProxyProtocol, configure
from mxproxy.interfaces import IFilter
from mxproxy.testing import Bench, Conversation, checkFilter
from mxproxy.testing.transport import HERE, THERE
from mxproxy.wire.proxyprotocol import Command, ProxyHeader, encodeV1, encodeV2

from .listening import CLOSES, GOES_ON, played, together

V4 = ProxyHeader(2, source=("10.0.0.1", 1234), destination=("10.0.0.2", 443))
V6 = ProxyHeader(2, source=("fd00::1", 1234), destination=("fd00::2", 443))
TLVS = ((0x02, b"db.example"), (0xE0, b"own"), (0xE0, b"twice"))

SYMBOLS = {
    "v1": encodeV1(V4),
    "v1 of IPv6": encodeV1(V6),
    "v2": encodeV2(ProxyHeader(2, source=V4.source, destination=V4.destination, tlvs=TLVS)),
    "v2 of IPv6": encodeV2(V6),
    "v2 of unix": encodeV2(ProxyHeader(2, source=b"/client", destination=b"/server")),
    "local": encodeV2(ProxyHeader(2, Command.LOCAL)),
    "unknown": b"PROXY UNKNOWN\r\n",
    "wrong": b"PROXY TCP4 10.0.0.1 10.0.0.2 1234 443 \r\n",
}

SYMBOLS |= {"half": SYMBOLS["v2"][:20], "other half": SYMBOLS["v2"][20:]}

TCP4 = IPv4Address("TCP", "10.0.0.1", 1234), IPv4Address("TCP", "10.0.0.2", 443)
TCP6 = IPv6Address("TCP", "fd00::1", 1234), IPv6Address("TCP", "fd00::2", 443)


class ProxyProtocolTests(SynchronousTestCase):
    def play(self, script: str, settings: Any = None, **more: Any) -> Bench:
        return played(settings or ProxyProtocol(), script, symbols=SYMBOLS, **more)

    def taken(self, name: str, settings: Any = None) -> Bench:
        """
        The header is taken out, and what is behind it goes on.
        """
        return self.play(
            f"""
            >> <{name}> 'GET'
            app<< connected
            app<< 'GET'
            left: proxy_protocol
            >> ' /'
            app<< ' /'
            """,
            settings,
        )

    def test_believed(self) -> None:
        for name, (source, destination), version in (
            ("v1", TCP4, 1),
            ("v1 of IPv6", TCP6, 1),
            ("v2", TCP4, 2),
            ("v2 of IPv6", TCP6, 2),
            ("v2 of unix", (UNIXAddress(b"/client"), UNIXAddress(b"/server")), 2),
        ):
            for settings in (ProxyProtocol(), ProxyProtocol(True)):
                bench = self.taken(name, settings)
                peer = bench.peer
                self.assertEqual((peer.address, peer.direct_address), (source, THERE))
                self.assertEqual(
                    (peer.original_destination, peer.local_address), (destination, HERE)
                )
                header = bench.connection.get(HEADER)
                assert header is not None
                self.assertEqual(header.version, version)
                self.assertEqual(header.tlvs, TLVS if name == "v2" else ())
                self.assertEqual(bench.counts, {f"proxy_proto.versions.v{version}.found": 1})

    def test_nothingSaid(self) -> None:
        """
        A proxy that speaks for itself, or does not know: the socket's addresses are right.
        """
        for name in ("local", "unknown"):
            bench = self.taken(name)
            peer = bench.peer
            self.assertEqual((peer.address, peer.direct_address), (THERE, None))
            self.assertIsNone(peer.original_destination)
            self.assertIsNotNone(bench.connection.get(HEADER))

    def test_sameDestination(self) -> None:
        """
        Where the header says what the socket says, the connection has been nowhere else.
        """
        destination = (HERE.host, HERE.port)
        header = encodeV1(ProxyHeader(1, source=V4.source, destination=destination))
        bench = Bench(ProxyProtocol(), symbols={"header": header}, context=GOES_ON)
        bench.play(">> <header>\napp<< connected\nleft: proxy_protocol")
        self.assertEqual(bench.peer.address, TCP4[0])
        self.assertIsNone(bench.peer.original_destination)

    def test_refused(self) -> None:
        for said, reason in (
            (b"GET / HTTP", "byte 0: 0x47 is in no PROXY signature"),
            (b"PROXY TCP5 1", None),
            (SYMBOLS["wrong"], None),
        ):
            bench = Bench(ProxyProtocol(), context=GOES_ON)
            bench.connect()
            bench.transport.feed(said + b"\r\n")
            self.assertTrue(bench.transport.aborted)
            self.assertEqual(bench.application.connections, 0)
            self.assertTrue(bench.peer.close_reason.startswith("proxy_protocol: byte "))
            if reason:
                self.assertEqual(bench.peer.close_reason, f"proxy_protocol: {reason}")
            self.assertEqual(bench.counts, {"downstream_cx_proxy_proto_error": 1})
            self.assertIsNone(bench.connection.get(HEADER))
            self.assertEqual(bench.peer.address, THERE)
            self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_withoutOne(self) -> None:
        """
        Where that is allowed, it passes as it is.
        """
        bench = self.play(
            """
            >> 'PROXIES'
            app<< connected
            app<< 'PROXIES'
            left: proxy_protocol
            """,
            ProxyProtocol(allow_requests_without_proxy_protocol=True),
        )
        self.assertEqual((bench.peer.address, bench.peer.direct_address), (THERE, None))
        self.assertIsNone(bench.connection.get(HEADER))
        self.assertEqual(bench.counts, {"proxy_proto.not_found_allowed": 1})

    def test_disallowedVersions(self) -> None:
        for version, other in ((1, "v2"), (2, "v1")):
            settings = ProxyProtocol(disallowed_versions=(version,))
            self.taken(other, settings)
            bench = Bench(settings, symbols=SYMBOLS, context=GOES_ON)
            bench.connect()
            bench.transport.feed(SYMBOLS[f"v{version}"])
            self.assertTrue(bench.transport.aborted)
            # Where none is needed, it is not one.
            bench = Bench(ProxyProtocol(True, (version,)), symbols=SYMBOLS, context=GOES_ON)
            bench.connect()
            bench.transport.feed(SYMBOLS[f"v{version}"])
            self.assertEqual(bench.application.received, SYMBOLS[f"v{version}"])
            self.assertEqual(bench.peer.address, THERE)
        error = self.assertRaises(ValueError, Bench, ProxyProtocol(disallowed_versions=(1, 2)))
        self.assertEqual(str(error), "disallowed_versions leaves neither version 1 nor 2")

    def test_timeout(self) -> None:
        """
        Closed; or else half a header is the application's, for nobody else wants it.
        """
        for settings in (ProxyProtocol(), ProxyProtocol(True)):
            self.play(
                """
                >> <half>
                wait 1
                << reset
                closed: listener_filters_timeout: proxy_protocol has seen too little to decide
                """,
                settings,
                context=CLOSES,
            )
            bench = self.play(
                """
                >> <half>
                wait 1
                app<< connected
                app<< <half>
                left: proxy_protocol
                >> <other half>
                app<< <other half>
                """,
                settings,
            )
            self.assertEqual(bench.peer.address, THERE)

    def test_theNextOneLooksBehindIt(self) -> None:
        for chunks in (None, 1):
            bench = Bench(
                together(ProxyProtocol(), HTTPInspector()), context=GOES_ON, chunks=chunks
            )
            bench.connect()
            bench.transport.feed(SYMBOLS["v1"] + b"GET / HTTP/1.1\r\n")
            self.assertEqual(bench.application.received, b"GET / HTTP/1.1\r\n")
            self.assertEqual(bench.peer.application_protocols, ("http/1.1",))
            self.assertEqual(bench.peer.address, TCP4[0])
            self.assertEqual(len(bench.connection.trail), 2)
            self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_timeUpForTheNextOne(self) -> None:
        """
        What comes behind half a header is not looked at any more.
        """
        bench = played(
            together(ProxyProtocol(), HTTPInspector()),
            """
            wait 1
            app<< connected
            left: proxy_protocol
            left: http_inspector
            >> 'GET / HTTP/1.1\\r\\n'
            app<< 'GET / HTTP/1.1\\r\\n'
            """,
        )
        self.assertEqual(bench.peer.application_protocols, ())

    def test_contract(self) -> None:
        for context in (GOES_ON, CLOSES):
            for name in ("v1", "v2"):
                conversation = Conversation(
                    SYMBOLS[name] + b"GET / HTTP/1.1\r\n",
                    delivered=b"GET / HTTP/1.1\r\n",
                    oversize=b"PROXY UNKNOWN " + b"x" * 200,
                    context=context,
                )
                checkFilter(ProxyProtocol(), conversation=conversation)
            checkFilter(
                ProxyProtocol(allow_requests_without_proxy_protocol=True),
                conversation=Conversation(b"PROXIMITY", context=context),
            )

    def test_configure(self) -> None:
        self.assertEqual(configure({}), ProxyProtocol())
        self.assertTrue(IFilter.providedBy(configure({})))
        self.assertEqual(
            configure(
                {"allow_requests_without_proxy_protocol": "true", "disallowed_versions": "1"}
            ),
            ProxyProtocol(True, (1,)),
        )
        for options in (
            {"allow_requests_without_proxy_protocol": "yes"},
            {"disallowed_versions": "3"},
            {"disallowed_versions": "V1"},
            {"stat_prefix": "x"},
        ):
            self.assertRaises(OptionError, configure, options)
