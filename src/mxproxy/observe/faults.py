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

#: What may follow "downstream: " or "upstream: " when nothing is wrong.
ORDERLY = ("closed", "reset", "aborted", "shutdown")


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
        _, _, what = connection.close_reason.partition(": ")
        if what not in ORDERLY:
            self.log.warn(  # noqa: G010
                "connection {id} from {address} on {listener} closed: {reason}",
                id=connection.id,
                address=formatAddress(connection.downstream.address),
                listener=connection.listener,
                reason=connection.close_reason,
            )
