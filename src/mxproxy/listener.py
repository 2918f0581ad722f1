"""
A listening socket and what it does with what it accepts.

How a connection flows: accepted, it gets its L{Connection}; the listener filters, if there
are any, look at its first bytes; the switch (L{mxproxy.layers.switch}) picks the chain.  All
of that leaves when it is done: the chain sits on the socket itself.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from .config.plan import FilterSpec, ListenerPlan
from .connection import Connection
from .filters.original_dst import OriginalDst
from .interfaces import IChainContext, IConnectionObserver
from .layers.base import build, connect
from .limits import Admission
from .openfiles import GuardedSocket, OpenFiles
from .socketoptions import setOptions
from .upstream import setNoDelay


def listenerFilters(plan: ListenerPlan) -> tuple[FilterSpec, ...]:
    """
    @return: all that look at a connection before its chain is picked, in order.  What
        C{use_original_dst} stands for is the last of them, as in Envoy.
    """
    if not plan.use_original_dst:
        return plan.listener_filters
    return (*plan.listener_filters, FilterSpec("use_original_dst", settings=OriginalDst()))


class _Accept(Protocol):
    """
    The bottom of a downstream chain, for one call: makes the Connection, and leaves.
    """

    _refused: Connection

    def __init__(self, factory: ListenerFactory) -> None:
        self.factory: ListenerFactory = factory

    def makeConnection(self, transport: Any) -> None:
        """A connection was accepted."""
        factory = self.factory
        setNoDelay(transport)
        setOptions(transport, factory.plan.socket_options)
        bufferLimit = factory.plan.per_connection_buffer_limit
        if bufferLimit:
            # What is read at once, and what may wait to be sent before the other side is
            # paused; never more than the transport's own measure.
            transport.bufferSize = min(transport.bufferSize, bufferLimit)
        connection = Connection(
            factory.context.listener, factory.context.clock.seconds, factory.observers
        )
        connection.opened(transport)
        inner = build(factory.inner, transport, connection.downstream)
        if inner is None:
            self._refused = connection
            transport.loseConnection()
            return
        transport.protocol = inner
        connect(inner, transport, connection.downstream)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """One that nobody took."""
        assert reason is not None
        self._refused.lost(self._refused.downstream, reason)


class ListenerFactory(Factory):
    """
    What listens.

    @ivar inner: the first layer's factory.
    @ivar plan: what of a listener is not made by others already.
    @ivar admission: who is let in.
    """

    noisy = False

    def __init__(
        self,
        inner: IProtocolFactory,
        context: IChainContext,
        observers: Sequence[IConnectionObserver],
        plan: ListenerPlan,
        files: OpenFiles,
    ) -> None:
        """
        @param files: of the process.
        """
        self.inner = inner
        self.context = context
        self.plan = plan
        self._files = files
        self.admission = Admission(plan.limits, context, files.handshakes)
        self.observers = (self.admission, *observers)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See L{Factory.buildProtocol}."""
        return _Accept(self) if self.admission.admits(addr) else None

    def guard(self, port: Any) -> Any:
        """
        Have a port that listens for this factory survive that there are no files left.

        @return: the port.
        """
        if isinstance(getattr(port, "socket", None), socket.socket):
            port.socket = GuardedSocket(port, self._files, self.context)
        return port

    def startFactory(self) -> None:
        """Start the chains."""
        self.inner.doStart()

    def stopFactory(self) -> None:
        """Stop the chains."""
        self.inner.doStop()
