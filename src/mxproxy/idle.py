"""
Ends connections on which nothing has moved for a while.

Nothing is done per chunk: the bytes that a connection has carried are compared with what
they were, a few times in each timeout.  A byte has moved when it was read, and when it was
written to a socket: a peer that reads slowly, but reads, is not idle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from .connection import Connection

#: How often a timeout is looked at.  A connection ends after the timeout and at most an
#: eighth more.
LOOKS = 8


def unwritten(transport: Any) -> int:
    """
    @param transport: a socket's, or whatever is in its place.
    @return: how many bytes wait in it to be written to the socket; 0 where nobody can tell.
    """
    # What Twisted's FileDescriptor keeps them in, and tells nobody.
    buffered = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
    more: int = getattr(transport, "_tempDataLen", 0)
    return buffered + more


class IdleWatch:
    """
    Watches one connection.
    """

    def __init__(
        self, connection: Connection, clock: Any, timeout: float, idle: Callable[[], None]
    ) -> None:
        """
        @param timeout: seconds.
        @param idle: called once, when no byte has moved for so long.
        """
        self._connection = connection
        self._clock = clock
        self._timeout = timeout
        self._idle: Callable[[], None] | None = idle
        self._moved = self._marks()
        self._looks = 0
        self._timer: IDelayedCall | None = clock.callLater(timeout / LOOKS, self._look)

    def stop(self) -> None:
        """Watch no more."""
        self._idle = None
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

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
        moved = self._marks()
        self._looks = self._looks + 1 if moved == self._moved else 0
        self._moved = moved
        if self._looks < LOOKS:
            self._timer = self._clock.callLater(self._timeout / LOOKS, self._look)
            return
        idle, self._idle = self._idle, None
        assert idle is not None, "a watch that was stopped has no timer"
        idle()
