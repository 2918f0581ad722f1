"""
Accepted sockets get our own transport, by the attribute of Twisted's ports that is there for it.
"""

from __future__ import annotations

import socket as sockets
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from . import isDirect
from .socket import SocketTransport


def serve(port: Any) -> None:
    """
    Have C{port} make L{SocketTransport}s.

    @param port: what an endpoint has answered C{listen} with; another kind of port, such as
        one in memory, is left as it is.
    """
    if (
        isDirect()
        and isinstance(port, tcp.Port)
        and type(port).transport in (tcp.Server, unix.Server)
    ):
        port.transport = accepted  # type: ignore[assignment]


def accepted(
    socket: sockets.socket,
    protocol: Any,
    client: Any,
    port: Any,
    session: int,
    reactor: Any,
) -> SocketTransport:
    """
    What C{twisted.internet.tcp.Port.transport} is called with.

    @param client: the peer's address, as the socket module has it.
    """
    family = socket.family
    host = socketAddress(family, socket.getsockname())
    transport = SocketTransport(socket, protocol, host, socketAddress(family, client), reactor)
    transport.startReading()
    return transport


def socketAddress(family: int, name: Any) -> IAddress:
    """
    @param name: an address as the socket module has it.
    """
    if family == sockets.AF_INET:
        return IPv4Address("TCP", name[0], name[1])
    if family == sockets.AF_INET6:
        return IPv6Address("TCP", *name)
    return UNIXAddress(name or None)
