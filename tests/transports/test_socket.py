"""
Sockets as transports of our own.
"""

from __future__ import annotations

import gc
import socket
import struct
from typing import Any

from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableDescriptor,
    IPushProducer,
    IReadWriteDescriptor,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mxproxy.testing import Application
from mxproxy.transports.buffer import BLOCKED, CHUNK, LARGEST, RECORD
from mxproxy.transports.lingering import LAST_LOOK, LONGEST
from mxproxy.transports.outstanding import inFlight, unacknowledged, unwritten
from mxproxy.transports.socket import SocketTransport

from .poller import Poller, tcpPair, transport

RESET = struct.pack("ii", 1, 0)


class Viewing(Application):
    """
    Takes views of the buffer, and keeps copies.
    """

    def bufferReceived(self, view: memoryview) -> None:
        self.dataReceived(bytes(view))


class Plenty:
    """
    A channel with much to be read at once.

    @ivar sizes: what was asked for.
    """

    readsOn = True

    def __init__(self, left: int, short: int = 0) -> None:
        self._left = left
        self._short = short
        self.sizes: list[int] = []

    def receive(self, size: int) -> int:
        self.sizes.append(size)
        got = min(size - self._short, self._left)
        self._left -= got
        return got or BLOCKED

    def readNeedsRoom(self) -> bool:
        return False

    def waiting(self) -> bool:
        return self._left > 0


class SocketTestCase(SynchronousTestCase):
    application: type[Application] = Application

    def setUp(self) -> None:
        self.reactor = Poller()
        self.far, near = tcpPair()
        self.addCleanup(self.far.close)
        self.transport, self.app = transport(self.reactor, near, self.application())

    def assertGone(self, why: str) -> None:
        """It is closed, and nothing of it is left."""
        self.assertEqual(self.app.losses, [why])
        self.assertEqual(self.app.unexpected, [])
        self.assertEqual(self.reactor.readers | self.reactor.writers, set())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.errors, [])

    def stuff(self) -> int:
        """
        Write until the kernel takes no more, and then some.

        @return: how many bytes were written.
        """
        written = 0
        while not self.transport.unsent:
            self.app.write(b"x" * CHUNK)
            written += CHUNK
        return written

    def drain(self) -> bytes:
        """Read at the far end for as long as there is something."""
        got = bytearray()
        self.far.setblocking(False)
        while True:
            try:
                data = self.far.recv(CHUNK)
            except BlockingIOError:
                if not self.reactor.settle(0.05 if self.transport.unsent else 0):
                    return bytes(got)
                continue
            if not data:
                return bytes(got)
            got += data


class ReadTests(SocketTestCase):
    def test_interfaces(self) -> None:
        for interface in (
            *(ITCPTransport, IConsumer, IPushProducer),
            *(IReadWriteDescriptor, IHalfCloseableDescriptor),
        ):
            verifyObject(interface, self.transport)

    def test_bytesAndTheEnd(self) -> None:
        self.far.sendall(b"hello")
        self.reactor.until(lambda: self.app.received == b"hello")
        self.far.shutdown(socket.SHUT_WR)
        self.reactor.until(lambda: self.app.endings == 1)
        self.app.write(b"I still speak")
        self.assertEqual(self.far.recv(100), b"I still speak")
        self.app.close()
        self.reactor.settle()
        self.assertEqual(self.far.recv(100), b"")
        self.assertGone("done")

    def test_paused(self) -> None:
        """
        Neither bytes nor the end; and all of it, in order, when it is resumed.
        """
        self.app.pause()
        self.far.sendall(b"x" * 1000)
        self.far.shutdown(socket.SHUT_WR)
        self.reactor.settle(0.01)
        self.assertEqual((self.app.received, self.app.endings), (b"", 0))
        self.assertEqual(self.reactor.readers, set())
        self.app.resume()
        self.reactor.until(lambda: self.app.endings == 1)
        self.assertEqual(len(self.app.received), 1000)
        self.assertEqual(self.app.unexpected, [])

    def test_pausedWithinADelivery(self) -> None:
        """
        Not a byte more, though there are several buffers' worth.
        """
        self.app.onData = lambda data: self.app.pause()
        self.far.sendall(b"x" * (3 * CHUNK))
        self.reactor.until(lambda: bool(self.app.received))
        self.assertLessEqual(len(self.app.received), CHUNK)
        while len(self.app.received) < 3 * CHUNK:
            self.app.resume()
            self.reactor.settle(0.01)
        self.assertEqual(self.app.unexpected, [])

    def test_resumedBehindTheEnd(self) -> None:
        """
        The end is told once.
        """
        self.far.shutdown(socket.SHUT_WR)
        self.reactor.until(lambda: self.app.endings == 1)
        self.app.pause()
        self.app.resume()
        self.reactor.settle()
        self.assertEqual(self.app.endings, 1)
        self.assertEqual(self.reactor.readers, set())

    def test_knowsNoHalves(self) -> None:
        """
        A protocol that cannot be told of an end of the stream loses the connection by it.
        """
        lost: list[Any] = []
        protocol = Protocol()
        protocol.connectionLost = lost.append  # type: ignore[method-assign,assignment]
        self.transport.protocol = protocol
        self.far.shutdown(socket.SHUT_WR)
        self.reactor.until(lambda: bool(lost))

    def test_smallBuffer(self) -> None:
        self.transport.bufferSize = 10
        self.far.sendall(b"x" * 95)
        sizes: list[int] = []
        self.app.onData = lambda data: sizes.append(len(data))
        self.reactor.until(lambda: len(self.app.received) == 95)
        self.assertEqual(max(sizes), 10)

    def test_growingReads(self) -> None:
        """
        Twice as much is read at once after each read that was full, up to the largest; and as at first
        after a pause.
        """
        plenty = Plenty(10 * LARGEST)
        self.transport.secure(plenty, self.fail)
        self.transport.doRead()
        self.assertEqual(plenty.sizes, [CHUNK, 2 * CHUNK, LARGEST, LARGEST])
        self.transport.doRead()
        self.assertEqual(plenty.sizes[4:], [LARGEST, LARGEST])
        self.app.pause()
        self.app.resume()
        self.transport.doRead()
        self.assertEqual(plenty.sizes[6:8], [CHUNK, 2 * CHUNK])

    def test_fullButForARecord(self) -> None:
        """
        A read of TLS ends where there is no room for a whole record.
        """
        for short, then in ((RECORD - 1, 2 * CHUNK), (RECORD, CHUNK)):
            plenty = Plenty(10 * LARGEST, short)
            self.transport.bufferSize = LARGEST
            self.transport.secure(plenty, self.fail)
            self.transport.doRead()
            self.assertEqual(plenty.sizes[:2], [CHUNK, then])

    def test_readsUpToALimit(self) -> None:
        """
        What is said to be the most is, be it less than is read at first or more.
        """
        for limit, sizes in ((CHUNK + 10, [CHUNK, CHUNK + 10]), (10, [10, 10])):
            plenty = Plenty(2 * LARGEST)
            self.transport.bufferSize = limit
            self.assertEqual(self.transport.bufferSize, limit)
            self.transport.secure(plenty, self.fail)
            self.transport.doRead()
            self.assertEqual(plenty.sizes[:2], sizes)
            self.assertLessEqual(max(plenty.sizes), limit)

    def test_pausedByAFullRead(self) -> None:
        """
        Where what was read could not be written, no more is read the next time.
        """
        plenty = Plenty(10 * LARGEST)
        self.transport.secure(plenty, self.fail)
        self.app.onData = lambda data: self.app.pause()
        for _read in range(3):
            self.transport.doRead()
            self.app.resume()
        self.assertEqual(plenty.sizes, [CHUNK] * 3)

    def test_reset(self) -> None:
        """
        What came before it can still be read.
        """
        self.far.sendall(b"last words")
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.far.close()
        self.reactor.until(lambda: bool(self.app.losses))
        self.assertEqual(self.app.received, b"last words")
        self.assertGone("lost")

    def test_failing(self) -> None:
        """
        An error in the protocol ends its connection.
        """

        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        self.app.onData = fail
        self.far.sendall(b"x")
        self.reactor.until(lambda: bool(self.app.losses))
        self.assertEqual([type(error) for error in self.reactor.errors], [ZeroDivisionError])


class ViewTests(ReadTests):
    """
    The same for a protocol that takes views.
    """

    application = Viewing


class WriteTests(SocketTestCase):
    def test_atOnce(self) -> None:
        """
        Nothing waits for the reactor.
        """
        self.app.write(b"a")
        self.transport.writeSequence([b"b", b"c"])
        self.assertEqual(self.far.recv(10), b"abc")
        self.assertEqual(self.reactor.writers, set())

    def test_whatTheKernelDoesNotTake(self) -> None:
        """
        It is kept, in order, and the producer waits.
        """
        self.app.produce()
        written = self.stuff()
        self.assertTrue(self.app.held)
        self.assertEqual(unwritten(self.transport), self.transport.unsent)
        self.assertGreater(inFlight(self.transport), self.transport.unsent)
        self.app.write(b"end")
        got = self.drain()
        self.assertEqual((len(got), got[-3:]), (written + 3, b"end"))
        self.assertFalse(self.app.held)
        self.assertEqual(self.reactor.writers, set())

    def test_aViewThatChanges(self) -> None:
        """
        What is kept is a copy.
        """
        self.stuff()
        view = bytearray(b"as it was")
        self.transport.writeBuffer(memoryview(view))
        view[:] = b"something"
        self.assertEqual(self.drain()[-9:], b"as it was")

    def test_endsBehindTheLastByte(self) -> None:
        """
        Both kinds of end.
        """
        for end in (self.app.end, self.app.close):
            with self.subTest(end=end.__name__):
                self.setUp()
                end = getattr(self.app, end.__name__)
                written = self.stuff()
                end()
                self.assertEqual(len(self.drain()), written)
                self.reactor.until(lambda: not self.reactor.writers)
                self.assertEqual(self.far.recv(1), b"")

    def stuffed(self) -> int:
        """
        Write more than fits the far end, but no more than the kernel has taken.

        @return: how many bytes the far end has not read yet.
        """
        # No window that grows: what was not acknowledged now will not be until somebody reads.
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        written = self.stuff()
        while self.transport.unsent:
            written -= len(self.far.recv(CHUNK))
            self.reactor.settle()
        self.assertGreater(unacknowledged(self.transport.socket), 0)
        return written

    def take(self, size: int) -> None:
        """Read so much at the far end, and no more comes."""
        got = 0

        def everything() -> bool:
            nonlocal got
            got += len(self.drain())
            return got >= size

        self.reactor.until(everything)
        self.assertEqual(got, size)

    def test_closeWithBytesUnread(self) -> None:
        """
        Whoever is still sending gets all that was written: no reset overtakes it.
        """
        for flushed in (True, False):
            with self.subTest(flushed=flushed):
                self.setUp()
                written = self.stuffed() if flushed else self.stuff()
                self.far.sendall(b"and I am not done")
                self.app.close()
                self.reactor.settle(0.01)
                self.assertEqual(self.app.losses, [])
                self.take(written)
                self.far.setblocking(True)
                self.assertEqual(self.far.recv(1), b"")
                # The acknowledgement of the end may take its time.
                self.reactor.until(lambda: bool(self.reactor.advance(0.1) or self.app.losses))
                self.assertGone("done")

    def test_closeWithNothingButBytesUnread(self) -> None:
        """
        The peer sees an end, and not a reset, also where everything that was written has arrived; but a
        reset of who has written nothing.
        """
        for written in (b"bye", b""):
            with self.subTest(written=written):
                self.setUp()
                self.app.write(written)
                self.reactor.until(lambda: not unacknowledged(self.transport.socket))
                self.app.pause()
                self.far.sendall(b"x")
                self.reactor.settle(0.01)
                self.app.close()
                self.reactor.settle(0.01)
                self.assertEqual(self.far.recv(len(written)), written)
                if written:
                    self.assertEqual(self.far.recv(1), b"")
                else:
                    self.assertRaises(ConnectionResetError, self.far.recv, 1)
                self.reactor.until(lambda: bool(self.reactor.advance(0.1) or self.app.losses))
                self.assertGone("done")

    def test_closeAndTheyEnd(self) -> None:
        """
        What the peer sends is read, dropped, and so is its end, which is the end.
        """
        self.stuffed()
        self.app.close()
        self.reactor.settle()
        self.far.sendall(b"y" * 100_000)
        self.far.shutdown(socket.SHUT_WR)
        self.reactor.until(lambda: bool(self.app.losses))
        self.assertEqual(self.app.received, b"")
        self.assertGone("done")

    def test_closeAndTheyDoNotRead(self) -> None:
        """
        They are not waited for for ever; and not at all by who has no patience.
        """
        for patient in (True, False):
            with self.subTest(patient=patient):
                self.setUp()
                written = self.stuffed()
                self.app.close()
                self.reactor.settle()
                if patient:
                    self.reactor.pump([LONGEST / 100] * 99)
                    self.assertEqual(self.app.losses, [])
                    self.reactor.pump([LONGEST / 100] * 2)
                else:
                    self.app.abort()
                    self.reactor.settle()
                self.assertGone("done" if patient else "aborted")
                # It is the kernel's to deliver.
                self.far.setblocking(True)
                got = 0
                while data := self.far.recv(CHUNK):
                    got += len(data)
                self.assertEqual(got, written)

    def test_closeAndTheyGoOnSending(self) -> None:
        """
        Whoever has got everything and goes on sending is read on: he may not have seen it yet.
        """
        written = self.stuffed()
        self.app.close()
        self.reactor.settle()
        self.take(written)
        for _ in range(20):
            self.far.send(b"more")
            self.reactor.settle(0.05)
            self.reactor.advance(LAST_LOOK)
        # Twenty seconds are over.
        self.assertGone("done")

    def test_closeOfWhoWaitedForRoom(self) -> None:
        """
        Somebody who was waiting to write waits no more.
        """
        self.stuffed()
        self.transport.startWriting()
        self.transport.unregisterProducer()
        self.app.close()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.writers, set())
        self.assertEqual(len(self.reactor.readers), 1)
        self.app.abort()
        self.reactor.settle()
        self.assertGone("aborted")

    def test_closeAndTheyReset(self) -> None:
        self.stuffed()
        self.app.close()
        self.reactor.settle()
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.far.close()
        self.reactor.until(lambda: bool(self.app.losses))
        self.assertGone("done")

    def test_endAndReadOn(self) -> None:
        self.app.end()
        self.assertEqual(self.far.recv(1), b"")
        self.far.sendall(b"but I speak")
        self.far.shutdown(socket.SHUT_WR)
        self.reactor.until(lambda: self.app.endings == 1)
        self.assertEqual(self.app.received, b"but I speak")
        self.app.write(b"nobody hears")
        self.app.close()
        self.reactor.settle()
        self.assertGone("done")

    def test_closeWaitsForAProducer(self) -> None:
        """
        One that was paused has more to say.
        """
        self.app.produce()
        self.stuff()
        self.app.close()
        self.drain()
        self.assertEqual(self.app.losses, [])
        self.app.write(b"the rest")
        self.transport.unregisterProducer()
        self.assertEqual(self.drain(), b"the rest")
        self.reactor.settle()
        self.assertGone("done")

    def test_abort(self) -> None:
        self.stuff()
        self.app.abort()
        self.app.abort()
        self.reactor.settle()
        self.assertGone("aborted")
        with self.assertRaises(ConnectionResetError):
            while self.far.recv(CHUNK):
                pass

    def test_pullProducer(self) -> None:
        parts = [b"three", b"two", b"one"]
        case = self

        class Pull:
            def resumeProducing(self) -> None:
                if parts:
                    case.transport.write(parts.pop())
                else:
                    case.transport.unregisterProducer()
                    case.transport.loseConnection()

            def stopProducing(self) -> None:
                case.fail("it was not asked for the rest")

        self.transport.registerProducer(Pull(), False)
        self.reactor.settle()
        self.assertEqual(self.drain(), b"onetwothree")
        self.assertGone("done")

    def test_producers(self) -> None:
        """
        One at a time; one that comes late is told how things are.
        """
        self.app.produce()
        with self.assertRaises(RuntimeError):
            self.app.produce()
        self.transport.unregisterProducer()
        self.stuff()
        self.app.produce()
        self.assertTrue(self.app.held)
        self.app.abort()
        self.reactor.settle()
        self.app.held = False
        self.app.produce()
        self.assertTrue(self.app.held)

    def test_failsWithSomethingToBeRead(self) -> None:
        """
        A peer that answers and resets has answered, whether or not it was listened to then.
        """
        for paused in (False, True):
            with self.subTest(paused=paused):
                self.setUp()
                if paused:
                    self.app.pause()
                self.stuff()
                self.far.sendall(b"413 Content Too Large")
                self.far.close()  # With bytes unread: a reset.
                while self.transport._accepting:
                    self.app.write(b"more")
                    self.reactor.settle(0.01)
                if paused:
                    self.reactor.settle(0.01)
                    self.assertEqual(self.app.losses, [])
                    self.app.resume()
                self.reactor.until(lambda: bool(self.app.losses))
                self.assertEqual(self.app.received, b"413 Content Too Large")
                self.assertGone("lost")

    def test_failsBehindTheEnd(self) -> None:
        """
        With nothing to be read any more, a write that fails is the end.
        """
        self.far.shutdown(socket.SHUT_WR)
        self.reactor.until(lambda: self.app.endings == 1)
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.far.close()
        while not self.app.losses:
            self.app.write(b"anybody?")
            self.reactor.settle(0.01)
        self.assertGone("lost")

    def test_noCycle(self) -> None:
        """
        A connection that is over needs no collector.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.app.close()
        self.reactor.settle()
        self.transport = self.app = None  # type: ignore[assignment]
        left = [thing for thing in gc.get_objects() if type(thing) is SocketTransport]
        self.assertEqual(left, [])


class OptionTests(SocketTestCase):
    def test_tcp(self) -> None:
        for name in ("TcpNoDelay", "TcpKeepAlive"):
            for value in (True, False):
                getattr(self.transport, f"set{name}")(value)
                self.assertEqual(getattr(self.transport, f"get{name}")(), value)

    def test_unix(self) -> None:
        """
        What is TCP's is left alone.
        """
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        made, app = transport(self.reactor, one)
        made.setTcpNoDelay(True)
        app.close()
        self.reactor.settle()
        self.assertEqual(app.losses, ["done"])


class ControlTests(SocketTestCase):
    def test_loses(self) -> None:
        """
        Whoever is in control may fail, or go on as if nothing were: the connection is lost, and
        nobody waits for it.
        """
        from twisted.internet.error import ConnectionLost
        from twisted.python.failure import Failure

        for fails in (False, True):
            with self.subTest(fails=fails):
                self.setUp()

                def control(fails: bool = fails) -> None:
                    self.transport.startReading()
                    if fails:
                        raise ZeroDivisionError

                self.transport.control(control)
                self.transport.connectionLost(Failure(ConnectionLost()))
                self.assertGone("lost")
                self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), fails)

    def test_takenWithinADelivery(self) -> None:
        """
        What comes behind belongs to whoever has taken control.
        """
        self.transport.bufferSize = 5
        seen: list[str] = []
        self.app.onData = lambda data: self.transport.control(lambda: seen.append("ready"))
        self.far.sendall(b"12345hello")
        self.reactor._turn(1)
        self.assertEqual(self.app.received, b"12345")
        self.assertEqual(self.transport.socket.recv(10), b"hello")
