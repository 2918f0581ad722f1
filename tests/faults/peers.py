"""
The two peers of a proxied connection: each follows its half of a script, one of them up to
a fault.

The script's phases, behind those of C{sessions.py}:

  - C{question} and C{answer}: the first bytes of either side;
  - C{bulk}: many bytes from the side that asked;
  - C{finished}: that side's end of stream (a close_notify is what it sends in this phase);
  - C{rest}: many bytes from the other side, whose own end is behind them: C{ended};
  - C{closing}: both have ended.

Who asks is the client, or the server.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from .fault import Fault, Kind
from .sessions import Flights, Plain

SMALL = 1000

#: Seconds after which what was sent has arrived.
QUIET = 0.05


class Script:
    """
    What the two sides say.

    @ivar question: the first that is said.
    """

    def __init__(self, bulk: int) -> None:
        """
        @param bulk: bytes, in each direction.
        """
        # The same in each run.
        pick = random.Random(bulk).randbytes
        self.question, self.answer = pick(SMALL), pick(SMALL)
        self.bulk, self.rest = pick(bulk), pick(bulk)

    def asking(self) -> Iterator[tuple[str, str, bytes]]:
        """
        The half of who speaks first: phase, what to do, bytes.
        """
        yield "question", "send", self.question
        yield "answer", "expect", self.answer
        yield "bulk", "send", self.bulk
        yield "finished", "end", b""
        yield "rest", "expect", self.rest
        yield "ended", "expectEnd", b""
        yield "closing", "close", b""

    def answering(self) -> Iterator[tuple[str, str, bytes]]:
        """
        The other half.
        """
        yield "question", "expect", self.question
        yield "answer", "send", self.answer
        yield "bulk", "expect", self.bulk
        yield "finished", "expectEnd", b""
        yield "rest", "send", self.rest
        yield "ended", "end", b""
        yield "closing", "close", b""


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """
    One side.

    @ivar phase: where it is.
    @ivar received: the application's bytes that it was sent, as far as it read.
    @ivar said: how many of the application's bytes it has sent, so that they can be read.
    @ivar sent: how many bytes it has sent, or would have, in each phase.
    @ivar reached: it came to the place of its fault.
    @ivar faulted: it has committed it, and does no more.
    @ivar lost: its connection is gone.
    @ivar told: how it learnt of that: C{"end"}, the end of the stream before anything else;
        C{"reset"}; or C{"closed"}, by itself.
    @ivar done: it has followed its script to the end.
    @ivar complaint: what it was sent that it did not expect.
    """

    transport: Any

    def __init__(
        self, steps: Iterator[tuple[str, str, bytes]], session: Plain, fault: Fault, clock: Any
    ) -> None:
        self._steps = list(steps)
        self._session = session
        self._fault = fault
        self._clock = clock
        self._timer: Any = None
        self._speaking = True
        self.sent: dict[str, int] = {}
        self.phase = ""
        self.received = bytearray()
        self.said = 0
        self.reached = False
        self.faulted = False
        self.lost = False
        self.told = ""
        self.done = False
        self.complaint = ""

    # -- what happens to it

    def connectionMade(self) -> None:
        self._send(self._session.start())
        self._go()

    def dataReceived(self, data: bytes) -> None:
        if self.faulted:
            return
        self._send(self._session.feed(data))
        self._go()

    def readConnectionLost(self) -> None:
        self.told = self.told or "end"
        if self.faulted:
            if self._fault.kind is Kind.END:
                self.transport.loseConnection()
            return
        self._session.feedEOF()
        self._go()
        if self._steps and not self.faulted:
            self._giveUp()

    def writeConnectionLost(self) -> None:
        """Its own end is out."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.lost = True
        reset = reason is not None and reason.check(ConnectionLost)
        self.told = self.told or ("reset" if reset else "closed")
        self._takeRest()
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    # -- what it does

    def _go(self) -> None:
        session = self._session
        while self._steps and not self.faulted and not self.lost:
            phase, what, data = self._steps[0]
            if session.failed:
                self._giveUp()
                return
            if not session.ready:
                return
            if self.phase != phase:
                self.phase = phase
                if self._fault.phase == phase and what in ("expect", "expectEnd", "close"):
                    # There is no byte of its own in this phase.
                    self._speaking = False
                    self._commit()
                    return
            if not self._step(phase, what, data):
                return
            del self._steps[:1]

    def _step(self, phase: str, what: str, data: bytes) -> bool:
        """
        @return: whether it is done.
        """
        session = self._session
        if what == "send":
            sent = session.wrap(data)
            self._emit(phase, sent)
            cut = self._fault.offset if self.faulted else len(sent)
            self.said += session.arriving(cut)
        elif what == "expect":
            if len(session.read) < len(data):
                if session.ended:
                    self._giveUp()
                return False
            if bytes(session.read[: len(data)]) != data:
                self.complaint = f"{phase}: other bytes than were sent"
            self.received += session.read[: len(data)]
            del session.read[: len(data)]
        elif what == "expectEnd":
            if session.read:
                self.complaint = f"{phase}: {len(session.read)} bytes too many"
            return session.ended
        elif what == "end":
            self._emit(phase, session.end())
            if not self.faulted and self._fault.phase == phase:
                self._commit()  # Behind the last byte, before the end.
            if not self.faulted:
                self.transport.loseWriteConnection()
        else:
            self.done = True
            self.transport.loseConnection()
        return not self.faulted

    def _giveUp(self) -> None:
        """The stream has ended before its time: close, as applications do."""
        self._takeRest()
        self.transport.loseConnection()

    def _takeRest(self) -> None:
        """What has come goes for the rest."""
        if self._session.ready:
            self.received += self._session.read
        self._session.read.clear()
        self._steps = []

    def _send(self, flights: Flights) -> None:
        for phase, data in flights:
            self.phase = phase
            self._emit(phase, data)
            if self.faulted:
                return

    def _emit(self, phase: str, data: bytes) -> None:
        """
        Send C{data}, or what of it comes before the fault.
        """
        before = self.sent.get(phase, 0)
        self.sent[phase] = before + len(data)
        place = self._fault.offset - before
        if self._fault.phase != phase or not 0 <= place < len(data):
            self.transport.write(data)
            return
        if self._fault.kind is Kind.CORRUPT:
            self.reached = True
            byte = bytes([data[place] ^ 1])
            self.transport.write(data[:place] + byte + data[place + 1 :])
            return
        self.transport.write(data[:place])
        self._commit()

    def _commit(self) -> None:
        kind = self._fault.kind
        if kind in (Kind.NOTHING, Kind.CORRUPT):
            return
        self.reached = self.faulted = True
        if kind is Kind.CLOSE:
            self.transport.loseConnection()
        elif kind is Kind.END:
            self.transport.loseWriteConnection()
        elif kind is Kind.STALL:
            self.transport.pauseProducing()
        else:
            self.transport.pauseProducing()
            # Where it waits for the other's bytes, until nothing of its own is under way.
            wait = 0.001 if self._speaking else QUIET
            self._timer = self._clock.callLater(wait, self._reset, 100)

    def _reset(self, patience: int) -> None:
        self._timer = None
        transport = self.transport
        if patience and len(transport.dataBuffer) - transport.offset + transport._tempDataLen:
            # Not yet: it would overtake what this very peer has sent.
            self._timer = self._clock.callLater(0.001, self._reset, patience - 1)
        else:
            self.transport.abortConnection()

    def __repr__(self) -> str:
        return f"<Peer {self.phase}, {self._fault}>"
