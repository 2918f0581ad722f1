"""
Says in the program's own log when a connection ended for a reason that somebody has to
look at: a refused certificate, an upstream that is down, a prefix over the cap.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger
from zope.interface import implementer

from ..connection import Connection, Peer
from ..interfaces import IConnectionObserver
from .access_log import formatAddress
from .throttle import Throttle

#: Tokens of close reasons with which nothing is wrong that an operator could mend: how
#: connections end, and what they are made to end by.  Many TLS clients never say close_notify.
ORDERLY = (
    *("closed", "reset", "aborted", "drain", "shutdown", "truncated"),
    *("idle_timeout", "half_closed_timeout", "max_connection_duration"),
    *("direct_response", "connection_limit", "local_ratelimit"),
)


@implementer(IConnectionObserver)
class FaultLog:
    """
    One line for a connection that ended out of order; but not for every one of a flood.
    """

    log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        @param seconds: says what time it is.
        """
        self._seconds = seconds
        # By the token; there are as many as are written in the source.
        self._throttles: dict[str, Throttle] = {}

    def opened(self, connection: Connection) -> None:
        """Nothing to say."""

    def identified(self, connection: Connection, peer: Peer) -> None:
        """Nothing to say."""

    def connected(self, connection: Connection) -> None:
        """Nothing to say."""

    def closed(self, connection: Connection) -> None:
        """Was anything wrong?"""
        # A close reason is who, token and perhaps detail, see Connection.closing.
        token = connection.close_reason.split(": ", 2)[1]
        if token in ORDERLY:
            return
        throttle = self._throttles.get(token)
        if throttle is None:
            throttle = self._throttles[token] = Throttle(self._seconds)
        more = throttle.line()
        if more is not None:
            self.log.warn(  # noqa: G010
                "connection {id} from {address} on {listener} closed: {reason}{more}",
                id=connection.id,
                address=formatAddress(connection.downstream.address),
                listener=connection.listener,
                reason=connection.close_reason,
                more=more,
            )
