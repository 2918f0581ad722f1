"""
Peers that mean no good.  Invariant: whatever they send, and however slowly, they are gone in
time, for a reason that is said; what is kept of them meanwhile is bounded; and others are served.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from OpenSSL import SSL, crypto

from mxproxy.config.plan import (
    METADATA_EXCHANGE,
    RAW_BUFFER,
    TCP_PROXY,
    TLS,
    TLS_INSPECTOR,
    FilterChainMatch,
    FilterSpec,
    Plan,
)
from mxproxy.filters.proxy_protocol import ProxyProtocol
from mxproxy.filters.tcp_proxy import TCPProxy
from mxproxy.observe.access_log import describe
from mxproxy.testing import Application, Proxy
from mxproxy.testing.sidecars import (
    CLIENT_ID,
    CLIENT_NODE,
    SERVER,
    SERVER_NODE,
    clientTLS,
    credential,
    onePlan,
    serverTLS,
)
from mxproxy.timeouts import Timeouts
from mxproxy.tls.context import ClientContext
from mxproxy.wire.metadata import Node
from mxproxy.wire.prefix import MAGIC_BYTES

from .proxies import PORT, ProxyTestCase

#: What a connection may keep of what a peer has sent, in any state before its application's: the
#: longest prefix, and a read.
KEPT = 65536 + 65536

EXCHANGE = FilterSpec(METADATA_EXCHANGE)


def plan(**more: Any) -> Plan:
    """
    An inbound sidecar's.
    """
    made = onePlan(SERVER_NODE, PORT, SERVER, downstream=serverTLS(), downstreamFilters=(EXCHANGE,))
    (listener,) = made.listeners
    return replace(made, listeners=(replace(listener, **more),))


class Peer:
    """
    A TLS client that is told what to say, over a connection of L{ProxyTestCase}.
    """

    def __init__(self, test: ProxyTestCase, context: SSL.Context | None = None) -> None:
        self._test = test
        self.plain = test.dial()
        if context is None:
            self.tls = ClientContext(clientTLS(alpn=("istio-peer-exchange",))).connection()
        else:
            self.tls = SSL.Connection(context, None)
            self.tls.set_connect_state()
        self._taken = 0

    def shake(self) -> None:
        """
        Do the whole handshake.
        """
        for _ in range(5):
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                pass
            self.pump()

    def pump(self) -> None:
        """
        Let ciphertext go both ways.
        """
        out = self.take()
        if out:
            self.plain.write(out)
        self._test.settle()
        new = self.plain.received[self._taken :]
        self._taken += len(new)
        if new:
            self.tls.bio_write(new)

    def take(self) -> bytes:
        """
        The ciphertext that would be sent.
        """
        try:
            return self.tls.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""

    def hello(self) -> bytes:
        """
        The ClientHello, not sent.
        """
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            pass
        return self.take()

    def say(self, data: bytes) -> None:
        """
        Send it, encrypted.
        """
        for start in range(0, len(data), 16384):
            self.tls.send(data[start : start + 16384])
            self.pump()


class HostileCase(ProxyTestCase):
    _beside: object = None

    def honest(self) -> None:
        """
        Somebody honest comes, and is served.
        """
        if self._beside is not self.reactor:
            self._beside = self.reactor
            Proxy(
                onePlan(
                    CLIENT_NODE,
                    PORT + 1,
                    PORT,
                    upstream=clientTLS(),
                    upstreamFilters=(EXCHANGE,),
                ),
                self.reactor,
            )
        client = self.dial(port=PORT + 1)
        client.write(b"honest")
        self.settle()
        self.assertEqual(self.server.received, b"honest")
        client.close()
        self.settle()
        self.server.close()
        self.settle()

    def reasonOf(self, number: int = 0) -> str:
        """
        Why the connection has ended; the first one's is the hostile peer's.
        """
        return self.proxy.edges.all[number].close_reason

    def gone(self, client: Application) -> bool:
        self.settle()
        return bool(client.losses or client.endings)


class HandshakeTests(HostileCase):
    def setUp(self) -> None:
        self.start(plan())

    def test_slowly(self) -> None:
        """
        A handshake that comes byte by byte has no more time than any other.
        """
        peer = Peer(self)
        hello = peer.hello()
        for index in range(99):
            peer.plain.write(hello[index : index + 1])
            self.reactor.advance(0.1)
        self.assertFalse(self.gone(peer.plain))
        self.honest()
        self.reactor.advance(0.2)
        self.assertTrue(self.gone(peer.plain))
        self.assertEqual(
            self.reasonOf(), "downstream: handshake_timeout: no TLS handshake within 10 s"
        )

    def test_halfway(self) -> None:
        """
        Neither has one that stops when the server has said its part.
        """
        peer = Peer(self)
        peer.plain.write(peer.hello())
        self.settle()
        self.assertGreater(len(peer.plain.received), 500)
        self.honest()
        self.reactor.advance(10.1)
        self.assertTrue(self.gone(peer.plain))
        self.assertIn("handshake_timeout", self.reasonOf())

    def test_garbage(self) -> None:
        """
        What cannot be TLS is refused at once.
        """
        for garbage, why in (
            (b"\x00", "not_tls"),
            (b"GET / HTTP/1.1\r\n\r\n", "not_tls"),
            (b"\x80\x2e\x01\x00\x02" + b"\x00" * 41, "not_tls"),  # SSL 2
            (
                b"\x16\x03\x01\xff\xff" + b"x" * 65535,
                "protocol_error",
            ),  # longer than a record can be
            (b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + b"x" * 16380, "protocol_error"),
            (b"\x16\x03\x01\x00\x04" + b"\x02\x00\x00\x00", "protocol_error"),  # not a ClientHello
            (b"\x16\x03\x01\x00\x00" * 100, "protocol_error"),  # records with nothing in them
            (b"\x16\x7f\x7f\x00\x05abcde", "not_tls"),
            (b"\x17\x03\x03\x00\x05abcde", "not_tls"),
        ):
            self.start(plan())
            client = self.dial()
            client.write(garbage)
            self.assertTrue(self.gone(client), garbage[:9])
            self.reactor.advance(1.1)
            self.assertEqual(len(self.proxy.service.connections), 0, garbage[:9])
            self.assertEqual(self.reasonOf().split(": ")[1], why, garbage[:9])
            self.assertLess(len(self.reasonOf()), 300)
            self.assertTrue(self.reasonOf().isprintable())

    def test_renegotiation(self) -> None:
        """
        A TLS 1.2 client that wants another handshake gets none, however often it asks.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        own = credential(CLIENT_ID)
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_PEM, own.cert_pem))
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, own.key_pem))
        peer = Peer(self, context)
        peer.shake()
        peer.say(b"x")
        before = len(peer.plain.received)
        for _ in range(50):
            if peer.plain.losses or peer.plain.endings:
                break
            try:
                peer.tls.renegotiate()
                peer.tls.do_handshake()
            except SSL.Error:
                pass
            peer.pump()
        # Alerts; no handshake, which would be a thousand bytes and a signature.
        self.assertLess(len(peer.plain.received) - before, 50 * 50)
        self.honest()


class PrefixTests(HostileCase):
    def joined(self, timeouts: Timeouts | None = None) -> Peer:
        terminal = FilterSpec(
            TCP_PROXY, settings=TCPProxy("cluster", timeouts=timeouts or Timeouts())
        )
        made = plan()
        (listener,) = made.listeners
        chains = (replace(listener.chains[0], filters=(EXCHANGE, terminal)),)
        self.start(replace(made, listeners=(replace(listener, chains=chains),)))
        peer = Peer(self)
        peer.shake()
        self.assertEqual(self.proxy.edges.all[0].downstream.alpn, "istio-peer-exchange")
        return peer

    def test_slowly(self) -> None:
        """
        A prefix that comes byte by byte: after the timeout the connection goes on without it, and
        if nothing else ever comes it is idle.
        """
        peer = self.joined(Timeouts(idle=20))
        prefix = CLIENT_NODE.prefix()
        for index in range(49):
            peer.say(prefix[index : index + 1])
            self.reactor.advance(0.1)
        self.assertEqual(self.servers.built, [])
        self.honest()
        for index in range(49, 80):
            peer.say(prefix[index : index + 1])
            self.reactor.advance(0.1)
        connection = self.proxy.edges.all[0]
        self.assertEqual(connection.downstream.peer_state, "timeout")
        for index in range(80, 100):
            peer.say(prefix[index : index + 1])
            self.reactor.advance(1)
        self.reactor.advance(3)
        self.assertTrue(self.gone(peer.plain))
        self.assertIn("proxy: idle_timeout", self.reasonOf())
        # The application that was connected has heard nothing of it.
        self.assertEqual(max(len(server.received) for server in self.servers.built), 6)

    def test_oversized(self) -> None:
        """
        One that says to be longer than is accepted is refused at its eighth byte.
        """
        for size in (65537, 0xFFFFFFFF):
            peer = self.joined()
            peer.say(MAGIC_BYTES + size.to_bytes(4, "big"))
            self.assertTrue(self.gone(peer.plain))
            self.assertIn("too_large", self.reasonOf())
            self.assertEqual(self.servers.built, [])
            self.honest()

    def test_withoutAnEnd(self) -> None:
        """
        One that goes on for ever is read no further than to its own length.
        """
        peer = self.joined()
        peer.say(MAGIC_BYTES + (65536).to_bytes(4, "big"))
        for _ in range(64):
            if peer.plain.losses or peer.plain.endings:
                break
            peer.say(b"x" * 1023)
        self.assertEqual(self.servers.built, [])
        peer.say(b"x" * 64)
        self.settle()
        self.settle()
        # Taken out (docs/wire.md); what is behind it is the application's.
        self.assertEqual(self.proxy.connection.downstream.peer_state, "malformed")
        self.assertEqual(self.server.received, b"")
        peer.say(b"y")
        self.assertEqual(self.server.received, b"y")
        self.honest()

    def test_floodOfLabels(self) -> None:
        """
        Whatever a peer says of itself, a line about it is one line, of a size that we choose, and
        so is what is kept.
        """
        hostile = '\n\x1b[31m\u202e{"event": "closed"}' + "x" * 600
        metadata = dict.fromkeys(
            ("NAME", "NAMESPACE", "WORKLOAD_NAME", "CLUSTER_ID", "OWNER"), hostile
        )
        labels = {f"label-{number}\n": "y" * 20 for number in range(1000)}
        labels.update({"app": hostile, "version": hostile, "service.istio.io/x": hostile})
        peer = self.joined()
        peer.say(Node(hostile, {**metadata, "LABELS": labels}).prefix(tuple(labels)))
        self.settle()
        connection = self.proxy.edges.all[0]
        self.assertEqual(connection.downstream.peer_state, "found")
        line = json.dumps(describe("closed", connection, 0.0))
        self.assertLess(len(line), 24_000)
        self.assertTrue(line.isascii() and line.isprintable())
        known = connection.downstream.metadata
        self.assertLess(len(repr(vars(known) if hasattr(known, "__dict__") else known)), 24_000)


class FirstBytesTests(HostileCase):
    def test_clientHelloSlowly(self) -> None:
        """
        What is looked at before a chain is chosen has one bound, however it comes.
        """
        listener = plan().listeners[0]
        chain = listener.chains[0]
        chains = (
            replace(chain, match=FilterChainMatch(transport_protocol=TLS)),
            replace(
                chain,
                name="plain",
                tls=None,
                filters=chain.filters[1:],
                match=FilterChainMatch(transport_protocol=RAW_BUFFER),
            ),
        )
        self.start(
            plan(
                chains=chains,
                listener_filters=(FilterSpec(TLS_INSPECTOR),),
                listener_filters_timeout=1.0,
            )
        )
        peer = Peer(self)
        hello = peer.hello()
        for index in range(9):
            peer.plain.write(hello[index : index + 1])
            self.reactor.advance(0.1)
        self.assertFalse(self.gone(peer.plain))
        self.honest()
        self.reactor.advance(0.2)
        self.assertTrue(self.gone(peer.plain))
        self.assertIn("listener_filters_timeout", self.reasonOf())

    def test_proxyHeaderSlowly(self) -> None:
        self.start(
            plan(
                listener_filters=(FilterSpec("proxy", settings=ProxyProtocol()),),
                listener_filters_timeout=1.0,
            )
        )
        client = self.dial()
        for byte in b"PROXY TCP":
            client.write(bytes((byte,)))
            self.reactor.advance(0.1)
        self.assertFalse(self.gone(client))
        self.reactor.advance(0.2)
        self.assertTrue(self.gone(client))
        self.assertIn("listener_filters_timeout", self.reasonOf())

    def test_proxyHeaderOversized(self) -> None:
        """
        A header has at most 107 bytes in version 1, and 64 KiB in version 2.
        """
        for text in (
            b"PROXY TCP4 " + b"1" * 200,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + b"x" * 70_000,
        ):
            self.start(plan(listener_filters=(FilterSpec("proxy", settings=ProxyProtocol()),)))
            client = self.dial()
            client.write(text)
            self.settle()
            self.reactor.advance(11)
            self.assertTrue(self.gone(client), text[:20])
            self.assertEqual(len(self.proxy.service.connections), 0)
            self.assertEqual(self.servers.built, [])
