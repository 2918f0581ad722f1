"""
The metadata exchange of one side of a connection, as a state machine.

Everything that decides what becomes of a byte at the head of a stream lives here, and all of it
in one table, L{TRANSITIONS}: what has been read and what has happened give the next state and
what to do with the bytes.  The machine takes bytes and answers values.  When to call it, and
what holding a connection means, is the layer's; what a payload says is
L{mxproxy.wire.metadata}'s.

docs/wire.md describes the protocol and shows the table as a diagram
(L{mxproxy.wire.diagram}).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from mxproxy.wire.handshake import Outcome
from mxproxy.wire.metadata import Absence, MalformedMetadata, Metadata
from mxproxy.wire.peerstate import PeerState
from mxproxy.wire.prefix import DEFAULT_MAX_SIZE, HEADER_SIZE, MAGIC, MAGIC_BYTES

__all__ = [
    "ALPN",
    "COUNTERS",
    "DEFAULT_MAX_SIZE",
    "HEADER_SIZE",
    "MAGIC",
    "PEER_STATES",
    "TRANSITIONS",
    "Absence",
    "Action",
    "Counter",
    "Event",
    "Exchange",
    "Hold",
    "Metadata",
    "PeerState",
    "State",
    "Transition",
    "UnknownTransition",
    "alpnAgrees",
]

ALPN: Final = "istio-peer-exchange"
"""The protocol that TLS has to negotiate for an exchange to happen, unless configured."""


class Hold(str, enum.Enum):
    """
    Which directions of the application's traffic wait for the exchange.

    @cvar BOTH: nothing flows until the peer is known, or known to be absent.
    @cvar READ: writing is released as soon as the own prefix is out; reading waits.
    """

    BOTH = "both"
    READ = "read"


class Counter(str, enum.Enum):
    """
    What is counted, each at most once for a side of a connection.  L{COUNTERS} says when.
    """

    ALPN_PROTOCOL_FOUND = "alpn_protocol_found"
    ALPN_PROTOCOL_NOT_FOUND = "alpn_protocol_not_found"
    INITIAL_HEADER_NOT_FOUND = "initial_header_not_found"
    HEADER_NOT_FOUND = "header_not_found"
    METADATA_ADDED = "metadata_added"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"


COUNTERS: Final[Mapping[Counter, str]] = MappingProxyType(
    {
        Counter.ALPN_PROTOCOL_FOUND: "TLS negotiated the exchange",
        Counter.ALPN_PROTOCOL_NOT_FOUND: "TLS negotiated another protocol, or none",
        Counter.INITIAL_HEADER_NOT_FOUND: "the stream ended or differed before a whole header",
        Counter.HEADER_NOT_FOUND: "a payload could not be read",
        Counter.METADATA_ADDED: "the own prefix was written",
        Counter.TIMEOUT: "the time was up before the peer was known",
        Counter.TOO_LARGE: "the announced length was over the cap",
        Counter.MALFORMED: "a payload could not be read (mxproxy's own name for it)",
    }
)
"""
The one declaration of the counters.  The first five are Envoy's, the others mxproxy's own; the
two of ALPN are counted by whoever asks L{alpnAgrees}, all others by L{Exchange}.
"""


def alpnAgrees(negotiated: str, configured: str = ALPN) -> bool:
    """
    Does the exchange happen on this connection?

    @param negotiated: the protocol that TLS negotiated; empty when it negotiated none.
    @param configured: the protocol that stands for the exchange, compared byte by byte.
    """
    return negotiated == configured


class State(str, enum.Enum):
    """
    How far the parsing is.  The values are the names in the documentation's diagram.

    The three C{READING_} states hold the connection; the three C{LATE_} states are the same
    after the time was up: the hold has ended, the parsing goes on.  All others are final.
    """

    READING_MAGIC = "reading_magic"
    READING_LENGTH = "reading_length"
    READING_PAYLOAD = "reading_payload"
    LATE_MAGIC = "late_magic"
    LATE_LENGTH = "late_length"
    LATE_PAYLOAD = "late_payload"
    FOUND = "found"
    BAD_MAGIC = "bad_magic"
    CLOSED = "closed"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    GAVE_UP = "gave_up"


class Event(str, enum.Enum):
    """
    What can happen.

    @cvar MAGIC_READ: the four bytes of the magic, and one more, have come.
    @cvar MAGIC_DIFFERED: a byte is not the one that the magic has there.
    @cvar LENGTH_READ: the length has come and is within the cap.
    @cvar LENGTH_EXCEEDED: the length has come and is over the cap.
    @cvar PAYLOAD_DECODED: the payload has come whole and was understood.
    @cvar PAYLOAD_REJECTED: the payload has come whole and is no metadata.
    @cvar STREAM_ENDED: the peer sends no more.
    @cvar TIME_PASSED: the connection was held for as long as it may be.
    """

    MAGIC_READ = "magic read"
    MAGIC_DIFFERED = "magic differed"
    LENGTH_READ = "length read"
    LENGTH_EXCEEDED = "length exceeded"
    PAYLOAD_DECODED = "payload decoded"
    PAYLOAD_REJECTED = "payload rejected"
    STREAM_ENDED = "stream ended"
    TIME_PASSED = "time passed"


class Action(str, enum.Enum):
    """
    What a transition does with the bytes.

    @cvar READ_ON: keep what was read and want more.
    @cvar RELEASE: end the hold; keep what was read and want more.
    @cvar TAKE: take the prefix out; what follows it goes on.
    @cvar REPLY: like L{TAKE}, and the own prefix is due if it is not out yet.
    @cvar PASS_ON: every byte seen goes on, untouched.
    @cvar DROP: the cut-off prefix is dropped.
    @cvar ABORT: the connection is closed at once.
    """

    READ_ON = "read on"
    RELEASE = "release"
    TAKE = "take"
    REPLY = "reply"
    PASS_ON = "pass on"
    DROP = "drop"
    ABORT = "abort"


class Transition(NamedTuple):
    """
    One line of the table.

    @ivar target: the next state.
    @ivar action: what to do with the bytes.
    @ivar counts: what is counted.
    """

    target: State
    action: Action
    counts: tuple[Counter, ...] = ()


class UnknownTransition(RuntimeError):
    """
    Something happened that the machine's state does not know, such as bytes after the end.
    """


_NO_HEADER: Final = (Counter.INITIAL_HEADER_NOT_FOUND,)
_NO_METADATA: Final = (Counter.HEADER_NOT_FOUND, Counter.MALFORMED)
_OVERSIZE: Final = (Counter.TOO_LARGE,)
_TIMED_OUT: Final = (Counter.TIMEOUT,)

TRANSITIONS: Final[Mapping[tuple[State, Event], Transition]] = MappingProxyType(
    {
        (State.READING_MAGIC, Event.MAGIC_READ): Transition(State.READING_LENGTH, Action.READ_ON),
        (State.READING_MAGIC, Event.MAGIC_DIFFERED): Transition(
            State.BAD_MAGIC, Action.PASS_ON, _NO_HEADER
        ),
        (State.READING_MAGIC, Event.STREAM_ENDED): Transition(
            State.CLOSED, Action.PASS_ON, _NO_HEADER
        ),
        (State.READING_MAGIC, Event.TIME_PASSED): Transition(
            State.LATE_MAGIC, Action.RELEASE, _TIMED_OUT
        ),
        (State.READING_LENGTH, Event.LENGTH_READ): Transition(
            State.READING_PAYLOAD, Action.READ_ON
        ),
        (State.READING_LENGTH, Event.LENGTH_EXCEEDED): Transition(
            State.TOO_LARGE, Action.ABORT, _OVERSIZE
        ),
        (State.READING_LENGTH, Event.STREAM_ENDED): Transition(
            State.CLOSED, Action.DROP, _NO_HEADER
        ),
        (State.READING_LENGTH, Event.TIME_PASSED): Transition(
            State.LATE_LENGTH, Action.RELEASE, _TIMED_OUT
        ),
        (State.READING_PAYLOAD, Event.PAYLOAD_DECODED): Transition(State.FOUND, Action.REPLY),
        (State.READING_PAYLOAD, Event.PAYLOAD_REJECTED): Transition(
            State.MALFORMED, Action.REPLY, _NO_METADATA
        ),
        (State.READING_PAYLOAD, Event.STREAM_ENDED): Transition(State.CLOSED, Action.DROP),
        (State.READING_PAYLOAD, Event.TIME_PASSED): Transition(
            State.LATE_PAYLOAD, Action.RELEASE, _TIMED_OUT
        ),
        # After the time was up: bytes are treated alike, but nothing is sent any more, and only
        # a whole prefix changes what is known of the peer.
        (State.LATE_MAGIC, Event.MAGIC_READ): Transition(State.LATE_LENGTH, Action.READ_ON),
        (State.LATE_MAGIC, Event.MAGIC_DIFFERED): Transition(
            State.GAVE_UP, Action.PASS_ON, _NO_HEADER
        ),
        (State.LATE_MAGIC, Event.STREAM_ENDED): Transition(
            State.GAVE_UP, Action.PASS_ON, _NO_HEADER
        ),
        (State.LATE_LENGTH, Event.LENGTH_READ): Transition(State.LATE_PAYLOAD, Action.READ_ON),
        (State.LATE_LENGTH, Event.LENGTH_EXCEEDED): Transition(
            State.GAVE_UP, Action.ABORT, _OVERSIZE
        ),
        (State.LATE_LENGTH, Event.STREAM_ENDED): Transition(State.GAVE_UP, Action.DROP, _NO_HEADER),
        (State.LATE_PAYLOAD, Event.PAYLOAD_DECODED): Transition(State.FOUND, Action.TAKE),
        (State.LATE_PAYLOAD, Event.PAYLOAD_REJECTED): Transition(
            State.GAVE_UP, Action.TAKE, _NO_METADATA
        ),
        (State.LATE_PAYLOAD, Event.STREAM_ENDED): Transition(State.GAVE_UP, Action.DROP),
    }
)
"""The whole machine.  A pair that is not here raises L{UnknownTransition}."""

PEER_STATES: Final[Mapping[State, PeerState]] = MappingProxyType(
    {
        State.READING_MAGIC: PeerState.PENDING,
        State.READING_LENGTH: PeerState.PENDING,
        State.READING_PAYLOAD: PeerState.PENDING,
        State.LATE_MAGIC: PeerState.TIMEOUT,
        State.LATE_LENGTH: PeerState.TIMEOUT,
        State.LATE_PAYLOAD: PeerState.TIMEOUT,
        State.FOUND: PeerState.FOUND,
        State.BAD_MAGIC: PeerState.BAD_MAGIC,
        State.CLOSED: PeerState.CLOSED,
        State.TOO_LARGE: PeerState.TOO_LARGE,
        State.MALFORMED: PeerState.MALFORMED,
        State.GAVE_UP: PeerState.TIMEOUT,
    }
)
"""What is known of the peer in each state."""

_NOT_FINAL: Final = frozenset(state for state, _ in TRANSITIONS)
_MAGIC_STATES: Final = (State.READING_MAGIC, State.LATE_MAGIC)
_LENGTH_STATES: Final = (State.READING_LENGTH, State.LATE_LENGTH)


class Exchange:
    """
    One side's exchange: its own prefix on the way out, the peer's on the way in.

    Call L{opening} once and write what it gives, L{feed} with everything that is read until an
    L{Outcome} is final, L{eof} when the stream ends before that, and L{timeout} when the
    connection has been held for long enough.  What an outcome says is to be done at once: send,
    then forward, or abort.

    @ivar hold: which directions of the application's traffic wait.
    @ivar peer: what is known of the peer now; the last outcome's result.
    """

    def __init__(
        self,
        prefix: bytes,
        decode: Callable[[bytes], Metadata],
        *,
        speaksFirst: bool,
        hold: Hold = Hold.BOTH,
        maxSize: int = DEFAULT_MAX_SIZE,
    ) -> None:
        """
        @param prefix: the own prefix, see L{mxproxy.wire.metadata.Node.prefix}.
        @param decode: reads a payload or raises L{MalformedMetadata}; see
            L{mxproxy.wire.metadata.MetadataDecoder.decode}.
        @param speaksFirst: C{True} on the client's side and on an eager server's: the prefix is
            the opening.  C{False} on a server's side that replies: the prefix is sent when the
            peer has proven, by a whole frame, that it speaks the protocol.
        @param hold: which directions of the application's traffic wait; the machine only keeps
            it for its layer.
        @param maxSize: the longest payload that is accepted, in bytes.
        """
        self.hold = hold
        self.peer: Metadata | Absence = Absence(PeerState.PENDING)
        self._prefix = prefix
        self._decode = decode
        self._speaksFirst = speaksFirst
        self._maxSize = maxSize
        self._state = State.READING_MAGIC
        # What was read and not given away: at most a header and maxSize.  It grows in place, as
        # a prefix that comes byte by byte must not be copied once per byte.
        self._buffer = bytearray()
        self._wanted = len(MAGIC_BYTES)
        self._counted: dict[Counter, None] = {}
        self._taken = 0

    def __repr__(self) -> str:
        opening = "speaks first" if self._speaksFirst else "replies"
        progress = f", {self._state.value}" if self._state.value != self.state.value else ""
        if self._state in _NOT_FINAL:
            progress += f" with {len(self._buffer)} of {self._wanted} bytes"
        return f"<Exchange {opening}, holds {self.hold.value}: {self.state.value}{progress}>"

    @property
    def state(self) -> PeerState:
        """
        What is known of the peer, as one word.
        """
        return PEER_STATES[self._state]

    @property
    def buffered(self) -> int:
        """
        How many bytes were read and are kept; never more than a header and C{maxSize}.
        """
        return len(self._buffer)

    def takeCounted(self) -> tuple[str, ...]:
        """
        The names of what was counted since this was last asked, in order.  No name is ever given
        twice, so a caller adds one to each and is right.
        """
        if self._taken == len(self._counted):
            return ()
        # Not value, which is slow to look up; each connection has several.
        names = tuple(counter._value_ for counter in self._counted)[self._taken :]
        self._taken = len(self._counted)
        return names

    def opening(self) -> bytes:
        """
        What to write before anything was read: the own prefix, or nothing on a side that replies.
        """
        return self._ownPrefix() if self._speaksFirst else b""

    def feed(self, data: bytes) -> Outcome | None:
        """
        Take what was read.

        @return: what it has come to, or C{None} when more is wanted.  A final outcome gives
            everything of C{data} that is not the prefix's back, in C{forward}.
        @raise UnknownTransition: the exchange was over.
        """
        if self._state not in _NOT_FINAL:
            raise UnknownTransition(f"{len(data)} bytes were fed to {self!r}")
        outcome = None
        position = 0
        while outcome is None:
            missing = self._wanted - len(self._buffer)
            piece = data[position : position + missing]
            self._buffer += piece
            position += len(piece)
            event, metadata = self._judge(position < len(data))
            if event is None:
                return None
            outcome = self._apply(event, data[position:], metadata)
        return outcome

    def eof(self) -> Outcome:
        """
        The peer sends no more.

        @raise UnknownTransition: the exchange was over.
        """
        return self._must(Event.STREAM_ENDED)

    def timeout(self) -> Outcome:
        """
        The connection was held for as long as it may be.  The outcome is not final: the hold
        ends, but what is read is still to be fed, as a prefix may come late.

        @raise UnknownTransition: the exchange was over, or had timed out before.
        """
        return self._must(Event.TIME_PASSED)

    def _judge(self, more: bool) -> tuple[Event | None, Metadata | None]:
        """
        What the buffer has come to, and the metadata in it.

        @param more: whether there is a byte behind the buffer.  A magic with nothing behind it
            is not left yet: a stream that ends there ends inside the magic.
        """
        if self._state in _MAGIC_STATES:
            if not MAGIC_BYTES.startswith(self._buffer):
                return Event.MAGIC_DIFFERED, None
            if len(self._buffer) < self._wanted or not more:
                return None, None
            self._wanted = HEADER_SIZE
            return Event.MAGIC_READ, None
        if len(self._buffer) < self._wanted:
            return None, None
        if self._state in _LENGTH_STATES:
            if self._length() > self._maxSize:
                return Event.LENGTH_EXCEEDED, None
            self._wanted = HEADER_SIZE + self._length()
            return Event.LENGTH_READ, None
        try:
            return Event.PAYLOAD_DECODED, self._decode(bytes(self._buffer[HEADER_SIZE:]))
        except MalformedMetadata:
            return Event.PAYLOAD_REJECTED, None

    def _must(self, event: Event) -> Outcome:
        outcome = self._apply(event, b"", None)
        assert outcome is not None, f"{event.value} always comes to something"
        return outcome

    def _apply(self, event: Event, rest: bytes, metadata: Metadata | None) -> Outcome | None:
        """
        Take the one transition that the table has for this event.

        @param rest: what was read behind the buffer.
        """
        transition = TRANSITIONS.get((self._state, event))
        if transition is None:
            raise UnknownTransition(f"{event.value}: this means nothing to {self!r}")
        self._state = transition.target
        self._count(*transition.counts)
        self.peer = metadata or Absence(self.state)
        action = transition.action
        if action is Action.READ_ON:
            return None
        if action is Action.RELEASE:
            return Outcome(result=self.peer, final=False)
        if action is Action.ABORT:
            length, cap = self._length(), self._maxSize
            self._buffer.clear()
            reason = (
                f"{PeerState.TOO_LARGE}: announced length {length} is over the cap of {cap} bytes"
            )
            return Outcome(result=self.peer, abort=reason)
        seen = bytes(self._buffer) if action is Action.PASS_ON else b""
        self._buffer.clear()
        send = self._ownPrefix() if action is Action.REPLY and not self._speaksFirst else b""
        return Outcome(result=self.peer, send=send, forward=seen + rest)

    def _length(self) -> int:
        return int.from_bytes(self._buffer[len(MAGIC_BYTES) : HEADER_SIZE], "big")

    def _ownPrefix(self) -> bytes:
        if self._prefix:
            self._count(Counter.METADATA_ADDED)
        return self._prefix

    def _count(self, *counters: Counter) -> None:
        self._counted.update(dict.fromkeys(counters))
