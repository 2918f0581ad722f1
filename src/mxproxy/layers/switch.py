"""
Picks the filter chain, once what it is picked by is known, and leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IProtocolFactory

from ..config.plan import RAW_BUFFER, FilterChainPlan
from ..connection import Peer
from ..interfaces import IChainContext, IConnectionObserver
from ..matching import IP, Candidate, Matcher
from ..tls.explain import quote
from .base import Layer, LayerFactory, build, connect


@dataclass(frozen=True)
class FilterChain:
    """
    A filter chain, built.

    @ivar plan: what it was built from.
    @ivar factory: its lowest layer's.
    @ivar exchanges_metadata: whether a filter in it learns the peer's metadata.
    @ivar observers: who is told of its connections, from when it is chosen.
    """

    plan: FilterChainPlan
    factory: IProtocolFactory
    exchanges_metadata: bool
    observers: Sequence[IConnectionObserver] = ()


class SwitchLayer(Layer):
    """
    Stands in a connection's way for one call.
    """

    factory: SwitchFactory

    def connectionMade(self) -> None:
        """Whatever looked at the first bytes is below, and done."""
        below = self.transport
        inner = self.buildInner()
        if inner is not None:
            below.protocol = inner
            connect(inner, below, self.peer)

    def buildInner(self) -> Any:
        """The protocol of the chain that takes the connection."""
        peer = self.peer
        if peer.transport_protocol is None:
            # Nobody has looked, or has found anything; a TLS layer above may know better.
            peer.transport_protocol = RAW_BUFFER
        chain = self.factory.find(peer)
        if chain is None:
            self.fail(f"no_filter_chain: none takes {_describe(peer)}")
            return None
        self.connection.filter_chain = chain.plan.name
        for observer in chain.observers:
            self.connection.observe(observer)
        if chain.exchanges_metadata:
            peer.expectMetadata()
        inner = build(chain.factory, self.transport, peer)
        if inner is None:
            self.closeWithinBound()
        return inner


class SwitchFactory(LayerFactory):
    """
    Makes L{SwitchLayer}s.
    """

    layer = SwitchLayer

    def __init__(
        self,
        chains: Sequence[FilterChain],
        default: FilterChain | None,
        context: IChainContext,
    ) -> None:
        """
        @param default: takes what none of C{chains} does.
        @raise mxproxy.matching.AmbiguousMatch: two of C{chains} want the same connections.
        """
        self._all = [*chains] if default is None else [*chains, default]
        super().__init__(self._all[0].factory, context)
        self._default = default
        self._matcher = Matcher([(chain.plan.match, chain) for chain in chains])
        # Most listeners have one chain, for everything.
        self._always = self._matcher.always if chains else default

    def find(self, peer: Peer) -> FilterChain | None:
        """
        @param peer: the downstream.
        """
        return self._always or self._matcher.find(_candidate(peer)) or self._default

    def doStart(self) -> None:
        """Started with its listener."""
        for chain in self._all:
            chain.factory.doStart()

    def doStop(self) -> None:
        """Stopped with its listener."""
        for chain in self._all:
            chain.factory.doStop()


def _candidate(peer: Peer) -> Candidate:
    destination, port = _split(peer.original_destination or peer.local_address)
    source, sourcePort = _split(peer.address)
    direct, _ = _split(peer.direct_address or peer.address)
    return Candidate(
        destination=destination,
        destination_port=port,
        server_name=peer.server_name or "",
        transport_protocol=peer.transport_protocol or "",
        application_protocols=peer.application_protocols,
        direct_source=direct,
        source=source,
        source_port=sourcePort,
    )


def _split(address: Any) -> tuple[IP | None, int | None]:
    """IP and port; neither for a unix socket."""
    if not isinstance(address, (IPv4Address, IPv6Address)):
        return None, None
    # A link-local address comes with its zone, which networks are not written with.
    return ip_address(address.host.partition("%")[0]), address.port


def _describe(peer: Peer) -> str:
    parts = [peer.transport_protocol or ""]
    if peer.server_name:
        parts.append(f"server name {quote(peer.server_name)}")
    if peer.application_protocols:
        parts.append(f"protocols {quote(', '.join(peer.application_protocols))}")
    return ", ".join(parts)
