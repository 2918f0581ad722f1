"""
Picks the filter chain, once what it is picked by is known, and leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from ..config.plan import RAW_BUFFER, FilterChainPlan
from ..interfaces import IChainContext
from .base import Layer, LayerFactory, connect


@dataclass(frozen=True)
class FilterChain:
    """
    A filter chain, built.

    @ivar plan: what it was built from.
    @ivar factory: its lowest layer's.
    @ivar exchanges_metadata: whether a filter in it learns the peer's metadata.
    """

    plan: FilterChainPlan
    factory: IProtocolFactory
    exchanges_metadata: bool


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
        """The protocol of the first chain that fits."""
        found = self.peer.transport_protocol or RAW_BUFFER
        for chain in self.factory.chains:
            if chain.plan.transport_protocol in ("", found):
                self.connection.filter_chain = chain.plan.name
                if chain.exchanges_metadata:
                    self.peer.expectMetadata()
                return chain.factory.buildProtocol(self.transport.getPeer())
        self.fail(f"no_filter_chain: none of this listener takes {found}")
        return None


class SwitchFactory(LayerFactory):
    """
    Makes L{SwitchLayer}s.

    @ivar chains: in the order of preference.
    """

    layer = SwitchLayer

    def __init__(
        self,
        chains: Sequence[FilterChain],
        context: IChainContext,
    ) -> None:
        super().__init__(chains[0].factory, context)
        self.chains = chains

    def doStart(self) -> None:
        """Started with its listener."""
        for chain in self.chains:
            chain.factory.doStart()

    def doStop(self) -> None:
        """Stopped with its listener."""
        for chain in self.chains:
            chain.factory.doStop()
