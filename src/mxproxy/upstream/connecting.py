"""
One connection's way to a host of a cluster: another host when one cannot be connected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ..connection import Connection
from .attempt import Attempt, ConnectFailed
from .hosts import Host

if TYPE_CHECKING:
    from .cluster import Cluster


class Connecting:
    """
    The way.

    @ivar result: see L{IUpstream.connect<mxproxy.interfaces.IUpstream.connect>}.
    """

    def __init__(self, cluster: Cluster, connection: Connection, attempts: int | None) -> None:
        self.result: Deferred[Any] = Deferred(self._cancel)
        self._cluster = cluster
        self._connection = connection
        self._left = attempts
        self._order: list[Host] = []
        self._failures: list[str] = []
        self._current: Deferred[Any] | None = None

    def start(self) -> None:
        """The cluster knows its hosts."""
        if self._left is None:
            self._order = self._cluster.everyHost(self._connection)
            self._left = max(1, len(self._order))
        self._next()

    def _next(self) -> None:
        assert self._left is not None
        if not self._left:
            self._fail("")
            return
        self._left -= 1
        cluster, connection = self._cluster, self._connection
        refused = cluster.overflow()
        if refused:
            self._fail(refused)
            return
        host = self._order.pop(0) if self._order else cluster.pick(connection)
        if host is None:
            self._fail(cluster.noHost())
            return
        cluster.took(host)
        attempt = Attempt(
            host, host.socket.chain, connection, cluster.clock, cluster.connectTimeout
        )
        self._current = attempt.result
        attempt.result.addCallbacks(
            self._connected, self._failed, callbackArgs=(host,), errbackArgs=(host,)
        )
        attempt.start()

    def _connected(self, half: object, host: Host) -> None:
        self._current, cluster = None, self._cluster
        cluster.connected(host)
        # To the end of the upstream, not of the connection: its other half may be flushed for
        # long after.
        self._connection.upstream.whenLost = lambda peer: cluster.gaveBack(host)
        self.result.callback(half)

    def _failed(self, failure: Failure, host: Host) -> None:
        self._current = None
        self._cluster.gaveBack(host)
        if failure.check(CancelledError):
            self.result.errback(failure)
            return
        failure.trap(ConnectFailed)
        why = failure.getErrorMessage()
        self._cluster.failed(host, why)
        self._failures.append(why)
        self._next()

    def _fail(self, why: str) -> None:
        if why:
            self._failures.append(why)
        self.result.errback(ConnectFailed("; ".join(self._failures)))

    def _cancel(self, result: Deferred[Any]) -> None:
        """The downstream is gone."""
        if self._current is not None:
            self._current.cancel()
        else:
            self._cluster.forget(self)
            result.errback(CancelledError())
