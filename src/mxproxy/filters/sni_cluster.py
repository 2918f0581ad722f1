"""
Sends a connection to the cluster that its client names by SNI:
C{envoy.filters.network.sni_cluster}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from ..interfaces import IChainContext, IFilter
from ..layers.base import Layer, LayerFactory
from ..tcp import CLUSTER
from .options import Options


class SNIClusterLayer(Layer):
    """
    Says where the terminal has to go, and leaves.
    """

    name = "sni_cluster"

    def connectionMade(self) -> None:
        """The server name is known by now, if there is one."""
        if self.peer.server_name:
            self.connection.set(CLUSTER, self.peer.server_name)
        self.leave()


class SNIClusterFactory(LayerFactory):
    """
    Makes L{SNIClusterLayer}s.
    """

    layer = SNIClusterLayer


@implementer(IFilter)
@dataclass(frozen=True)
class SNICluster:
    """
    The filter's settings: none.
    """

    keys = (CLUSTER,)

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        """See L{IFilter.wrap}."""
        if context.side != "downstream":
            raise ValueError("sni_cluster is for the connections of a listener")
        return SNIClusterFactory(inner, context)


def configure(options: Mapping[str, str]) -> SNICluster:
    """
    @raise mxproxy.filters.options.OptionError: there are no options.
    """
    Options(options).finish()
    return SNICluster()
