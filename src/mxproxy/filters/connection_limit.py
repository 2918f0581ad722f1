"""
Bounds how many connections of a chain are open at once:
C{envoy.filters.network.connection_limit}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from ..interfaces import IChainContext, IFilter
from ..layers.base import Layer, LayerFactory
from ..words import are
from .options import Options


class ConnectionLimitLayer(Layer):
    """
    Lets a connection through, or closes it; after a delay, so that a client that tries
    again and again is slowed down.
    """

    name = "connection_limit"
    factory: ConnectionLimitFactory

    def connectionMade(self) -> None:
        """Is there room?"""
        factory = self.factory
        there, factory.active = factory.active, factory.active + 1
        self.connection.whenClosed(factory.release)
        if there < factory.settings.max_connections:
            self.leave()
            return
        self.context.count("connection_limit.limited_connections")
        self.peer.closing(f"connection_limit: {are(there, 'connection')} open already")
        if factory.settings.delay:
            # Meanwhile nothing is read: it would have to be kept.
            self.pause()
            self.startTimer(factory.settings.delay, self._close)
        else:
            self._close()

    def _close(self) -> None:
        self.transport.loseConnection()


class ConnectionLimitFactory(LayerFactory):
    """
    Makes L{ConnectionLimitLayer}s.

    @ivar active: how many connections of this chain are open; one that is kept waiting for
        its refusal is among them, as in Envoy, so that refused clients that come back cannot
        get ahead of it.
    """

    layer = ConnectionLimitLayer

    def __init__(
        self, inner: IProtocolFactory, context: IChainContext, settings: ConnectionLimit
    ) -> None:
        super().__init__(inner, context)
        self.settings = settings
        self.active = 0

    def release(self) -> None:
        """One of them has been closed."""
        self.active -= 1


@implementer(IFilter)
@dataclass(frozen=True)
class ConnectionLimit:
    """
    The filter's settings.

    @ivar max_connections: how many may be open at once.
    @ivar delay: seconds until one too many is closed.
    """

    max_connections: int
    delay: float = 0.0

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        """See L{IFilter.wrap}."""
        if context.side != "downstream":
            raise ValueError("connection_limit is for the connections of a listener")
        return ConnectionLimitFactory(inner, context, self)


def configure(options: Mapping[str, str]) -> ConnectionLimit:
    """
    @param options: C{max_connections}, C{delay} in seconds.
    @raise mxproxy.filters.options.OptionError: one of them is unknown, missing or wrong.
    """
    read = Options(options)
    settings = ConnectionLimit(
        read.integer("max_connections", above=0), read.number("delay", 0.0, least=0)
    )
    read.finish()
    return settings
