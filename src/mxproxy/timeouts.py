"""
How long a joined connection may last: idle, half-closed and idle, and at all.

What belongs here is time that passes between two applications.  What has to be over before
they are joined (TLS handshakes, exchanges, connects) is bounded where it is waited for; the
table in docs/architecture.md lists both.

Nothing is done per chunk: the bytes that a connection has carried are compared with what
they were, a few times in each timeout.  A byte has moved when it was read, and when it was
written to a socket: a peer that reads slowly, but reads, is not idle.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall

from .connection import Connection
from .interfaces import IChainContext
from .transports.outstanding import unwritten

#: How often an idle timeout is looked at.  A connection ends after the timeout and at most an
#: eighth more.
LOOKS = 8

#: Envoy's C{tcp_proxy.idle_timeout}.
IDLE = 3600.0

#: Envoy has none, HAProxy advises 30 s (C{timeout client-fin}).  Who has ended his stream and
#: reads on is waiting for an answer, which may take minutes to compute: as for a batch job
#: whose input is complete.  But most peers that half-close and then are silent are gone.
HALF_CLOSED = 300.0


@dataclass(frozen=True)
class Timeouts:
    """
    Seconds; 0: for ever.

    @ivar idle: without a byte in either direction.
    @ivar half_closed: the same, once one of the directions has ended; C{idle} holds, too.
    @ivar duration: from the accepted connection on, whatever moves.
    @ivar duration_jitter: per cent; a connection's own C{duration} is longer by a random part
        of it, so that connections that were made together do not end together.
    """

    idle: float = 0.0
    half_closed: float = 0.0
    duration: float = 0.0
    duration_jitter: float = 0.0


#: None of them.
FOR_EVER = Timeouts()


class Watch:
    """
    Watches one connection: one timer, whatever is waited for.
    """

    __slots__ = (
        *("_connection", "_context", "_deadline", "_duration", "_end", "_idle", "_looks"),
        *("_moved", "_timer", "_timeouts", "_token"),
    )

    def __init__(
        self,
        connection: Connection,
        context: IChainContext,
        timeouts: Timeouts,
        end: Callable[[str], None],
    ) -> None:
        """
        Begin with the connection's duration; L{joined} is still to come.

        @param end: called once, with C{"token: detail"}, when a timeout is over; never after
            L{stop}.
        """
        self._connection = connection
        self._context = context
        self._timeouts = timeouts
        self._end: Callable[[str], None] | None = end
        self._duration = timeouts.duration
        if timeouts.duration_jitter:
            self._duration *= 1 + random.random() * timeouts.duration_jitter / 100
        self._deadline = context.clock.seconds() - connection.duration + self._duration
        # Seconds without a byte, and what that is called; 0 until both sides are joined.
        self._idle = 0.0
        self._token = ""
        self._looks = 0
        self._moved: tuple[int, ...] = ()
        self._timer: IDelayedCall | None = None
        self._wait()

    def joined(self) -> None:
        """Bytes may move from now on."""
        self._watchIdle(self._timeouts.idle, "idle_timeout")

    def halfClosed(self) -> None:
        """One of the directions has ended."""
        idle, shorter = self._timeouts.idle, self._timeouts.half_closed
        if shorter and (not idle or shorter < idle):
            self._watchIdle(shorter, "half_closed_timeout")

    def stop(self) -> None:
        """Watch no more."""
        self._end = None
        self._cancel()

    def _watchIdle(self, seconds: float, token: str) -> None:
        if self._end is not None and seconds:
            self._idle, self._token = seconds, token
            self._looks = 0
            self._moved = self._marks()
            self._cancel()
            self._wait()

    def _cancel(self) -> None:
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def _wait(self) -> None:
        clock = self._context.clock
        waits = []
        if self._idle:
            waits.append(self._idle / LOOKS)
        if self._duration:
            waits.append(max(0.0, self._deadline - clock.seconds()))
        if waits:
            self._timer = clock.callLater(min(waits), self._look)

    def _marks(self) -> tuple[int, ...]:
        downstream, upstream = self._connection.downstream, self._connection.upstream
        return (
            downstream.bytes_received + downstream.bytes_sent,
            upstream.bytes_received + upstream.bytes_sent,
            unwritten(downstream.transport),
            unwritten(upstream.transport),
        )

    def _look(self) -> None:
        self._timer = None
        if self._duration and self._context.clock.seconds() >= self._deadline:
            self._over(
                "tcp.max_downstream_connection_duration",
                f"max_connection_duration: open for {self._connection.duration:.3g} s",
            )
            return
        moved = self._marks()
        self._looks = self._looks + 1 if moved == self._moved else 0
        self._moved = moved
        if self._looks < LOOKS:
            self._wait()
            return
        self._over(f"tcp.{self._token}", f"{self._token}: no byte in {self._idle:g} s")

    def _over(self, counter: str, reason: str) -> None:
        end, self._end = self._end, None
        assert end is not None, "a watch that was stopped has no timer"
        self._context.count(counter)
        end(reason)
