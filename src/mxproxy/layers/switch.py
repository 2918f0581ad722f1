"""
Picks the filter chain, once what it is picked by is known, and leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from ..config.plan import RAW_BUFFER, FilterChainPlan
from ..interfaces import IChainContext
from .base import Layer, LayerFactory


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
            inner.makeConnection(below)

    def buildInner(self) -> Any:
        """The protocol of the first chain that fits."""
        found = self.peer.transport_protocol or RAW_BUFFER
        for plan, factory in self.factory.chains:
            if plan.transport_protocol in ("", found):
                self.connection.filter_chain = plan.name
                return factory.buildProtocol(self.transport.getPeer())
        self.fail(f"no_filter_chain: none of this listener takes {found}")
        return None


class SwitchFactory(LayerFactory):
    """
    Makes L{SwitchLayer}s.

    @ivar chains: plans with the factories made of them, in the order of preference.
    """

    layer = SwitchLayer

    def __init__(
        self,
        chains: Sequence[tuple[FilterChainPlan, IProtocolFactory]],
        context: IChainContext,
    ) -> None:
        super().__init__(chains[0][1], context)
        self.chains = chains

    def doStart(self) -> None:
        """Started with its listener."""
        for _, factory in self.chains:
            factory.doStart()

    def doStop(self) -> None:
        """Stopped with its listener."""
        for _, factory in self.chains:
            factory.doStop()
