"""
Where a redirected connection was going: C{envoy.filters.listener.original_dst}.

A packet filter that redirects a connection to this host (nftables' C{redirect}, iptables'
C{REDIRECT}) remembers the destination that it has replaced, and tells it to whoever asks
the socket: netfilter's C{SO_ORIGINAL_DST}, see linux/netfilter_ipv4.h and
linux/netfilter_ipv6/ip6_tables.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from ..interfaces import IChainContext, IFilter
from ..layers.base import Layer, LayerFactory
from ..layers.deadline import timeIsOver
from .options import Options

#: SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST; Python's socket module has neither.
SO_ORIGINAL_DST = 80

#: struct sockaddr_in: family, port, address, padding; and sockaddr_in6: family, port, flow
#: label, address, scope.
_SOCKADDR_IN = struct.Struct("=H2s4s8x")
_SOCKADDR_IN6 = struct.Struct("=H2sI16sI")


def originalDestination(transport: Any) -> IPv4Address | IPv6Address | None:
    """
    @param transport: a socket's, or whatever is in its place.
    @return: where the connection was going before it was redirected; C{None} if it was not, or
        where nobody can tell.
    """
    getHandle = getattr(transport, "getHandle", None)
    host = transport.getHost()
    if getHandle is None or not isinstance(host, (IPv4Address, IPv6Address)):
        return None
    # A v4 client of a v6 socket is known to the packet filter as what it is.
    v4 = isinstance(host, IPv4Address) or host.host.startswith("::ffff:")
    layout = _SOCKADDR_IN if v4 else _SOCKADDR_IN6
    try:
        level = socket.IPPROTO_IP if v4 else socket.IPPROTO_IPV6
        raw = getHandle().getsockopt(level, SO_ORIGINAL_DST, layout.size)
        family, port, *rest = layout.unpack(raw)
    except (OSError, struct.error):
        return None  # No such connection, no such option, or no netfilter.
    number = int.from_bytes(port, "big")
    if family == socket.AF_INET:
        destination: Any = IPv4Address("TCP", socket.inet_ntop(family, rest[0]), number)
    else:
        destination = IPv6Address("TCP", socket.inet_ntop(socket.AF_INET6, rest[1]), number)
    # Of a connection that came straight here the packet filter says so, if it follows it at all.
    own = host.host.removeprefix("::ffff:") if v4 else host.host.partition("%")[0]
    return None if (destination.host, destination.port) == (own, host.port) else destination


class OriginalDstLayer(Layer):
    """
    Asks the socket, and leaves.
    """

    name = "original_dst"

    def connectionMade(self) -> None:
        """It is known from the start."""
        peer = self.peer
        if not timeIsOver(self.connection):
            destination = originalDestination(peer.transport)
            if destination is not None:
                peer.original_destination = destination
        self.leave()


class OriginalDstFactory(LayerFactory):
    """
    Makes L{OriginalDstLayer}s.
    """

    layer = OriginalDstLayer


@implementer(IFilter)
@dataclass(frozen=True)
class OriginalDst:
    """
    The filter's settings: none.
    """

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        """See L{IFilter.wrap}."""
        return OriginalDstFactory(inner, context)


def configure(options: Mapping[str, str]) -> OriginalDst:
    """
    @raise mxproxy.filters.options.OptionError: there are no options.
    """
    Options(options).finish()
    return OriginalDst()
