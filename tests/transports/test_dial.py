"""
Connecting and accepting.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString
from twisted.internet.error import ConnectError, ConnectingCancelledError, UserError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mxproxy import transports
from mxproxy.testing import Application, ApplicationFactory
from mxproxy.transports.accept import serve, socketAddress
from mxproxy.transports.dial import SocketEndpoint, onSockets, takeOver
from mxproxy.transports.socket import SocketTransport

from .poller import Poller


class DialTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Poller()
        self.factory = ApplicationFactory()

    def listen(self, family: int, address: Any) -> socket.socket:
        listening = socket.socket(family)
        self.addCleanup(listening.close)
        listening.bind(address)
        listening.listen(1)
        return listening

    def dial(self, endpoint: SocketEndpoint) -> Deferred[Any]:
        result = endpoint.connect(self.factory)
        self.assertNoResult(result)
        self.reactor.until(lambda: result.called)
        return result

    def assertQuiet(self) -> None:
        self.assertEqual(self.reactor.removeAll(), [])
        self.assertEqual(self.reactor.errors, [])

    def talk(self, listening: socket.socket, endpoint: SocketEndpoint) -> SocketTransport:
        application = self.successResultOf(self.dial(endpoint))
        far, _ = listening.accept()
        self.addCleanup(far.close)
        far.sendall(b"hello")
        self.reactor.until(lambda: application.received == b"hello")
        transport = application.transport
        self.assertIsInstance(transport, SocketTransport)
        application.close()
        self.reactor.settle()
        self.assertEqual(application.losses, ["done"])
        self.assertQuiet()
        return transport  # type: ignore[no-any-return]

    def test_ipv4(self) -> None:
        listening = self.listen(socket.AF_INET, ("127.0.0.1", 0))
        port = listening.getsockname()[1]
        transport = self.talk(listening, SocketEndpoint.tcp(self.reactor, "127.0.0.1", port))
        self.assertEqual(transport.getPeer(), IPv4Address("TCP", "127.0.0.1", port))
        self.assertNotEqual(transport.getHost(), transport.getPeer())

    def test_ipv6(self) -> None:
        listening = self.listen(socket.AF_INET6, ("::1", 0))
        port = listening.getsockname()[1]
        transport: Any = self.talk(listening, SocketEndpoint.tcp(self.reactor, "::1", port))
        self.assertEqual((transport.getPeer().host, transport.getPeer().port), ("::1", port))

    def test_unix(self) -> None:
        path = os.path.join(os.path.realpath(self.mktemp()[:0] or "."), "s")
        listening = self.listen(socket.AF_UNIX, path)
        self.addCleanup(os.unlink, path)
        endpoint = SocketEndpoint(self.reactor, socket.AF_UNIX, path)
        self.assertEqual(self.talk(listening, endpoint).getPeer(), UNIXAddress(path.encode()))

    def test_refused(self) -> None:
        listening = self.listen(socket.AF_INET, ("127.0.0.1", 0))
        port = listening.getsockname()[1]
        listening.close()
        result = self.dial(SocketEndpoint.tcp(self.reactor, "127.0.0.1", port))
        self.failureResultOf(result, Refused)
        self.assertQuiet()

    def test_toItself(self) -> None:
        """
        The kernel connects a socket to itself, if it calls from the port that it calls.
        """
        connect = socket.socket.connect_ex

        class Selfish(socket.socket):
            def connect_ex(self, name: Any) -> int:
                self.bind(name)
                return connect(self, name)

        listening = self.listen(socket.AF_INET, ("127.0.0.1", 0))
        port = listening.getsockname()[1]
        listening.close()
        self.patch(socket, "socket", Selfish)
        result = self.dial(SocketEndpoint.tcp(self.reactor, "127.0.0.1", port))
        self.failureResultOf(result, Refused)
        self.assertQuiet()

    def test_noDescriptor(self) -> None:
        """
        Told as such, at once.
        """

        def exhausted(*_: Any) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(socket, "socket", exhausted)
        result = SocketEndpoint.tcp(self.reactor, "127.0.0.1", 9).connect(self.factory)
        error: Any = self.failureResultOf(result, ConnectError).value
        self.assertEqual(error.osError, errno.EMFILE)

    def test_cancelled(self) -> None:
        listening = self.listen(socket.AF_INET, ("127.0.0.1", 0))
        port = listening.getsockname()[1]
        result = SocketEndpoint.tcp(self.reactor, "127.0.0.1", port).connect(self.factory)
        result.cancel()
        self.failureResultOf(result, ConnectingCancelledError)
        self.assertQuiet()
        self.assertEqual(self.factory.built, [])

    def test_declined(self) -> None:
        listening = self.listen(socket.AF_INET, ("127.0.0.1", 0))
        port = listening.getsockname()[1]
        self.factory.buildProtocol = lambda addr: None  # type: ignore[method-assign,assignment,return-value]
        result = self.dial(SocketEndpoint.tcp(self.reactor, "127.0.0.1", port))
        self.failureResultOf(result, UserError)
        self.assertQuiet()

    def test_where(self) -> None:
        """
        Only where a reactor waits for real sockets, and unless the path is another one.
        """
        from twisted.internet import reactor

        self.assertFalse(onSockets(Clock()))
        self.assertTrue(onSockets(reactor))
        self.addCleanup(transports.use, transports.DIRECT)
        transports.use(transports.LAYERED)
        self.assertFalse(onSockets(reactor))


class TwistedsTests(TestCase):
    """
    What Twisted accepts and connects.
    """

    @inlineCallbacks
    def listen(self, description: str) -> Any:
        from twisted.internet import reactor

        self.servers = ApplicationFactory()
        port = yield serverFromString(reactor, description).listen(self.servers)
        self.addCleanup(port.stopListening)
        return port

    @inlineCallbacks
    def test_both(self) -> Any:
        from twisted.internet import reactor

        port: Any = yield self.listen("tcp:0:interface=127.0.0.1")
        serve(port)
        done: Deferred[None] = Deferred()

        class Client(Application):
            def makeConnection(self, transport: Any) -> None:
                taken = takeOver(transport)
                taken.protocol = self
                super().makeConnection(taken)

            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost(reason)
                done.callback(None)

        factory = Factory.forProtocol(Client)
        host = port.getHost()
        client: Any = yield TCP4ClientEndpoint(reactor, host.host, host.port).connect(factory)
        self.assertIsInstance(client.transport, SocketTransport)
        self.assertEqual(client.transport.getPeer(), host)
        arrived: Deferred[None] = Deferred()
        client.onData = lambda data: arrived.called or arrived.callback(None)
        client.write(b"hello")
        server: Any = None
        while server is None or not server.received:
            yield _turn()
            server = self.servers.built[0] if self.servers.built else None
        self.assertIsInstance(server.transport, SocketTransport)
        self.assertEqual(server.transport.getPeer(), client.transport.getHost())
        self.assertEqual(server.transport.getHost(), host)
        server.write(server.received.upper())
        yield arrived
        self.assertEqual(client.received, b"HELLO")
        server.end()
        client.close()
        yield done
        while not server.endings:
            yield _turn()
        server.close()
        yield _turn()

    @inlineCallbacks
    def test_layered(self) -> Any:
        """
        They stay Twisted's.
        """
        self.addCleanup(transports.use, transports.DIRECT)
        transports.use(transports.LAYERED)
        port: Any = yield self.listen("tcp:0:interface=127.0.0.1")
        serve(port)
        self.assertIs(port.transport, tcp.Server)

    def test_others(self) -> None:
        """
        What is in memory, and what is a subclass's own.
        """
        port: Any = object()
        serve(port)
        self.assertIs(takeOver(port), port)

    def test_addresses(self) -> None:
        self.assertEqual(socketAddress(socket.AF_UNIX, ""), UNIXAddress(None))


def _turn() -> Deferred[None]:
    from twisted.internet import reactor

    return deferLater(reactor, 0)  # type: ignore[arg-type]
