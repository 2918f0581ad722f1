"""
The access log's lines: exactly the keys of the contract, in its order; what is not known is
null; whatever a peer says, a line is one bounded line of ASCII.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mxproxy.connection import Connection
from mxproxy.interfaces import IConnectionObserver
from mxproxy.observe.access_log import (
    PRINCIPAL_LIMIT,
    TEXT_LIMIT,
    AccessLog,
    describeLoss,
    formatAddress,
)
from mxproxy.wire.metadata import Absence, Metadata
from mxproxy.wire.peerstate import PeerState

from .lines import Lines

# 2026-01-01T00:00:00.0005Z: half a millisecond, which is not rounded up.
NEW_YEAR = 1767225600.0005

NOBODY = {
    "address": None,
    "local_address": None,
    "tls_version": None,
    "server_name": None,
    "alpn": None,
    "principal": None,
    "peer_state": "disabled",
    "peer": None,
    "bytes_received": 0,
    "bytes_sent": 0,
    "transport_protocol": None,
    "alpn_offered": [],
}

WEB = Metadata(
    name="web-1",
    namespace="shop",
    workload="web",
    type="deployment",
    cluster="c1",
    identity="not in the log",
    service="web",
    revision="v1",
    app="web",
    version="1.10",
    labels={"team": "a", "tier": ""},
    id="sidecar~web-1",
)

WEB_PEER = {
    "name": "web-1",
    "namespace": "shop",
    "workload": "web",
    "type": "deployment",
    "cluster": "c1",
    "service": "web",
    "revision": "v1",
    "app": "web",
    "version": "1.10",
    "labels": {"team": "a", "tier": None},
    "id": "sidecar~web-1",
}


class LineCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.writer = Lines()
        self.log = AccessLog(self.writer, lambda: NEW_YEAR)
        self.connection = Connection("inbound", self.clock.seconds, [self.log])

    def line(self) -> dict[str, Any]:
        """
        The only line since the last call; keys are in order, as dictionaries keep them.
        """
        (line,) = self.writer.lines
        self.writer.lines = []
        self.assertEqual((line[-1:], line.count(b"\n"), line.isascii()), (b"\n", 1, True))
        parsed: dict[str, Any] = json.loads(line)
        return parsed


class EventTests(LineCase):
    def test_interface(self) -> None:
        verifyObject(IConnectionObserver, self.log)

    def test_contract(self) -> None:
        """
        The whole line, in order.
        """
        connection, peer = self.connection, self.connection.downstream
        connection.filter_chain = "tls"
        connection.trail += ["downstream/tls", "downstream/metadata_exchange"]
        peer.address = IPv4Address("TCP", "10.0.0.1", 40000)
        peer.local_address = IPv4Address("TCP", "10.0.0.2", 15006)
        peer.tls_version = "TLSv1.3"
        peer.server_name = "db.example"
        peer.alpn = "istio-peer-exchange"
        peer.transport_protocol = "tls"
        peer.alpn_offered = ("istio-peer-exchange", "x" * 600, *["h2"] * 20)
        peer.principals = ("spiffe://cluster.local/ns/shop/sa/web", "web.example")
        peer.metadata = WEB
        peer.bytes_received, peer.bytes_sent = 3, 4
        self.clock.advance(0.0126)
        connection.closing("upstream: closed")
        self.log.closed(connection)
        wanted = {
            "event": "closed",
            "time": "2026-01-01T00:00:00.000Z",
            "connection": connection.id,
            "listener": "inbound",
            "filter_chain": "tls",
            "downstream": {
                "address": "10.0.0.1:40000",
                "local_address": "10.0.0.2:15006",
                "tls_version": "TLSv1.3",
                "server_name": "db.example",
                "alpn": "istio-peer-exchange",
                "principal": "spiffe://cluster.local/ns/shop/sa/web",
                "peer_state": "found",
                "peer": WEB_PEER,
                "bytes_received": 3,
                "bytes_sent": 4,
                "transport_protocol": "tls",
                "alpn_offered": ["istio-peer-exchange", "x" * 511 + "…"] + ["h2"] * 14,
            },
            "upstream": NOBODY,
            "duration_ms": 13,
            "trail": ["downstream/tls", "downstream/metadata_exchange"],
            "close_reason": "upstream: closed",
        }
        self.assertEqual(json.dumps(self.line()), json.dumps(wanted))

    def test_edges(self) -> None:
        """
        Two lines: when the connection is joined and its peers known, and at the end.
        """
        connection = self.connection
        self.log.opened(connection)
        connection.downstream.expectMetadata()
        connection.joined()
        self.assertEqual(self.writer.lines, [])
        connection.identify(connection.downstream, WEB)
        line = self.line()
        self.assertEqual((line["event"], line["close_reason"]), ("connected", None))
        self.assertEqual(line["downstream"]["peer"], WEB_PEER)
        self.log.closed(connection)
        self.assertEqual(self.line()["event"], "closed")

    def test_neverConnected(self) -> None:
        """
        No chain was chosen, no upstream tried: null, and one line only.
        """
        self.connection.closing("downstream: not_tls: the first byte is 0x47")
        self.log.closed(self.connection)
        line = self.line()
        self.assertEqual(
            (line["filter_chain"], line["trail"], line["downstream"], line["upstream"]),
            (None, [], NOBODY, NOBODY),
        )
        self.assertEqual(line["close_reason"], "downstream: not_tls: the first byte is 0x47")

    def test_absent(self) -> None:
        """
        Every state but found: no peer, and the reason.
        """
        for state in PeerState:
            if state is not PeerState.FOUND:
                self.connection.upstream.metadata = Absence(state)
                self.log.closed(self.connection)
                self.assertEqual(self.line()["upstream"], NOBODY | {"peer_state": state.value})

    def test_foundEmpty(self) -> None:
        """
        A peer that said nothing of itself is found all the same.
        """
        self.connection.upstream.metadata = Metadata()
        self.log.closed(self.connection)
        upstream = self.line()["upstream"]
        self.assertEqual(upstream["peer_state"], "found")
        self.assertEqual(upstream["peer"], dict.fromkeys(WEB_PEER) | {"labels": {}})


class LossTests(SynchronousTestCase):
    def test_lossIsALine(self) -> None:
        """
        An event of its own, at the place of what is missing.
        """
        self.assertEqual(
            describeLoss(7, NEW_YEAR),
            b'{"event": "dropped", "time": "2026-01-01T00:00:00.000Z", "lines": 7}\n',
        )


class TextTests(LineCase):
    def logged(self, text: str) -> tuple[str, str, str, str]:
        """
        @return: the text as name, label, server name and principal.
        """
        peer = self.connection.downstream
        peer.metadata = Metadata(name=text, labels={"team": text})
        peer.server_name = text
        peer.principals = (text,)
        self.log.closed(self.connection)
        line = self.line()["downstream"]
        return (
            line["peer"]["name"],
            line["peer"]["labels"]["team"],
            line["server_name"],
            line["principal"],
        )

    def test_hostile(self) -> None:
        """
        Newlines, escapes, line separators, lone surrogates: one line of ASCII, and the same
        text again for whoever parses it.
        """
        for text in ('a\n{"event": "closed"}\r', "\x1b[2J\x00", "\u2028\u202e", "\ud800", "é"):
            self.assertEqual(set(self.logged(text)), {text})

    def test_bounded(self) -> None:
        """
        Up to the limit it is whole, beyond it is cut, visibly.
        """
        name, label, server, principal = self.logged("x" * TEXT_LIMIT)
        self.assertEqual({name, label, server}, {"x" * TEXT_LIMIT})
        self.assertEqual(principal, name)
        name, label, server, principal = self.logged("x" * (PRINCIPAL_LIMIT + 1))
        self.assertEqual({name, label, server}, {"x" * (TEXT_LIMIT - 1) + "…"})
        self.assertEqual(principal, "x" * (PRINCIPAL_LIMIT - 1) + "…")

    def test_longestPrincipal(self) -> None:
        self.assertEqual(self.logged("x" * PRINCIPAL_LIMIT)[3], "x" * PRINCIPAL_LIMIT)

    def test_addresses(self) -> None:
        addresses: list[tuple[IAddress | None, str | None]] = [
            (IPv4Address("TCP", "127.0.0.1", 80), "127.0.0.1:80"),
            (IPv6Address("TCP", "::1", 80), "[::1]:80"),
            (IPv6Address("TCP", "fe80::1%eth0", 80, 0, 2), "[fe80::1%eth0]:80"),
            (UNIXAddress("/run/db.sock"), "unix:/run/db.sock"),
            (UNIXAddress(b"\0hidden"), "unix:@hidden"),
            (UNIXAddress(None), "unix:"),
            (None, None),
            (HostnameAddress(b"h", 1), "HostnameAddress(hostname=b'h', port=1)"),
        ]
        self.assertEqual(
            [formatAddress(address) for address, _ in addresses],
            [wanted for _, wanted in addresses],
        )
