"""
Where connections go: a cluster's endpoints, taken in turn, each through the upstream chain.

An attempt succeeds when the whole upstream chain has come to a result, TLS and exchange
included.  Until then nothing of the application has been written to it, so a failure,
whatever the layer, is answered by the next endpoint.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocolFactory,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from ..connection import Connection, Peer
from ..interfaces import IUpstream
from ..layers.base import connect
from ..tcp import AWAITED


class ConnectFailed(Exception):
    """
    No endpoint of the cluster could be connected; the text says why, for each.
    """


class _Dialed(Protocol):
    """
    The bottom of an upstream chain, for one call: says whose socket this is, and leaves.
    """

    attempt: _Attempt | None

    def makeConnection(self, transport: Any) -> None:
        """The TCP connection is up."""
        attempt, self.attempt = self.attempt, None
        assert attempt is not None
        attempt.dialed(transport)


class _Dialing(Factory):
    """
    What an endpoint is given.

    @ivar attempt: whose it is, until that has a socket.  Twisted's clients keep their
        factory in a cycle with themselves; an attempt shall not be a part of that.
    """

    noisy = False

    def __init__(self, attempt: _Attempt) -> None:
        self.attempt: _Attempt | None = attempt

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See L{Factory.buildProtocol}."""
        protocol = _Dialed()
        protocol.attempt, self.attempt = self.attempt, None
        return protocol


class _Attempt:
    """
    One endpoint, tried for one connection.

    @ivar result: fires with the upstream half, or fails with L{ConnectFailed}.
    """

    def __init__(
        self,
        chain: UpstreamChain,
        connection: Connection,
        description: str,
        clock: Any,
        timeout: float,
    ) -> None:
        self.connection = connection
        self.result: Deferred[Any] = Deferred(self._cancelled)
        self._chain = chain
        self._description = description
        self._clock = clock
        self._timeout = timeout
        self._transport: Any = None
        self._timedOut = False
        self._timer: IDelayedCall | None = None

    def start(self, endpoint: IStreamClientEndpoint) -> None:
        """Begin to connect."""
        self._peer = self.connection.newUpstream(self._lost)
        if self._chain.exchanges_metadata:
            self._peer.expectMetadata()
        half: Deferred[Any] = Deferred()
        half.addCallback(self._succeeded)
        self.connection.set(AWAITED, half)
        self._factory = _Dialing(self)
        self._timer = self._clock.callLater(self._timeout, self._timeOut)
        self._dialing = endpoint.connect(self._factory)
        self._dialing.addCallbacks(lambda _: None, self._dialFailed)

    def dialed(self, transport: Any) -> None:
        """The TCP connection is up: bring it through the chain."""
        self._stopTimer()
        self._transport = transport
        setNoDelay(transport)
        self.connection.attach(self._peer, transport)
        inner = self._chain.factory.buildProtocol(transport.getPeer())
        if inner is None:
            self._peer.closing("refused: the upstream chain took no connection")
            transport.loseConnection()
            self.connection.lost(self._peer, Failure(ConnectionDone()))
            return
        transport.protocol = inner
        connect(inner, transport, self._peer)

    def _succeeded(self, half: object) -> None:
        self._transport = None
        self._peer.whenLost = None
        self.result.callback(half)

    def _timeOut(self) -> None:
        self._timer = None
        self._timedOut = True
        self._dialing.cancel()

    def _stopTimer(self) -> None:
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def _dialFailed(self, failure: Failure) -> None:
        self._factory.attempt = self._peer.whenLost = None
        self._stopTimer()
        if self._timedOut:
            reason = f"connect_timeout: no connection within {self._timeout:g} s"
        else:
            reason = f"connect_failed: {_brief(failure)}"
        self._peer.closing(reason)
        self._fail(reason)

    def _lost(self, peer: Peer) -> None:
        self._transport = None
        self._fail(peer.close_reason)

    def _fail(self, reason: str) -> None:
        if not self.result.called:
            self.result.errback(ConnectFailed(f"{reason} ({self._description})"))

    def _cancelled(self, result: Deferred[Any]) -> None:
        """The downstream is gone."""
        self._peer.closing("cancelled: the downstream closed before the upstream was connected")
        result.errback(CancelledError())
        if self._transport is not None:
            self._transport.abortConnection()
        else:
            self._stopTimer()
            self._dialing.cancel()


def setNoDelay(transport: ITransport) -> None:
    """
    A proxy adds no delay of its own: what an application wrote is sent on at once.
    """
    set_ = getattr(transport, "setTcpNoDelay", None)
    if set_ is not None:
        set_(True)


def _brief(failure: Failure) -> str:
    """An error of connecting, in a few words."""
    error = failure.value
    if isinstance(error, ConnectError) and error.osError is not None:
        number = getattr(error.osError, "errno", error.osError)
        return os.strerror(number) if isinstance(number, int) else str(error.osError)
    return " ".join(str(error).split()) or type(error).__name__


@dataclass(frozen=True)
class UpstreamChain:
    """
    A cluster's chain, built.

    @ivar factory: its lowest layer's.
    @ivar exchanges_metadata: whether a filter in it learns the peer's metadata.
    """

    factory: IProtocolFactory
    exchanges_metadata: bool


@implementer(IUpstream)
class Cluster:
    """
    Endpoints, the chain that connections to them go through, and whose turn it is.

    @ivar chain: set by L{mxproxy.service} when the chain is built.
    """

    chain: UpstreamChain

    def __init__(
        self, reactor: Any, name: str, endpoints: Sequence[str], connectTimeout: float
    ) -> None:
        """
        @param endpoints: Twisted client endpoint descriptions.
        @raise ValueError: one of them is none.
        """
        self.name = name
        self._clock = reactor
        self._timeout = connectTimeout
        self._endpoints = [(text, clientFromString(reactor, text)) for text in endpoints]
        self._turn = 0

    def connect(self, connection: Connection, attempts: int | None = None) -> Deferred[Any]:
        """See L{IUpstream.connect}."""
        turn, self._turn = self._turn, (self._turn + 1) % len(self._endpoints)
        order = self._endpoints[turn:] + self._endpoints[:turn]
        if attempts is not None:
            order = (order * attempts)[:attempts]
        return _Connecting(self, connection, order).result

    def attempt(self, connection: Connection, description: str) -> _Attempt:
        """One try at one endpoint."""
        return _Attempt(self.chain, connection, description, self._clock, self._timeout)


class _Connecting:
    """
    One connection's way through a cluster's endpoints.
    """

    def __init__(
        self,
        cluster: Cluster,
        connection: Connection,
        order: list[tuple[str, IStreamClientEndpoint]],
    ) -> None:
        self._cluster = cluster
        self._connection = connection
        self._left = iter(order)
        self._failures: list[str] = []
        self._current: Deferred[Any] | None = None
        self.result: Deferred[Any] = Deferred(self._cancel)
        self._next()

    def _next(self) -> None:
        for description, endpoint in self._left:
            attempt = self._cluster.attempt(self._connection, description)
            self._current = attempt.result
            attempt.start(endpoint)
            attempt.result.addCallbacks(self.result.callback, self._failed)
            return
        self.result.errback(ConnectFailed("; ".join(self._failures)))

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            self.result.errback(failure)
            return
        failure.trap(ConnectFailed)
        self._failures.append(failure.getErrorMessage())
        self._next()

    def _cancel(self, result: Deferred[Any]) -> None:
        assert self._current is not None
        self._current.cancel()
