"""
Draining: connections are given time to end by themselves, and are closed one after the other.

Whoever is closed comes back, through another proxy or through the one that is started next.  If
all were closed in one moment, all would come in one moment, so the moments are spread at random.
Envoy calls it the gradual drain strategy; there, too, it is C{--drain-time} that it takes.

A close is in order: what was read is written, TLS says its close_notify.  What is left at the end,
because its peer does not read, is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..connection import Connection
from ..words import counted

#: Why a connection has ended that was closed, and one that was dropped.
DRAIN, SHUTDOWN = "proxy: drain", "proxy: shutdown"

#: The part of the time in which connections are closed; in the rest, what is owed to the last of
#: them is written.
SPREAD = 0.8

#: How often it is said how many are left: in a quarter of the time, but not more often than that.
LEAST_REPORT = 5.0


class Drain:
    """
    The draining of some connections.

    @ivar done: fires when all of them are closed, or have been dropped.
    """

    log = Logger()

    def __init__(
        self,
        connections: Sequence[Connection],
        clock: Any,
        seconds: float,
        why: str,
        random: Random | None = None,
    ) -> None:
        """
        @param clock: an L{IReactorTime<twisted.internet.interfaces.IReactorTime>}.
        @param seconds: how long it may take in all; 0: everything is dropped at once.
        @param why: what the log's lines begin with.
        """
        self.done: Deferred[None] = Deferred()
        self._clock = clock
        self._seconds = seconds
        self._why = why
        self._random = random or Random()
        self._all = len(connections)
        self._open = {connection.id: connection for connection in connections}
        self._order = list(connections)
        self._timers: list[IDelayedCall] = []
        self._next: IDelayedCall | None = None

    def start(self) -> None:
        """Begin."""
        for connection in self._order:
            connection.whenClosed(partial(self._closed, connection.id))
        if not self._open:
            self.done.callback(None)
            return
        if self._seconds <= 0:
            self.hurry()
            return
        self._say(f"draining {counted(self._all, 'connection')}, for at most {self._seconds:g} s")
        self._random.shuffle(self._order)
        self._end = self._clock.seconds() + self._seconds
        self._timers = [self._clock.callLater(self._seconds, self.hurry)]
        self._report = max(LEAST_REPORT, self._seconds / 4)
        if self._report < self._seconds:
            self._timers.append(self._clock.callLater(self._report, self._progress))
        self._begun = self._clock.seconds()
        self._schedule()

    def hurry(self) -> None:
        """Drop what is left, now."""
        if self._open:
            self._say(f"{self.left} of {counted(self._all, 'connection')} dropped")
        for connection in list(self._open.values()):
            connection.abort(SHUTDOWN)

    @property
    def left(self) -> int:
        """How many of them are open."""
        return len(self._open)

    # -- one after the other

    def _schedule(self) -> None:
        """
        When the next one is closed: each somewhere in its own part of the time, so that there is
        one timer and not as many as connections.
        """
        turn = self._all - len(self._order)
        moment = self._seconds * SPREAD * (turn + self._random.random()) / self._all
        delay = self._begun + moment - self._clock.seconds()
        self._next = self._clock.callLater(max(0.0, delay), self._closeNext)

    def _closeNext(self) -> None:
        self._next = None
        connection = self._order.pop()
        if self._order:
            self._schedule()
        if connection.id in self._open:
            connection.end(DRAIN)

    def _closed(self, which: str) -> None:
        del self._open[which]
        if not self._open:
            self._finish()

    # -- the end

    def _progress(self) -> None:
        left = self._end - self._clock.seconds()
        self._say(f"{self.left} of {counted(self._all, 'connection')} left, {left:.0f} s to go")
        if self._report < left:
            self._timers.append(self._clock.callLater(self._report, self._progress))

    def _say(self, what: str) -> None:
        self.log.info("{why}: {what}", why=self._why, what=what)

    def _finish(self) -> None:
        timers, self._timers = self._timers, []
        for timer in [*timers, self._next]:
            if timer is not None and timer.active():
                timer.cancel()
        self._next = None
        self._say(f"{counted(self._all, 'connection')} closed, none is left")
        self.done.callback(None)
