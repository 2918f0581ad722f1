"""
Sockets whose kernel is a few lines of Python.

What a kernel does with the bytes of a connection belongs here, and nothing else: a
L{Pipe} is one direction of it, a L{MemorySocket} one end.  Twisted's own transport runs on
top (L{mxproxy.testing.transport}), so what a protocol sees of a pause, a flush, a
half-close or an abort is Twisted's doing and not an imitation of it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from itertools import count, cycle

#: SO_LINGER with a time of nought: closing sends a reset (RST) instead of an end (FIN).
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_descriptors = count(1000)

Chunks = int | Iterable[int] | None


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Pipe:
    """
    One direction of a connection: what was sent into it and not received yet.

    @ivar data: the bytes on their way.
    @ivar total: how many were ever sent.
    @ivar capacity: how many may be on their way, or C{None} for any number.  A sender
        that is faster than the receiver then has to wait.
    @ivar ended: the sender has ended its stream (FIN).
    @ivar broken: the sender has reset the connection (RST).
    @ivar abandoned: the receiver has closed; whoever sends more is answered by a reset.
    """

    def __init__(self, capacity: int | None = None, chunks: Chunks = None) -> None:
        """
        @param chunks: how many bytes arrive at once, at most: a number, or numbers that
            are taken in turn, again and again.
        """
        self.data = bytearray()
        self.total = 0
        self.capacity = capacity
        self.ended = False
        self.broken = False
        self.abandoned = False
        self._sizes: Iterator[int] | None = None
        if chunks is not None:
            self._sizes = cycle([chunks] if isinstance(chunks, int) else list(chunks))

    @property
    def room(self) -> int:
        """How many bytes can be sent now."""
        if self.capacity is None:
            return 1 << 30
        return max(0, self.capacity - len(self.data))

    def put(self, data: bytes | memoryview) -> int:
        """
        @return: how many of the bytes there was room for.
        """
        taken = data[: self.room]
        self.data += taken
        self.total += len(taken)
        return len(taken)

    def get(self, size: int) -> bytes:
        """
        @return: at most C{size} of the bytes, and at most one chunk.
        """
        if self._sizes is not None:
            size = min(size, next(self._sizes))
        data = bytes(self.data[:size])
        del self.data[:size]
        return data


class MemorySocket:
    """
    One end of a connection, with as much of a socket's interface as Twisted uses.

    @ivar incoming: what the other end sends.
    @ivar outgoing: what this end sends.
    @ivar options: what was set by C{setsockopt}.
    """

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self.options: dict[tuple[int, int], int | bytes] = {}
        self._fileno = next(_descriptors)

    @property
    def readable(self) -> bool:
        """Whether C{recv} would give bytes, an end or an error, as poll(2) asks it."""
        pipe = self.incoming
        return bool(pipe.data) or pipe.ended or pipe.broken

    @property
    def writable(self) -> bool:
        """Whether C{send} would take bytes or give an error."""
        return self.incoming.broken or self.outgoing.abandoned or self.outgoing.room > 0

    def recv(self, size: int) -> bytes:
        """See recv(2).  What came before a reset can still be read, as on Linux."""
        pipe = self.incoming
        if pipe.data:
            return pipe.get(size)
        if pipe.broken:
            raise _error(errno.ECONNRESET)
        if pipe.ended:
            return b""
        raise _error(errno.EWOULDBLOCK)

    def send(self, data: bytes | memoryview) -> int:
        """See send(2)."""
        pipe = self.outgoing
        if self.incoming.broken or pipe.ended:
            raise _error(errno.EPIPE)
        if pipe.abandoned:
            # The kernel takes it; the reset that comes back is seen by the next call.
            self.incoming.broken = True
            return len(data)
        if data and not pipe.room:
            raise _error(errno.EWOULDBLOCK)
        return pipe.put(data)

    def shutdown(self, how: int) -> None:
        """See shutdown(2)."""
        if self.incoming.broken:
            raise _error(errno.ENOTCONN)
        if how != socket.SHUT_RD:
            self.outgoing.ended = True

    def close(self) -> None:
        """
        See close(2).  With bytes unread, or when told so by C{SO_LINGER}, the other end is
        sent a reset.
        """
        incoming, outgoing = self.incoming, self.outgoing
        told = self.options.get((socket.SOL_SOCKET, socket.SO_LINGER)) == _RESET_ON_CLOSE
        if told or incoming.data or incoming.broken:
            outgoing.broken = True
        outgoing.ended = True
        incoming.abandoned = True
        incoming.data.clear()

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        """Keeps it."""
        self.options[level, name] = value

    def getsockopt(self, level: int, name: int, size: int = 0) -> int | bytes:
        """What was set, or 0; a structure has to have been set."""
        value = self.options.get((level, name))
        if size and not isinstance(value, bytes):
            raise _error(errno.ENOPROTOOPT)
        return value or 0

    def setblocking(self, flag: bool) -> None:
        """Memory never blocks."""

    def fileno(self) -> int:
        """A number that no real descriptor of a test has."""
        return self._fileno
