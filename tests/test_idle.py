"""
The watch over connections on which nothing moves.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.connection import Connection
from mxproxy.idle import LOOKS, IdleWatch, unwritten
from mxproxy.testing import MemoryReactor, MemoryTransport

from .wire import helpers

__all__ = ["helpers"]  # Imported for hypothesis' settings.

TIMEOUT = 8.0


class WatchTests(SynchronousTestCase):
    def watch(self) -> None:
        self.reactor = MemoryReactor()
        self.connection = Connection("listener", self.reactor.seconds)
        self.idleAt: list[float] = []
        self.watching = IdleWatch(
            self.connection,
            self.reactor,
            TIMEOUT,
            lambda: self.idleAt.append(self.reactor.seconds()),
        )

    def test_nothing(self) -> None:
        self.watch()
        self.reactor.advance(100)
        self.assertEqual(self.idleAt, [TIMEOUT])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_each(self) -> None:
        """
        Whichever way a byte goes, it counts.
        """
        for side in ("downstream", "upstream"):
            for count in ("bytes_received", "bytes_sent"):
                self.watch()
                self.reactor.advance(TIMEOUT - 0.5)
                setattr(getattr(self.connection, side), count, 1)
                self.reactor.advance(TIMEOUT - 0.5)
                self.assertEqual(self.idleAt, [], (side, count))
                self.reactor.advance(2)
                self.assertEqual(len(self.idleAt), 1)

    def test_written(self) -> None:
        """
        So does one that leaves the transport's own buffer.
        """
        for side in ("downstream", "upstream"):
            self.watch()
            transport = MemoryTransport(self.reactor, capacity=10)
            getattr(self.connection, side).transport = transport
            transport.outgoing.capacity = 0
            transport.connected = 1
            transport.write(b"x" * 30)
            self.reactor.settle()
            self.assertEqual(unwritten(transport), 30)
            self.reactor.advance(TIMEOUT - 0.5)
            transport.outgoing.capacity = 10
            self.reactor.settle()
            self.assertEqual(unwritten(transport), 20)
            self.reactor.advance(TIMEOUT - 0.5)
            self.assertEqual(self.idleAt, [], side)
            self.reactor.advance(2)
            self.assertEqual(len(self.idleAt), 1)
            transport.write(b"y" * 5)
            self.assertEqual(unwritten(transport), 25)

    def test_unknown(self) -> None:
        """
        A transport that does not say, and none.
        """
        self.assertEqual((unwritten(None), unwritten(object())), (0, 0))

    def test_stopped(self) -> None:
        for after in (0, TIMEOUT / 2, TIMEOUT + 1):
            self.watch()
            self.reactor.advance(after)
            called = len(self.idleAt)
            self.watching.stop()
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.reactor.advance(100)
            self.assertEqual(len(self.idleAt), called)
            self.watching.stop()

    def test_stoppedFromWithin(self) -> None:
        reactor = MemoryReactor()
        connection = Connection("listener", reactor.seconds)

        def stop() -> None:
            watch.stop()

        watch = IdleWatch(connection, reactor, TIMEOUT, stop)
        reactor.advance(100)
        self.assertEqual(reactor.getDelayedCalls(), [])

    @given(st.lists(st.floats(0.0, 2 * TIMEOUT), max_size=20))
    def test_when(self, pauses: list[float]) -> None:
        """
        Invariant: it is called once, when nothing has moved for the timeout, and at most an
        eighth of it later.
        """
        self.watch()
        last = 0.0
        for pause in pauses:
            self.reactor.advance(pause)
            if self.idleAt:
                break
            last = self.reactor.seconds()
            self.connection.upstream.bytes_sent += 1
        self.reactor.advance(2 * TIMEOUT)
        (idleAt,) = self.idleAt
        self.assertGreater(idleAt - last, TIMEOUT - 1e-6)
        self.assertLess(idleAt - last, TIMEOUT * (1 + 1 / LOOKS) + 1e-6)
