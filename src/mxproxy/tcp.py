"""
The terminal of a chain: joins the downstream to an upstream, byte for byte.

How a byte flows: the downstream half is connected when every layer below it has come to a
result.  It pauses the downstream, asks the cluster for an upstream, and once that one's
chain, too, has come to a result the two halves are joined: what one receives the other
writes.  Nothing is queued here.  Back-pressure is Twisted's: each half is the producer of
the other's transport.

How an end flows: an end of stream is passed on as a half-close, behind the last byte, and
the other direction carries on.  When both directions have ended, both sides are closed.
When a side is lost, what was read from it is flushed to the other, which is then closed;
a bound (L{mxproxy.terminal.CLOSE_TIMEOUT}) ends the wait for a peer that does not read.  A side
that was reset has the other one reset, if nothing is on its way there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocolFactory, IPushProducer
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .connection import Connection, Key
from .interfaces import IChainContext, IUpstream
from .layers.base import loseWriteConnection
from .terminal import Terminal
from .timeouts import FOR_EVER, Timeouts, Watch
from .transports.outstanding import inFlight

log = Logger()

#: What a side says of itself that has come to its end.
ORDERLY = ("closed", "truncated")


@implementer(IPushProducer)
class Half(Terminal):
    """
    One side of the join: the topmost protocol of its chain.

    @ivar other: the other half, from the join until either is lost.
    @ivar watch: the connection's, if it has a timeout.
    """

    other: Half | None = None
    watch: Watch | None = None
    _readDone = False
    _held = False

    # -- bytes

    def dataReceived(self, data: bytes) -> None:
        """Write it to the other side."""
        other = self.other
        if other is None:
            return  # The other side is gone and this one is being closed.
        self.moved(len(data))
        other.transport.write(data)

    def bufferReceived(self, data: memoryview) -> None:
        """
        The same, of a transport that reads into a buffer of its own.

        @param data: changes as soon as this returns.
        """
        other = self.other
        if other is None:
            return
        self.moved(len(data))
        transport = other.transport
        write = getattr(transport, "writeBuffer", None)
        if write is not None:
            write(data)
        else:
            transport.write(bytes(data))

    @property
    def sink(self) -> Any:
        """The transport that everything is written to, as it is and at once; if there is one."""
        return None if self.other is None else self.other.transport

    def moved(self, size: int) -> None:
        """
        So many bytes were read, and are written to the other side.
        """
        other = self.other
        if other is not None:
            self.peer.bytes_received += size
            other.peer.bytes_sent += size

    def pauseProducing(self) -> None:
        """The other side's buffer is full."""
        self._held = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The other side's buffer is empty."""
        self._held = False
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The other side is gone; its C{connectionLost} does what is to be done."""

    # -- joining and ending

    def join(self, other: Half) -> None:
        """
        Make this and C{other} a pair; bytes flow from now on.
        """
        self.other, other.other = other, self
        self.transport.registerProducer(other, True)
        other.transport.registerProducer(self, True)
        self.connection.joined()

    def readConnectionLost(self) -> None:
        """The peer has ended its stream: so do we to the other side."""
        self._readDone = True
        self.peer.closing("closed")
        other = self.other
        if other is None:
            self.close()
        elif other._readDone:
            self.connection.closing(f"{other.peer.side}: {other.peer.close_reason}")
            self.close()
            other.close()
        else:
            # As with closing: the end waits for as long as there is a producer.
            other.transport.unregisterProducer()
            loseWriteConnection(other.transport)
            if self.watch is not None:
                self.watch.halfClosed()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """This side is gone: close the other, as this one was."""
        assert reason is not None
        other, self.other = self.other, None
        super().connectionLost(reason)
        if other is None:
            return
        other.other = None
        if self._abruptly(reason) and not inFlight(other.peer.transport):
            # There is nothing that a reset could overtake, and whoever is there shall not take
            # what he has for everything.
            other.transport.abortConnection()
        else:
            other.close()

    def _abruptly(self, reason: Failure) -> bool:
        """Whether the peer may have meant to say more: by a reset, or what was no TLS."""
        token = self.peer.close_reason.partition(":")[0]
        return isinstance(reason.value, ConnectionLost) or token not in ORDERLY


class UpstreamHalf(Half):
    """
    The half that a cluster connects.
    """

    def connectionMade(self) -> None:
        """Whoever asked for it is waiting."""
        waiting = self.connection.get(AWAITED)
        assert waiting is not None
        waiting.callback(self)


#: Who waits for this connection's upstream half.  The chains are built once, for all
#: connections; this is how one attempt's half finds its way back.
AWAITED: Key[Deferred[Any]] = Key("mxproxy.tcp.awaited", Deferred)


#: The cluster that a filter has chosen for this connection, instead of the terminal's own:
#: Envoy's C{envoy.tcp_proxy.cluster}.
CLUSTER: Key[str] = Key("envoy.tcp_proxy.cluster", str)


class DownstreamHalf(Half):
    """
    The half that a listener's chain ends in.
    """

    _connecting: Deferred[Any] | None = None

    def __init__(self, factory: TCPProxyFactory) -> None:
        super().__init__(factory.context)
        self.factory: TCPProxyFactory = factory

    def connectionMade(self) -> None:
        """Nothing is read from here until there is somewhere to write it."""
        self.transport.pauseProducing()
        factory = self.factory
        if factory.timeouts != FOR_EVER:
            self.watch = Watch(self.connection, self.context, factory.timeouts, self._timedOut)
        try:
            upstream = factory.pick(self.connection)
        except ValueError as error:
            self.connection.closing(f"upstream: no_cluster: {error}")
            self.close()
            return
        self.connection.cluster = upstream.name
        self._connecting = upstream.connect(self.connection, factory.attempts)
        self._connecting.addCallbacks(self._connected, self._failed)

    def _connected(self, half: Half) -> None:
        self._connecting = None
        try:
            self._begin(half)
        except Exception as error:  # noqa: BLE001 - both would wait for ever
            log.failure("{connection!r} could not be joined", connection=self.connection)
            self.connection.closing(f"proxy: error: {type(error).__name__}")
            for side in (half, self):
                side.transport.abortConnection()

    def _begin(self, half: Half) -> None:
        half.watch = self.watch
        if self.watch is not None:
            self.watch.joined()
        self.join(half)
        if not self._held:
            self.transport.resumeProducing()

    def _timedOut(self, reason: str) -> None:
        self.connection.closing(f"proxy: {reason}")
        other = self.other
        self.close()
        if other is not None:
            other.close()

    def _failed(self, failure: Failure) -> None:
        self._connecting = None
        if failure.check(CancelledError):
            return
        self.connection.closing(f"upstream: {failure.getErrorMessage()}")
        self.close()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """This side is gone: the attempt at the other, too."""
        if self.watch is not None:
            self.watch.stop()
        if self._connecting is not None:
            self._connecting.cancel()
        super().connectionLost(reason)


class UpstreamFactory(Factory):
    """
    The top of a cluster's chain.
    """

    noisy = False

    def __init__(self, context: IChainContext) -> None:
        self.context = context

    def buildProtocol(self, addr: IAddress | None) -> UpstreamHalf:
        """One half for one attempt that got so far."""
        return UpstreamHalf(self.context)

    def __repr__(self) -> str:
        return "tcp_proxy"


@implementer(IProtocolFactory)
class TCPProxyFactory(Factory):
    """
    The top of a listener's chain: C{envoy.filters.network.tcp_proxy}.
    """

    noisy = False

    def __init__(
        self,
        context: IChainContext,
        pick: Callable[[Connection], IUpstream],
        attempts: int | None = None,
        timeouts: Timeouts = FOR_EVER,
    ) -> None:
        """
        @param pick: says where a connection has to go, or raises C{ValueError}.
        @param attempts: see L{IUpstream.connect}.
        """
        self.context = context
        self.pick = pick
        self.attempts = attempts
        self.timeouts = timeouts

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """One half for one connection."""
        return DownstreamHalf(self)

    def __repr__(self) -> str:
        return "tcp_proxy"
