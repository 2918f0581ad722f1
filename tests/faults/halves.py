"""
Half-closes over real sockets, through a pair of sidecars: {plain, TLS 1.2, TLS 1.3} x {the client
ends first, the server} x {before the exchange, during it, after it}.

After one side's end of stream the other one sends many bytes, and then ends, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mxproxy.connection import Connection
from mxproxy.connection import Peer as Facts
from mxproxy.interfaces import IConnectionObserver
from mxproxy.service import ProxyService
from mxproxy.tls.settings import TLSVersion

from .case import INBOUND, OUTBOUND, Times, abortAll, errors, leftovers, makePlan
from .points import VERSIONS
from .worlds import Sockets, closePort

BEFORE, DURING, AFTER = "before", "during", "after"

_BLOCK = bytes(range(256)) * 256


@dataclass(frozen=True)
class HalfClose:
    """
    @ivar first: who ends first, C{"client"} or C{"server"}.
    @ivar when: before the exchange, during it or after it.
    """

    tls: TLSVersion | None
    first: str
    when: str

    def __str__(self) -> str:
        tls = "plain" if self.tls is None else self.tls.value
        return f"{tls}, {self.first} ends first, {self.when} the exchange"


def matrix() -> Iterator[HalfClose]:
    """All of them."""
    for tls in VERSIONS:
        for first in ("client", "server"):
            for when in (BEFORE, DURING, AFTER):
                yield HalfClose(tls, first, when)


@implementer(IHalfCloseableProtocol, IPushProducer)
class Application(Protocol):
    """
    @ivar onMade: called when it is connected.
    @ivar onEnd: called when the other's stream has ended.
    @ivar received: how many bytes.
    @ivar digest: of them.
    """

    transport: Any

    def __init__(self) -> None:
        self.onMade: Callable[[], None] = lambda: None
        self.onData: Callable[[], None] = lambda: None
        self.onEnd: Callable[[], None] = lambda: None
        self.received = 0
        self.digest = hashlib.sha256()
        self.sent = hashlib.sha256()
        self.ends = 0
        self.lost = ""
        self._left = 0
        self._paused = False

    def connectionMade(self) -> None:
        self.onMade()

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        self.digest.update(data)
        self.onData()

    def readConnectionLost(self) -> None:
        self.ends += 1
        self.onEnd()

    def writeConnectionLost(self) -> None:
        """Its own end is out."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        assert reason is not None
        self.lost = reason.type.__name__ if reason.type else "?"
        self.onMade = self.onData = self.onEnd = lambda: None

    def write(self, data: bytes) -> None:
        self.sent.update(data)
        self.transport.write(data)

    def end(self) -> None:
        self.transport.loseWriteConnection()

    def pour(self, size: int) -> None:
        """Send so many bytes, and then the end."""
        self._left = size
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        while self._left and not self._paused:
            block = _BLOCK[: self._left]
            self._left -= len(block)
            self.write(block)
        if not self._left:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._left, self._paused = 0, True


@implementer(IConnectionObserver)
class Closings:
    """
    Counts ends, and keeps their reasons; tells of beginnings.
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.onOpened: Callable[[], None] = lambda: None

    def opened(self, connection: Connection) -> None:
        self.onOpened()

    def identified(self, connection: Connection, peer: Facts) -> None:
        """Not looked at."""

    def connected(self, connection: Connection) -> None:
        """Not looked at."""

    def closed(self, connection: Connection) -> None:
        self.reasons.append(connection.close_reason)


async def play(world: Sockets, case: HalfClose, size: int, seconds: float) -> list[str]:
    """
    @param size: bytes that are sent after the first end.
    @return: what is wrong, in words.
    """
    client, server = Application(), Application()
    closings = Closings()
    behind = world.listen(_factory(server))
    inbound = ProxyService(
        makePlan(INBOUND, case.tls, Times(), behind.getHost().port), world.reactor, [closings]
    )
    inbound.privilegedStartService()
    port = inbound.ports[0].getHost().port
    outbound = ProxyService(makePlan(OUTBOUND, case.tls, Times(), port), world.reactor, [closings])
    outbound.privilegedStartService()
    timers, descriptors = world.timers(), world.descriptors()
    wrong: list[str] = []
    with errors(wrong):
        _rehearse(case, client, server, closings, size)
        world.dial(_factory(client), outbound.ports[0].getHost().port)
        over = await world.until(
            lambda: bool(client.lost and server.lost) and len(closings.reasons) == 2, seconds
        )
        if not over:
            wrong.append(f"not over after {seconds:g} s")
            for proxy in (outbound, inbound):
                abortAll(proxy)
        wrong += await leftovers(world, timers, descriptors)
    for proxy in (outbound, inbound):
        for listening in proxy.ports:
            await closePort(listening)
    await closePort(behind)
    one, other = (client, server) if case.first == "client" else (server, client)
    if one.digest.digest() != other.sent.digest() or one.received < size:
        wrong.append(f"{one.received} bytes of {size} came, or others than were sent")
    if other.digest.digest() != one.sent.digest():
        wrong.append("what was sent before the end did not come whole")
    if (client.ends, server.ends) != (1, 1):
        wrong.append(f"told of the end: client {client.ends}, server {server.ends} times")
    side = "downstream" if case.first == "client" else "upstream"
    if closings.reasons != [f"{side}: closed"] * 2:
        wrong.append(f"reasons: {closings.reasons}")
    return wrong


def _factory(application: Application) -> Factory:
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _: application  # type: ignore[method-assign, assignment]
    return factory


def _rehearse(
    case: HalfClose, client: Application, server: Application, closings: Closings, size: int
) -> None:
    """Say what each is to do when."""
    one, other = (client, server) if case.first == "client" else (server, client)
    other.onEnd = lambda: other.pour(size)
    for application in (one, other):
        previous = application.onEnd

        def ended(application: Application = application, before: Any = previous) -> None:
            before()
            if application is one:
                application.transport.loseConnection()

        application.onEnd = ended
    if case.when == AFTER:

        def answered() -> None:
            other.onData = lambda: None
            one.end()

        def made() -> None:
            one.write(b"question")

        one.onMade = made
        other.onData = answered
    elif case.when == BEFORE:
        one.onMade = one.end
    elif one is server:
        # Its first bytes and its end are there while the answer to the prefix is under way.
        one.onMade = lambda: [one.write(b"banner"), one.end()][0]
    else:
        # The second to be opened is the inbound sidecar: TLS has just begun.
        begun: list[bool] = []

        def opened() -> None:
            begun.append(True)
            if len(begun) == 2:
                one.write(b"question")
                one.end()

        closings.onOpened = opened
