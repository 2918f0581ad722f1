"""
Access logs whose lines somebody has given a format: one line at a connection's end, and if it is
asked for one when it is connected, and more while it lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from ..config.plan import AccessLogPlan
from ..connection import Connection, Peer
from ..interfaces import IConnectionObserver
from ..words import are
from .access_log import formatTime
from .format import Render
from .operators import Record
from .writer import Writer

# Envoy's names for the reasons of a line (data.accesslog.v3.AccessLogType).
CONNECTED, PERIODIC, END = "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd"

#: What a listener's own log gives as the reason.
NOT_SET = "NotSet"


@implementer(IConnectionObserver)
class FormattedLog:
    """
    Makes the lines.
    """

    def __init__(
        self,
        plan: AccessLogPlan,
        render: Render,
        writer: Writer,
        clock: Any,
        *,
        end: str = END,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param render: the plan's format, compiled.
        @param clock: an L{IReactorTime}.
        @param end: the reason that the last line gives.
        @param wallClock: seconds since the epoch.
        """
        self._onConnected = plan.on_connected
        self._interval = plan.flush_interval
        self._render = render
        self._writer = writer
        self._clock = clock
        self._end = end
        self._wallClock = wallClock
        self._timers: dict[str, IDelayedCall] = {}

    def opened(self, connection: Connection) -> None:
        """See L{IConnectionObserver.opened}."""
        if self._interval:
            self._wait(connection)

    def identified(self, connection: Connection, peer: Peer) -> None:
        """Nothing to write yet."""

    def connected(self, connection: Connection) -> None:
        """See L{IConnectionObserver.connected}."""
        if self._onConnected:
            self._write(connection, CONNECTED)

    def closed(self, connection: Connection) -> None:
        """See L{IConnectionObserver.closed}."""
        timer = self._timers.pop(connection.id, None)
        if timer is not None:
            timer.cancel()
        self._write(connection, self._end)

    def _wait(self, connection: Connection) -> None:
        self._timers[connection.id] = self._clock.callLater(self._interval, self._again, connection)

    def _again(self, connection: Connection) -> None:
        self._write(connection, PERIODIC)
        self._wait(connection)

    def _write(self, connection: Connection, type: str) -> None:
        self._writer.write(self._render(Record(connection, type, self._wallClock())))


def describeLoss(lines: int, now: float) -> bytes:
    """
    The line of text at the place of lines that are missing.

    @param now: seconds since the epoch.
    """
    missing = are(lines, "line", of="this log")
    return f"[{formatTime(now)}] {missing} missing here\n".encode("ascii")
