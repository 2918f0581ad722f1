"""
How bytes get through a socket: as they are.  L{mxproxy.transports.tls} is the other way.

A channel is what a L{SocketTransport<mxproxy.transports.socket.SocketTransport>} reads from and
writes to.  It knows no protocol, no reactor and no queue: each call is tried at once, and says
L{BLOCKED} where the socket would have had to be waited for.
"""

from __future__ import annotations

import errno
import os
import socket as sockets
from typing import Protocol as TypingProtocol

from .buffer import BLOCKED, VIEW


class Truncated(Exception):
    """
    The stream has ended in a way that does not say that it was whole.
    """


class Broken(Exception):
    """
    The channel cannot be used any more.

    @ivar reason: C{"token: detail"}, for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Channel(TypingProtocol):
    """
    What a transport needs of one.

    @ivar readsOn: whether it can be read from when a write has failed.
    """

    readsOn: bool

    def receive(self, size: int) -> int:
        """
        Read into L{mxproxy.transports.buffer.BUFFER}.

        @param size: bytes at most.
        @return: how many were read; 0 at the end of the stream, or L{BLOCKED}.
        @raise OSError: the connection is gone.
        @raise Truncated: it has ended without saying that it would.
        @raise Broken: what was read makes no sense.
        """

    def send(self, data: bytes | memoryview) -> int:
        """
        @param data: not empty.  After L{BLOCKED}, the next call has to begin with the same bytes.
        @return: how many of the bytes were taken, or L{BLOCKED}.
        @raise OSError: the connection is gone.
        @raise Broken: it cannot be written to.
        """

    def end(self) -> bool:
        """
        Say that no more will be sent; the socket itself is not touched.

        @return: whether that is done; otherwise to be tried again when there is room.
        """

    def waiting(self) -> bool:
        """
        Whether there may be something to be read of which the socket does not know.
        """

    def readNeedsRoom(self) -> bool:
        """
        Whether the last L{receive} was blocked because it had something to send.
        """


class FlowingChannel(Channel, TypingProtocol):
    """
    What L{mxproxy.transports.flows} needs of one: C reads and writes by itself, and what is no byte is
    the channel's to judge.

    @ivar address: of OpenSSL's connection; 0 without.
    """

    address: int

    def judge(self, result: int, error: int) -> int:
        """
        What L{receive} would have said, of a read that was not ours.

        @param result: what recv(2) or C{SSL_read} has answered: not a number of bytes.
        @param error: errno, without OpenSSL.
        @return: L{BLOCKED}; or 0: the end of the stream, or L{waiting} and the next L{receive} tell.
        @raise OSError: the connection is gone.
        """

    def writeError(self, result: int, error: int) -> OSError | Broken:
        """
        @return: what L{send} would have raised, of a write that was not ours.
        """


class PlainChannel:
    """
    The socket itself.
    """

    readsOn = True
    address = 0

    def __init__(self, socket: sockets.socket) -> None:
        self._recv = socket.recv_into
        self._send = socket.send

    def receive(self, size: int) -> int:
        """See L{Channel}."""
        try:
            return self._recv(VIEW, size)
        except BlockingIOError:
            return BLOCKED

    def send(self, data: bytes | memoryview) -> int:
        """See L{Channel}."""
        try:
            return self._send(data)
        except BlockingIOError:
            return BLOCKED
        except OSError as error:
            if error.errno == errno.ENOBUFS:  # There is no room in the kernel, for anybody.
                return BLOCKED
            raise

    def end(self) -> bool:
        """The socket says it: see L{Channel}."""
        return True

    def waiting(self) -> bool:
        """See L{Channel}."""
        return False

    def readNeedsRoom(self) -> bool:
        """See L{Channel}."""
        return False

    def judge(self, result: int, error: int) -> int:
        """See L{FlowingChannel}."""
        if result < 0:
            raise OSError(error, os.strerror(error))
        return 0

    def writeError(self, result: int, error: int) -> OSError:
        """See L{FlowingChannel}."""
        return OSError(error, os.strerror(error))
