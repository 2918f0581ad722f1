"""
The watch over how long connections last.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.chain import ChainContext
from mxproxy.connection import Connection
from mxproxy.observe.counters import Counters
from mxproxy.testing import MemoryReactor, MemoryTransport
from mxproxy.timeouts import LOOKS, Timeouts, Watch, unwritten
from mxproxy.wire.metadata import Node

from .wire import helpers

__all__ = ["helpers"]  # Imported for hypothesis' settings.

TIMEOUT = 8.0
IDLE = Timeouts(TIMEOUT)


class WatchTests(SynchronousTestCase):
    def watch(self, timeouts: Timeouts = IDLE, join: bool = True) -> None:
        self.reactor = MemoryReactor()
        self.counters = Counters()
        self.connection = Connection("listener", self.reactor.seconds)
        self.idleAt: list[float] = []
        self.reasons: list[str] = []
        context = ChainContext(
            "downstream", "chain", "listener", Node(), self.reactor, self.counters.count
        )
        self.watching = Watch(self.connection, context, timeouts, self.over)
        if join:
            self.watching.joined()

    def over(self, reason: str) -> None:
        self.idleAt.append(self.reactor.seconds())
        self.reasons.append(reason)

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
        self.watch()
        self.watching._end = lambda reason: self.watching.stop()
        self.reactor.advance(100)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_notJoined(self) -> None:
        """
        Before both sides are there, nobody is idle: what is waited for has its own timeouts.
        """
        self.watch(join=False)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.advance(100)
        self.watching.joined()
        self.reactor.advance(TIMEOUT)
        self.assertEqual(self.idleAt, [100 + TIMEOUT])

    def test_halfClosed(self) -> None:
        """
        From then on, the shorter of the two; the longer one is not begun anew.
        """
        for idle, half, when in ((100, 8, 18.0), (8, 100, 8.0), (0, 8, 18.0), (12, 0, 12.0)):
            self.watch(Timeouts(idle, half))
            self.reactor.advance(min(10, when - 1))
            self.watching.halfClosed()
            self.reactor.advance(200)
            self.assertEqual(self.idleAt, [when])
            token = "half_closed_timeout" if when == 18.0 else "idle_timeout"
            shorter = half if when == 18.0 else idle
            self.assertEqual(self.reasons, [f"{token}: no byte in {shorter:g} s"])
            self.assertEqual(self.counters, {f"tcp.{token}": 1})

    def test_halfClosedAfterTheEnd(self) -> None:
        self.watch(Timeouts(100, 8))
        self.watching.stop()
        self.watching.halfClosed()
        self.watching.joined()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_duration(self) -> None:
        """
        From the connection's beginning, whatever moves.
        """
        self.watch(Timeouts(TIMEOUT, 0, 20))
        for _ in range(9):
            self.connection.upstream.bytes_sent += 1
            self.reactor.advance(2.5)
        self.assertEqual(self.idleAt, [20.0])
        self.assertEqual(self.reasons, ["max_connection_duration: open for 20 s"])
        self.assertEqual(self.counters, {"tcp.max_downstream_connection_duration": 1})
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_jitter(self) -> None:
        """
        Longer by up to so many per cent, never shorter.
        """
        ends = set()
        for _ in range(50):
            self.watch(Timeouts(duration=20, duration_jitter=50))
            self.reactor.advance(100)
            ends.update(self.idleAt)
        self.assertGreater(len(ends), 25)
        self.assertGreaterEqual(min(ends), 20)
        self.assertLessEqual(max(ends), 30)

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
