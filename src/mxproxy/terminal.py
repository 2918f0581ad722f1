"""
What every end of a chain has in common: it counts bytes, and closes within a bound.

L{mxproxy.tcp} joins two such ends; a filter that answers by itself is one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from .connection import Connection, Peer, connectionOf
from .interfaces import IChainContext
from .layers.base import CLOSE_TIMEOUT
from .transports.outstanding import unwritten

#: How often L{CLOSE_TIMEOUT} is granted to who reads, but slowly: by a byte each time, what is owed
#: could be made to last for days.
CLOSE_LOOKS = 10


@implementer(IHalfCloseableProtocol)
class Terminal(Protocol):
    """
    The topmost protocol of a chain.

    Subclasses override C{connectionMade}, C{received} and C{readConnectionLost}.

    @ivar peer: whom it reads from.
    """

    transport: Any
    connection: Connection
    peer: Peer
    _closer: IDelayedCall | None = None
    _unread = 0
    _looks = 0

    def __init__(self, context: IChainContext) -> None:
        self.context = context

    def makeConnection(self, transport: Any) -> None:
        """Every layer below has come to its result."""
        self.connection = connectionOf(transport)
        self.peer = getattr(self.connection, self.context.side)
        self.peer.close = self.close
        if self.context.side == "downstream":
            self.connection.arrived()
        Protocol.makeConnection(self, transport)

    def dataReceived(self, data: bytes) -> None:
        """Count it."""
        if self._closer is None:
            self.peer.bytes_received += len(data)
            self.received(data)

    def received(self, data: bytes) -> None:
        """
        The peer has sent something; by default nobody wants it.
        """

    def send(self, data: bytes) -> None:
        """Write it, and count it."""
        self.peer.bytes_sent += len(data)
        self.transport.write(data)

    def close(self) -> None:
        """Close this side once what was written is flushed; within a bound."""
        if self._closer is None:
            self._unread = unwritten(self.peer.transport)
            self._closer = self.context.clock.callLater(CLOSE_TIMEOUT, self._closeTimedOut)
            # A transport waits with closing for as long as it has a producer.
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _closeTimedOut(self) -> None:
        before, self._unread = self._unread, unwritten(self.peer.transport)
        self._looks += 1
        if self._unread < before and self._looks < CLOSE_LOOKS:
            # It reads, if slowly; there is less of it each time.
            self._closer = self.context.clock.callLater(CLOSE_TIMEOUT, self._closeTimedOut)
            return
        self._closer = None
        self.peer.closing(f"close_timeout: unread bytes for {self._looks * CLOSE_TIMEOUT:g} s")
        self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """The peer has ended its stream; by default so do we."""
        self.peer.closing("closed")
        self.close()

    def writeConnectionLost(self) -> None:
        """Our own end of stream is out."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """This side is gone."""
        assert reason is not None
        if self._closer is not None:
            closer, self._closer = self._closer, None
            closer.cancel()
        self.connection.lost(self.peer, reason)


class TerminalFactory(Factory):
    """
    The top of a chain.

    @ivar name: the terminal's, for people.
    @ivar make: called with the chain's context for each connection.
    """

    noisy = False

    def __init__(
        self, context: IChainContext, name: str, make: Callable[[IChainContext], Terminal]
    ) -> None:
        self.context = context
        self.name = name
        self.make = make

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """One terminal for one connection."""
        return self.make(self.context)

    def __repr__(self) -> str:
        return self.name
