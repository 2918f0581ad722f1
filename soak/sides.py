"""
The two ends of a connection.  Each knows what the other has to say, and looks at every byte at its
place: not only how many there were, and not only their sum.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from .conversation import CLIENT, CLOSE, SERVER, Conversation

#: What a stream is made of: a piece of this, which begins at the connection's own place.
SIZE = 1 << 20
_NOISE = random.Random(0).randbytes(SIZE)
_TWICE = _NOISE + _NOISE

#: A client begins by saying which connection it is; a server, by saying that it is there.
MAGIC, GREETING = b"SOAK", b"HERE"
HEADER = 12

#: What is written, and compared, at once, at most.
CHUNK = 64 * 1024

#: A slow reader rests so long, in seconds, after each chunk.
REST = 0.03

#: Who vanishes is there for so long, in seconds.
ABSENT = 5.0


def content(seed: int, start: int, size: int) -> bytes:
    """
    @param size: at most C{SIZE}.
    @return: a stream's bytes from C{start} on.
    """
    place = (seed + start) % SIZE
    return _TWICE[place : place + size]


@implementer(IHalfCloseableProtocol, IPushProducer)
class Side(Protocol):
    """
    @ivar received: how many bytes of the stream.
    @ivar wrong: what should not have been, in words; empty: nothing.
    @ivar finished: all was said, and all was heard.
    @ivar killer: it has killed the connection.
    """

    transport: Any
    name = ""
    own = b""
    others = b""
    conversation: Conversation | None = None

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._header = bytearray()
        self.received = 0
        self.sent = 0
        self._toSend = 0
        self._toReceive = 0
        self._allowed = 0
        self._paused = False
        self._producing = False
        self._endSent = False
        self._endRead = False
        self._timers: set[Any] = set()
        self.wrong = ""
        self.finished = False
        self.killer = False
        self.lost = False

    # -- for the two

    def greet(self) -> bytes:
        """What it says first."""
        raise NotImplementedError

    def meet(self, header: bytes) -> Conversation | None:
        """
        What the other has said first.

        @return: what is to be done.
        """
        raise NotImplementedError

    def over(self) -> None:
        """The connection is gone."""

    # -- the stream

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.write(self.greet())

    def begin(self, conversation: Conversation) -> None:
        """Everything is known."""
        self.conversation = conversation
        up = self.name == CLIENT
        self._toSend = conversation.up if up else conversation.down
        self._toReceive = conversation.down if up else conversation.up
        self._killIfDue()
        self._advance()

    def _advance(self) -> None:
        """How much may be sent now?"""
        conversation = self.conversation
        assert conversation is not None
        if conversation.rounds:
            self._allowed = self._inRounds(conversation)
        elif conversation.answers and self.name == SERVER and not self._endRead:
            self._allowed = 0
        else:
            self._allowed = self._toSend
        self._produce()

    def _inRounds(self, conversation: Conversation) -> int:
        rounds = conversation.rounds
        asked, answered = conversation.up // rounds, conversation.down // rounds
        if self.name == CLIENT:
            return min(self._toSend, (self.received // answered + 1) * asked)
        return self.received // asked * answered

    def _produce(self) -> None:
        if self.killer or self.lost or self._endSent:
            return
        if not self._producing and self._allowed > self.sent:
            self._producing = True
            self.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        conversation = self.conversation
        if conversation is None or self.killer:
            return
        seed = conversation.number * 7919 + (self.name == SERVER)
        while self.sent < self._allowed and not self._paused and not self.killer:
            size = min(CHUNK, self._allowed - self.sent)
            data = content(seed, self.sent, size)
            self.sent += size
            self.transport.write(data)
            self._killIfDue()
        if self._producing and self.sent == self._allowed and not self.killer:
            self._producing = False
            self.transport.unregisterProducer()
        wait = conversation.answers and self.name == SERVER and not self._endRead
        if self.sent == self._toSend and not wait and not self.killer and not self._endSent:
            self._endSent = True
            self.transport.loseWriteConnection()
            self._finish()

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._paused = True

    def dataReceived(self, data: bytes) -> None:
        if self.killer:
            return
        if len(self._header) < HEADER:
            missing = HEADER - len(self._header)
            self._header += data[:missing]
            data = data[missing:]
            if len(self._header) < HEADER:
                return
            conversation = self.meet(bytes(self._header))
            if conversation is None:
                self.transport.abortConnection()
                return
            self.begin(conversation)
        if data and self.conversation is not None:
            self._compare(data)
            self._killIfDue()
            if not self.killer:
                self._rest()
                if self.conversation.rounds:
                    self._advance()

    def _compare(self, data: bytes) -> None:
        conversation = self.conversation
        assert conversation is not None
        seed = conversation.number * 7919 + (self.name == CLIENT)
        for start in range(0, len(data), CHUNK):
            piece = data[start : start + CHUNK]
            if content(seed, self.received, len(piece)) != piece:
                self.complain(f"other bytes than were sent, from {self.received} on")
            self.received += len(piece)
        if self.received > self._toReceive:
            self.complain(f"{self.received} bytes received, {self._toReceive} were sent")

    def _rest(self) -> None:
        conversation = self.conversation
        assert conversation is not None
        if conversation.slow == self.name and not self._timers:
            self.transport.pauseProducing()
            self._later(REST, self.transport.resumeProducing)

    def readConnectionLost(self) -> None:
        self._endRead = True
        if self.killer or self.conversation is None:
            self.transport.loseConnection()
            return
        if self.received < self._toReceive:
            if self.conversation.kill is None:
                self.complain(f"the end came after {self.received} of {self._toReceive} bytes")
            self.transport.loseConnection()
            return
        self._advance()
        self._finish()

    def writeConnectionLost(self) -> None:
        """Its own end is out."""

    def _finish(self) -> None:
        if self._endSent and self._endRead and not self.finished:
            self.finished = True
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.lost = True
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._timers.clear()
        conversation = self.conversation
        if conversation is not None and conversation.kill is None and not self.finished:
            whole = self.received == self._toReceive and self.sent == self._toSend
            if not (whole and self._endSent):
                self.complain(
                    f"lost after {self.received} of {self._toReceive} bytes: {reason and reason.value}"
                )
        self.over()

    def complain(self, what: str) -> None:
        """The first is kept."""
        self.wrong = self.wrong or f"{self.name}: {what}"

    # -- being killed

    def _killIfDue(self) -> None:
        conversation = self.conversation
        assert conversation is not None
        kill = conversation.kill
        if kill is None or kill.side != self.name or self.killer:
            return
        if self.sent + self.received < kill.at:
            return
        self.killer = True
        if self._producing:
            self._producing = False
            self.transport.unregisterProducer()
        if kill.how == CLOSE:
            self.transport.loseConnection()
        elif kill.how == "reset":
            self.transport.abortConnection()
        else:
            self.transport.pauseProducing()
            self._later(ABSENT, self.transport.abortConnection)

    def _later(self, seconds: float, call: Callable[[], Any]) -> None:
        def due() -> None:
            self._timers.discard(timer)
            call()

        timer = self._clock.callLater(seconds, due)
        self._timers.add(timer)


class Client(Side):
    """
    @ivar port: its own, once it is connected.
    """

    name = CLIENT

    def __init__(
        self,
        clock: Any,
        mine: Conversation,
        onBegan: Callable[[Client], None],
        onOver: Callable[[Client], None],
    ) -> None:
        """
        @param onBegan: called when it is connected.
        @param onOver: called when its connection is gone.
        """
        super().__init__(clock)
        self.mine = mine
        self._onBegan = onBegan
        self._onOver: Callable[[Client], None] | None = onOver
        self.port = 0

    def greet(self) -> bytes:
        self.port = self.transport.getHost().port
        self._onBegan(self)
        return MAGIC + self.mine.number.to_bytes(8, "big")

    def meet(self, header: bytes) -> Conversation | None:
        if header[:4] != GREETING:
            self.complain(f"greeted with {header!r}")
            return None
        return self.mine

    def over(self) -> None:
        onOver, self._onOver = self._onOver, None
        if onOver is not None:
            onOver(self)


class Server(Side):
    """
    @ivar find: gives the conversation of a number, once.
    """

    name = SERVER

    def __init__(
        self,
        clock: Any,
        find: Callable[[int, Server], Conversation | None],
        onOver: Callable[[Server], None],
    ) -> None:
        super().__init__(clock)
        self._find = find
        self._onOver = onOver

    def greet(self) -> bytes:
        return GREETING + bytes(8)

    def meet(self, header: bytes) -> Conversation | None:
        number = int.from_bytes(header[4:], "big")
        conversation = self._find(number, self) if header[:4] == MAGIC else None
        if conversation is None:
            self.complain(f"a connection begins with {header!r}")
        return conversation

    def over(self) -> None:
        self._onOver(self)
