"""
What a chunk, a request and a connection cost on their way through two sidecars.

Both run in this process, on a reactor of their own that is turned by hand, with real sockets
between them: what is timed is all of Python and OpenSSL that a byte meets, and the kernel's part,
but no waiting and no other process.  In memory, without the kernel, are the same sidecars as the
tests have them: TLS over memory BIOs, layer by layer.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator
from typing import Any

from mxproxy.config.plan import METADATA_EXCHANGE, FilterSpec
from mxproxy.filters import metadata_exchange
from mxproxy.service import ProxyService
from mxproxy.testing.sidecars import (
    CLIENT_NODE,
    SERVER_NODE,
    Sidecars,
    clientTLS,
    onePlan,
    serverTLS,
)

from ..loads import REQUEST, RESPONSE
from ..processes import freePort

#: Turns of the reactor after which something is wrong.
_TURNS = 100_000


class _Sockets:
    """
    Two sidecars over real sockets.
    """

    def __init__(self) -> None:
        from twisted.internet.epollreactor import EPollReactor

        self._reactor: Any = EPollReactor()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        server = self._listener.getsockname()[1]
        inbound, self._port = freePort(), freePort()
        exchange = FilterSpec(METADATA_EXCHANGE, settings=metadata_exchange.configure({}))
        plans = (
            onePlan(
                SERVER_NODE,
                inbound,
                server,
                downstream=serverTLS(),
                downstreamFilters=(exchange,),
            ),
            onePlan(
                CLIENT_NODE,
                self._port,
                inbound,
                upstream=clientTLS(),
                upstreamFilters=(exchange,),
            ),
        )
        for plan in plans:
            ProxyService(plan, self._reactor, []).privilegedStartService()
        self.client, self.server = self.connect()

    def until(self, condition: Callable[[], Any]) -> Any:
        """
        Turn the reactor until C{condition} is true.
        """
        iterate = self._reactor.iterate
        for _ in range(_TURNS):
            if found := condition():
                return found
            iterate(0)
        raise AssertionError("nothing comes")

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """
        @return: both ends of a connection on which a byte has come through.
        """
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", self._port))
        server = self.until(self._accepted)
        server.setblocking(False)
        self.until(lambda: not client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        client.send(b"x")
        self.read(server, 1)
        return client, server

    def _accepted(self) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except BlockingIOError:
            return None

    def read(self, end: socket.socket, size: int) -> None:
        """
        Turn the reactor until C{size} bytes have come.
        """
        left = size

        def done() -> bool:
            nonlocal left
            try:
                got = len(end.recv(256 * 1024))
            except BlockingIOError:
                return False
            assert got, "closed"
            left -= got
            return left <= 0

        self.until(done)

    def chunk(self, size: int) -> Callable[[], None]:
        """
        One way.
        """
        data = bytes(size)

        def run() -> None:
            self.client.sendall(data)
            self.read(self.server, size)

        return run

    def request(self) -> None:
        """
        There and back.
        """
        self.client.send(bytes(REQUEST))
        self.read(self.server, REQUEST)
        self.server.send(bytes(RESPONSE))
        self.read(self.client, RESPONSE)

    def connection(self) -> None:
        """
        From the client's SYN to the last of four sockets.
        """
        client, server = self.connect()
        client.close()
        self.until(lambda: _ended(server))
        server.close()


def _ended(end: socket.socket) -> bool:
    try:
        return end.recv(1) == b""
    except BlockingIOError:
        return False


def _memory() -> Iterator[tuple[str, Callable[[], object]]]:
    sidecars = Sidecars()
    client = sidecars.dial()
    client.write(b"x")
    sidecars.reactor.settle()
    server = sidecars.server

    def chunk(size: int) -> Callable[[], object]:
        data = bytes(size)

        def run() -> None:
            client.write(data)
            sidecars.reactor.settle()

        return run

    before = len(server.received)
    chunk(16 * 1024)()
    assert len(server.received) == before + 16 * 1024
    # It keeps what it gets.
    server.dataReceived = lambda data: None  # type: ignore[method-assign]
    yield "path: 16 KiB, in memory", chunk(16 * 1024)


def benchmarks() -> Iterator[tuple[str, Callable[[], object]]]:
    """
    Names, and what to time.
    """
    sockets = _Sockets()
    # As a proxy that has started.
    gc.collect()
    gc.freeze()
    for size in (1, 16, 64):
        yield f"path: {size} KiB, one way", sockets.chunk(size * 1024)
    yield f"path: {REQUEST} bytes, {RESPONSE} back", sockets.request
    yield "path: a connection", sockets.connection
    yield from _memory()
