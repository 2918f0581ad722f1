"""
The terminal that connects a chain to a cluster: C{envoy.filters.network.tcp_proxy}.

Its settings; the joining of the two sides is L{mxproxy.tcp}.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from ..config.plan import AccessLogPlan
from ..connection import Connection
from ..interfaces import IChainContext, ITerminal, IUpstream
from ..tcp import CLUSTER, TCPProxyFactory
from ..timeouts import FOR_EVER, Timeouts
from .options import Options


@implementer(ITerminal)
@dataclass(frozen=True)
class TCPProxy:
    """
    The filter's settings.

    @ivar cluster: where to connect to, unless a filter below has said so
        (L{mxproxy.tcp.CLUSTER}).
    @ivar max_connect_attempts: how many hosts to try; C{None}: each of them once.
    @ivar weighted_clusters: instead of C{cluster}, and of what a filter below says: names,
        each with its share.
    @ivar timeouts: how long a connection may last.
    @ivar access_logs: are told of the connections of the chain that it ends, from when that
        is chosen.
    """

    cluster: str = ""
    max_connect_attempts: int | None = None
    weighted_clusters: tuple[tuple[str, int], ...] = ()
    timeouts: Timeouts = FOR_EVER
    access_logs: tuple[AccessLogPlan, ...] = ()

    def terminal(self, context: IChainContext) -> IProtocolFactory:
        """See L{ITerminal.terminal}."""
        shares = self.weighted_clusters or ((self.cluster, 1),)
        # All are looked up now, so that a name that is none is found when the configuration
        # is loaded.
        upstreams = [context.upstream(name) for name, _ in shares]
        weights = [weight for _, weight in shares]

        def pick(connection: Connection) -> IUpstream:
            if self.weighted_clusters:
                return random.choices(upstreams, weights)[0]
            chosen = connection.get(CLUSTER)
            return upstreams[0] if chosen is None else context.upstream(chosen)

        return TCPProxyFactory(context, pick, self.max_connect_attempts, self.timeouts)


def configure(options: Mapping[str, str]) -> TCPProxy:
    """
    @param options: C{cluster}, a cluster's name; C{idle_timeout}, C{half_closed_timeout} and
        C{max_connection_duration}, seconds, 0 for ever.
    @raise mxproxy.filters.options.OptionError: one of them is unknown, missing or wrong.
    """
    read = Options(options)
    settings = TCPProxy(
        read.text("cluster"),
        timeouts=Timeouts(
            read.number("idle_timeout", 0.0, least=0),
            read.number("half_closed_timeout", 0.0, least=0),
            read.number("max_connection_duration", 0.0, least=0),
        ),
    )
    read.finish()
    return settings
