"""
TLS on the socket itself: what L{tests.layers.test_tls} asks of TLS over memory, asked of it, by
either of its channels; and what only a socket can do.
"""

from __future__ import annotations

import socket
from typing import Any, ClassVar
from unittest import SkipTest

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.layers.tls import LINGER
from mxproxy.testing import Application
from mxproxy.testing.sidecars import clientTLS, serverTLS
from mxproxy.tls.context import ClientContext, ServerContext
from mxproxy.tls.settings import ClientTLS, ServerTLS, TLSVersion
from mxproxy.transports import tls as channels
from mxproxy.transports.accept import socketAddress
from mxproxy.transports.buffer import BLOCKED, CHUNK, RECORD
from mxproxy.transports.socket import SocketTransport

from ..transports.poller import Poller, segments, tcpPair
from .test_tls import Scenarios, Side, TLSTestCase


class Transport(SocketTransport):
    """
    One that has nobody yet.
    """

    def __init__(self, end: socket.socket, reactor: Poller) -> None:
        host = socketAddress(end.family, end.getsockname())
        super().__init__(end, None, host, host, reactor)

    @property
    def closed(self) -> bool:
        return bool(self.disconnected)

    def connect(self, protocol: Any) -> None:
        self.protocol = protocol
        self.startReading()
        protocol.makeConnection(self)


class SocketPair:
    """
    Both sides, joined by a socket pair; by default one of a kind that delivers at once.
    """

    def __init__(
        self,
        client: ClientTLS | None = None,
        server: ServerTLS | None = None,
        *,
        version: TLSVersion = TLSVersion.TLS13,
        tcp: bool = False,
        connect: bool = True,
        **ignored: Any,
    ) -> None:
        self.reactor = Poller()
        one, other = tcpPair() if tcp else socket.socketpair()
        client = client or clientTLS()
        client = ClientTLS(**{**vars(client), "minimum": version, "maximum": version})
        self.client = Side(
            Transport(one, self.reactor),  # type: ignore[arg-type]
            "upstream",
            ClientContext(client),
            10,
        )
        self.server = Side(
            Transport(other, self.reactor),  # type: ignore[arg-type]
            "downstream",
            ServerContext(server or serverTLS()),
            10,
        )
        if connect:
            self.server.connect()
            self.client.connect()
            self.settle()
            if tcp:
                self.reactor.until(lambda: self.server.connected and self.client.connected)

    def settle(self) -> None:
        self.reactor.settle()

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.client, self.server


class OnSockets(Scenarios, TLSTestCase):
    """
    The general path's own tests, where they ask nothing of its network.
    """

    channel: ClassVar[Any] = channels.DirectChannel

    def setUp(self) -> None:
        self.patch(channels, "_best", self.channel)

    def pair(self, *args: Any, **kwargs: Any) -> SocketPair:  # type: ignore[override]
        return SocketPair(*args, version=self.version, **kwargs)

    def truncate(self, side: Side) -> None:
        side.transport.socket.shutdown(socket.SHUT_WR)

    def test_itIsThatChannel(self) -> None:
        pair = self.pair()
        transport: Any = pair.server.transport
        self.assertIs(type(transport._channel), self.channel)
        self.assertIs(transport.protocol, pair.server.application)

    def test_bulk(self) -> None:
        """
        Megabytes both ways at once, more than the network holds; then both ends.
        """
        pair = self.pair()
        there, back = b"0123456789abcdef" * 200_000, b"fedcba9876543210" * 200_000
        pair.client.application.write(there)
        pair.server.application.write(back)
        pair.client.application.end()
        pair.server.application.end()
        pair.settle()
        self.assertEqual(pair.server.application.received, there)
        self.assertEqual(pair.client.application.received, back)
        for side in pair.sides:
            self.assertEqual(side.application.endings, 1)
            side.application.close()
        pair.settle()
        self.assertGone(pair)  # type: ignore[arg-type]

    def test_manyRecords(self) -> None:
        """
        What comes together is delivered together, up to a buffer's worth.
        """
        pair = self.pair()
        sizes: list[int] = []
        pair.server.application.onData = lambda data: sizes.append(len(data))
        pair.client.application.write(b"x" * (CHUNK + 100))
        pair.settle()
        self.assertEqual(sizes, [CHUNK, 100])

    def test_recordsTogether(self) -> None:
        """
        Several that are written at once do not go out one by one, and the last does not wait.
        """
        if not hasattr(socket, "TCP_CORK"):
            raise SkipTest("the system has no TCP_CORK")
        pair = self.pair(tcp=True)
        end = pair.client.transport.socket
        for records in (8, 1):
            pair.server.application._received.clear()
            before = segments(end)
            pair.client.application.write(b"x" * records * RECORD)
            self.assertEqual(end.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK), 0)
            pair.reactor.until(
                lambda records=records: len(pair.server.application.received) == records * RECORD
            )
            self.assertLess(segments(end) - before, 6)

    def test_smallBuffer(self) -> None:
        """
        A record that is larger than the buffer: what is left in OpenSSL is not forgotten, and
        not delivered to who is paused.
        """
        pair = self.pair()
        server = pair.server.application
        pair.server.transport.bufferSize = 1000
        server.onData = lambda data: server.pause()
        pair.client.application.write(b"x" * 2500)
        pair.client.application.close()
        pair.settle()
        for expected in (1000, 2000, 2500):
            self.assertEqual(len(server.received), expected)
            self.assertEqual(server.endings, 0)
            server.resume()
            pair.settle()
        self.assertEqual((server.endings, server.unexpected), (1, []))

    def test_slowReader(self) -> None:
        """
        A producer waits for it, at most a write's worth is kept; all of it arrives.
        """
        pair = self.pair()
        client, server = pair.client.application, pair.server.application
        server.pause()
        client.produce()
        written = 0
        while not client.held:
            client.write(b"x" * CHUNK)
            written += CHUNK
            pair.settle()
        transport: Any = pair.client.transport
        self.assertLessEqual(transport.unsent, CHUNK)
        self.assertEqual(server.received, b"")
        server.resume()
        pair.settle()
        self.assertFalse(client.held)
        self.assertEqual(len(server.received), written)

    def test_alertBehindBytes(self) -> None:
        """
        A record that is none, behind good ones: those are delivered, then the connection ends,
        and both know why.
        """
        pair = self.pair(tcp=True)
        pair.client.application.write(b"good")
        pair.client.transport.socket.send(b"\x17\x03\x03\x00\x20" + b"?" * 32)
        pair.reactor.until(lambda: bool(pair.server.application.losses))
        self.assertEqual(pair.server.application.received, b"good")
        self.assertEqual(pair.server.reason.partition(":")[0], "protocol_error")
        pair.reactor.until(lambda: bool(pair.client.reason))
        self.assertEqual(pair.client.reason.partition(":")[0], "alert_received")

    def test_reset(self) -> None:
        """
        What was sent before it is delivered, then it is told.
        """
        pair = self.pair(tcp=True)
        server = pair.server.application
        server.pause()
        pair.client.application.write(b"last words")
        pair.settle()
        pair.client.application.abort()
        pair.reactor.until(lambda: bool(pair.client.application.losses))
        server.resume()
        pair.reactor.until(lambda: bool(server.losses))
        self.assertEqual(server.received, b"last words")
        self.assertEqual((pair.client.reason, pair.server.reason), ("aborted", "reset"))
        self.assertGone(pair)  # type: ignore[arg-type]

    def test_nobodyElseIsTold(self) -> None:
        """
        OpenSSL's errors are a thread's: a connection that is reset is no other one's end.
        """
        other = self.pair()
        pair = self.pair(tcp=True)
        pair.client.application.abort()
        pair.reactor.until(lambda: bool(pair.client.application.losses))
        for speak in (lambda: pair.server.application.write(b"x"), pair.server.application.end):
            for _ in range(3):
                speak()
                transport: Any = other.server.transport
                self.assertEqual(transport._channel.receive(CHUNK), BLOCKED)
        pair.reactor.until(lambda: bool(pair.server.application.losses))

    def test_resetAndEnded(self) -> None:
        """
        Known by a close_notify that cannot be sent: a reset all the same.
        """
        pair = self.pair(tcp=True)
        server = pair.server.application
        pair.server.transport.stopReading()
        pair.client.application.abort()
        pair.reactor.until(lambda: bool(pair.client.application.losses))
        pair.reactor.settle(0.01)
        server.end()
        pair.server.transport.startReading()
        pair.reactor.until(lambda: bool(server.losses))
        self.assertEqual(pair.server.reason, "reset")
        self.assertGone(pair)  # type: ignore[arg-type]

    def test_resetAndWrittenTo(self) -> None:
        pair = self.pair(tcp=True)
        server = pair.server.application
        server.pause()
        pair.client.application.abort()
        while not server.losses:
            server.write(b"who is there?")
            pair.reactor.settle(0.01)
        self.assertEqual(pair.server.reason, "reset")
        self.assertGone(pair)  # type: ignore[arg-type]


class OnSockets12(OnSockets):
    version = TLSVersion.TLS12


class OnSocketsPublic(OnSockets):
    """
    By pyOpenSSL's documented calls alone.
    """

    channel = channels.TLSChannel


class OnSocketsPublic12(OnSocketsPublic):
    version = TLSVersion.TLS12


class BindingTests(SynchronousTestCase):
    def test_guard(self) -> None:
        """
        Whatever is missing of the binding is noticed.
        """
        self.assertTrue(channels.usable())
        for missing in ("SSL_read", "SSL_write", "SSL_get_error", "SSL_pending"):
            self.assertFalse(channels.usable(lib=_Without(SSL._lib, missing)))  # type: ignore[attr-defined]
        self.assertFalse(channels.usable(lib=_Without(SSL._lib, "SSL_ERROR_WANT_READ")))  # type: ignore[attr-defined]
        self.assertFalse(channels.usable(ffi=object()))
        self.assertFalse(channels.usable(lib=None))
        self.patch(SSL.Connection, "_raise_ssl_error", None)
        self.assertFalse(channels.usable())


class _Without:
    def __init__(self, whole: Any, missing: str) -> None:
        self._whole = whole
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        if name == self._missing:
            raise AttributeError(name)
        return getattr(self._whole, name)


class NearTests(SynchronousTestCase):
    def test_answeredAtOnce(self) -> None:
        """
        A server whose answer is there before we have looked at anything: OpenSSL has read a part
        of it within the first call, and any record may be the next.
        """
        for version in TLSVersion:
            for record in (b"\x14\x03\x03\x00\x01\x01", b"\x16\x03\x03", b"\x17\x03\x03"):
                pair = SocketPair(connect=False, version=version)
                pair.client.connect()
                pair.server.transport.socket.send(record)
                pair.settle()
                self.assertFalse(pair.client.reason.startswith("not_tls"), pair.client.reason)

    def test_plaintext(self) -> None:
        pair = SocketPair(connect=False)
        pair.client.connect()
        pair.server.transport.socket.send(b"220 ready")
        pair.settle()
        self.assertTrue(pair.client.reason.startswith("not_tls"), pair.client.reason)


class HandshakeTests(SynchronousTestCase):
    """
    One side, whose peer is the test.
    """

    def setUp(self) -> None:
        pair = SocketPair(connect=False, tcp=True)
        self.reactor = pair.reactor
        self.side = pair.server
        self.far = pair.client.transport.socket
        self.far.settimeout(5)
        self.addCleanup(self.far.close)
        self.side.connect()

    def until(self, reason: str) -> None:
        self.reactor.until(lambda: bool(self.side.reason))
        self.assertEqual(self.side.reason.partition(":")[0], reason)
        self.assertEqual(self.side.applications.built, [])

    def gone(self) -> None:
        self.reactor.until(lambda: not self.side.peer.open)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.removeAll(), [])
        self.assertEqual(self.reactor.errors, [])

    def test_silence(self) -> None:
        self.reactor.advance(10)
        self.until("handshake_timeout")
        self.gone()

    def test_plaintext(self) -> None:
        """
        Known by its first byte; it sees the end of the stream, and may go in order.
        """
        self.far.sendall(b"G")
        self.until("not_tls")
        self.assertEqual(self.far.recv(100), b"")
        self.far.sendall(b"ET / HTTP/1.0\r\n\r\n")
        self.far.close()
        self.gone()

    def test_plaintextThatStays(self) -> None:
        self.far.sendall(b"GET / HTTP/1.0\r\n\r\n")
        self.until("not_tls")
        self.reactor.advance(LINGER)
        self.gone()

    def test_garbage(self) -> None:
        """
        It looks like TLS, and is answered by an alert.
        """
        self.far.sendall(b"\x16\x03\x01\x00\x05hello")
        self.until("protocol_error")
        self.assertEqual(self.far.recv(1), b"\x15")
        self.reactor.advance(LINGER)
        self.gone()

    def test_endBeforeAnything(self) -> None:
        self.far.close()
        self.until("closed")
        self.gone()

    def test_endWithin(self) -> None:
        self.far.sendall(b"\x16\x03\x01\x02\x00\x01")
        self.far.shutdown(socket.SHUT_WR)
        self.until("closed")
        self.gone()

    def test_resetWithin(self) -> None:
        self.far.sendall(b"\x16\x03\x01\x02\x00\x01")
        self.reactor.settle()
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.far.close()
        self.until("reset")
        self.gone()

    def test_applicationDeclines(self) -> None:
        class Pair(SocketPair):
            pass

        pair = Pair(connect=False)
        pair.server.applications.buildProtocol = lambda addr: None  # type: ignore[method-assign,assignment,return-value]
        pair.server.connect()
        pair.client.connect()
        pair.settle()
        self.assertEqual(pair.server.reason.partition(":")[0], "refused")
        self.assertFalse(pair.server.peer.open)
        self.assertIsInstance(pair.client.application, Application)
