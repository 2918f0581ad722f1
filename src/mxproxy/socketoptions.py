"""
Options of TCP sockets: which are set, on both sides of a connection.

What belongs here is how the kernel is asked to notice a peer that has vanished.  An option is
a number to the kernel; they are made once, when a configuration is loaded, and set on each
socket as it is accepted or dialled.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address

#: By Linux' names; macOS has another for the first.  What a system lacks is missing.
_TCP = {
    name: getattr(socket, attribute)
    for name, attribute in (
        ("TCP_KEEPIDLE", "TCP_KEEPALIVE"),
        ("TCP_KEEPIDLE", "TCP_KEEPIDLE"),
        ("TCP_KEEPINTVL", "TCP_KEEPINTVL"),
        ("TCP_KEEPCNT", "TCP_KEEPCNT"),
        ("TCP_USER_TIMEOUT", "TCP_USER_TIMEOUT"),
        ("TCP_NODELAY", "TCP_NODELAY"),
    )
    if hasattr(socket, attribute)
}


class SocketOption(NamedTuple):
    """
    What C{setsockopt} is given.
    """

    level: int
    name: int
    value: int


def keepalive(
    time: int | None = None, interval: int | None = None, probes: int | None = None
) -> tuple[SocketOption, ...]:
    """
    Ask a peer that is silent whether it is still there.

    @param time: seconds of silence before the first probe.
    @param interval: seconds between two.
    @param probes: how many go without an answer before the connection is reset.
    @return: the options; what is C{None} is left to the system.
    @raise ValueError: this system has no such option, or does not take the value.
    """
    asked = {"TCP_KEEPIDLE": time, "TCP_KEEPINTVL": interval, "TCP_KEEPCNT": probes}
    return (
        SocketOption(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *(_tcp(name, value) for name, value in asked.items() if value is not None),
    )


def userTimeout(seconds: float) -> tuple[SocketOption, ...]:
    """
    Reset a connection whose peer has not acknowledged for so long what was sent, or has not
    read it: to Linux a peer that answers, but whose window stays closed, is the same (measured
    with 6.18: C{ETIMEDOUT}).

    @raise ValueError: this system has no such option, or does not take the value.
    """
    return (_tcp("TCP_USER_TIMEOUT", round(seconds * 1000)),)


def numbered(level: int, name: int, value: int) -> SocketOption:
    """
    An option by its numbers, as Envoy's files have it.

    @raise ValueError: it is none that makes sense on an accepted socket, or the system does
        not take the value.
    """
    if (level, name) == (socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        return SocketOption(level, name, value)
    for title, number in _TCP.items():
        if (level, name) == (socket.IPPROTO_TCP, number):
            return _tcp(title, value)
    raise ValueError(f"the option {name} of level {level} is not implemented by mxproxy")


def _tcp(name: str, value: int) -> SocketOption:
    if name not in _TCP:
        raise ValueError(f"this system has no {name}")
    option = SocketOption(socket.IPPROTO_TCP, _TCP[name], value)
    # Tried now, when a person is there to be told.
    try:
        with socket.socket() as tried:
            tried.setsockopt(*option)
    except (OSError, OverflowError, TypeError):  # TypeError: more than a C int
        raise ValueError(f"this system does not take {value} for {name}") from None
    return option


def setOptions(transport: Any, options: Iterable[SocketOption]) -> None:
    """
    Set them on a transport's socket.  One that is not TCP's is left alone.
    """
    handle = getattr(transport, "getHandle", None)
    if handle is None:
        return
    # A socket's own word, its family, is an enumeration's member that is made anew each time.
    if not isinstance(transport.getHost(), (IPv4Address, IPv6Address)):
        return
    own = handle()
    try:
        for level, name, value in options:
            own.setsockopt(level, name, value)
    except OSError:
        # macOS says EINVAL when the peer is gone already; who reads from it next is told so.
        pass
