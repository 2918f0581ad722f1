"""
How a cluster's hosts are spoken to: Envoy's transport sockets, and which host has which.

Usually a cluster has one.  With C{transport_socket_matches} it has several, and a host's
metadata picks: how Istio speaks mutual TLS to those endpoints that have a sidecar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.interfaces import IProtocolFactory

from ..socketoptions import SocketOption


@dataclass(frozen=True)
class UpstreamChain:
    """
    A cluster's chain, built.

    @ivar factory: its lowest layer's.
    @ivar exchanges_metadata: whether a filter in it learns the peer's metadata.
    """

    factory: IProtocolFactory
    exchanges_metadata: bool


@dataclass(frozen=True)
class UpstreamSocket:
    """
    One way to speak to a host.

    @ivar chain: what an application's connection goes through.
    @ivar check: what a health check goes through: TLS, but none of the filters.  C{None}
        where there are no health checks.
    @ivar match: what a host's metadata has to have for this one; nothing: any host.
    @ivar proxy_protocol: C{"V1"}, C{"V2"}, or empty: what is written below everything else.
    @ivar options: what is set on the socket.
    """

    chain: UpstreamChain
    check: UpstreamChain | None = None
    match: Mapping[str, object] = field(default_factory=dict)
    proxy_protocol: str = ""
    options: tuple[SocketOption, ...] = ()


def socketFor(sockets: Sequence[UpstreamSocket], metadata: Mapping[str, object]) -> UpstreamSocket:
    """
    @param sockets: in order; the last matches everything.
    @return: the first that matches.
    """
    for socket in sockets[:-1]:
        if all(
            name in metadata and _same(metadata[name], value)
            for name, value in socket.match.items()
        ):
            return socket
    return sockets[-1]


def _same(one: object, other: object) -> bool:
    # In protobuf, as not in Python, true is no number.
    return isinstance(one, bool) is isinstance(other, bool) and one == other
