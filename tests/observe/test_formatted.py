"""
When a log with a format writes: at the end, and if it is told to when the connection is made and
while it lasts.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mxproxy.config.plan import AccessLogPlan
from mxproxy.connection import Connection
from mxproxy.interfaces import IConnectionObserver
from mxproxy.observe.format import compileFormat
from mxproxy.observe.formatted import NOT_SET, FormattedLog, describeLoss
from mxproxy.wire.metadata import Absence
from mxproxy.wire.peerstate import PeerState

from .lines import Lines

NEW_YEAR = 1767225600.0


class FormattedTests(SynchronousTestCase):
    def log(self, end: str = "", **more: object) -> FormattedLog:
        self.clock = Clock()
        self.writer = Lines()
        plan = AccessLogPlan(
            "nowhere",
            text_format="%ACCESS_LOG_TYPE% %DURATION% %EMIT_TIME%",
            **more,  # type: ignore[arg-type]
        )
        render = compileFormat(plan)
        assert render is not None
        ends = {"end": end} if end else {}
        return FormattedLog(
            plan, render, self.writer, self.clock, wallClock=lambda: NEW_YEAR, **ends
        )

    def connection(self, log: FormattedLog) -> Connection:
        connection = Connection("listener", self.clock.seconds)
        connection.observe(log)
        return connection

    def live(self, log: FormattedLog) -> list[bytes]:
        """
        A connection's life: lasting 2.5 s, half of it connected.
        """
        connection = self.connection(log)
        self.clock.advance(1.25)
        connection.downstream.expectMetadata()
        connection.identify(connection.downstream, Absence(PeerState.BAD_MAGIC))
        connection.joined()
        self.clock.advance(1.25)
        log.closed(connection)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return [line.rpartition(b" ")[0] for line in self.writer.lines]

    def test_interface(self) -> None:
        verifyObject(IConnectionObserver, self.log())

    def test_end(self) -> None:
        self.assertEqual(self.live(self.log()), [b"TcpConnectionEnd 2500"])

    def test_ofAListener(self) -> None:
        self.assertEqual(self.live(self.log(NOT_SET)), [b"NotSet 2500"])

    def test_time(self) -> None:
        self.live(self.log())
        self.assertTrue(self.writer.lines[0].endswith(b" 2026-01-01T00:00:00.000Z"))

    def test_onConnected(self) -> None:
        self.assertEqual(
            self.live(self.log(on_connected=True)),
            [b"TcpUpstreamConnected 1250", b"TcpConnectionEnd 2500"],
        )

    def test_periodic(self) -> None:
        """
        From when the chain was chosen, each time anew.
        """
        self.assertEqual(
            self.live(self.log(flush_interval=1.25)),
            [b"TcpPeriodic 1250", b"TcpPeriodic 2500", b"TcpConnectionEnd 2500"],
        )

    def test_eachConnectionItsOwn(self) -> None:
        """
        Two connections' intervals do not touch each other.
        """
        log = self.log(flush_interval=1.0)
        first = self.connection(log)
        self.clock.advance(0.5)
        second = self.connection(log)
        self.clock.advance(0.5)
        log.closed(first)
        self.clock.advance(0.5)
        log.closed(second)
        self.assertEqual(
            [line.rpartition(b" ")[0] for line in self.writer.lines],
            [
                b"TcpPeriodic 1000",
                b"TcpConnectionEnd 1000",
                b"TcpPeriodic 1000",
                b"TcpConnectionEnd 1000",
            ],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LossTests(SynchronousTestCase):
    def test_lossIsALine(self) -> None:
        self.assertEqual(
            describeLoss(7, NEW_YEAR),
            b"[2026-01-01T00:00:00.000Z] 7 lines of this log are missing here\n",
        )
