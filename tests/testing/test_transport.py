"""
The transport in memory behaves as Twisted's sockets do.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableDescriptor,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mxproxy.testing import (
    Application,
    Link,
    MemoryReactor,
    MemoryTransport,
    Restless,
    connect,
    mustNotBeUsed,
)


class Plain(Protocol):
    """
    A protocol that knows no halves.
    """

    lost: Failure | None = None
    data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.lost = reason


class TransportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.transport = MemoryTransport(self.reactor)
        self.application = Application()
        self.transport.connect(self.application)

    def test_interfaces(self) -> None:
        for interface in (
            ITransport,
            ITCPTransport,
            IConsumer,
            IPushProducer,
            IHalfCloseableDescriptor,
        ):
            self.assertTrue(interface.providedBy(self.transport), interface)

    def test_bytes(self) -> None:
        self.transport.feed(b"hello")
        self.assertEqual(self.application.received, b"hello")
        self.application.write(b"one")
        self.transport.writeSequence([b"two", b"three"])
        self.assertEqual(self.transport.take(), b"onetwothree")
        self.assertEqual(self.transport.take(), b"")

    def test_chunks(self) -> None:
        seen: list[bytes] = []
        transport = MemoryTransport(self.reactor, chunks=[1, 3])
        application = Application()
        application.onData = seen.append
        transport.connect(application)
        transport.feed(b"0123456789")
        self.assertEqual(seen, [b"0", b"123", b"4", b"567", b"8", b"9"])

    def test_pause(self) -> None:
        """
        Neither bytes nor the end of the stream.
        """
        self.application.pause()
        self.transport.feed(b"hello")
        self.transport.feedEOF()
        self.assertFalse(self.transport.reading)
        self.assertEqual((self.application.received, self.application.endings), (b"", 0))
        self.application.resume()
        self.assertEqual(self.application.received, b"", "delivered from within the resume")
        self.reactor.settle()
        self.assertEqual((self.application.received, self.application.endings), (b"hello", 1))

    def test_pausedFromWithin(self) -> None:
        transport = MemoryTransport(self.reactor, chunks=1)
        application = Application()
        application.onData = lambda data: application.pause()
        transport.connect(application)
        transport.feed(b"abc")
        self.assertEqual(application.received, b"a")

    def test_endAgain(self) -> None:
        """
        A socket that is resumed after the end of its stream tells of it again.
        """
        self.transport.feedEOF()
        self.transport.pauseProducing()
        self.transport.resumeProducing()
        self.reactor.settle()
        self.assertEqual(self.application.endings, 2)

    def test_halfClose(self) -> None:
        """
        Either direction goes on without the other.
        """
        self.transport.feedEOF()
        self.assertEqual(self.application.endings, 1)
        self.application.write(b"still")
        self.application.end()
        self.assertFalse(self.transport.eofWritten, "before it was flushed")
        self.assertEqual(self.transport.take(), b"still")
        self.assertTrue(self.transport.eofWritten)
        self.assertFalse(self.transport.closed)
        self.application.close()
        self.assertEqual(self.application.losses, ["done"])

    def test_writingEnds(self) -> None:
        self.application.end()
        self.reactor.settle()
        self.transport.feed(b"still")
        self.assertEqual(self.application.received, b"still")
        self.application.write(b"too late")
        self.assertEqual(self.transport.take(), b"")

    def test_noHalves(self) -> None:
        """
        For a protocol that knows none, the end of the stream is the end of the connection.
        """
        transport = MemoryTransport(self.reactor)
        protocol = Plain()
        transport.connect(protocol)
        transport.feed(b"x")
        transport.feedEOF()
        assert protocol.lost is not None
        self.assertIsInstance(protocol.lost.value, ConnectionDone)
        self.assertTrue(transport.closed)

    def test_loseConnection(self) -> None:
        """
        After what was written; never from within; and nothing more is delivered.
        """
        self.transport.outgoing.capacity = 0
        self.application.write(b"bye")
        self.application.close()
        self.assertEqual(self.application.losses, [])
        self.reactor.settle()
        self.assertEqual(self.application.losses, [], "before it was flushed")
        self.transport.feed(b"too late")
        self.transport.outgoing.capacity = None
        self.assertEqual(self.transport.take(), b"bye")
        self.assertEqual(self.application.losses, ["done"])
        self.assertEqual(self.application.received, b"")
        self.assertEqual(self.application.unexpected, [])

    def test_loseConnectionBehindTheEnd(self) -> None:
        """
        Once its own end of stream is out, there is nothing to wait for: lost from within.
        """
        self.application.end()
        self.reactor.settle()
        self.application.close()
        self.assertEqual(self.application.losses, ["done"])

    def test_loseConnectionWithAProducer(self) -> None:
        """
        It waits for a producer that was paused to be unregistered.
        """
        self.transport.outgoing.capacity = 0
        self.application.produce()
        self.application.write(b"x" * 70_000)
        self.application.close()
        self.transport.outgoing.capacity = None
        self.assertEqual(len(self.transport.take()), 70_000)
        self.assertFalse(self.transport.closed)
        self.transport.unregisterProducer()
        self.reactor.settle()
        self.assertTrue(self.transport.closed)

    def test_unreadBytesReset(self) -> None:
        """
        Who closes with bytes unread sends a reset.
        """
        self.application.pause()
        self.transport.feed(b"unread")
        self.application.close()
        self.reactor.settle()
        self.assertTrue(self.transport.aborted)

    def test_abort(self) -> None:
        self.transport.outgoing.capacity = 0
        self.application.write(b"never sent")
        self.application.abort()
        self.assertEqual(self.application.losses, [], "from within")
        self.reactor.settle()
        self.assertEqual(self.application.losses, ["aborted"])
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.transport.take(), b"")

    def test_lose(self) -> None:
        self.transport.lose()
        self.assertEqual(self.application.losses, ["lost"])
        self.transport.lose()
        self.assertEqual(self.application.losses, ["lost"])

    def test_streamingProducer(self) -> None:
        """
        Paused when more than bufferSize bytes wait, resumed when none do.
        """
        self.transport.bufferSize = 10
        self.transport.outgoing.capacity = 4
        self.application.produce()
        self.application.write(b"x" * 10)
        self.assertFalse(self.application.held)
        self.application.write(b"x")
        self.assertTrue(self.application.held)
        self.assertEqual(self.transport.buffered, 11)
        self.transport.take(4)
        self.assertTrue(self.application.held)
        self.assertEqual(self.transport.take(), b"x" * 7)
        self.assertFalse(self.application.held)
        self.assertRaises(RuntimeError, self.transport.registerProducer, self.application, True)

    def test_pullProducer(self) -> None:
        """
        Asked for more whenever there is nothing left.
        """
        asked: list[int] = []
        transport = self.transport

        @implementer(IPullProducer)
        class Counting:
            def resumeProducing(self) -> None:
                asked.append(len(asked))
                if len(asked) == 4:
                    transport.unregisterProducer()
                else:
                    transport.write(b"%d" % len(asked))

            def stopProducing(self) -> None:
                mustNotBeUsed("it has unregistered")()

        transport.registerProducer(Counting(), False)
        self.reactor.settle()
        self.assertEqual(transport.take(), b"123")

    def test_protocolIsLookedUp(self) -> None:
        other = Application()
        self.transport.protocol = other
        self.transport.feed(b"x")
        self.assertEqual((self.application.received, other.received), (b"", b"x"))

    def test_errorsAreRaised(self) -> None:
        """
        What a protocol raises ends its connection, and reaches the test.
        """

        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        self.application.onData = fail
        self.assertRaises(ZeroDivisionError, self.transport.feed, b"x")
        self.assertEqual(self.application.losses, ["lost"])

    def test_repr(self) -> None:
        self.assertEqual(repr(self.transport), "<MemoryTransport reading>")
        self.transport.outgoing.capacity = 0
        self.application.write(b"12345")
        self.application.close()
        self.assertEqual(
            repr(self.transport), "<MemoryTransport not reading, 5 bytes to send, closing>"
        )
        self.transport.abortConnection()
        self.reactor.settle()
        self.assertEqual(repr(self.transport), "<MemoryTransport aborted>")
        self.assertEqual(repr(MemoryTransport(self.reactor)), "<MemoryTransport not connected>")


class LinkTests(SynchronousTestCase):
    def test_both(self) -> None:
        one, other = Application(), Application()
        link = connect(MemoryReactor(), one, other, chunks=3)
        one.write(b"ping" * 100)
        one.end()
        other.write(b"pong")
        link.pump()
        self.assertEqual((one.received, other.received), (b"pong", b"ping" * 100))
        self.assertEqual((one.endings, other.endings), (0, 1))
        other.close()
        link.pump()
        self.assertEqual((one.endings, other.losses), (1, ["done"]))
        one.close()
        link.pump()
        self.assertEqual(one.losses, ["done"])

    def test_capacity(self) -> None:
        """
        A network that holds little makes a fast writer wait for a slow reader.
        """
        one, other = Application(), Application()
        link = connect(MemoryReactor(), one, other, capacity=1000)
        one.produce()
        other.pause()
        one.write(b"x" * 100_000)
        link.pump()
        self.assertTrue(one.held)
        self.assertEqual(link.client.buffered, 99_000)
        other.resume()
        link.pump()
        self.assertFalse(one.held)
        self.assertEqual(len(other.received), 100_000)

    def test_reset(self) -> None:
        """
        An abort is the other end's loss; what was there before it is still read.
        """
        one, other = Application(), Application()
        link = connect(MemoryReactor(), one, other)
        one.write(b"last")
        link.pump()
        one.abort()
        link.pump()
        self.assertEqual((other.received, other.losses), (b"last", ["lost"]))

    def test_writeToAClosedEnd(self) -> None:
        """
        The first write is taken; a reset is the answer to it.
        """
        one, other = Application(), Application()
        link = connect(MemoryReactor(), one, other)
        other.close()
        link.pump()
        self.assertEqual(one.endings, 1)
        one.write(b"x")
        link.pump()
        self.assertEqual(one.losses, [])
        one.write(b"x")
        link.pump()
        self.assertEqual(one.losses, ["lost"])

    def test_addresses(self) -> None:
        link = Link(MemoryReactor())
        self.assertEqual(link.client.getPeer(), link.server.getHost())
        self.assertEqual(link.server.getPeer(), link.client.getHost())


class RestlessTests(SynchronousTestCase):
    def test_found(self) -> None:
        """
        Two ends that answer each other for ever are found out.
        """
        from mxproxy.testing import reactor

        self.patch(reactor, "MAX_TURNS", 100)
        one, other = Application(), Application()
        one.onData, other.onData = one.write, other.write
        link = connect(MemoryReactor(), one, other)
        one.write(b"x")
        self.assertRaises(Restless, link.pump)


class LossReasonTests(SynchronousTestCase):
    def test_given(self) -> None:
        transport = MemoryTransport(MemoryReactor())
        protocol = Plain()
        transport.connect(protocol)
        transport.lose(ConnectionLost("the cable"))
        assert protocol.lost is not None
        self.assertEqual(protocol.lost.value.args, ("the cable",))
