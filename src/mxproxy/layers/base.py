"""
A layer: a protocol to what is below it, a transport to what is above it.

What all layers share lives here: connecting the protocol above late, passing calls
through, counting pauses, and leaving.  A layer that knows what the bytes mean is a file
of its own.

The rules that make layers compose:

  - A layer connects the protocol above it (C{connectInner} or C{leave}) when what that
    protocol needs is known, and not before; so nothing above can write, pause or register
    a producer too early, and there is nothing to queue.
  - What is above is told of the connection's loss exactly once.  Where nothing is above
    yet, the layer itself tells the L{Connection<mxproxy.connection.Connection>}.
  - After C{pauseProducing} a layer delivers nothing, neither bytes nor the end of the
    stream, until it is resumed; whoever paused it.
  - A layer that has finished leaves: C{below.protocol = above; above.transport = below}.
    From then on it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    ITransport,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from ..connection import Connection, Peer, connectionOf
from ..interfaces import IChainContext, IConnection, ILayer

#: Who wants a pause.  A layer's reading side runs only while neither does.
ABOVE = 1
OWN = 2

#: Seconds that a side which is being closed may take to read what was written to it.
CLOSE_TIMEOUT = 30.0


log = Logger()


def connect(protocol: Any, transport: Any, peer: Peer) -> None:
    """
    C{protocol.makeConnection(transport)}, but an error in it ends the connection: what is
    half made would otherwise wait for ever.
    """
    try:
        protocol.makeConnection(transport)
    except Exception as error:  # noqa: BLE001 - whatever a filter does wrong is logged
        log.failure("{protocol!r} could not be connected", protocol=protocol)
        peer.closing(f"error: {type(error).__name__}")
        transport.abortConnection()


def build(factory: IProtocolFactory, transport: Any, peer: Peer) -> Any:
    """
    C{factory.buildProtocol(...)} for what is on the other end of C{transport}.

    @return: C{None} if the factory declined, or raised: why is said, and the caller has to
        close C{transport}.
    """
    try:
        protocol = factory.buildProtocol(transport.getPeer())
    except Exception as error:  # noqa: BLE001 - see connect
        log.failure("{factory!r} could not build a protocol", factory=factory)
        peer.closing(f"error: {type(error).__name__}")
        return None
    if protocol is None:
        peer.closing(f"refused: {type(factory).__name__} took no connection")
    return protocol


def loseWriteConnection(transport: Any) -> None:
    """
    End the writing direction of C{transport}; where it has no halves, end both.
    """
    halfClose = getattr(transport, "loseWriteConnection", None)
    if halfClose is None:
        transport.loseConnection()
    else:
        halfClose()


def readConnectionLost(protocol: IProtocol, transport: Any) -> None:
    """
    Tell C{protocol} of the end of the stream; where it knows no halves, end both, as
    Twisted's own transports do.
    """
    halfCloseable: Any = IHalfCloseableProtocol(protocol, None)
    if halfCloseable is None:
        transport.loseConnection()
    else:
        halfCloseable.readConnectionLost()


@implementer(ILayer)
class Layer:
    """
    A transparent layer, and the base of all others.

    Subclasses override C{connectionMade} (and call C{connectInner} when they are ready),
    C{dataReceived}, C{write} and so on.

    @cvar name: how the connection's trail calls this layer.
    @ivar factory: the L{LayerFactory} that made it.
    @ivar context: the chain's L{IChainContext}.
    @ivar connection: what is known of the connection; from C{connectionMade} on.
    @ivar peer: this side's half of it.
    """

    name: ClassVar[str] = "layer"

    protocol: Any = None
    transport: Any = None
    connection: Connection
    peer: Peer
    _pauses = 0
    _deadline: IDelayedCall | None = None

    def __init__(self, factory: LayerFactory) -> None:
        self.factory = factory
        self.context = factory.context

    def __conform__(self, interface: InterfaceClass) -> Connection | None:
        return self.connection if interface is IConnection else None

    # -- connecting, leaving, failing

    def makeConnection(self, transport: ITransport) -> None:
        """Called by what is below, once."""
        self.transport = transport
        self.connection = connectionOf(transport)
        self.peer = getattr(self.connection, self.context.side)
        self.connectionMade()

    def connectionMade(self) -> None:
        """The connection below is ready.  This layer has nothing to wait for."""
        self.connectInner()

    def buildInner(self) -> Any:
        """
        Build the protocol above.

        @return: the protocol, or C{None} if its factory declined; the connection is then
            being closed.
        """
        inner = build(self.factory.inner, self.transport, self.peer)
        if inner is None:
            self.closeWithinBound()
        return inner

    def connectInner(self) -> None:
        """Build and connect the protocol above, with this layer as its transport."""
        inner = self.buildInner()
        if inner is not None:
            self.protocol = inner
            connect(inner, self, self.peer)

    def leave(self) -> None:
        """
        This layer is done: join what is above to what is below.

        The protocol above is connected now if it was not before.
        """
        if self._deadline is not None:
            self.stopTimer()
        below = self.transport
        self.connection.trail.append(f"{self.peer.side}/{self.name}")
        if self.protocol is None:
            inner = self.buildInner()
            if inner is not None:
                below.protocol = inner
                connect(inner, below, self.peer)
            return
        self.resume(OWN)
        below.protocol = self.protocol
        self.protocol.transport = below

    def fail(self, reason: str) -> None:
        """
        Close the connection because of this layer.

        @param reason: C{"token"} or C{"token: detail"}, for logs.
        """
        self.peer.closing(reason)
        self.closeWithinBound()

    def closeWithinBound(self) -> None:
        """
        Close, once everything written is flushed; but do not wait for ever for a peer that
        does not read.  A transport does, and also for a producer that it has paused.
        """
        # First, as a socket whose writing direction has ended is lost from within.
        self.startTimer(CLOSE_TIMEOUT, self.transport.abortConnection)
        self.transport.loseConnection()

    # -- IProtocol, IHalfCloseableProtocol: called by what is below

    def dataReceived(self, data: bytes) -> None:
        """Pass it on."""
        self.protocol.dataReceived(data)

    def readConnectionLost(self) -> None:
        """The peer ended its stream."""
        if self.protocol is None:
            self.fail("closed: the stream ended too early")
        else:
            readConnectionLost(self.protocol, self)

    def writeConnectionLost(self) -> None:
        """Our own end of stream was sent."""
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is not None:
            protocol.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """Both directions are gone."""
        if self._deadline is not None:
            self.stopTimer()
        # The reference is given up so that no cycle outlives the connection.
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            try:
                protocol.connectionLost(reason)
                return
            except Exception:  # noqa: BLE001 - a connection ends, whatever a filter does wrong
                log.failure("{protocol!r} has failed as it lost its connection", protocol=protocol)
            if isinstance(protocol, Layer):
                # Whatever is above it has not been told.
                Layer.connectionLost(protocol, reason)
        self.connection.lost(self.peer, reason)

    # -- ITransport: called by what is above

    def write(self, data: bytes) -> None:
        """Pass it down."""
        self.transport.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Pass it down, through C{write}."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close, once everything written is flushed."""
        self.transport.loseConnection()

    def loseWriteConnection(self) -> None:
        """End the writing direction, once everything written is flushed."""
        loseWriteConnection(self.transport)

    def abortConnection(self) -> None:
        """Drop the connection at once."""
        self.transport.abortConnection()

    def getPeer(self) -> IAddress:
        """The other end's address."""
        return self.transport.getPeer()  # type: ignore[no-any-return]

    def getHost(self) -> IAddress:
        """Our own end's address."""
        return self.transport.getHost()  # type: ignore[no-any-return]

    @property
    def disconnecting(self) -> bool:
        """Whether the transport below is closing."""
        return bool(getattr(self.transport, "disconnecting", False))

    # -- IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Back-pressure is the business of whoever has the buffer: below."""
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See L{registerProducer}."""
        self.transport.unregisterProducer()

    # -- IPushProducer: called by what is above

    def pauseProducing(self) -> None:
        """What is above wants nothing more for now."""
        self.pause(ABOVE)

    def resumeProducing(self) -> None:
        """What is above can take more."""
        self.resume(ABOVE)

    def stopProducing(self) -> None:
        """What is above wants nothing more, ever."""
        self.loseConnection()

    # -- waiting, within a bound

    def startTimer(self, seconds: float, call: Callable[[], object]) -> None:
        """
        Call C{call} later, unless L{stopTimer} comes first, or the layer leaves, or the
        connection is lost.  A layer has one timer; starting it again replaces it.  What
        C{call} raises is logged and ends the connection.
        """
        self.stopTimer()
        self._deadline = self.context.clock.callLater(seconds, self._timerFired, call)

    def stopTimer(self) -> None:
        """See L{startTimer}."""
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    def _timerFired(self, call: Callable[[], object]) -> None:
        # Given up first: a timer that has fired keeps what it called, and that keeps us.
        self._deadline = None
        try:
            call()
        except Exception as error:  # noqa: BLE001 - nobody else would end the wait
            log.failure("{layer!r}: its timer has failed", layer=self)
            self.peer.closing(f"error: {type(error).__name__}")
            self.transport.abortConnection()

    # -- pauses, counted

    @property
    def paused(self) -> bool:
        """Whether anybody wants this layer to deliver nothing."""
        return self._pauses != 0

    def pause(self, who: int = OWN) -> None:
        """
        Deliver nothing until C{who} and everybody else who paused has resumed.

        @param who: L{ABOVE} or L{OWN}; a layer's own reason is not undone by
            back-pressure ending, nor the other way round.
        """
        before, self._pauses = self._pauses, self._pauses | who
        if not before:
            self.transport.pauseProducing()

    def resume(self, who: int = OWN) -> None:
        """See L{pause}."""
        before, self._pauses = self._pauses, self._pauses & ~who
        if before and not self._pauses:
            self.unpaused()

    def unpaused(self) -> None:
        """
        The last pause has ended.  Layers that hold something back deliver it here, before
        they let what is below go on.
        """
        self.transport.resumeProducing()

    def __repr__(self) -> str:
        state = "waiting" if self.protocol is None else "paused" if self.paused else "connected"
        return f"<{type(self).__name__} {self.name} {state}>"


@implementer(IProtocolFactory)
class LayerFactory(Factory):
    """
    Makes one kind of layer for one chain.

    @ivar layer: the layer's class, or anything that is called with this factory; a subclass's
        attribute, or an argument.
    @ivar inner: the factory of what is above.
    @ivar context: the chain's L{IChainContext}.
    """

    noisy = False
    layer: Any = Layer

    def __init__(
        self,
        inner: IProtocolFactory,
        context: IChainContext,
        layer: Callable[[Any], Any] | None = None,
    ) -> None:
        self.inner = inner
        self.context = context
        if layer is not None:
            self.layer = layer

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """One layer for one connection."""
        return self.layer(self)

    def doStart(self) -> None:
        """Started with its chain."""
        super().doStart()  # type: ignore[no-untyped-call]
        self.inner.doStart()

    def doStop(self) -> None:
        """Stopped with its chain."""
        self.inner.doStop()
        super().doStop()  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return f"{getattr(self.layer, 'name', self.layer)} > {self.inner!r}"
