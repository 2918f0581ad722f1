"""
What was written to a transport and has not arrived yet, and what has and was not read.
"""

from __future__ import annotations

import fcntl
import socket as sockets
import sys
import termios
from typing import Any


def unwritten(transport: Any) -> int:
    """
    @param transport: a socket's, or whatever is in its place.
    @return: how many bytes wait in it to be written to the socket; 0 where nobody can tell.
    """
    unsent: int | None = getattr(transport, "unsent", None)
    if unsent is not None:
        return unsent
    # What Twisted's FileDescriptor keeps them in, and tells nobody.
    buffered = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
    more: int = getattr(transport, "_tempDataLen", 0)
    return buffered + more


def inFlight(transport: Any) -> int:
    """
    @param transport: see L{unwritten}.
    @return: how many bytes were written to it and have not arrived: those in the kernel, which
        the peer has not acknowledged, among them.
    """
    handle = getattr(transport, "getHandle", lambda: None)()
    kernel = unacknowledged(handle) if isinstance(handle, sockets.socket) else 0
    return unwritten(transport) + kernel


def unread(socket: sockets.socket) -> int:
    """
    @return: bytes that have arrived and that nobody has read.
    """
    try:
        answer = fcntl.ioctl(socket.fileno(), termios.FIONREAD, b"\0\0\0\0")
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)


def unacknowledged(socket: sockets.socket) -> int:
    """
    @return: bytes in the kernel that were sent and not acknowledged; 0 where it does not say.
    """
    # What is written to a UNIX socket has arrived: it lies at the other end, read or not.
    if socket.family == sockets.AF_UNIX or not sys.platform.startswith("linux"):
        return 0
    try:
        # SIOCOUTQ, tcp(7), is the same number.
        answer = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)
