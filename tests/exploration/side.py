"""
One side of an exchange: the layer, its machine and its connection as in a proxy, between a
socket and an application of a few lines.

What is here stands for what is outside of C{layers/}: a socket, a clock, a terminal.  The side
itself is never imitated: a step copies it and does to the copy what a reactor would.  As that
takes a good part of a millisecond, each step is done once and remembered (L{Table}); equal
states are one state, whatever led to them.
"""

from __future__ import annotations

# Only of what was pickled a moment ago, as copies: ten times as fast as copy.deepcopy.
import pickle  # noqa: TID251
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mxproxy.connection import Connection
from mxproxy.filters.metadata_exchange import (
    MetadataExchange,
    MetadataExchangeFactory,
    MetadataExchangeLayer,
)
from mxproxy.layers.base import readConnectionLost
from mxproxy.wire.exchange import Exchange, Hold
from mxproxy.wire.metadata import MalformedMetadata, Metadata, Node
from mxproxy.wire.peerstate import PeerState
from mxproxy.wire.prefix import encodePrefix

from .frozen import frozen

#: The shortest that takes the machine through all of its states: one byte of payload.
PREFIX = encodePrefix(b"P")

#: The cap in all explorations.
MAX_SIZE = 4

ADDRESS = IPv4Address("TCP", "127.0.0.1", 1)

#: What can happen to a side, beside reading.
CONNECT, TIME, SAY, FINISH, PAUSE, RESUME = "connect", "time", "say", "finish", "pause", "resume"

#: What can be at the end of a queue.
OPEN, ENDED, RESET = "", "ended", "reset"


class _Known(Metadata):
    """The one that there is, in all copies of a side."""

    def __reduce__(self) -> str:
        return "PEER"


PEER = _Known(name="peer")


def decode(payload: bytes) -> Metadata:
    """A decoder for payloads of one byte."""
    if payload != b"P":
        raise MalformedMetadata("not what the other side says")
    return PEER


class Settings(NamedTuple):
    """
    What a side is.

    @ivar speaksFirst: a client's side, or a server's that is eager.
    @ivar hold: see L{Hold}.
    @ivar says: what its application says, a byte at a time.
    @ivar pausedAtFirst: the application pauses within C{connectionMade}, as the terminal does
        until it has an upstream, and goes on at any time later.
    @ivar pauses: how often it pauses at any other time.
    @ivar layer: the layer's class.
    @ivar machine: the machine's class.
    @ivar maxSize: the cap of the payload.
    """

    speaksFirst: bool
    hold: Hold = Hold.BOTH
    says: bytes = b""
    pausedAtFirst: bool = False
    pauses: int = 0
    layer: type[MetadataExchangeLayer] = MetadataExchangeLayer
    machine: type[Exchange] = Exchange
    maxSize: int = MAX_SIZE


class _Timer:
    """A delayed call; when it is due is up to the exploration."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call: Any = (call, arguments)

    def cancel(self) -> None:
        assert self.call is not None, "a timer was cancelled that is not running"
        self.call = None

    def fire(self) -> None:
        (call, arguments), self.call = self.call, None
        call(*arguments)


class _Clock:
    def __init__(self) -> None:
        self.timers: list[_Timer] = []

    def callLater(self, seconds: float, call: Callable[..., object], *arguments: object) -> _Timer:
        self.timers = [timer for timer in self.timers if timer.call]
        self.timers.append(_Timer(call, *arguments))
        return self.timers[-1]

    @property
    def running(self) -> bool:
        self.timers = [timer for timer in self.timers if timer.call]
        return bool(self.timers)


class _Context:
    name = listener = "explored"
    node = Node()

    def __init__(self, side: str) -> None:
        self.side = side
        self.clock = _Clock()

    def count(self, name: str) -> None:
        """Which is counted how often is another test's."""


class _Socket:
    """
    A transport: what is written is on its way at once, and what has to happen in a later turn
    happens behind the event.
    """

    disconnecting = False

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written = b""
        self.end = OPEN
        self.paused = False
        self.closing: type[Exception] | None = None
        self.lost = False

    def write(self, data: bytes) -> None:
        if self.end == OPEN and not self.lost:
            self.written += data

    def loseWriteConnection(self) -> None:
        if self.end == OPEN:
            self.end = ENDED

    def loseConnection(self) -> None:
        if self.lost or self.closing:
            return
        self.closing = ConnectionDone
        if self.end == OPEN:
            self.end = ENDED
        else:
            # Twisted's sockets lose the connection from within then.
            self.lose(ConnectionDone)

    def abortConnection(self) -> None:
        self.end = RESET
        self.closing = ConnectionAborted

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def getPeer(self) -> IPv4Address:
        return ADDRESS

    getHost = getPeer

    @property
    def reading(self) -> bool:
        return not (self.paused or self.closing or self.lost)

    def lose(self, why: type[Exception]) -> None:
        self.lost = True
        self.protocol.connectionLost(Failure(why()))

    def settle(self) -> None:
        if self.closing and not self.lost:
            self.lose(self.closing)


@implementer(IHalfCloseableProtocol)
class _Application(Protocol):
    """
    Says its bytes and ends its stream, both when it likes; closes when both streams have ended,
    as a terminal does.  What it is delivered when it should not be it notes.
    """

    transport: Any

    def __init__(self, settings: Settings, connection: Connection, side: str) -> None:
        self.connection = connection
        self.side = side
        self.toSay = settings.says
        self.pausedAtFirst = settings.pausedAtFirst
        self.pauses = settings.pauses
        self.paused = False
        self.connections = 0
        self.said = b""
        self.finished = False
        self.received = b""
        self.sawEnd = False
        self.losses = 0
        self.wrong = ""

    def connectionMade(self) -> None:
        self.connections += 1
        if self.connections > 1:
            self.wrong = "connected twice"
        if self.pausedAtFirst:
            self._pause()

    def dataReceived(self, data: bytes) -> None:
        self._expected(repr(data))
        self.received += data

    def readConnectionLost(self) -> None:
        self._expected("the end")
        self.sawEnd = True
        self._close()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.losses += 1
        self.connection.lost(getattr(self.connection, self.side), reason or Failure())

    def _expected(self, what: str) -> None:
        # What a layer holds is let go when the connection is lost: there is no later.
        dropping = self.connection.downstream.transport.lost
        if not self.connections or self.sawEnd or self.losses or (self.paused and not dropping):
            self.wrong = f"{what} came when it should not have"

    def say(self) -> None:
        byte, self.toSay = self.toSay[:1], self.toSay[1:]
        self.said += byte
        self.transport.write(byte)

    def finish(self) -> None:
        self.finished = True
        self.transport.loseWriteConnection()
        self._close()

    def _close(self) -> None:
        if self.finished and self.sawEnd:
            self.transport.loseConnection()

    def pause(self) -> None:
        self.pauses -= 1
        self._pause()

    def _pause(self) -> None:
        self.paused = True
        self.transport.pauseProducing()

    def resume(self) -> None:
        self.paused = False
        self.transport.resumeProducing()


class _Inner:
    """The factory of what is above."""

    def __init__(self, application: _Application) -> None:
        self.application = application

    def buildProtocol(self, address: object) -> _Application:
        return self.application


class Facts(NamedTuple):
    """
    What the exploration has to know of a side in some state.
    """

    reading: bool
    events: tuple[str, ...]
    said: bytes
    finished: bool
    received: bytes
    sawEnd: bool
    connected: bool
    lost: bool
    told: int
    timer: bool
    learnt: PeerState
    left: bool
    closeReason: str
    wrong: str


class _Side:
    """
    All of it, in one state.
    """

    def __init__(self, settings: Settings) -> None:
        context: Any = _Context("downstream")
        self.clock = context.clock
        self.socket = _Socket()
        self.connection = Connection("explored", _noTime, wallClock=_noTime)
        self.connection.id = ""
        self.connection.opened(self.socket)  # type: ignore[arg-type]
        self.peer = self.connection.downstream
        self.peer.alpn = "istio-peer-exchange"
        self.application = _Application(settings, self.connection, "downstream")
        factory = MetadataExchangeFactory(
            _Inner(self.application),  # type: ignore[arg-type]
            context,
            MetadataExchange(hold=settings.hold),
        )
        factory.layer = settings.layer
        factory.machine = _Machine(settings)
        self.layer = factory.buildProtocol(None)
        self.socket.protocol = self.layer
        self.begun = False
        self.learnt: tuple[PeerState, ...] = ()
        self.wrong = ""

    def do(self, event: str | bytes) -> tuple[bytes, str]:
        """
        Something happens.

        @return: what it makes this side send, and the end of that, if it ends now.
        """
        before = self.socket.end
        try:
            self._do(event)
            self.socket.settle()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is found
            self.wrong = f"{type(error).__name__}: {error}"
        if self.learnt[-1:] != (self.peer.peer_state,):
            self.learnt += (self.peer.peer_state,)
        written, self.socket.written = self.socket.written, b""
        return written, OPEN if self.socket.end == before else self.socket.end

    def _do(self, event: str | bytes) -> None:
        if isinstance(event, bytes):
            self.socket.protocol.dataReceived(event)
        elif event == ENDED:
            readConnectionLost(self.socket.protocol, self.socket)  # type: ignore[arg-type]
        elif event == RESET:
            self.socket.lose(ConnectionLost)
        elif event == CONNECT:
            self.begun = True
            self.layer.makeConnection(self.socket)
        elif event == TIME:
            self.clock.timers[-1].fire()
        else:
            getattr(self.application, event)()

    def facts(self) -> Facts:
        """What can be seen of it."""
        application, socket = self.application, self.socket
        return Facts(
            reading=self.begun and socket.reading,
            events=tuple(self._events()),
            said=application.said,
            finished=application.finished,
            received=application.received,
            sawEnd=application.sawEnd,
            connected=application.connections > 0,
            lost=socket.lost,
            told=application.losses,
            timer=self.clock.running,
            learnt=self.learnt[-1] if self.learnt else PeerState.PENDING,
            left=socket.protocol is not self.layer,
            closeReason=self.peer.close_reason,
            wrong=application.wrong or self.wrong or self._history(),
        )

    def _history(self) -> str:
        """Pending, then one result; only a timeout may be followed by another: found."""
        results = [state for state in self.learnt if state is not PeerState.PENDING]
        if len(results) < 2 or results == [PeerState.TIMEOUT, PeerState.FOUND]:
            return ""
        return f"learnt {', '.join(results)}"

    def _events(self) -> list[str]:
        if not self.begun:
            return [CONNECT]
        if self.socket.lost:
            return []
        application = self.application
        events = [TIME] if self.clock.running else []
        if application.connections and not application.losses:
            if not application.finished:
                events += [SAY, FINISH] if application.toSay else [FINISH]
            if application.paused:
                events.append(RESUME)
            elif application.pauses:
                events.append(PAUSE)
        return events


class _Machine(NamedTuple):
    """Makes the machines."""

    settings: Settings

    def __call__(self) -> Exchange:
        settings = self.settings
        return settings.machine(
            PREFIX,
            decode,
            speaksFirst=settings.speaksFirst,
            hold=settings.hold,
            maxSize=settings.maxSize,
        )


def _noTime() -> float:
    return 0.0


_CONSTANTS = (_Known, _Machine, MetadataExchange, IPv4Address)


class Table:
    """
    A side's states, by numbers, and what leads from one to another.

    @ivar facts: of each state.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.facts: list[Facts] = []
        self._sides: list[bytes] = []
        self._numbers: dict[Hashable, int] = {}
        self._steps: dict[tuple[int, str | bytes], tuple[int, bytes, str]] = {}
        self.start = self._number(_Side(settings))

    def _number(self, side: _Side) -> int:
        key = frozen(side, _CONSTANTS)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._sides)
            self._sides.append(pickle.dumps(side))
            self.facts.append(side.facts())
        return number

    def step(self, number: int, event: str | bytes) -> tuple[int, bytes, str]:
        """
        @return: the next state, what is sent, and the end of the sent stream.
        """
        known = self._steps.get((number, event))
        if known is None:
            side = self._copy(number)
            sent, end = side.do(event)
            known = self._steps[number, event] = (self._number(side), sent, end)
        return known

    def _copy(self, number: int) -> _Side:
        side: _Side = pickle.loads(self._sides[number])
        return side

    def describe(self, number: int) -> str:
        """For a message."""
        side = self._copy(number)
        return f"{side.layer!r}, {side.layer._machine!r}, {self.facts[number]}"
