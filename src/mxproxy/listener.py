"""
A listening socket and what it does with what it accepts.

How a connection flows: accepted, it gets its L{Connection}; where the listener's chains
have to be told apart by the first bytes, those are looked at; the switch picks the chain.
All of that leaves at once when it is done: the chain sits on the socket itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol

from .config.plan import TLS
from .connection import Connection, Peer
from .interfaces import IChainContext, IConnectionObserver
from .layers.base import connect
from .layers.peek import PeekFactory
from .layers.switch import FilterChain, SwitchFactory
from .upstream import setNoDelay
from .wire.clienthello import ClientHello, ClientHelloInspector


class _Accept(Protocol):
    """
    The bottom of a downstream chain, for one call: makes the Connection, and leaves.
    """

    def __init__(self, factory: ListenerFactory) -> None:
        self.factory: ListenerFactory = factory

    def makeConnection(self, transport: Any) -> None:
        """A connection was accepted."""
        factory = self.factory
        setNoDelay(transport)
        connection = Connection(
            factory.context.listener, factory.context.clock.seconds, factory.observers
        )
        connection.opened(transport)
        inner = factory.inner.buildProtocol(transport.getPeer())
        assert inner is not None
        transport.protocol = inner
        connect(inner, transport, connection.downstream)


class ListenerFactory(Factory):
    """
    What listens.

    @ivar inner: the first layer's factory.
    """

    noisy = False

    def __init__(
        self,
        chains: Sequence[FilterChain],
        context: IChainContext,
        observers: Sequence[IConnectionObserver],
        inspectionTimeout: float,
    ) -> None:
        """
        @param chains: in the order of preference.
        @param inspectionTimeout: seconds; see L{mxproxy.config.plan.ListenerPlan}.
        """
        self.context = context
        self.observers = tuple(observers)
        self.inner: IProtocolFactory = SwitchFactory(chains, context)
        # Where every chain takes whatever comes, nobody waits for a first byte.
        if any(chain.plan.transport_protocol for chain in chains):
            self.inner = PeekFactory(
                self.inner,
                context,
                name="tls_inspector",
                inspector=ClientHelloInspector,
                learnt=_keepClientHello,
                timeout=inspectionTimeout,
            )

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See L{Factory.buildProtocol}."""
        return _Accept(self)

    def startFactory(self) -> None:
        """Start the chains."""
        self.inner.doStart()

    def stopFactory(self) -> None:
        """Stop the chains."""
        self.inner.doStop()


def _keepClientHello(peer: Peer, answer: object) -> None:
    if isinstance(answer, ClientHello):
        peer.transport_protocol = TLS
        peer.server_name = answer.server_name
        peer.alpn_offered = answer.alpn
