"""
C{example.meter}: says in the log who connects and how many bytes were carried.

Nothing here is mxproxy's own but two calls: the wrapper is Twisted's, and it would count as
well in front of any other factory.

    --filter example.meter[:limit=BYTES]

With a limit, a connection that has carried more in both directions together is ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from sys import maxsize

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mxproxy.filters.options import Options
from mxproxy.interfaces import IChainContext, IConnection, IFilter

from .preamble import CALLER

log = Logger()


class Meter(ProtocolWrapper):
    """
    Counts.

    @ivar received: bytes from below.
    @ivar sent: bytes from above.
    """

    received = 0
    sent = 0

    def __init__(self, factory: WrappingFactory, wrapped: IProtocol, side: str, limit: int) -> None:
        super().__init__(factory, wrapped)
        self.side = side
        self.limit = limit

    def connectionMade(self) -> None:
        """Everything that can be known of the connection is known by now."""
        connection = IConnection(self.transport)
        caller = connection.downstream
        self.peer = getattr(connection, self.side)
        # What it proves, what it claims, and what it said in a preamble.
        names = (*caller.principals, caller.metadata.workload, connection.get(CALLER))
        self.who = ", ".join(filter(None, names)) or f"somebody ({caller.peer_state})"
        log.info("{who} connected", who=self.who)

    def dataReceived(self, data: bytes) -> None:
        """From below."""
        self.received += len(data)
        if not self.exceeded():
            super().dataReceived(data)

    def write(self, data: bytes) -> None:
        """From above."""
        self.sent += len(data)
        if not self.exceeded():
            super().write(data)

    def exceeded(self) -> bool:
        """End the connection if it has carried too much."""
        if self.received + self.sent <= self.limit:
            return False
        self.peer.closing(f"over_limit: more than {self.limit} bytes")
        self.transport.abortConnection()
        return True

    def connectionLost(self, reason: Failure) -> None:
        """The sum."""
        log.info(
            "{who}: {received} bytes received, {sent} sent",
            who=self.who,
            received=self.received,
            sent=self.sent,
        )
        super().connectionLost(reason)


@implementer(IFilter)
@dataclass(frozen=True)
class MeterFilter:
    """
    @ivar limit: how many bytes a connection may carry.
    """

    limit: int = maxsize

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> WrappingFactory:
        """See L{IFilter.wrap}."""
        factory = WrappingFactory(inner)
        factory.protocol = partial(Meter, side=context.side, limit=self.limit)
        return factory


def configure(options: Mapping[str, str]) -> MeterFilter:
    """
    What C{--filter example.meter:...} says.
    """
    read = Options(options)
    limit = read.integer("limit", maxsize, above=0)
    read.finish()
    return MeterFilter(limit)
