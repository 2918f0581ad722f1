"""
Looking at what is in a socket, and leaving it there.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.chain import ChainContext
from mxproxy.connection import Connection
from mxproxy.filters import proxy_protocol
from mxproxy.layers.deadline import canPeek
from mxproxy.layers.peek import PeekFactory
from mxproxy.testing import Application, ApplicationFactory
from mxproxy.testing.sidecars import Edges
from mxproxy.wire.metadata import Node

from ..transports.poller import Poller, tcpPair
from .test_tls_socket import Transport


class Until:
    """
    An inspector that wants to see a byte.
    """

    def __init__(self, byte: bytes = b".") -> None:
        self._byte = byte

    def feed(self, data: bytes) -> Any:
        return "seen" if self._byte in data else None

    def eof(self) -> Any:
        return "ended"

    def timeout(self) -> Any:
        return "too late"


class Told(Application):
    """
    Says that the connection is lost, as whoever is on top has to.
    """

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        connection, self.connection = self.connection, None
        connection.lost(connection.downstream, reason)

    connection: Any = None


class PeekTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Poller()
        self.far, near = tcpPair()
        self.addCleanup(self.far.close)
        self.transport: Any = Transport(near, self.reactor)
        self.edges = Edges()
        self.connection = Connection("listener", self.reactor.seconds, [self.edges])
        self.connection.opened(self.transport)
        self.learnt: list[Any] = []

        def built() -> Application:
            told = Told()
            told.connection = self.connection
            return told

        self.top = ApplicationFactory(built)

    def chain(self, goOn: bool = True) -> ChainContext:
        return ChainContext(
            *("downstream", "chain", "listener", Node(), self.reactor, lambda name: None),
            listener_filters_timeout=5,
            continue_on_listener_filters_timeout=goOn,
        )

    def start(self, *inspectors: Any, context: ChainContext | None = None) -> None:
        context = context or self.chain()
        factory: Any = self.top
        for inspector in reversed(inspectors):
            factory = PeekFactory(
                factory,
                context,
                name="peek",
                inspector=inspector,
                learnt=lambda peer, answer: self.learnt.append(answer),
            )
        self.transport.connect(factory.buildProtocol(None))

    @property
    def app(self) -> Application:
        (application,) = self.top.built
        return application

    def finish(self) -> None:
        """It is gone, and nothing is left."""
        self.reactor.until(lambda: bool(self.transport.disconnected))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.removeAll(), [])
        self.assertEqual(self.reactor.errors, [])
        self.assertFalse(self.connection.downstream.open)

    def test_bytesStay(self) -> None:
        """
        Two look, byte by byte; what is above reads all of it from the socket.
        """
        self.start(Until, lambda: Until(b"!"))
        self.assertTrue(canPeek(self.transport))
        for byte in b"abc.d":
            self.far.sendall(bytes([byte]))
            self.reactor.settle(0.01)
        self.assertEqual((self.learnt, self.top.built), (["seen"], []))
        self.far.sendall(b"!rest")
        self.reactor.until(lambda: bool(self.top.built))
        self.reactor.until(lambda: self.app.received == b"abc.d!rest")
        self.assertIs(self.transport.protocol, self.app)
        self.assertEqual(self.learnt, ["seen", "seen"])
        self.far.close()
        self.reactor.until(lambda: self.app.endings == 1)
        self.app.close()
        self.finish()

    def test_quiet(self) -> None:
        """
        What was looked at does not wake anybody again.
        """
        self.start(Until)
        self.far.sendall(b"abc")
        self.reactor.settle(0.05)
        self.assertFalse(self.reactor.settle(0.01))
        self.far.sendall(b".")
        self.reactor.until(lambda: bool(self.top.built))
        option = self.transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        self.assertEqual(option, 1)
        self.app.close()
        self.finish()

    def test_taken(self) -> None:
        """
        What a filter takes out is gone, and not a byte more.
        """
        context = self.chain()
        factory: Any = proxy_protocol.configure({}).wrap(self.top, context)
        self.transport.connect(factory.buildProtocol(None))
        self.far.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 1000 2000\r\nGET /")
        self.reactor.until(lambda: bool(self.top.built))
        self.reactor.until(lambda: self.app.received == b"GET /")
        self.assertEqual(self.connection.downstream.address.host, "192.0.2.7")  # type: ignore[union-attr]
        self.app.close()
        self.finish()

    def test_largest(self) -> None:
        """
        The longest PROXY header there is, and more behind it, is seen as a whole.
        """
        context = self.chain()
        factory: Any = proxy_protocol.configure({}).wrap(self.top, context)
        self.transport.connect(factory.buildProtocol(None))
        addresses = b"\xc0\0\2\7\xc0\0\2\x08\3\xe8\7\xd0"
        header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + addresses
        rest = 0xFFFF - len(addresses)
        header += b"\xee" + (rest - 3).to_bytes(2, "big") + bytes(rest - 3)
        data = header + b"x" * 70_000
        self.far.setblocking(False)
        sent = 0
        while not self.top.built or len(self.app.received) < 70_000:
            if sent < len(data):
                with contextlib.suppress(BlockingIOError):
                    sent += self.far.send(data[sent:])
            self.reactor.settle(0.01)
        self.assertEqual(self.app.received, b"x" * 70_000)
        self.app.close()
        self.finish()

    def test_time(self) -> None:
        """
        Over: it goes on with every byte.
        """
        self.start(Until)
        self.far.sendall(b"abc")
        self.reactor.settle(0.01)
        self.reactor.advance(5)
        self.reactor.until(lambda: self.app.received == b"abc")
        self.assertEqual(self.learnt, ["too late"])
        self.app.close()
        self.finish()

    def test_timeAndNoMore(self) -> None:
        self.start(Until, context=self.chain(goOn=False))
        self.far.sendall(b"abc")
        self.reactor.settle(0.01)
        self.reactor.advance(5)
        self.finish()
        self.assertIn("listener_filters_timeout", self.connection.close_reason)
        with self.assertRaises(ConnectionResetError):
            self.far.recv(1)

    def test_ends(self) -> None:
        """
        With and without a byte before.
        """
        for data in (b"", b"abc"):
            with self.subTest(data=data):
                self.setUp()
                self.start(Until)
                self.far.sendall(data)
                self.reactor.settle(0.01)
                self.far.shutdown(socket.SHUT_WR)
                self.finish()
                self.assertIn("closed: the stream ended", self.connection.close_reason)
                self.assertEqual(self.learnt, ["ended"])

    def test_reset(self) -> None:
        self.start(Until)
        self.far.sendall(b"abc")
        self.reactor.settle(0.01)
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.far.close()
        self.finish()
        self.assertEqual(self.connection.close_reason, "downstream: reset")

    def test_unix(self) -> None:
        """
        Where the kernel would tell again and again, bytes are read and held.
        """
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        self.assertFalse(canPeek(Transport(one, self.reactor)))
        one.close()
