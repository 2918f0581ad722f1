"""
Says in the program's own log when a connection ended for a reason that somebody has to
look at: a refused certificate, an upstream that is down, a prefix over the cap.
"""

from __future__ import annotations

from twisted.logger import Logger
from zope.interface import implementer

from ..connection import Connection, Peer
from ..interfaces import IConnectionObserver
from .access_log import formatAddress

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
    One line for a connection that ended out of order.
    """

    log = Logger()

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
        if token not in ORDERLY:
            self.log.warn(  # noqa: G010
                "connection {id} from {address} on {listener} closed: {reason}",
                id=connection.id,
                address=formatAddress(connection.downstream.address),
                listener=connection.listener,
                reason=connection.close_reason,
            )
