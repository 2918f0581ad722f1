"""
Closes a socket without losing what was written to it.

A socket that is closed with bytes unread makes the kernel send a reset, and throw away what it has
not sent yet: a server that answers in the middle of an upload and closes would not be heard, or not
be taken for one that has said all.  (Who has said nothing resets, as Envoy does.)  So our direction
is ended first, and what the peer still sends is read and dropped, until its kernel has acknowledged
everything and it sends no more, or it ends too, or has taken too long.  After that the socket is
closed as it is: what is left is the kernel's to deliver, and nobody is left to be told of it.  Where
the kernel does not say what is acknowledged, which only Linux does, nothing is waited for.
"""

from __future__ import annotations

import socket as sockets
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from .buffer import VIEW
from .outstanding import unacknowledged

#: Seconds until the first look at whether everything has arrived; each is twice as far from the
#: last, up to the second.
FIRST_LOOK, LAST_LOOK = 0.01, 1.0

#: Seconds that all of it may take.  Less than a side that does not read is waited for elsewhere
#: (C{CLOSE_TIMEOUT}), since that one is reset then.
LONGEST = 20.0

#: Chunks that are dropped in one turn.
TURNS = 4


@implementer(IReadDescriptor)
class Lingering:
    """
    One socket, from the end of our direction until it may be closed.
    """

    def __init__(self, socket: sockets.socket, reactor: Any, done: Callable[[], None]) -> None:
        """
        @param socket: its writing direction has ended, and nobody else waits for it.
        @param done: called once, when it may be closed.
        """
        self._socket = socket
        self.fileno: Callable[[], int] = socket.fileno
        self._reactor = reactor
        self._done: Callable[[], None] | None = done
        self._wait = FIRST_LOOK
        self._until = reactor.seconds() + LONGEST
        self._dropped = False
        self._timer: IDelayedCall | None = reactor.callLater(self._wait, self._look)
        reactor.addReader(self)

    def _look(self) -> None:
        self._timer = None
        left = self._until - self._reactor.seconds()
        sending, self._dropped = self._dropped, False
        if left <= 0 or not (sending or unacknowledged(self._socket)):
            self._end()
            return
        self._wait = min(2 * self._wait, LAST_LOOK, left)
        self._timer = self._reactor.callLater(self._wait, self._look)

    def doRead(self) -> None:
        """There is more that nobody wants."""
        try:
            for _ in range(TURNS):
                if not self._socket.recv_into(VIEW):
                    self._end()
                    return
                self._dropped = True
        except BlockingIOError:
            pass
        except OSError:
            self._end()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has seen an end that we have not read."""
        self._end()

    def logPrefix(self) -> str:
        """See L{ILoggingContext<twisted.internet.interfaces.ILoggingContext>}."""
        return "mxproxy"

    def stop(self) -> None:
        """Wait no more; C{done} is not called."""
        self._done = None
        self._reactor.removeReader(self)
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def _end(self) -> None:
        done = self._done
        self.stop()
        if done is not None:
            done()
