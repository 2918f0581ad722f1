"""
The listening sockets of a proxy of several processes: the parent opens them, workers accept.

Where the kernel can balance, each worker has a socket of its own at the same address
(C{SO_REUSEPORT}): the kernel chooses one for each connection by a hash of both addresses, which is
even for many connections and need not be for a few.  That is TCP, unless Envoy's
C{enable_reuse_port} says no.  Elsewhere, on UNIX sockets and on those of systemd, all workers
accept from one queue: whoever is awake first gets the connection.

The parent keeps all of them open.  When a worker dies, what waits in its queue, and what comes,
waits for the one that takes its place.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from ..config.descriptions import split, withBacklog
from ..lifecycle.adopting import openEndpoint
from ..lifecycle.generation import Listener
from ..lifecycle.listening import CannotListen

#: Whether the kernel balances between sockets at one address.  Elsewhere than on Linux the last
#: one gets everything.
BALANCES = sys.platform.startswith("linux")


class SharedSocket:
    """
    A listener's socket, or its sockets.

    @ivar listener: whose.
    @ivar endpoint: where.
    @ivar balanced: whether each worker has its own.
    @ivar host: the address, once it is open.
    """

    def __init__(self, listener: Listener, workers: int) -> None:
        self.listener = listener
        self.endpoint = listener.plan.endpoint
        self.balanced = BALANCES and self.endpoint.startswith("tcp:")
        self.host: Any = None
        self._workers = workers
        self._port: IListeningPort | None = None
        self._sockets: list[socket.socket] = []

    def open(self, reactor: Any) -> None:
        """
        @raise CannotListen: it cannot be opened.
        """
        try:
            if self.balanced:
                self._openEach()
            else:
                self._openOne(reactor)
        except Exception as error:  # noqa: BLE001 - any kind of endpoint's
            raise CannotListen(self.listener.plan, error) from None

    def _openOne(self, reactor: Any) -> None:
        self._port = openEndpoint(reactor, self.endpoint, _NoFactory())
        # It is the workers who accept.
        self._port.stopReading()  # type: ignore[attr-defined]
        self.host = self._port.getHost()

    def _openEach(self) -> None:
        _, values, named = split(withBacklog(self.endpoint))
        port = int(named["port"] if "port" in named else values[0])
        interface, backlog = named.get("interface", ""), int(named.get("backlog", 50))
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        try:
            # Alone, first: with SO_REUSEPORT nobody would be told that somebody is there.
            with _bound(family, (interface, port)) as alone:
                name = alone.getsockname()
            for _ in range(self._workers):
                own = _bound(family, name, socket.SO_REUSEPORT)
                self._sockets.append(own)
                own.listen(backlog)
        except OSError as error:
            self._closeEach()
            raise CannotListenError(interface or "any", port, error) from None
        kind = IPv6Address if family == socket.AF_INET6 else IPv4Address
        self.host = kind("TCP", *name[:2])

    def descriptor(self, worker: int) -> int:
        """
        @param worker: counted from 0.
        @return: what it accepts from; it stays this object's.
        """
        own: Any = self._sockets[worker] if self.balanced else self._port
        return int(own.fileno())

    def close(self) -> Deferred[Any]:
        """
        @return: fires when it is closed.
        """
        self._closeEach()
        return succeed(None) if self._port is None else maybeDeferred(self._port.stopListening)

    def _closeEach(self) -> None:
        for own in self._sockets:
            own.close()


class _NoFactory(Factory):
    """
    Nothing is accepted for it.
    """

    noisy = False


def _bound(family: int, name: tuple[Any, ...], *options: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(name)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound
