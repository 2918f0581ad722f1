"""
A transport in memory that behaves as Twisted's sockets do, because it is one.

L{MemoryTransport} is C{twisted.internet.tcp.Connection} over a
L{MemorySocket<mxproxy.testing.sockets.MemorySocket>}.  What belongs here is the test's hold on it: the
other end of the connection, when that is the test itself, and what can be asked of it.

So, and unlike C{twisted.internet.testing.StringTransport}:

  - a paused transport delivers neither bytes nor the end of the stream;
  - C{loseConnection} waits until everything is flushed and a paused producer is unregistered,
    and delivers nothing more; C{connectionLost} comes in a later turn, but from within when
    the writing direction had ended before;
  - a producer is paused when more than C{bufferSize} bytes wait, and resumed when none do;
  - C{protocol} is looked up for each delivery, so layers splice by assigning it;
  - a protocol that is no C{IHalfCloseableProtocol} loses the connection at the end of the stream;
  - resumed after the end of the stream, it tells of that end once more, as a real socket does.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from .sockets import _RESET_ON_CLOSE, Chunks, MemorySocket, Pipe

if TYPE_CHECKING:
    from .reactor import MemoryReactor

HERE = IPv4Address("TCP", "127.0.0.1", 15006)
THERE = IPv4Address("TCP", "192.0.2.1", 40000)


class MemoryTransport(Connection):
    """
    One end of a connection.

    The test holds the other end, unless another transport does (L{Link}).  What the test
    does at its end takes effect at once: each of those methods lets the reactor settle.

    @ivar bufferSize: bytes that may wait to be sent before a producer is paused, and the
        most that are delivered at once.
    @ivar incoming: the L{Pipe} that this end reads from.
    @ivar outgoing: the L{Pipe} that this end writes to.
    @ivar endRead: whether the end of the stream was delivered.
    """

    connector: Any = None
    reactor: MemoryReactor
    socket: Any

    def __init__(
        self,
        reactor: MemoryReactor,
        memorySocket: MemorySocket | None = None,
        host: IAddress | None = None,
        peer: IAddress | None = None,
        *,
        chunks: Chunks = None,
        capacity: int | None = None,
    ) -> None:
        """
        @param reactor: shared by all transports of one test.
        @param memorySocket: when somebody else holds the other end.
        @param host: our own address.
        @param peer: the other end's.
        @param chunks: how what is fed is cut into reads, see L{Pipe}.
        @param capacity: how many bytes the network holds until they are taken.
        """
        if memorySocket is None:
            memorySocket = MemorySocket(Pipe(chunks=chunks), Pipe(capacity))
        self.incoming = memorySocket.incoming
        self.outgoing = memorySocket.outgoing
        self._host = host or HERE
        self._peer = peer or THERE
        self.endRead = False
        super().__init__(memorySocket, Protocol(), reactor)  # type: ignore[arg-type]

    def connect(self, protocol: IProtocol) -> None:
        """
        The connection is made: C{protocol} gets this transport.
        """
        self.protocol = protocol
        self.connected = 1
        self.reactor.addReader(self)
        protocol.makeConnection(self)

    def getHost(self) -> IAddress:
        """See L{ITransport<twisted.internet.interfaces.ITransport>}."""
        return self._host

    def getPeer(self) -> IAddress:
        """See L{ITransport<twisted.internet.interfaces.ITransport>}."""
        return self._peer

    def connectionLost(self, reason: Failure) -> None:
        """See L{Connection}; a client's connector is told too, as Twisted's clients do."""
        super().connectionLost(reason)
        connector, self.connector = self.connector, None
        if connector is not None:
            connector.connectionLost(reason)

    def readConnectionLost(self, reason: Failure) -> None:
        """See L{Connection}."""
        self.endRead = True
        super().readConnectionLost(reason)

    # -- the test's end of the connection

    def feed(self, data: bytes) -> None:
        """
        The network brings C{data}.
        """
        self.incoming.put(data)
        self.reactor.settle()

    def feedEOF(self) -> None:
        """
        The other end has ended its stream.
        """
        self.incoming.ended = True
        self.reactor.settle()

    def lose(self, reason: Exception | None = None) -> None:
        """
        The connection is gone, and the kernel says so at once.

        @param reason: L{ConnectionLost} by default.
        """
        if not self.disconnected:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.connectionLost(Failure(reason or ConnectionLost()))
        self.reactor.settle()

    def take(self, size: int | None = None) -> bytes:
        """
        The other end reads what this one has sent.

        @param size: at most so many bytes; by default everything there is, and whatever is
            sent because there is room now.
        """
        self.reactor.settle()
        taken = b""
        while self.outgoing.data and (size is None or not taken):
            taken += self.outgoing.get(len(self.outgoing.data) if size is None else size)
            self.reactor.settle()
        return taken

    # -- what can be asked

    @property
    def reading(self) -> bool:
        """Whether it delivers what comes: neither paused nor at the end of the stream."""
        return self in self.reactor.getReaders()

    @property
    def unread(self) -> bool:
        """Whether there is something to be delivered: bytes, or the end of the stream."""
        return bool(self.incoming.data) or (self.incoming.ended and not self.endRead)

    @property
    def buffered(self) -> int:
        """How many bytes were written and are not sent yet."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    @property
    def eofWritten(self) -> bool:
        """Whether the other end was sent an end of stream, or a reset."""
        return self.outgoing.ended

    @property
    def aborted(self) -> bool:
        """Whether the other end was sent a reset."""
        return self.outgoing.broken

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return bool(self.disconnected)

    def __repr__(self) -> str:
        if self.disconnected:
            state = "aborted" if self.aborted else "closed"
        elif not self.connected:
            state = "not connected"
        else:
            parts = ["reading" if self.reading else "not reading"]
            if self.buffered:
                parts.append(f"{self.buffered} bytes to send")
            if self.disconnecting:
                parts.append("closing")
            state = ", ".join(parts)
        return f"<MemoryTransport {state}>"


class Link:
    """
    A connection between two transports.

    @ivar client: the one's.
    @ivar server: the other's.
    """

    def __init__(
        self,
        reactor: MemoryReactor,
        *,
        chunks: Chunks = None,
        capacity: int | None = None,
        client: IAddress | None = None,
        server: IAddress | None = None,
    ) -> None:
        """
        @param chunks: how the bytes of either direction are cut into reads; the reactor's
            by default.
        @param capacity: how many bytes the network holds in either direction; the
            reactor's by default.
        @param client: the client's address.
        @param server: the server's.
        """
        self.reactor = reactor
        chunks = reactor.chunks if chunks is None else chunks
        capacity = reactor.capacity if capacity is None else capacity
        there, back = Pipe(capacity, chunks), Pipe(capacity, chunks)
        client, server = client or THERE, server or HERE
        self.client = MemoryTransport(reactor, MemorySocket(back, there), client, server)
        self.server = MemoryTransport(reactor, MemorySocket(there, back), server, client)

    def pump(self) -> None:
        """
        Carry bytes until both ends are quiet.
        """
        self.reactor.settle()


def connect(
    reactor: MemoryReactor,
    client: IProtocol,
    server: IProtocol,
    *,
    chunks: Chunks = None,
    capacity: int | None = None,
) -> Link:
    """
    Join two protocols, and pump until both are quiet.

    @param chunks: how the bytes of either direction are cut into reads.
    @param capacity: how many bytes the network holds in either direction.
    """
    link = Link(reactor, chunks=chunks, capacity=capacity)
    link.server.connect(server)
    link.client.connect(client)
    link.pump()
    return link
