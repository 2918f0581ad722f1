"""
One host, tried for one connection: dialled, and brought through the chain.

An attempt succeeds when the whole upstream chain has come to a result, TLS and exchange
included.  Until then nothing of the application has been written to it, so a failure,
whatever the layer, can be answered by another host (L{mxproxy.upstream.connecting}).
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IAddress, IDelayedCall, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from ..connection import Connection, Peer
from ..layers.base import build, connect
from ..socketoptions import setOptions
from ..tcp import AWAITED
from ..transports.dial import takeOver
from .hosts import Host
from .proxyheader import proxyHeader
from .sockets import UpstreamChain


class ConnectFailed(Exception):
    """
    A connection could not be made; the text, one line, says why: C{"token: detail"}, for
    each host that was tried.
    """


class _Dialed(Protocol):
    """
    The bottom of an upstream chain, for one call: says whose socket this is, and leaves.
    """

    attempt: Attempt | None

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

    def __init__(self, attempt: Attempt) -> None:
        self.attempt: Attempt | None = attempt

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See L{Factory.buildProtocol}."""
        protocol = _Dialed()
        protocol.attempt, self.attempt = self.attempt, None
        return protocol


class Attempt:
    """
    One host, tried for one connection.

    @ivar result: fires with the chain's topmost protocol, or fails with L{ConnectFailed};
        cancelling it drops what there is.
    """

    def __init__(
        self,
        host: Host,
        chain: UpstreamChain,
        connection: Connection,
        clock: Any,
        timeout: float | None,
    ) -> None:
        """
        @param chain: one of the host's.
        @param timeout: seconds for the TCP connection; C{None}: the caller has his own.
        """
        self._connection: Connection | None = connection
        self.result: Deferred[Any] = Deferred(self._cancelled)
        self._chain = chain
        self._place = host.place
        self._proxyProtocol = host.socket.proxy_protocol
        self._socketOptions = host.socket.options
        self._clock = clock
        self._timeout = timeout
        self._transport: Any = None
        self._timedOut = False
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to connect."""
        connection = self._connection
        assert connection is not None
        self._peer = connection.newUpstream(self._lost)
        self._peer.host = self._place.key
        if self._chain.exchanges_metadata:
            self._peer.expectMetadata()
        half: Deferred[Any] = Deferred()
        half.addCallback(self._succeeded)
        connection.set(AWAITED, half)
        self._factory = _Dialing(self)
        if self._timeout is not None:
            self._timer = self._clock.callLater(self._timeout, self._timeOut)
        self._dialing = self._place.endpoint.connect(self._factory)
        self._dialing.addCallbacks(lambda _: None, self._dialFailed)

    def dialed(self, transport: Any) -> None:
        """The TCP connection is up: bring it through the chain."""
        self._stopTimer()
        self._transport = transport = takeOver(transport)
        setNoDelay(transport)
        setOptions(transport, self._socketOptions)
        connection = self._connection
        assert connection is not None
        connection.attach(self._peer, transport)
        inner = build(self._chain.factory, transport, self._peer)
        if inner is None:
            transport.loseConnection()
            connection.lost(self._peer, Failure(ConnectionDone()))
            return
        if self._proxyProtocol:
            # Below TLS, and in the clear: who reads it has not terminated TLS yet.
            transport.write(proxyHeader(self._proxyProtocol, connection.downstream, transport))
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
            reason = f"connect_failed: {brief(failure)}"
        self._peer.closing(reason)
        self._fail(reason)

    def _lost(self, peer: Peer) -> None:
        self._transport = None
        self._fail(peer.close_reason)

    def _fail(self, reason: str) -> None:
        # It keeps us, waiting for its half, until it is closed; a health check's never is.
        self._connection = None
        if not self.result.called:
            self.result.errback(ConnectFailed(f"{reason} ({self._place.description})"))

    def _cancelled(self, result: Deferred[Any]) -> None:
        """The downstream is gone."""
        self._peer.closing("cancelled: the downstream closed before the upstream was connected")
        result.errback(CancelledError())
        if self._transport is not None:
            self._transport.abortConnection()
        else:
            self._dialing.cancel()


def setNoDelay(transport: ITransport) -> None:
    """
    A proxy adds no delay of its own: what an application wrote is sent on at once.
    """
    set_ = getattr(transport, "setTcpNoDelay", None)
    if set_ is not None:
        set_(True)


def brief(failure: Failure) -> str:
    """An error of connecting, in a few words."""
    error = failure.value
    cause: object = error
    if isinstance(error, ConnectError) and error.osError is not None:
        number = getattr(error.osError, "errno", error.osError)
        cause = os.strerror(number) if isinstance(number, int) else error.osError
    return " ".join(str(cause).split()) or type(error).__name__
