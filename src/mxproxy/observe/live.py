"""
Which connections are open.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..connection import Connection, Peer
from ..interfaces import IConnectionObserver


@implementer(IConnectionObserver)
class LiveConnections:
    """
    The open connections, from accepted to closed.
    """

    def __init__(self) -> None:
        # A dictionary and not a set: in the order of their age.
        self._open: dict[str, Connection] = {}
        self._waiting: list[Deferred[None]] = []

    def opened(self, connection: Connection) -> None:
        """It is one of them from now on."""
        self._open[connection.id] = connection

    def identified(self, connection: Connection, peer: Peer) -> None:
        """It stays one of them."""

    def connected(self, connection: Connection) -> None:
        """It stays one of them."""

    def closed(self, connection: Connection) -> None:
        """It is none of them any more."""
        del self._open[connection.id]
        if not self._open:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def whenNone(self) -> Deferred[None]:
        """
        @return: fires when no connection is open.
        """
        deferred: Deferred[None] = Deferred()
        if self._open:
            self._waiting.append(deferred)
        else:
            deferred.callback(None)
        return deferred
