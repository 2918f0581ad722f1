"""
How many connections may be open: of a listener, of one address, and before their handshakes are
over.

What belongs here is who is let in.  How many files a process may have open, and what becomes of
a listener when there is none left, is L{mxproxy.openfiles}.

A connection too many is closed by the listener itself, before anything is made for it: a flood
costs an accept, a close and a number.  As in Envoy (C{downstream_cx_overflow}), so that whoever
connects can go elsewhere; in a queue it would wait for others to leave.

Handshakes are another matter.  A peer that has not finished its own has proven nothing, and costs
as much memory as one that has.  When there are too many of them one has to make room: of the source
that has most, the one that has waited longest.  So a flood of half-open connections drops its own:
its sources have more of them than anybody honest, whose handshakes take milliseconds.  (More honest
ones at once than the default would take one process more than a second to serve.)  To refuse new
ones instead would be to let whoever comes first, and stalls, keep everybody out.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from zope.interface import implementer

from .config.plan import MAX_HANDSHAKES, Limits
from .connection import Connection, Peer
from .interfaces import IChainContext, IConnectionObserver
from .memory import Crowd
from .observe.throttle import Throttle
from .words import are

log = Logger()


class Handshakes:
    """
    The connections of a process whose terminals are not connected yet: their listener filters,
    TLS or exchange are not over.

    @ivar most: how many there may be.
    """

    def __init__(self, most: int = MAX_HANDSHAKES) -> None:
        self.most = most
        self._number = 0
        # By their sources, and each source's in the order of their age.
        self._of: dict[str, dict[Connection, Callable[[str], None]]] = {}

    def __len__(self) -> int:
        return self._number

    def begun(self, connection: Connection, count: Callable[[str], None]) -> None:
        """
        C{connection} was accepted.  Another one may have to go.

        @param count: called with C{downstream_cx_handshake_overflow} when this one has to.
        """
        if self._number >= self.most:
            self.makeRoom()
        self._of.setdefault(sourceOf(connection), {})[connection] = count
        self._number += 1
        connection.whenArrived = self.over

    def over(self, connection: Connection) -> None:
        """It has arrived, or is closed."""
        source = sourceOf(connection)
        own = self._of.get(source, {})
        if own.pop(connection, None) is not None:
            self._number -= 1
            if not own:
                del self._of[source]

    def makeRoom(self, age: float = 0.0) -> None:
        """
        Drop one, if there is one: of the source that has most, the one that has waited longest.

        @param age: seconds; a younger one is let be.
        """
        if not self._number:
            return
        connection, count = next(iter(max(self._of.values(), key=len).items()))
        if connection.duration < age:
            return
        self.over(connection)
        count("downstream_cx_handshake_overflow")
        connection.downstream.closing(
            "handshake_overflow: the oldest of too many unfinished handshakes made room"
        )
        connection.downstream.transport.abortConnection()


@implementer(IConnectionObserver)
class Admission:
    """
    Who is let in by one listener.
    """

    def __init__(self, limits: Limits, context: IChainContext, handshakes: Handshakes) -> None:
        """
        @param context: the listener's.
        @param handshakes: of the process.
        """
        self._limits = limits
        self._context = context
        self._handshakes = handshakes
        self._crowd = Crowd()
        self._of: dict[str, int] = {}
        self._throttle = Throttle(context.clock.seconds)

    def admits(self, address: IAddress | None) -> bool:
        """
        Somebody wants to connect.

        @return: whether he may.  If not, it was said.
        """
        limits = self._limits
        if limits.connections is not None and self._crowd.number >= limits.connections:
            self._refuse(
                address,
                "downstream_cx_overflow",
                f"{are(self._crowd.number, 'connection')} open",
            )
            return False
        if limits.connections_per_address is not None:
            there = self._of.get(source(address), 0)
            if there >= limits.connections_per_address:
                self._refuse(
                    address,
                    "downstream_cx_per_address_overflow",
                    f"{are(there, 'connection', of=source(address))} open",
                )
                return False
        return True

    def _refuse(self, address: Any, counter: str, why: str) -> None:
        self._count(counter)
        more = self._throttle.line()
        if more is not None:
            log.warn(  # noqa: G010
                "connection from {host} on {listener} refused: {why} already{more}",
                host=getattr(address, "host", None) or "a UNIX socket",
                listener=self._context.listener,
                why=why,
                more=more,
            )

    def _count(self, counter: str) -> None:
        self._context.count(f"listener.{self._context.listener}.{counter}")

    # -- IConnectionObserver

    def opened(self, connection: Connection) -> None:
        """It was let in."""
        self._crowd.came()
        if self._limits.connections_per_address is not None:
            of = sourceOf(connection)
            self._of[of] = self._of.get(of, 0) + 1
        self._handshakes.begun(connection, self._count)

    def identified(self, connection: Connection, peer: Peer) -> None:
        """Nothing to do."""

    def connected(self, connection: Connection) -> None:
        """Nothing to do."""

    def closed(self, connection: Connection) -> None:
        """There is room again."""
        self._handshakes.over(connection)
        self._crowd.went()
        if self._limits.connections_per_address is not None:
            of = sourceOf(connection)
            left = self._of.get(of, 0) - 1
            if left > 0:
                self._of[of] = left
            else:
                self._of.pop(of, None)


def sourceOf(connection: Connection) -> str:
    """
    Whose it is, by its socket, whatever a PROXY header has said meanwhile.
    """
    peer = connection.downstream
    return source(peer.direct_address or peer.address)


def source(address: Any) -> str:
    """
    Whose connection it is: an IPv4 address, an IPv6 network, or empty for a UNIX socket.
    """
    host = getattr(address, "host", None)
    if not host:
        return ""
    if ":" not in host:
        return str(host)
    # A link-local address has a zone.
    parsed = ip_address(host.partition("%")[0])
    assert isinstance(parsed, IPv6Address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
