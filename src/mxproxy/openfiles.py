"""
How many files a process may have open, and what becomes of its listeners when there are none left.

What Twisted's C{tcp.Port} does by itself when C{accept} fails with C{EMFILE} is to accept with a
file kept in reserve, and close what it has accepted; several lines are logged for each.  When
it fails with C{ENFILE}, or the reserve is gone, the listening socket stays readable, so that the
reactor does nothing but try again and log that.  And nothing is left for what else needs a file:
upstreams, a log that is reopened, certificates that are read again.

Here a listener pauses before that: when what it accepts comes near the limit.  Who wants to
connect waits in the kernel's queue (C{backlog}); those who are connected notice nothing.

How near is seen for nothing: the kernel gives the lowest number that is free, so a new socket's
number says how many files are open at least.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from .interfaces import IChainContext
from .limits import Handshakes
from .observe.throttle import Throttle

log = Logger()

#: Files that accepted connections leave to everything else.
RESERVE = 64

#: How many connections are accepted in one turn of the reactor.  C{tcp.Port} takes 20 more in each
#: turn in which there are enough; but each new connection costs a millisecond or two of TLS, and
#: those who are connected wait for all that come in a turn.
ACCEPTS = 16

#: Seconds between two looks whether there is room again.
RETRY = 0.1

#: Seconds after which a handshake that is not over makes room when there is none; an honest one
#: takes milliseconds, and over a bad line less than this.
STALLED = 1.0

#: What C{accept} fails with when the process, or the system, can have no more.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# A limit of more than any process has files.
_UNLIMITED = 1 << 30


def softLimit() -> int:
    """
    How many files this process may have open.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def raiseSoftLimit() -> None:
    """
    Take what the system allows.  The soft limit is usually 1024 for the sake of programs that
    use C{select}; this one does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # macOS says unlimited, and does not take it.
        log.warn(  # noqa: G010
            "the limit of open files stays at {soft}: {error}", soft=soft, error=error
        )


class OpenFiles:
    """
    How many files there are, and for whom.

    @ivar handshakes: who is not connected to an upstream yet, and will want a file for that.
    """

    def __init__(self, limit: int, mostHandshakes: int) -> None:
        """
        @param limit: how many this process may have open.
        @param mostHandshakes: how many unfinished handshakes there may be; a quarter of all
            files at most.
        """
        self.limit = limit
        self.handshakes = Handshakes(max(1, min(mostHandshakes, limit // 4)))

    def isNear(self, number: int) -> bool:
        """
        @param number: of a file that was just opened.
        @return: whether no other connection should be accepted.
        """
        reserve = min(RESERVE, self.limit // 8)
        return number >= self.limit - reserve - len(self.handshakes)


class GuardedSocket:
    """
    A listening socket that says that nobody wants to connect while there are no files left.

    It is put in the place of a C{tcp.Port}'s own.
    """

    def __init__(self, port: Any, files: OpenFiles, context: IChainContext) -> None:
        """
        @param port: the C{tcp.Port}.
        @param context: the listener's.
        """
        self._port = port
        self._socket: socket.socket = port.socket
        self._files = files
        self._context = context
        self._throttle = Throttle(context.clock.seconds)
        self._waiting: IDelayedCall | None = None
        self._accepted = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def accept(self) -> tuple[socket.socket, Any]:
        """See C{socket.accept}."""
        if self._waiting is not None or self._accepted >= ACCEPTS:
            # The port accepts several in a row, until there is nobody any more.
            self._accepted = 0
            raise BlockingIOError(errno.EAGAIN, "not now")
        try:
            accepted, address = self._socket.accept()
        except OSError as error:
            self._accepted = 0
            if error.errno not in _EXHAUSTED:
                raise
            self._pause(os.strerror(error.errno))
            raise BlockingIOError(errno.EAGAIN, "not now") from None
        self._accepted += 1
        if self._files.isNear(accepted.fileno()):
            self._pause("few files are left")
        return accepted, address

    def close(self) -> None:
        """See C{socket.close}."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.cancel()
        self._socket.close()

    def _pause(self, why: str) -> None:
        name, clock = self._context.listener, self._context.clock
        self._context.count(f"listener.{name}.accept_paused")
        more = self._throttle.line()
        if more is not None:
            log.warn(  # noqa: G010
                "{name} accepts no connections for now: {why}, of {limit} that may be open"
                " (ulimit -n, LimitNOFILE=){more}",
                name=name,
                why=why,
                limit=self._files.limit,
                more=more,
            )
        self._port.stopReading()
        self._waiting = clock.callLater(RETRY, self._retry)

    def _retry(self) -> None:
        self._waiting = None
        if self._port.disconnecting:
            return
        if self._isRoom():
            self._port.startReading()
        else:
            self._files.handshakes.makeRoom(STALLED)
            self._waiting = self._context.clock.callLater(RETRY, self._retry)

    def _isRoom(self) -> bool:
        try:
            lowest = os.dup(self._socket.fileno())
        except OSError:
            return False
        os.close(lowest)
        return not self._files.isNear(lowest)
