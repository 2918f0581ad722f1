"""
What all listener filters have in common: a time that they share, and how it ends.

They wait for a connection's first bytes, one after the other.  Whatever those are: until a
filter has come to its result, its layer has all that it has read in hand, so that nothing is
lost when it does not come to one.

How a wait ends, as in Envoy (C{ActiveTcpSocket}, and Envoy 1.40 was asked):

  - The filter has seen enough: it leaves, and the next one looks.
  - The time is up.  It is up for all of them: those after this one do not look any more.  The
    connection is closed or, with C{continue_on_listener_filters_timeout}, goes on with what is
    known, and with every byte that was read, be it half a PROXY header.
  - The peer ends its stream.  A connection is closed that is not even known by then: nobody is
    asked to serve a port scan.

Who is closed and has sent something sees a reset, as from a kernel that closes a socket with
unread bytes; who has sent nothing sees the end of the stream.

On a socket of ours the bytes are looked at and stay where they are (C{MSG_PEEK}), so that TLS can
be done on the socket itself behind all of this; what a filter takes out is read then.
"""

from __future__ import annotations

import select
import socket as sockets
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from ..connection import Connection, Key
from ..transports.buffer import CHUNK
from ..transports.socket import SocketTransport
from .deliver import HoldingLayer

#: Bytes that are looked at, at most: more than any filter wants to see before it decides.  The
#: most is a PROXY header of version 2, 64 KiB and 16 bytes; with less, a socket that is full would
#: be told to be readable for ever, and nothing in it be new.
PEEK = 2 * CHUNK


class _Time:
    """
    @ivar until: when it is up, on the chain's clock; C{None}: never.
    @ivar over: whether it was up before the filters had come to their results.
    """

    def __init__(self, until: float | None) -> None:
        self.until = until
        self.over = False


#: One connection's.
TIME: Key[_Time] = Key("mxproxy.listener_filters_time", _Time)


def timeIsOver(connection: Connection) -> bool:
    """
    Whether the listener filters are not to look at C{connection} any more.
    """
    time = connection.get(TIME)
    return time is not None and time.over


class ListenerFilterLayer(HoldingLayer):
    """
    The base of layers that look at the first bytes.

    Subclasses override L{begin}, L{look}, and what they want of L{ended} and L{timedOut}.
    From L{look} they call L{goOn} or L{refuse}, once.
    """

    _looking = False
    _peeking = False

    # -- for subclasses

    def begin(self) -> bool:
        """
        @return: whether there is anything to be looked at.
        """
        return True

    def look(self, data: bytes) -> None:
        """
        More has come.

        @param data: never the same bytes twice.
        """
        raise NotImplementedError

    def ended(self) -> None:
        """The peer has ended its stream, and the connection is going to be closed."""

    def timedOut(self) -> None:
        """The time is up, and the connection goes on with what is known."""

    @property
    def seen(self) -> bytes:
        """All that has come so far."""
        return bytes(self._seen)

    def goOn(self, data: bytes) -> None:
        """
        This filter is done.

        @param data: what of L{seen} whatever is above gets to read.
        """
        taken = len(self._seen) - len(data)
        peeking = self._peeking
        self._finish()
        if not peeking:
            self.leaveWith(data)
            return
        if taken:
            self.transport.socket.recv(taken)
        self.transport.startReading()
        self.leave()

    def refuse(self, reason: str) -> None:
        """
        Close the connection.

        @param reason: C{"token: detail"}, as logs have it.
        """
        spoke = bool(self._seen)
        self._finish()
        self.peer.closing(reason)
        if spoke:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    # -- the wait

    def connectionMade(self) -> None:
        """Wait for the first bytes, but not for ever: the peer may want us to speak first."""
        self._seen = bytearray()
        time = self._time()
        if time.over or not self.begin():
            self.leave()
            return
        self._looking = True
        if time.until is not None:
            # Never at once, even when it is up: what the filter before has in hand comes first.
            left = max(0.0, time.until - self.context.clock.seconds())
            self.startTimer(left, self._timeUp)
        if canPeek(self.transport):
            self._peeking = True
            self.transport.control(self._peek)

    def _time(self) -> _Time:
        time = self.connection.get(TIME)
        if time is None:
            timeout = self.context.listener_filters_timeout
            time = _Time(self.context.clock.seconds() + timeout if timeout else None)
            self.connection.set(TIME, time)
        return time

    def _peek(self) -> None:
        """The socket can be read, or has ended."""
        socket = self.transport.socket
        try:
            data = socket.recv(PEEK, sockets.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            self._lost()
            return
        new = data[len(self._seen) :]
        if new:
            self._seen += new
            # Until there is more than that, there is nothing to be told of.
            socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVLOWAT, len(data) + 1)
            self.look(new)
        elif not data or _hasEnded(socket):
            # What came before a reset can still be looked at.
            if socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_ERROR):
                self._lost()
            else:
                self.readConnectionLost()

    def _lost(self) -> None:
        self.transport.control(None)
        self.transport.connectionLost(Failure(ConnectionLost()))

    def dataReceived(self, data: bytes) -> None:
        """Look at it."""
        if not self._looking:
            self.deliver(data)
            return
        self._seen += data
        self.look(data)

    def readConnectionLost(self) -> None:
        """There is no more to look at."""
        if not self._looking:
            self.deliverEOF()
            return
        self.ended()
        self.refuse(f"closed: the stream ended while {self.name} was looking at it")

    def _timeUp(self) -> None:
        if not self.context.continue_on_listener_filters_timeout:
            self.refuse(f"listener_filters_timeout: {self.name} has seen too little to decide")
            return
        self._time().over = True
        self.timedOut()
        self.goOn(self.seen)

    def _finish(self) -> None:
        if self._peeking:
            self._peeking = False
            self.transport.control(None)
            self.transport.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVLOWAT, 1)
        self._looking = False
        self._seen = bytearray()
        self.stopTimer()


def canPeek(transport: Any) -> bool:
    """
    Whether what C{transport} would read next can be looked at, and waited for, and stay there.
    """
    # The kernel heeds SO_RCVLOWAT in a poll for TCP only.
    return (
        isinstance(transport, SocketTransport)
        and transport.socket.family in (sockets.AF_INET, sockets.AF_INET6)
        and hasattr(select, "POLLRDHUP")
    )


def _hasEnded(socket: sockets.socket) -> bool:
    """Whether the peer has ended its stream, though there are bytes to be read before."""
    poll = select.poll()
    poll.register(socket, select.POLLRDHUP)
    return bool(poll.poll(0))
