"""
The terminal that connects a chain to a cluster: C{envoy.filters.network.tcp_proxy}.

Its settings; the joining of the two sides is L{mxproxy.tcp}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from ..interfaces import IChainContext, ITerminal
from ..tcp import TCPProxyFactory
from .options import Options


@implementer(ITerminal)
@dataclass(frozen=True)
class TCPProxy:
    """
    The filter's settings.

    @ivar cluster: where to connect to.
    @ivar max_connect_attempts: how many hosts to try; C{None}: each of them once.
    """

    cluster: str
    max_connect_attempts: int | None = None

    def terminal(self, context: IChainContext) -> IProtocolFactory:
        """See L{ITerminal.terminal}."""
        return TCPProxyFactory(context, context.upstream(self.cluster), self.max_connect_attempts)


def configure(options: Mapping[str, str]) -> TCPProxy:
    """
    @param options: C{cluster}, a cluster's name.
    @raise mxproxy.filters.options.OptionError: one of them is unknown, missing or wrong.
    """
    read = Options(options)
    settings = TCPProxy(read.text("cluster"))
    read.finish()
    return settings
