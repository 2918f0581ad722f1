"""
The exchange's machine: every ending, every opening, and what comes late.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire.exchange import (
    COUNTERS,
    DEFAULT_MAX_SIZE,
    PEER_STATES,
    TRANSITIONS,
    Absence,
    Counter,
    Event,
    Exchange,
    Hold,
    PeerState,
    State,
    UnknownTransition,
    alpnAgrees,
)
from mxproxy.wire.handshake import Outcome
from mxproxy.wire.metadata import MalformedMetadata, Metadata, MetadataDecoder, Node
from mxproxy.wire.prefix import HEADER, MAGIC, MAGIC_BYTES, encodePrefix
from tests.wire.helpers import Ran, bytewise, feedEveryWay, run

OWN = Node("own", {"NAME": "me"}).prefix()
THEIRS = Node("n1", {"NAME": "x"}).prefix()
PEER = Metadata(name="x", id="n1")
APP = b"GET / HTTP/1.1\r\n"
MALFORMED = encodePrefix(b"\x0a\xff")


def decode(payload: bytes) -> Metadata:
    return MetadataDecoder().decode(payload)


def reply(**settings: int) -> Exchange:
    return Exchange(OWN, decode, speaksFirst=False, **settings)


def eager(**settings: int) -> Exchange:
    return Exchange(OWN, decode, speaksFirst=True, **settings)


def late(exchange: Exchange) -> Exchange:
    exchange.timeout()
    exchange.takeCounted()
    return exchange


class EndingTests(SynchronousTestCase):
    """
    Each row of docs/wire.md's table of endings, for a side that replies and one that spoke first.
    """

    def check(self, data: bytes, expected: Ran, *, eof: bool = False, maxSize: int = 200) -> None:
        """
        @param expected: the ending of a side that replies; one that spoke first sends nothing.
        """
        ran = feedEveryWay(self, lambda: reply(maxSize=maxSize), data, eof=eof)
        self.assertEqual(expected, ran)
        ran = feedEveryWay(self, lambda: eager(maxSize=maxSize), data, eof=eof)
        self.assertEqual(expected._replace(sent=b""), ran)

    def test_found(self) -> None:
        """
        A whole prefix is taken out; what follows in the same read goes on.
        """
        self.check(THEIRS, Ran(PEER, OWN, b"", final=True))
        self.check(THEIRS + APP, Ran(PEER, OWN, APP, final=True))
        self.check(THEIRS + APP, Ran(PEER, OWN, APP, final=True), eof=True)

    def test_badMagic(self) -> None:
        """
        Known at the first differing byte, wherever it is; every byte goes on.
        """
        for length in range(4):
            data = MAGIC_BYTES[:length] + bytes([MAGIC_BYTES[length] ^ 1])
            self.check(data, Ran(Absence(PeerState.BAD_MAGIC), b"", data, final=True))
        self.check(APP, Ran(Absence(PeerState.BAD_MAGIC), b"", APP, final=True))

    def test_badMagicNeedsOneByte(self) -> None:
        self.assertEqual(
            Outcome(result=Absence(PeerState.BAD_MAGIC), forward=b"G"), reply().feed(b"G")
        )

    def test_closedInsideTheMagic(self) -> None:
        """
        The bytes seen go on, all four of them if no byte of a length followed.
        """
        for length in range(1, 5):
            data = MAGIC_BYTES[:length]
            ending = Ran(Absence(PeerState.CLOSED), b"", data, final=True, atEnd=True)
            self.check(data, ending, eof=True)

    def test_closedInsideTheLengthOrThePayload(self) -> None:
        """
        The cut-off prefix is dropped.
        """
        ending = Ran(Absence(PeerState.CLOSED), final=True, atEnd=True)
        for length in range(5, len(THEIRS)):
            self.check(THEIRS[:length], ending, eof=True)

    def test_closedWithoutAByte(self) -> None:
        self.check(b"", Ran(Absence(PeerState.CLOSED), final=True, atEnd=True), eof=True)

    def test_tooLarge(self) -> None:
        """
        A length over the cap aborts, before any of the payload was read.
        """
        data = HEADER.pack(MAGIC, 0xFFFFFFFF)
        reason = "too_large: announced length 4294967295 is over the cap of 200 bytes"
        self.check(data, Ran(Absence(PeerState.TOO_LARGE), abort=reason, final=True))

    def test_cap(self) -> None:
        """
        The cap itself is within; one more is over.
        """
        size = len(THEIRS) - 8
        self.check(THEIRS, Ran(PEER, OWN, final=True), maxSize=size)
        reason = f"too_large: announced length {size} is over the cap of {size - 1} bytes"
        self.check(
            THEIRS,
            Ran(Absence(PeerState.TOO_LARGE), abort=reason, final=True),
            maxSize=size - 1,
        )

    def test_defaultCap(self) -> None:
        exchange = reply()
        self.assertIsNone(exchange.feed(HEADER.pack(MAGIC, DEFAULT_MAX_SIZE)))
        outcome = reply().feed(HEADER.pack(MAGIC, DEFAULT_MAX_SIZE + 1))
        assert outcome is not None
        self.assertEqual(
            "too_large: announced length 65537 is over the cap of 65536 bytes", outcome.abort
        )

    def test_malformed(self) -> None:
        """
        The payload is consumed, never forwarded; the peer does speak the protocol, so it is
        answered.
        """
        self.check(MALFORMED, Ran(Absence(PeerState.MALFORMED), OWN, b"", final=True))
        self.check(MALFORMED + APP, Ran(Absence(PeerState.MALFORMED), OWN, APP, final=True))

    def test_lengthZero(self) -> None:
        self.check(encodePrefix(b"") + APP, Ran(Absence(PeerState.MALFORMED), OWN, APP, final=True))

    def test_noMetadataInTheStruct(self) -> None:
        """
        A Struct without the peer's metadata is a peer with nothing to say.
        """
        data = encodePrefix(b"\x0a\x2atype.googleapis.com/google.protobuf.Struct")
        self.check(data, Ran(Metadata(), OWN, final=True))

    def test_secondPrefix(self) -> None:
        """
        It is application data.
        """
        self.check(THEIRS + THEIRS, Ran(PEER, OWN, THEIRS, final=True))

    def test_nothing(self) -> None:
        """
        Until something happens nothing has; an empty read is nothing.
        """
        exchange = reply()
        self.assertIsNone(exchange.feed(b""))
        self.assertEqual((PeerState.PENDING, Absence(PeerState.PENDING)), _known(exchange))
        self.check(THEIRS[:-1], Ran())

    def test_otherErrors(self) -> None:
        """
        Only MalformedMetadata says that a payload is malformed; a bug is not the peer's fault.
        """

        def broken(payload: bytes) -> Metadata:
            raise KeyError("bug")

        exchange = Exchange(OWN, broken, speaksFirst=False)
        self.assertRaises(KeyError, exchange.feed, THEIRS)

    def test_decodeGetsThePayload(self) -> None:
        """
        The decoder is given bytes, which can be remembered, and nothing that surrounds them.
        """
        seen: list[object] = []

        def remember(payload: bytes) -> Metadata:
            seen.append(payload)
            raise MalformedMetadata

        run(Exchange(OWN, remember, speaksFirst=True), bytewise(THEIRS + APP))
        self.assertEqual([THEIRS[8:]], seen)
        self.assertIsInstance(seen[0], bytes)


def _known(exchange: Exchange) -> tuple[PeerState, object]:
    return exchange.state, exchange.peer


class OpeningTests(SynchronousTestCase):
    """
    Who speaks when.
    """

    def test_speaksFirst(self) -> None:
        """
        The prefix is the opening, and is not sent again.
        """
        exchange = eager()
        self.assertEqual(OWN, exchange.opening())
        self.assertEqual(Outcome(result=PEER), exchange.feed(THEIRS))

    def test_reply(self) -> None:
        """
        The prefix is the answer to a whole frame.
        """
        exchange = reply()
        self.assertEqual(b"", exchange.opening())
        self.assertIsNone(exchange.feed(THEIRS[:-1]))
        self.assertEqual(Outcome(result=PEER, send=OWN), exchange.feed(THEIRS[-1:]))

    def test_hold(self) -> None:
        """
        What is held is kept for the layer.
        """
        self.assertIs(Hold.BOTH, reply().hold)
        exchange = Exchange(OWN, decode, speaksFirst=True, hold=Hold.READ)
        self.assertIs(Hold.READ, exchange.hold)
        self.assertEqual(["both", "read"], [hold.value for hold in Hold])

    def test_alpn(self) -> None:
        """
        The exchange happens for the configured protocol and no other.
        """
        self.assertTrue(alpnAgrees("istio-peer-exchange"))
        for other in ("", "istio", "Istio-Peer-Exchange", "istio-peer-exchange2"):
            self.assertFalse(alpnAgrees(other))
        self.assertTrue(alpnAgrees("other", "other"))


class TimeoutTests(SynchronousTestCase):
    """
    The time ends the hold, not the parsing.
    """

    def lateEveryWay(self, data: bytes, eof: bool = False) -> Ran:
        """
        The time is up before each byte of the data in turn, and that changes nothing.

        @return: what a side that replies came to; one that spoke first comes to the same.
        """
        ran = feedEveryWay(self, lambda: late(reply(maxSize=200)), data, eof=eof)
        for make in (reply, eager):
            for at in range(min(len(data), 13)):
                exchange = make(maxSize=200)
                if exchange.feed(data[:at]) is not None:
                    break
                late(exchange)
                self.assertEqual(ran, run(exchange, [data[at:]], eof), f"time up at byte {at}")
                self.assertIs(PeerState.FOUND if ran.result else PeerState.TIMEOUT, exchange.state)
        return ran

    def test_timeout(self) -> None:
        """
        The outcome is not final, gives no bytes away, and nothing is sent.
        """
        for before in (b"", THEIRS[:3], THEIRS[:6], THEIRS[:20]):
            exchange = reply()
            exchange.feed(before)
            outcome = exchange.timeout()
            self.assertEqual(Outcome(result=Absence(PeerState.TIMEOUT), final=False), outcome)
            self.assertEqual((PeerState.TIMEOUT, outcome.result), _known(exchange))

    def test_latePrefix(self) -> None:
        """
        It is taken out and the peer is found, but no prefix is sent on this connection.
        """
        self.assertEqual(Ran(PEER, b"", APP, final=True), self.lateEveryWay(THEIRS + APP))

    def test_lateBadMagic(self) -> None:
        ending = Ran(Absence(PeerState.TIMEOUT), b"", b"=#\x04H", final=True)
        self.assertEqual(ending, self.lateEveryWay(b"=#\x04H"))

    def test_lateMalformed(self) -> None:
        """
        The payload is consumed, and the reason stays what it was.
        """
        ending = Ran(Absence(PeerState.TIMEOUT), b"", APP, final=True)
        self.assertEqual(ending, self.lateEveryWay(MALFORMED + APP))

    def test_lateTooLarge(self) -> None:
        """
        The connection is aborted all the same.
        """
        reason = "too_large: announced length 201 is over the cap of 200 bytes"
        ending = Ran(Absence(PeerState.TIMEOUT), abort=reason, final=True)
        self.assertEqual(ending, self.lateEveryWay(HEADER.pack(MAGIC, 201)))

    def test_lateEnd(self) -> None:
        """
        Inside the magic the bytes go on, behind it they are dropped.
        """
        ending = Ran(Absence(PeerState.TIMEOUT), final=True, atEnd=True)
        self.assertEqual(ending, self.lateEveryWay(b"", eof=True))
        for length in range(1, 12):
            data = THEIRS[:length]
            seen = data if length <= 4 else b""
            self.assertEqual(ending._replace(forwarded=seen), self.lateEveryWay(data, eof=True))


class CounterTests(SynchronousTestCase):
    """
    What is counted, and that it is counted once.
    """

    def counted(self, data: bytes, *, eof: bool = False, time: int | None = None) -> list[str]:
        exchange = reply(maxSize=200)
        names: list[str] = [*exchange.takeCounted()]
        exchange.opening()
        for position, chunk in enumerate(bytewise(data)):
            if position == time:
                exchange.timeout()
            if exchange.feed(chunk) is not None:
                break
            names += exchange.takeCounted()
        else:
            if eof:
                exchange.eof()
        names += exchange.takeCounted()
        self.assertEqual((), exchange.takeCounted())
        return names

    def test_endings(self) -> None:
        self.assertEqual(["metadata_added"], self.counted(THEIRS))
        self.assertEqual(["initial_header_not_found"], self.counted(APP))
        self.assertEqual(["initial_header_not_found"], self.counted(b"", eof=True))
        self.assertEqual(["initial_header_not_found"], self.counted(THEIRS[:2], eof=True))
        self.assertEqual(["initial_header_not_found"], self.counted(THEIRS[:7], eof=True))
        self.assertEqual([], self.counted(THEIRS[:9], eof=True))
        self.assertEqual(["too_large"], self.counted(HEADER.pack(MAGIC, 201)))
        self.assertEqual(
            ["header_not_found", "malformed", "metadata_added"], self.counted(MALFORMED)
        )

    def test_late(self) -> None:
        """
        A timeout is counted, and what comes of the stream afterwards too.
        """
        self.assertEqual(["timeout"], self.counted(THEIRS, time=0))
        self.assertEqual(["timeout", "initial_header_not_found"], self.counted(b"=GET", time=1))
        self.assertEqual(["timeout"], self.counted(THEIRS[:10], time=9, eof=True))
        self.assertEqual(
            ["timeout", "header_not_found", "malformed"], self.counted(MALFORMED, time=9)
        )
        self.assertEqual(["timeout", "too_large"], self.counted(HEADER.pack(MAGIC, 201), time=5))

    def test_openingOnce(self) -> None:
        """
        Asking again gives the same prefix and counts nothing.
        """
        exchange = eager()
        self.assertEqual(exchange.opening(), exchange.opening())
        self.assertEqual(("metadata_added",), exchange.takeCounted())

    def test_noPrefix(self) -> None:
        """
        A side without a prefix of its own, a probe for example, adds none.
        """
        exchange = Exchange(b"", decode, speaksFirst=True)
        self.assertEqual((b"", ()), (exchange.opening(), exchange.takeCounted()))

    def test_declared(self) -> None:
        """
        Each counter is declared, and each that the table counts is one of them.
        """
        self.assertEqual(set(Counter), set(COUNTERS))
        counted = {counter for transition in TRANSITIONS.values() for counter in transition.counts}
        elsewhere = {
            Counter.ALPN_PROTOCOL_FOUND,
            Counter.ALPN_PROTOCOL_NOT_FOUND,
            Counter.METADATA_ADDED,
        }
        self.assertEqual(set(Counter) - elsewhere, counted)


class TableTests(SynchronousTestCase):
    """
    The table is the machine, and what is not in it raises.
    """

    def test_everyStateIsKnown(self) -> None:
        self.assertEqual(set(State), set(PEER_STATES))
        reached = {transition.target for transition in TRANSITIONS.values()}
        self.assertEqual(set(State) - {State.READING_MAGIC}, reached)

    def test_lateMirrorsReading(self) -> None:
        """
        After the time was up bytes are treated as before, but nothing is sent, only a whole
        prefix changes the state, and the time is not up again.
        """
        for name in ("MAGIC", "LENGTH", "PAYLOAD"):
            for event in Event:
                early = TRANSITIONS.get((State[f"READING_{name}"], event))
                later = TRANSITIONS.get((State[f"LATE_{name}"], event))
                if event is Event.TIME_PASSED or early is None:
                    self.assertIsNone(later)
                    continue
                assert later is not None
                self.assertEqual(early.counts, later.counts)
                self.assertEqual(early.action.value.replace("reply", "take"), later.action.value)
                self.assertIn(PEER_STATES[later.target], (PeerState.TIMEOUT, PeerState.FOUND))

    def test_over(self) -> None:
        """
        After a final outcome everything raises, an empty read too.
        """
        for data in (THEIRS, APP, MALFORMED, HEADER.pack(MAGIC, 201)):
            exchange = reply(maxSize=200)
            exchange.feed(data)
            error = self.assertRaises(UnknownTransition, exchange.feed, b"ab")
            self.assertEqual(f"2 bytes were fed to {exchange!r}", str(error))
            self.assertRaises(UnknownTransition, exchange.eof)
            self.assertRaises(UnknownTransition, exchange.timeout)

    def test_timeIsUpOnce(self) -> None:
        exchange = late(reply())
        error = self.assertRaises(UnknownTransition, exchange.timeout)
        self.assertEqual(
            "time passed: this means nothing to <Exchange replies, holds both: timeout, "
            "late_magic with 0 of 4 bytes>",
            str(error),
        )

    def test_endsOnce(self) -> None:
        exchange = reply()
        exchange.eof()
        self.assertRaises(UnknownTransition, exchange.eof)


class OutcomeTests(SynchronousTestCase):
    def test_unchangeable(self) -> None:
        """
        What a machine has answered nobody changes on the way.
        """
        with self.assertRaises(FrozenInstanceError):
            reply().eof().final = False  # type: ignore[misc]


class BoundTests(SynchronousTestCase):
    """
    What a peer can make us keep and do is bounded.
    """

    def test_buffered(self) -> None:
        """
        Never more than a header and the cap, however much is read at once.
        """
        exchange = reply(maxSize=100)
        exchange.feed(HEADER.pack(MAGIC, 100) + b"\xff" * 99)
        self.assertEqual(107, exchange.buffered)
        outcome = exchange.feed(b"\xff" * 5000)
        assert outcome is not None
        self.assertEqual((4999, 0), (len(outcome.forward), exchange.buffered))

    def test_growsInPlace(self) -> None:
        """
        A prefix that comes byte by byte is not copied once per byte.
        """
        exchange = reply()
        buffer = exchange._buffer
        for chunk in bytewise(THEIRS[:-1]):
            exchange.feed(chunk)
            self.assertIs(buffer, exchange._buffer)
        self.assertIsInstance(buffer, bytearray)

    def test_nothingIsKeptAfterwards(self) -> None:
        for data in (THEIRS, MALFORMED, APP, HEADER.pack(MAGIC, 201)):
            exchange = reply(maxSize=200)
            exchange.feed(data)
            self.assertEqual(0, exchange.buffered)


class ReprTests(SynchronousTestCase):
    """
    The state is shown.
    """

    def test_repr(self) -> None:
        exchange = reply()
        self.assertEqual(
            "<Exchange replies, holds both: pending, reading_magic with 0 of 4 bytes>",
            repr(exchange),
        )
        exchange.feed(THEIRS[:20])
        self.assertEqual(
            "<Exchange replies, holds both: pending, reading_payload with 20 of 144 bytes>",
            repr(exchange),
        )
        exchange.feed(THEIRS[20:])
        self.assertEqual("<Exchange replies, holds both: found>", repr(exchange))
        self.assertEqual(
            "<Exchange speaks first, holds both: timeout, gave_up>",
            repr(_gaveUp()),
        )


def _gaveUp() -> Exchange:
    exchange = late(eager())
    exchange.eof()
    return exchange
