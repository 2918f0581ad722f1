"""
The terminal: two transports joined, byte for byte.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.layers.base import CLOSE_TIMEOUT
from mxproxy.testing import Application, Sidecars
from mxproxy.testing.sidecars import clientTLS, serverTLS
from mxproxy.tls.settings import TLSVersion

from .proxies import CollectorOff, ProxyTestCase, assertNoCycles, assertQuiet


class JoinTests(ProxyTestCase):
    def test_bytes(self) -> None:
        """
        Both ways, in order, counted.
        """
        self.start()
        client = self.dial()
        client.write(b"question")
        self.settle()
        self.server.write(b"the answer")
        self.settle()
        self.assertEqual((self.server.received, client.received), (b"question", b"the answer"))
        connection = self.proxy.connection
        for peer, received, sent in (
            (connection.downstream, 8, 10),
            (connection.upstream, 10, 8),
        ):
            self.assertEqual((peer.bytes_received, peer.bytes_sent), (received, sent))
        client.close()
        self.settle()
        self.server.close()
        self.settle()
        self.assertQuiet(client)
        self.assertEqual(self.told, ["opened", "connected", "closed: downstream: closed"])

    def test_serverSpeaksFirst(self) -> None:
        self.start()
        self.servers._application = Greeter
        client = self.dial()
        self.assertEqual(client.received, b"220 hello\r\n")

    def test_writtenBeforeTheUpstreamIsThere(self) -> None:
        """
        What a client writes at once waits in its socket.
        """
        self.start()
        self.reactor.silent.add(("127.0.0.1", 9000))
        client = self.dial()
        client.write(b"x" * 1000)
        client.end()
        self.settle()
        (transport,) = [t for t in self.reactor.getReaders() if t is client.transport]
        self.assertEqual(len(transport.outgoing.data), 1000)
        self.assertEqual(self.proxy.connection.downstream.bytes_received, 0)

    def test_clientEndsFirst(self) -> None:
        self.start()
        client = self.dial()
        client.write(b"question")
        client.end()
        self.settle()
        self.assertEqual((self.server.received, self.server.endings), (b"question", 1))
        for _ in range(3):
            self.server.write(b"x" * 200_000)
            self.settle()
        self.assertEqual(len(client.received), 600_000)
        self.server.close()
        self.settle()
        self.assertEqual(client.endings, 1)
        client.close()
        self.settle()
        self.assertEqual(self.told[-1], "closed: downstream: closed")
        self.assertQuiet(client)

    def test_serverEndsFirst(self) -> None:
        self.start()
        client = self.dial()
        self.server.write(b"banner")
        self.server.end()
        self.settle()
        self.assertEqual((client.received, client.endings), (b"banner", 1))
        client.write(b"x" * 600_000)
        self.settle()
        self.assertEqual(len(self.server.received), 600_000)
        client.end()
        self.settle()
        self.assertEqual(self.server.endings, 1)
        self.assertEqual(self.told[-1], "closed: upstream: closed")
        client.close()
        self.server.close()
        self.settle()
        self.assertQuiet(client)

    def test_bothEnd(self) -> None:
        """
        When both directions have ended, both sides are closed; nobody has to close twice.
        """
        self.start()
        client = self.dial()
        client.end()
        self.settle()
        self.server.end()
        self.settle()
        self.assertEqual(len(self.proxy.service.connections), 0)

    def test_endBehindTheLastByte(self) -> None:
        """
        However slow the reader is, it gets everything, and then the end.
        """
        self.start(capacity=5_000)
        client = self.dial()
        self.server.pause()
        client.write(b"x" * 1_000_000)
        client.end()
        self.settle()
        self.assertEqual((self.server.received, self.server.endings), (b"", 0))
        self.server.resume()
        self.settle()
        self.assertEqual((len(self.server.received), self.server.endings), (1_000_000, 1))

    def test_clientReset(self) -> None:
        """
        The server is reset, too, once it has what was read from the client.
        """
        self.start()
        client = self.dial()
        client.write(b"last words")
        self.settle()
        client.abort()
        self.settle()
        self.assertEqual((self.server.received, self.server.endings), (b"last words", 0))
        self.assertEqual(self.server.losses, ["lost"])
        self.assertEqual(self.told[-1], "closed: downstream: reset")
        self.assertQuiet(client)

    def test_serverReset(self) -> None:
        self.start()
        client = self.dial()
        self.server.write(b"last words")
        self.settle()
        self.server.abort()
        self.settle()
        self.assertEqual((client.received, client.endings), (b"last words", 0))
        self.assertEqual(client.losses, ["lost"])
        self.assertEqual(self.told[-1], "closed: upstream: reset")
        self.assertQuiet(client)

    def test_resetWithBytesOnTheirWay(self) -> None:
        """
        A reset would overtake them: the other side is flushed and closed instead.
        """
        self.start(capacity=5_000)
        client = self.dial()
        client.pause()
        self.server.write(b"x" * 50_000)
        self.settle()
        self.server.abort()
        self.settle()
        client.resume()
        self.settle()
        self.assertEqual(client.endings, 1)
        client.close()
        self.settle()
        self.assertEqual(self.told[-1], "closed: upstream: reset")
        self.assertQuiet(client)

    def test_gonePausedByBackPressure(self) -> None:
        """
        A side that is lost while the other one holds it up: what was read from it is still
        delivered.
        """
        self.start(capacity=10_000)
        client = self.dial()
        self.server.pause()
        client.write(b"x" * 1_000_000)
        self.settle()
        downstream = self.proxy.connection.downstream
        self.assertFalse(downstream.transport.reading)
        read = downstream.bytes_received
        downstream.transport.lose()
        self.assertGreater(read, 10_000)
        self.server.resume()
        self.settle()
        self.assertEqual((len(self.server.received), self.server.endings), (read, 1))

    def test_closeTimeout(self) -> None:
        """
        A peer that does not read does not keep a connection for ever.
        """
        self.start(capacity=10_000)
        client = self.dial()
        self.server.pause()
        client.write(b"x" * 50_000)
        self.settle()
        client.abort()
        self.settle()
        self.assertEqual(len(self.proxy.service.connections), 1)
        self.reactor.advance(CLOSE_TIMEOUT - 1)
        self.assertEqual(len(self.proxy.service.connections), 1)
        self.reactor.advance(1)
        self.assertEqual(len(self.proxy.service.connections), 0)
        self.assertEqual(
            self.proxy.connection.upstream.close_reason,
            f"close_timeout: unread bytes for {CLOSE_TIMEOUT:g} s",
        )
        self.assertEqual(self.told[-1], "closed: downstream: reset")
        self.server.resume()
        self.settle()
        self.assertQuiet(client)

    def test_noCycles(self) -> None:
        with CollectorOff():
            self.start()
            for ending in ("close", "abort", "end"):
                client = self.dial()
                client.write(b"x")
                self.settle()
                self.server.write(b"y")
                self.settle()
                getattr(client, ending)()
                self.settle()
                self.server.close()
                self.settle()
                if ending == "end":
                    client.close()
                    self.settle()
            self.assertQuiet()
            assertNoCycles(self, self.reactor, [self.proxy])


class Greeter(Application):
    """
    A server that speaks first.
    """

    def connectionMade(self) -> None:
        super().connectionMade()
        self.write(b"220 hello\r\n")


class Pouring(Application):
    """
    Writes for as long as it is not told to pause.

    @ivar written: how many bytes; at most C{LIMIT}.
    """

    LIMIT = 20_000_000
    CHUNK = b"x" * 16384
    written = 0

    def pour(self) -> None:
        while not self.held and self.written < self.LIMIT:
            self.written += len(self.CHUNK)
            self.write(self.CHUNK)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self.pour()


class BackPressureTests(ProxyTestCase):
    """
    Whatever the speeds, each direction holds no more than its buffers.
    """

    #: Two buffers in Twisted and what is written at once on top of each, three in the network.
    BOUND = 2 * (65536 + 65536) + 3 * 10_000 + 65536

    def test_downstreamIsFaster(self) -> None:
        self.start(capacity=10_000)
        client = Pouring()
        self.dial(client)
        self.check(client, self.server)

    def test_upstreamIsFaster(self) -> None:
        self.start(capacity=10_000)
        self.servers._application = Pouring
        client = self.dial()
        server = self.server
        assert isinstance(server, Pouring)
        self.check(server, client)

    def check(self, fast: Pouring, slow: Application) -> None:
        slow.pause()
        fast.produce()
        fast.pour()
        self.settle()
        self.assertTrue(fast.held)
        self.assertLess(fast.written, self.BOUND)
        fast.LIMIT = fast.written + 3_000_000
        slow.resume()
        self.settle()
        fast.transport.unregisterProducer()
        fast.end()
        self.settle()
        self.assertEqual((len(slow.received), slow.endings), (fast.written, 1))

    def test_otherDirectionFlows(self) -> None:
        """
        One direction that stands still does not hold the other one up.
        """
        self.start(capacity=10_000)
        client = Pouring()
        self.dial(client)
        self.server.pause()
        client.produce()
        client.pour()
        self.settle()
        self.server.write(b"y" * 100_000)
        self.settle()
        self.assertEqual(len(client.received), 100_000)


class HalfCloseTests(SynchronousTestCase):
    """
    Through two sidecars: {plain, TLS 1.2, TLS 1.3} x {client first, server first} x {before the
    exchange, during, after}.  After one side's end the other goes on to its last byte.
    """

    def sidecars(self, tls: TLSVersion | None) -> Sidecars:
        if tls is None:
            return Sidecars(tls=False, capacity=50_000)
        return Sidecars(
            server=serverTLS(minimum=tls, maximum=tls),
            client=clientTLS(minimum=tls, maximum=tls),
            capacity=50_000,
        )

    def test_all(self) -> None:
        for tls in (None, TLSVersion.TLS12, TLSVersion.TLS13):
            for first in ("client", "server"):
                for when in ("before", "during", "after"):
                    try:
                        self.check(self.sidecars(tls), first, when)
                    except AssertionError as error:
                        raise AssertionError(f"{tls}, {first} first, {when}: {error}") from error

    def check(self, sidecars: Sidecars, first: str, when: str) -> None:
        client = EndsAtOnce() if (first, when) == ("client", "before") else Application()
        if first == "server" and when == "before":
            # It ends as soon as it is connected to, which no byte of the client's is before.
            sidecars.servers._application = EndsAtOnce
        size = 500_000
        if when == "during":
            # Every part of the handshake and of the exchange comes in several reads.
            sidecars.reactor.chunks, size = 7, 20_000
        sidecars.dial(client)
        server = sidecars.server
        one, other = (client, server) if first == "client" else (server, client)
        if when == "after":
            one.write(b"question")
            other.write(b"x")
            sidecars.reactor.settle()
        if when != "before":
            one.end()
            sidecars.reactor.settle()
        self.assertEqual(other.endings, 1)
        other.write(b"y" * size)
        other.end()
        sidecars.reactor.settle()
        self.assertEqual(len(one.received), size + (when == "after"))
        self.assertEqual(one.endings, 1)
        for application in (one, other):
            application.close()
        sidecars.reactor.settle()
        assertQuiet(self, sidecars.reactor, [sidecars.outbound, sidecars.inbound], [client, server])
        for proxy in (sidecars.outbound, sidecars.inbound):
            for peer in (proxy.connection.downstream, proxy.connection.upstream):
                self.assertEqual(peer.close_reason, "closed")


class EndsAtOnce(Application):
    """
    Has nothing to say.
    """

    def connectionMade(self) -> None:
        super().connectionMade()
        self.end()
