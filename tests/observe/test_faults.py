"""
The program's own log: what an operator has to look at, and nothing else.
"""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.connection import Connection
from mxproxy.observe.faults import FaultLog
from mxproxy.observe.live import LiveConnections
from mxproxy.observe.throttle import LINES, PERIOD
from mxproxy.testing import MemoryReactor, MemoryTransport

PEER = IPv4Address("TCP", "192.0.2.1", 40000)


class FaultTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.faults = FaultLog(self.clock.seconds)

    def warned(self, reason: str, lost: Exception) -> list[str]:
        """
        Close a connection for a reason, or for none that a layer has said.
        """
        connection = Connection("inbound", Clock().seconds, [self.faults])
        connection.opened(MemoryTransport(MemoryReactor(), peer=PEER))
        if reason:
            connection.downstream.closing(reason)
        with capturedLogs() as events:
            connection.lost(connection.downstream, Failure(lost))
        return [formatEvent(event) for event in events]

    def test_orderly(self) -> None:
        """
        How connections end, and what limits make them end by, is for the access log.
        """
        for reason in ("", "truncated: the stream ended", "idle_timeout: no byte in 5 s"):
            self.assertEqual(self.warned(reason, ConnectionDone()), [])
        self.assertEqual(self.warned("", ConnectionLost()), [])

    def test_fault(self) -> None:
        """
        Who it was, where, and why.
        """
        (line,) = self.warned("unknown_ca: signed by nobody we know", ConnectionDone())
        self.assertRegex(
            line,
            r"^connection [0-9a-f]{16} from 192\.0\.2\.1:40000 on inbound closed: "
            r"downstream: unknown_ca: signed by nobody we know$",
        )

    def test_flood(self) -> None:
        """
        A few lines of a kind; then, when some time has passed, another, and how many there would
        have been. Another kind is not kept out by it.
        """
        lines = [self.warned("not_tls: what", ConnectionDone()) for _ in range(LINES + 100)]
        self.assertEqual([len(each) for each in lines], [1] * LINES + [0] * 100)
        (other,) = self.warned("unknown_ca: who", ConnectionDone())
        self.assertTrue(other.endswith("unknown_ca: who"))
        self.clock.advance(PERIOD)
        (line,) = self.warned("not_tls: what", ConnectionDone())
        self.assertTrue(line.endswith("not_tls: what (and 100 more like it before)"), line)
        (line,) = self.warned("not_tls: what", ConnectionDone())
        self.assertTrue(line.endswith("not_tls: what"), line)


class LiveTests(SynchronousTestCase):
    def test_life(self) -> None:
        """
        A connection is live from accepted to closed, and whoever waits for none is told then.
        """
        live = LiveConnections()
        self.successResultOf(live.whenNone())
        connection = Connection("inbound", Clock().seconds, [live])
        connection.opened(MemoryTransport(MemoryReactor(), peer=PEER))
        self.assertEqual((len(live), list(live)), (1, [connection]))
        waiting = live.whenNone()
        self.assertNoResult(waiting)
        connection.lost(connection.downstream, Failure(ConnectionDone()))
        self.assertEqual(len(live), 0)
        self.successResultOf(waiting)
