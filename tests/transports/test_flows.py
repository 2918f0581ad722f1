"""
Bytes that go from one socket to another by themselves; and everything that ends that.
"""

from __future__ import annotations

import gc
import select
import socket
from threading import Event, Thread
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mxproxy import transports
from mxproxy.testing import Application
from mxproxy.testing.sidecars import clientTLS, serverTLS
from mxproxy.tls.context import ClientContext, ServerContext
from mxproxy.tls.explain import explain
from mxproxy.transports import flows
from mxproxy.transports import socket as sockets
from mxproxy.transports.buffer import CHUNK, LARGEST, RECORD
from mxproxy.transports.tls import channel

from .poller import PATIENCE, Poller, segments, tcpPair, transport

if not flows.AVAILABLE:
    __skip__ = skip = "flows.c was not built: there is no C compiler, or not Python's headers"


class Joint(Application):
    """
    What L{mxproxy.tcp.Half} is to a flow.

    @ivar came: how often Python was asked to write something.
    """

    other: Joint | None = None
    read = written = came = 0

    @property
    def sink(self) -> Any:
        return None if self.other is None else self.other.transport

    def moved(self, size: int) -> None:
        assert self.other is not None
        self.read += size
        self.other.written += size

    def bufferReceived(self, data: memoryview) -> None:
        self.came += 1
        if self.other is not None:
            self.moved(len(data))
            self.other.transport.writeBuffer(data)

    def readConnectionLost(self) -> None:
        super().readConnectionLost()
        if self.other is not None:
            self.other.transport.unregisterProducer()
            self.other.transport.loseWriteConnection()

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            other.transport.unregisterProducer()
            other.transport.loseConnection()

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()


class Joined:
    """
    client - left joint = right joint - server, on one reactor.
    """

    def __init__(self, reactor: Poller, tls: str = "") -> None:
        """
        @param tls: which of the two connections have it: C{"left"}, C{"right"}, C{"both"}, neither.
        """
        self.reactor = reactor
        self.client, self.left = self._connection(tls in ("left", "both"))
        self.right, self.server = self._connection(tls in ("right", "both"))
        self.left.other, self.right.other = self.right, self.left
        self.left.transport.registerProducer(self.right, True)
        self.right.transport.registerProducer(self.left, True)

    def _connection(self, tls: bool) -> Any:
        ends = tcpPair()
        joint = isinstance(getattr(self, "left", None), Joint)
        applications = (Joint(), Application()) if joint else (Application(), Joint())
        if not tls:
            return [
                transport(self.reactor, end, app)[1]
                for end, app in zip(ends, applications, strict=True)
            ]
        for end in ends:
            end.setblocking(False)
        sessions = [
            ClientContext(clientTLS()).connection(ends[0]),
            ServerContext(serverTLS()).connection(ends[1]),
        ]
        left = list(sessions)
        while left:
            for session in tuple(left):
                try:
                    session.do_handshake()
                    left.remove(session)
                except SSL.WantReadError:
                    pass
        # The tickets of TLS 1.3.
        for session in sessions:
            try:
                session.recv(1)
            except SSL.WantReadError:
                pass
        made = []
        for end, app, session in zip(ends, applications, sessions, strict=True):
            side, _ = transport(self.reactor, end, app)
            side.secure(channel(session, explain), lambda reason: None)
            made.append(app)
        return made

    def speak(self, times: int = 8) -> None:
        """Both ways, until it flows."""
        for _ in range(times):
            for one, other in ((self.client, self.server), (self.server, self.client)):
                before = len(other.received)
                one.write(b"hello")
                self.reactor.until(lambda before=before, other=other: len(other.received) > before)

    def drop(self) -> None:
        """Leave nothing."""
        for app in (self.client, self.left, self.right, self.server):
            if not app.losses:
                app.transport.abortConnection()
        self.reactor.settle()

    @property
    def members(self) -> set[Any]:
        """Who is read by C."""
        return set(flows.flowsOf(self.reactor)._transports.values())


class FlowTestCase(SynchronousTestCase):
    tls = ""

    def setUp(self) -> None:
        self.reactor = Poller()
        self.joined = Joined(self.reactor, self.tls)
        self.addCleanup(self.joined.drop)
        self.joined.speak()
        self.left, self.right = self.joined.left, self.joined.right
        self.client, self.server = self.joined.client, self.joined.server

    def forget(self) -> None:
        """What was said so far."""
        for app in (self.client, self.server):
            app._received.clear()
        for joint in (self.left, self.right):
            joint.came = joint.read = joint.written = 0

    def assertGone(self) -> None:
        self.reactor.until(
            lambda: bool(
                self.reactor.advance(0.1) or all(app.losses for app in (self.left, self.right))
            )
        )
        self.assertEqual(self.joined.members, set())
        self.assertEqual(self.reactor.errors, [])
        for app in (self.client, self.server):
            if not app.losses:
                app.transport.loseConnection()
        self.reactor.until(
            lambda: bool(
                self.reactor.advance(0.1) or not (self.reactor.readers | self.reactor.writers)
            )
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class PlainTests(FlowTestCase):
    def test_flows(self) -> None:
        """
        Nothing of it comes by Python, and all of it is counted.
        """
        self.assertEqual(self.joined.members, {self.left.transport, self.right.transport})
        self.forget()
        self.client.write(b"a" * 1000)
        self.server.write(b"b" * 3000)
        self.reactor.until(lambda: len(self.server.received) + len(self.client.received) == 4000)
        self.assertEqual((self.left.came, self.right.came), (0, 0))
        self.assertEqual((self.left.read, self.left.written), (1000, 3000))
        self.assertEqual((self.right.read, self.right.written), (3000, 1000))

    def test_bulk(self) -> None:
        """
        Megabytes both ways, each in their order.
        """
        there, back = b"0123456789abcdef" * 200_000, b"fedcba98" * 300_000
        self.forget()
        self.client.write(there)
        self.server.write(back)
        self.client.end()
        self.server.end()
        self.reactor.until(lambda: bool(self.client.endings and self.server.endings))
        self.assertEqual(self.server.received, there)
        self.assertEqual(self.client.received, back)
        self.assertEqual((self.left.read, self.right.read), (len(there), len(back)))
        self.left.close()
        self.assertGone()

    def test_whoDoesNotRead(self) -> None:
        """
        No more than a chunk is kept, whoever sends is not read meanwhile; and it goes on.
        """
        sent = b"".join(number.to_bytes(4, "big") for number in range(5_000_000))
        self.forget()
        self.server.pause()
        self.client.write(sent)
        self.reactor.until(lambda: self.right.transport.unsent > 0)
        self.reactor.settle(0.05)
        self.assertLessEqual(self.right.transport.unsent, LARGEST)
        self.assertTrue(self.left.transport._paused)
        # The one that waits for room waits with the reactor.
        self.assertIn(self.right.transport, self.reactor.writers)
        self.assertNotIn(self.right.transport, self.joined.members)
        self.server.write(b"but I speak")
        self.reactor.until(lambda: self.client.received == b"but I speak")
        self.server.resume()
        self.reactor.until(lambda: len(self.server.received) == len(sent))
        self.assertEqual(self.server.received, sent)
        self.assertEqual(self.left.read, len(sent))
        self.assertEqual(self.right.written, len(sent))
        self.joined.speak(12)
        self.assertEqual(self.joined.members, {self.left.transport, self.right.transport})

    def test_ends(self) -> None:
        """
        The end of one direction passes, behind the last byte; the other one still flows.
        """
        self.forget()
        self.client.write(b"last")
        self.client.end()
        self.reactor.until(lambda: self.server.endings == 1)
        self.assertEqual(self.server.received, b"last")
        self.server.write(b"x" * 100_000)
        self.server.end()
        self.reactor.until(lambda: self.client.endings == 1)
        self.assertEqual(len(self.client.received), 100_000)
        self.assertEqual((self.left.endings, self.right.endings), (1, 1))
        self.left.close()
        self.assertGone()

    def test_reset(self) -> None:
        """
        By who sends, and by who is sent to; the other side is closed.
        """
        for name in ("client", "server"):
            with self.subTest(who=name):
                self.setUp()
                near = self.left if name == "client" else self.right
                getattr(self, name).abort()
                self.reactor.until(lambda near=near: bool(near.losses))
                self.assertEqual(near.losses, ["lost"])
                self.assertGone()

    def test_writeFails(self) -> None:
        """
        Where the other side has gone without our having been told, what it had said before is not lost.
        """
        self.forget()
        self.server.write(b"last words")
        # Both are ready when the reactor looks: what is read first finds the other reset.
        self.server.transport.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, sockets._RESET_ON_CLOSE
        )
        self.client.transport.socket.send(b"x" * 10)
        self.server.transport.socket.close()
        self.server.transport._registeredRead = False
        self.reactor.readers.discard(self.server.transport)
        self.reactor.until(lambda: bool(self.right.losses))
        if not self.tls:
            self.reactor.until(lambda: self.client.received == b"last words")

    def test_aPauseHolds(self) -> None:
        """
        Not a byte more, though it flows; and none is lost.
        """
        self.left.transport.pauseProducing()
        self.forget()
        self.client.write(b"x")
        self.reactor.settle(0.02)
        self.assertEqual((self.left.read, self.server.received), (0, b""))
        self.assertNotIn(self.left.transport, self.joined.members)
        self.left.transport.resumeProducing()
        self.reactor.until(lambda: self.server.received == b"x")

    def test_whatPythonWritesIsBehind(self) -> None:
        """
        What was written by somebody else, and kept, goes first.
        """
        self.forget()
        self.server.pause()
        written = 0
        while not self.right.transport.unsent:
            self.right.transport.write(b"p" * CHUNK)
            written += CHUNK
        self.client.write(b"c")
        self.reactor.settle(0.02)
        self.server.resume()
        self.reactor.until(lambda: len(self.server.received) == written + 1)
        self.assertEqual(self.server.received[-2:], b"pc")

    def test_eitherEndStopsIt(self) -> None:
        """
        The next chunk is Python's, whose it was that something has changed; and then it flows again.
        """
        for which in (self.left, self.right):
            self.forget()
            which.transport._stopFlow()
            self.client.write(b"1")
            self.reactor.until(lambda: self.server.received == b"1")
            self.assertEqual(self.left.came, 1)
            self.client.write(b"2")
            self.reactor.until(lambda: self.server.received == b"12")
            self.assertEqual(self.left.came, 1)

    def test_nothingBehindAFullRead(self) -> None:
        """
        What was read was all that there was; the next read is twice as large, up to the largest.
        """
        end = self.left.transport.end
        for largest, then in ((100, 10), (8, 8)):
            self.forget()
            end.size, end.largest = 5, largest
            self.client.write(b"12345")
            self.reactor.until(lambda: self.server.received == b"12345")
            self.reactor.settle(0.02)
            self.assertEqual((self.left.came, self.left.losses, end.size), (0, [], then))

    def test_noCycle(self) -> None:
        """
        A flow that is over needs no collector.
        """
        self.addCleanup(gc.enable)
        gc.collect()
        gc.disable()
        self.left.close()
        self.assertGone()
        self._cleanups.clear()
        self.joined = self.left = self.right = self.client = self.server = None  # type: ignore[assignment]
        left = [one for one in gc.get_objects() if type(one) is sockets.SocketTransport]
        self.assertEqual(left, [])

    def test_nobodyElseIsWrittenTo(self) -> None:
        """
        Where a protocol fails to tell the other side of its end, what comes for it goes nowhere.
        """

        def wrong(reason: Any) -> None:
            raise ZeroDivisionError

        self.right.connectionLost = wrong  # type: ignore[method-assign]
        self.server.abort()
        self.reactor.until(lambda: bool(self.right.transport.disconnected))
        self.flushLoggedErrors(ZeroDivisionError)
        self.reactor.errors.clear()
        others = [Joined(self.reactor, self.tls) for _ in range(8)]
        for other in others:
            self.addCleanup(other.drop)
            other.speak(3)
            other.server._received.clear()
            other.client._received.clear()
        self.client.write(b"a secret")
        self.reactor.settle(0.02)
        for other in others:
            self.assertEqual((other.server.received, other.client.received), (b"", b""))
        self.right.losses.append("lost")

    def test_fails(self) -> None:
        """
        What a protocol does wrong is its own connection's end.
        """
        other = Joined(self.reactor, self.tls)
        self.addCleanup(other.drop)
        other.speak()

        def wrong() -> None:
            raise ZeroDivisionError

        self.left.readConnectionLost = wrong  # type: ignore[method-assign]
        self.client.end()
        self.reactor.until(lambda: bool(self.left.losses))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        other.speak()

        def worse(reason: Any) -> None:
            raise KeyError

        other.left.connectionLost = worse  # type: ignore[method-assign]
        other.client.abort()
        self.reactor.until(lambda: bool(other.left.transport.disconnected))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class ToTLSTests(FlowTestCase):
    tls = "right"

    def test_recordsTogether(self) -> None:
        """
        They do not go out one by one.
        """
        end = self.right.transport.socket
        while self.left.transport.end.size < LARGEST:
            self.joined.client.write(b"x" * LARGEST)
            self.reactor.settle()
        self.forget()
        before, size = segments(end), LARGEST
        self.client.write(b"x" * size)
        self.reactor.until(lambda: len(self.server.received) == size)
        self.assertEqual(self.left.came, 0)
        self.assertLess(segments(end) - before, size // RECORD / 2)
        self.assertEqual(end.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK), 0)


class LeftTests(PlainTests):
    tls = "left"


class RightTests(PlainTests):
    tls = "right"


class BothTests(PlainTests):
    tls = "both"


class TogetherTests(SynchronousTestCase):
    """
    Many at once.
    """

    def setUp(self) -> None:
        self.reactor = Poller()
        self.all = [Joined(self.reactor) for _ in range(3)]
        for joined in self.all:
            self.addCleanup(joined.drop)
            joined.speak()

    def test_goneMeanwhile(self) -> None:
        """
        One that is ready, too, and ends because another one has, is not served.
        """
        for joined in self.all:
            joined.left.readConnectionLost = lambda: [  # type: ignore[method-assign]
                one.left.transport.connectionLost(Failure(ConnectionAborted()))
                for one in self.all
                if not one.left.losses
            ]
            joined.client.transport.socket.shutdown(socket.SHUT_WR)
        flows.flowsOf(self.reactor).doRead()
        for joined in self.all:
            self.assertEqual(len(joined.left.losses), 1)
        self.reactor.settle()
        self.assertEqual(self.reactor.errors, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_countingFails(self) -> None:
        """
        That is one connection's.
        """

        def wrong(size: int) -> None:
            raise ZeroDivisionError

        first, second, _ = self.all
        first.left.moved = wrong  # type: ignore[method-assign]
        for joined in (first, second):
            joined.client.write(b"x")
        self.reactor.until(lambda: second.server.received.endswith(b"x"))
        self.reactor.until(lambda: bool(first.left.losses))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((second.left.losses, self.reactor.errors), ([], []))

    def test_countingFailsBothWays(self) -> None:
        """
        Whoever it ends with it was told of in the same call; nobody else is lost.
        """
        first, second, _ = self.all

        def wrong(size: int) -> None:
            for joint in (first.left, first.right):
                joint.transport.abortConnection()
            raise ZeroDivisionError

        first.left.moved = first.right.moved = wrong  # type: ignore[method-assign]
        first.client.write(b"x")
        first.server.write(b"x")
        flows.flowsOf(self.reactor).doRead()
        self.reactor.until(lambda: bool(first.left.losses and first.right.losses))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((second.left.losses, self.reactor.errors), ([], []))

    def test_theReactorEnds(self) -> None:
        """
        As it does with each of its own, it tells each.
        """
        mine = flows.flowsOf(self.reactor)
        self.reactor.removeAll()
        mine.connectionLost(Failure(ConnectionDone()))
        for joined in self.all:
            self.assertEqual((joined.left.losses, joined.right.losses), (["done"], ["done"]))
            self.assertEqual(joined.members, set())

    def test_nobody(self) -> None:
        """
        The reactor has it for as long as there is anybody.
        """
        mine = flows.flowsOf(self.reactor)
        self.assertIn(mine, self.reactor.readers)
        for joined in self.all:
            joined.left.close()
        self.reactor.until(
            lambda: bool(
                self.reactor.advance(0.1)
                or all(one.left.losses and one.right.losses for one in self.all)
            )
        )
        self.assertNotIn(mine, self.reactor.readers)


class StayTests(SynchronousTestCase):
    """
    Without the reactor, as long as there is nothing else for it.
    """

    #: How often something is sent and answered.
    TIMES = 50

    def setUp(self) -> None:
        from twisted.internet.epollreactor import EPollReactor

        self.reactor = EPollReactor()
        self.addCleanup(self.closeReactor)
        self.client, left = tcpPair()
        self.server, right = tcpPair()
        self.joints = [transport(self.reactor, end, Joint())[1] for end in (left, right)]
        self.left, self.right = self.joints
        self.left.other, self.right.other = self.right, self.left
        for joint in self.joints:
            joint.transport.registerProducer(joint.other, True)
            self.addCleanup(joint.transport.abortConnection)
        for end in (self.client, self.server):
            end.settimeout(PATIENCE)
            self.addCleanup(end.close)
        for _ in range(flows.READS):
            for one, other in ((self.client, self.server), (self.server, self.client)):
                one.sendall(b"hello")
                self.turn()
                self.assertEqual(other.recv(5), b"hello")
        self.flows = flows.flowsOf(self.reactor)
        self.assertEqual(len(self.flows._transports), 2)
        # That which would only take longer takes too long.
        self.patch(flows, "STAY", 1000 * PATIENCE)

    def closeReactor(self) -> None:
        self.reactor.iterate()
        for internal in tuple(self.reactor._internalReaders):
            self.reactor.removeReader(internal)
            internal.connectionLost(None)
        self.reactor._poller.close()

    def turn(self) -> None:
        """One turn of the reactor, which has something to do."""
        select.select([self.reactor._poller], [], [], PATIENCE)
        self.reactor.iterate()

    def speak(self) -> None:
        """Both ways, with each waiting for the other."""
        for _ in range(self.TIMES):
            for one, other in ((self.client, self.server), (self.server, self.client)):
                one.sendall(b"again")
                other.recv(5)

    def test_staysUntilThereIsMore(self) -> None:
        """
        All of it is one call, and whatever else becomes ready is served in the next turn.
        """
        calls: list[Any] = []
        served = Event()
        run = flows._run
        self.patch(flows, "_run", lambda *args: calls.append(args) or run(*args))
        here, there = tcpPair()
        self.addCleanup(here.close)
        here.settimeout(PATIENCE)
        app = transport(self.reactor, there, Application())[1]
        self.addCleanup(app.transport.abortConnection)
        app.dataReceived = lambda data: served.set()
        inTime: list[bool] = []

        def speak() -> None:
            self.speak()
            here.sendall(b"and I")
            inTime.append(served.wait(PATIENCE / 2))

        thread = Thread(target=speak)
        thread.start()
        while not served.is_set():
            self.turn()
        thread.join()
        self.assertEqual((len(calls), inTime), (1, [True]))
        self.assertEqual(self.left.read, 5 * (self.TIMES + flows.READS))
        self.assertEqual(self.right.read, 5 * (self.TIMES + flows.READS))

    def test_otherThreads(self) -> None:
        """
        What another one asks for is something else.
        """
        said: list[str] = []

        def speak() -> None:
            self.speak()
            self.reactor.callFromThread(said.append, "here")

        thread = Thread(target=speak)
        thread.start()
        while not said:
            self.turn()
        thread.join()
        self.assertEqual(self.left.read, 5 * (self.TIMES + flows.READS))

    def test_servedBefore(self) -> None:
        """
        Nor when what another thread, or the reactor's end, asks for was heard of before us.
        """
        for ask in (
            lambda: self.reactor.threadCallQueue.append((lambda: None, (), {})),
            lambda: setattr(self.reactor, "_justStopped", True),
        ):
            self.assertGreater(self.flows._stay(), 0)
            ask()
            self.assertEqual(self.flows._stay(), 0)
            self.reactor.threadCallQueue.clear()
            self.reactor._justStopped = False

    def test_delayedCalls(self) -> None:
        """
        It is over when one is due.
        """
        self.patch(self.reactor, "seconds", lambda: 1000.0)
        for due, stay in ((1e6, flows.STAY), (0.25, 250), (0, 0)):
            call = self.reactor.callLater(due, lambda: None)
            self.assertEqual(self.flows._stay(), stay)
            call.cancel()
        self.patch(self.reactor, "timeout", lambda: None)
        self.assertEqual(self.flows._stay(), flows.STAY)

    def test_notAfterPython(self) -> None:
        """
        What Python has done may have been to ask for a delayed call.
        """
        stays: list[int] = []
        run = flows._run
        self.patch(flows, "_run", lambda *args: stays.append(args[-1]) or run(*args))
        self.client.shutdown(socket.SHUT_WR)
        self.turn()
        self.assertEqual(len(stays), 2)
        self.assertGreater(stays[0], 0)
        self.assertEqual(stays[1], 0)
        self.assertEqual(self.server.recv(1), b"")

    def test_whoseEpollIsKnown(self) -> None:
        """
        With every other reactor each turn is the reactor's.
        """

        class Other(Poller):
            _poller = self.reactor._poller

        self.assertEqual(flows._epollOf(self.reactor), self.reactor._poller.fileno())
        self.assertEqual(flows._epollOf(Other()), -1)
        self.patch(self.reactor, "_poller", select.poll())
        self.assertEqual(flows._epollOf(self.reactor), -1)


class WithoutTests(SynchronousTestCase):
    """
    What is needed is not there.
    """

    def speak(self) -> Joined:
        reactor = Poller()
        joined = Joined(reactor)
        self.addCleanup(joined.drop)
        joined.speak()
        self.assertEqual(joined.left.came, 8)
        return joined

    def test_notBuilt(self) -> None:
        self.assertFalse(flows.usable(None))
        self.patch(sockets, "AVAILABLE", False)
        self.speak()

    def test_otherBinding(self) -> None:
        """
        pyOpenSSL's binding is not what it was.
        """
        self.assertFalse(flows.usable(flows._flows, object()))
        self.assertTrue(flows.usable())

    def test_otherVersion(self) -> None:
        """
        What was built was built of something else.
        """

        class Old:
            class lib:
                INTERFACE = flows.INTERFACE - 1
                flows_use = staticmethod(lambda *addresses: None)

        self.assertFalse(flows.usable(Old))
        self.assertFalse(flows.usable(object()))
        Old.lib.INTERFACE += 1
        self.assertTrue(flows.usable(Old))

    def test_notWanted(self) -> None:
        transports.use(transports.PYTHON)
        self.addCleanup(transports.use, transports.DIRECT)
        self.speak()

    def test_noDescriptors(self) -> None:
        """
        The reactor goes on with it.
        """

        def fails(*args: Any) -> Any:
            raise OSError("too many open files")

        self.patch(flows, "flowsOf", fails)
        joined = self.speak()
        self.assertIn(joined.left.transport, joined.reactor.readers)

    def test_cannotBeAdded(self) -> None:
        add = flows.Flows.addReader

        def fails(self: flows.Flows, transport: Any) -> None:
            add(self, transport)
            raise OSError("no space")

        self.patch(flows.Flows, "addReader", fails)
        joined = self.speak()
        self.assertEqual(joined.members, set())
        self.assertIn(joined.left.transport, joined.reactor.readers)

    def test_theReactorCannot(self) -> None:
        """
        The epoll itself cannot be waited for.
        """
        add = Poller.addReader

        def fails(self: Poller, reader: Any) -> None:
            if isinstance(reader, flows.Flows):
                raise OSError("no space")
            add(self, reader)

        self.patch(Poller, "addReader", fails)
        joined = self.speak()
        self.assertEqual(joined.members, set())
        self.assertEqual((joined.reactor.errors, joined.left.losses), ([], []))

    def test_smallBuffer(self) -> None:
        """
        Who is to be read in small pieces is.
        """
        reactor = Poller()
        joined = Joined(reactor)
        self.addCleanup(joined.drop)
        joined.left.transport.bufferSize = 3
        joined.speak()
        self.assertEqual(joined.members, {joined.right.transport})
