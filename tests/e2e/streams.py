"""
Both ends of a TCP connection, as a conversation in order: C{write}, C{reads}, C{finish}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.e2e.processes import MOMENT, soon


@implementer(IHalfCloseableProtocol)
class Stream(Protocol):
    """
    One end.

    @ivar received: all that has come so far.
    @ivar ended: the other side has said its last byte.
    @ivar lost: the connection is gone.
    """

    transport: Any

    def __init__(self, whenMade: Callable[[Stream], None] = lambda stream: None) -> None:
        self.whenMade = whenMade
        self.received = bytearray()
        self.ended = False
        self.lost = False
        self._taken = 0
        self._changed: list[Deferred[None]] = []

    def connectionMade(self) -> None:
        self.whenMade(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._change()

    def readConnectionLost(self) -> None:
        self.ended = True
        self._change()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = self.lost = True
        self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, []
        for deferred in changed:
            deferred.callback(None)

    async def _until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        while not condition():
            changed: Deferred[None] = Deferred()
            self._changed.append(changed)
            await soon(changed, lambda: f"{what}; {self!r}", seconds)

    def write(self, data: bytes) -> None:
        """
        Send it.
        """
        self.transport.write(data)

    def finish(self) -> None:
        """
        Say that this was the last byte, and go on reading.
        """
        self.transport.loseWriteConnection()

    async def close(self, seconds: float = MOMENT) -> None:
        """
        Close both directions, and wait until that is done.
        """
        self.transport.loseConnection()
        await self._until(lambda: self.lost, "to close", seconds)

    def hangUp(self) -> None:
        """
        End the connection, if there still is one, at once.
        """
        if not self.lost:
            self.transport.abortConnection()

    async def reads(self, size: int, seconds: float = MOMENT) -> bytes:
        """
        The next C{size} bytes, or fewer, when the stream ends before.
        """
        end = self._taken + size
        await self._until(lambda: len(self.received) >= end or self.ended, f"{size} bytes", seconds)
        data = bytes(self.received[self._taken : end])
        self._taken += len(data)
        return data

    async def readsRest(self, seconds: float = MOMENT) -> bytes:
        """
        All that comes until the end of the stream.
        """
        await self._until(lambda: self.ended, "the end of the stream", seconds)
        data = bytes(self.received[self._taken :])
        self._taken = len(self.received)
        return data

    def __repr__(self) -> str:
        state = "lost" if self.lost else "ended" if self.ended else "open"
        return f"<Stream {state}, {len(self.received)} bytes: {bytes(self.received[-200:])!r}>"


class Application(Factory):
    """
    A server that a test plays itself: it accepts, and the test says what comes next.

    @ivar streams: all that it was ever connected to by.
    """

    noisy = False

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self._accepted = 0
        self._changed: list[Deferred[None]] = []

    def buildProtocol(self, addr: object) -> Stream:
        return Stream(self._made)

    def _made(self, stream: Stream) -> None:
        self.streams.append(stream)
        changed, self._changed = self._changed, []
        for deferred in changed:
            deferred.callback(None)

    async def accepts(self, seconds: float = MOMENT) -> Stream:
        """
        The next connection.
        """
        while len(self.streams) <= self._accepted:
            changed: Deferred[None] = Deferred()
            self._changed.append(changed)
            await soon(changed, lambda: "a connection to the application", seconds)
        self._accepted += 1
        return self.streams[self._accepted - 1]

    def hangUp(self) -> None:
        """
        End what connections there still are.
        """
        for stream in self.streams:
            stream.hangUp()
