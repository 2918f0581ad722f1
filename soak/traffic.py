"""
Many connections at once, one after the other, at full speed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory
from twisted.python.failure import Failure

from .conversation import Conversation, draw
from .sides import Client, Server

HOST = "127.0.0.1"

#: Seconds after which a connection counts as stuck: a slow reader of 2 MiB takes some two, and
#: what is large shares a machine with all else.
STUCK = 180.0


class Traffic:
    """
    The client's application and the server's.

    @ivar wrong: what should not have been, in words; the first hundred.
    @ivar violations: how often that was.
    @ivar kinds: connections that are over, by kind.
    @ivar killed: those that were killed, by how.
    @ivar bytes: of all streams, as received and found right.
    @ivar refused: clients that were not connected.
    """

    def __init__(
        self,
        reactor: Any,
        dice: random.Random,
        port: int,
        began: Callable[[Client], None],
        over: Callable[[Client], None],
    ) -> None:
        """
        @param port: the outbound sidecar's.
        @param began: is told of each client that is connected.
        @param over: is told of each client that is gone.
        """
        self.wrong: list[str] = []
        self.violations = 0
        self.kinds: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        self.bytes = 0
        self.refused = 0
        self.started = 0
        self._reactor = reactor
        self._dice = dice
        self._port = port
        self._began = began
        self._over = over
        self._announced: dict[int, Conversation] = {}
        self._open: dict[int, tuple[Client, float]] = {}
        self._servers: set[Server] = set()
        self._running = False
        self._idle: Deferred[None] | None = None

    # -- the server

    def listen(self) -> Any:
        """
        @return: the port, listening.
        """
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self._accept  # type: ignore[method-assign, assignment]
        return self._reactor.listenTCP(0, factory, backlog=512, interface=HOST)

    def _accept(self, address: object) -> Server:
        server = Server(self._reactor, self._find, self._serverOver)
        self._servers.add(server)
        return server

    def _find(self, number: int, server: Server) -> Conversation | None:
        return self._announced.pop(number, None)

    def _serverOver(self, server: Server) -> None:
        self._servers.discard(server)
        self._look(server.wrong, server.received, server.conversation)

    # -- the clients

    def start(self, users: int) -> None:
        """
        @param users: how many connections there are at once.
        """
        self._running = True
        for _ in range(users):
            self._next()

    def stop(self) -> Deferred[None]:
        """
        Begin no more.

        @return: fires when the last is over.
        """
        self._running = False
        self._idle = Deferred()
        self._settle()
        return self._idle

    def _next(self) -> None:
        if not self._running:
            self._settle()
            return
        number, self.started = self.started, self.started + 1
        conversation = draw(number, self._dice)
        self._announced[number] = conversation
        client = Client(self._reactor, conversation, self._began, self._clientOver)
        self._open[number] = (client, self._reactor.seconds())
        self._reactor.connectTCP(HOST, self._port, _Dial(client, self._notConnected), timeout=30)

    def _notConnected(self, client: Client, reason: Failure) -> None:
        self.refused += 1
        client.complain(f"not connected: {reason.value}")
        self._ended(client)
        self._look(client.wrong, 0, client.mine)

    def _clientOver(self, client: Client) -> None:
        self._ended(client)
        self.kinds[client.mine.kind] += 1
        if client.mine.kill is not None:
            self.killed[f"{client.mine.kill.how} by the {client.mine.kill.side}"] += 1
        self._look(client.wrong, client.received, client.mine)
        self._over(client)

    def _ended(self, client: Client) -> None:
        del self._open[client.mine.number]
        if client.mine.kill is None:
            self._announced.pop(client.mine.number, None)
        # Of a client that is killed, the server may hear only when it is gone.
        # Not from within: a refused connection would be dialled again without an end.
        self._reactor.callLater(0 if client.port else 0.1, self._next)

    def _look(self, wrong: str, received: int, conversation: Conversation | None) -> None:
        self.bytes += received
        if wrong:
            self.violations += 1
            if len(self.wrong) < 100:
                self.wrong.append(f"{wrong} ({conversation})")

    def _settle(self) -> None:
        if self._idle is not None and not self._open and not self._servers:
            idle, self._idle = self._idle, None
            idle.callback(None)
        elif self._idle is not None:
            self._reactor.callLater(0.05, self._settle)

    def dropStuck(self, limit: float = STUCK) -> None:
        """
        End what is open for too long; that it was is a violation.
        """
        now = self._reactor.seconds()
        for client, since in [*self._open.values()]:
            if now - since > limit and client.transport is not None and not client.lost:
                client.complain(f"stuck for {now - since:.0f} s, {client.received} bytes received")
                client.transport.abortConnection()

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._open)


class _Dial(ClientFactory):
    noisy = False

    def __init__(self, client: Client, failed: Callable[[Client, Failure], None]) -> None:
        self._client = client
        self._failed = failed

    def buildProtocol(self, addr: object) -> Client:
        return self._client

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._failed(self._client, reason)
