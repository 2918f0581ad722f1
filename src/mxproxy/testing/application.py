"""
An application that does what a test tells it, and remembers what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from ..layers.base import loseWriteConnection

Tell = Callable[[str, object], None]


def describeLoss(reason: Failure) -> str:
    """
    @return: C{"done"}, C{"aborted"} or C{"lost"}.
    """
    if reason.check(ConnectionDone):
        return "done"
    if reason.check(ConnectionAborted):
        return "aborted"
    return "lost"


@implementer(IHalfCloseableProtocol, IPushProducer)
class Application(Protocol):
    """
    The topmost protocol of a chain in a test, or the one at the other end of it.

    @ivar received: everything that was delivered.
    @ivar connections: how often it was connected.
    @ivar endings: how often it was told of the end of the stream.
    @ivar losses: why it was lost, each time; there should be one.
    @ivar paused: it has asked for nothing to be delivered.
    @ivar held: as a producer, it was asked to write nothing.
    @ivar unexpected: what was delivered when nothing should have been, in words.
    @ivar onConnect: called within C{connectionMade}.
    @ivar onData: called with what was delivered, within C{dataReceived}.
    """

    transport: Any = None

    def __init__(self, tell: Tell | None = None) -> None:
        """
        @param tell: is told of everything that happens: a word, and the bytes or the reason.
        """
        self._tell: Tell = tell or (lambda what, value: None)
        self._received = bytearray()
        self.connections = 0
        self.endings = 0
        self.losses: list[str] = []
        self.paused = False
        self.held = False
        self.unexpected: list[str] = []
        self.onConnect: Callable[[], None] = lambda: None
        self.onData: Callable[[bytes], None] = lambda data: None
        self._leaving = False

    # -- what happens to it

    def connectionMade(self) -> None:
        """It is connected."""
        self.connections += 1
        self._tell("connected", None)
        self.onConnect()

    def dataReceived(self, data: bytes) -> None:
        """Bytes are delivered."""
        self._expected(f"{len(data)} bytes")
        self._received += data
        self._tell("data", data)
        self.onData(data)

    def readConnectionLost(self) -> None:
        """The other end has ended its stream."""
        self._expected("the end of the stream")
        self.endings += 1
        self._tell("eof", None)

    def writeConnectionLost(self) -> None:
        """Its own end of stream is out."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """It is gone."""
        assert reason is not None
        self.losses.append(describeLoss(reason))
        self._tell("closed", self.losses[-1])
        # They may well be closures over this very object.
        self.onConnect = lambda: None
        self.onData = lambda data: None

    def pauseProducing(self) -> None:
        """It is to write no more for now."""
        self.held = True
        self._tell("pause", None)

    def resumeProducing(self) -> None:
        """It may write again."""
        self.held = False
        self._tell("resume", None)

    def stopProducing(self) -> None:
        """It is to write no more."""
        self.held = True

    def wrong(self, what: str) -> None:
        """Note that something has happened that never should."""
        self.unexpected.append(what)
        self._tell("wrong", what)

    def _expected(self, what: str) -> None:
        for wrong, why in (
            (not self.connections, "before it was connected"),
            (self.paused, "while it was paused"),
            (self._leaving, "after it had closed"),
            (self.endings, "after the end of the stream"),
            (self.losses, "after the connection was lost"),
        ):
            if wrong:
                self.wrong(f"{what} delivered {why}")

    # -- what it does

    @property
    def received(self) -> bytes:
        """Everything that was delivered."""
        return bytes(self._received)

    def write(self, data: bytes) -> None:
        """Write C{data}."""
        self.transport.write(data)

    def end(self) -> None:
        """End its stream, and go on reading."""
        loseWriteConnection(self.transport)

    def close(self) -> None:
        """Close, once everything is flushed."""
        self._leaving = True
        self.transport.loseConnection()

    def abort(self) -> None:
        """Drop the connection."""
        self._leaving = True
        self.transport.abortConnection()

    def pause(self) -> None:
        """Want nothing more for now."""
        self.paused = True
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Want to go on."""
        self.paused = False
        self.transport.resumeProducing()

    def produce(self) -> None:
        """Be told when to write and when not to."""
        self.transport.registerProducer(self, True)

    def __repr__(self) -> str:
        if not self.connections:
            state = "not connected"
        elif self.losses:
            state = f"closed: {self.losses[-1]}"
        else:
            state = "paused" if self.paused else "connected"
        return f"<Application {state}, {len(self._received)} bytes received>"


class ApplicationFactory(Factory):
    """
    Makes applications, and keeps them.

    @ivar built: all of them, in order.
    """

    noisy = False

    def __init__(self, application: Callable[[], Application] = Application) -> None:
        self.built: list[Application] = []
        self._application = application

    def buildProtocol(self, addr: object) -> Application:
        """One for one connection."""
        built = self._application()
        self.built.append(built)
        return built
