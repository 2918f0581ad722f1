"""
Everything that can happen between two sides does no harm; and harm would be seen.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.filters.metadata_exchange import MetadataExchangeLayer
from mxproxy.wire.exchange import Exchange, Hold
from mxproxy.wire.handshake import Outcome

from .combinations import BASES, breaks, openings, pairs, scripts, tooLarge
from .pair import Count, Found, Options, Pair
from .script import Alone, rows
from .side import PREFIX, Settings, Table

log = Logger()

EVERYTHING = {"": Options()}
WAITING = {"nothing ends": Options(ends=False), "neither": Options(timeouts=False, ends=False)}


class ExplorationTests(SynchronousTestCase):
    """
    To the end: until no state is left that was not seen.
    """

    def explored(self, combinations: Any, atLeast: int) -> list[Count]:
        counts = []
        for name, explore in combinations:
            count = explore()
            counts.append(count)
            log.info("{name}: {count}", name=name, count=count)
            self.assertGreaterEqual(count.states, atLeast, name)
            self.assertGreater(count.ends, 1, name)
        return counts

    def test_pairs(self) -> None:
        """
        Every interleaving of reads, timeouts, ends of stream and an application's bytes: nothing
        waits for ever, and every byte arrives once and in order.
        """
        counts = self.explored(pairs(BASES[0], EVERYTHING), 1000)
        self.assertEqual(len(counts), len(list(openings())))
        self.assertGreater(sum(count.states for count in counts), 20_000)

    def test_waiting(self) -> None:
        """
        Applications that only wait for each other: nobody needs an end or a timeout to go on.
        """
        self.explored(pairs(BASES[0], WAITING), 40)

    def test_tooLarge(self) -> None:
        """
        The one side aborts whenever it comes to that; the other is told.
        """
        self.explored(tooLarge(BASES[0]), 500)

    def test_anyPeer(self) -> None:
        """
        Every row of docs/wire.md's table of endings, cut into any reads, the time up anywhere;
        then a connection that breaks, anywhere on all of these ways.
        """
        base = BASES[0]._replace(says=b"", pausedAtFirst=True)
        self.explored(scripts(base), 1000)
        self.explored(breaks(base), 100)


class ForgetsTheLatePrefix(Exchange):
    """
    Takes the stream for the application's once the time is up.
    """

    def timeout(self) -> Outcome:
        outcome = super().timeout()
        return Outcome(outcome.result, forward=bytes(self._buffer))


class DropsTheRest(Exchange):
    """
    Forgets what follows the prefix in the same read.
    """

    def feed(self, data: bytes) -> Outcome | None:
        outcome = super().feed(data)
        if outcome is not None and data.startswith(PREFIX):
            return Outcome(outcome.result, outcome.send)
        return outcome


class WaitsForEightBytes(Exchange):
    """
    Judges a magic with the length behind it, as Envoy does.
    """

    _early = b""

    def feed(self, data: bytes) -> Outcome | None:
        self._early += data
        if len(self._early) < 8:
            return None
        data, self._early = self._early, b""
        return super().feed(data)

    def eof(self) -> Outcome:
        outcome = super().eof()
        return Outcome(outcome.result, forward=self._early + outcome.forward)


class AnswersTwice(Exchange):
    """
    Replies although it has spoken first.
    """

    def feed(self, data: bytes) -> Outcome | None:
        outcome = super().feed(data)
        if outcome is not None and outcome.result:
            return Outcome(outcome.result, self._prefix, outcome.forward)
        return outcome


class WaitsForAnOpening(Exchange):
    """
    Speaks when it is spoken to, on both sides.
    """

    def opening(self) -> bytes:
        return b""


class DeliversDuringAPause(MetadataExchangeLayer):
    """
    Takes no notice of its application's pause.
    """

    @property
    def paused(self) -> bool:
        return False


class ForgetsItsTimer(MetadataExchangeLayer):
    """
    Lets the time run out after the connection is lost.
    """

    def stopTimer(self) -> None:
        self._deadline = None


class ForgetsTheEnd(MetadataExchangeLayer):
    """
    Leaves with the bytes, without the end behind them.
    """

    def leaveWith(self, data: bytes, eof: bool = False) -> None:
        super().leaveWith(data, False)


class DefectTests(SynchronousTestCase):
    """
    What is found in sides that do something wrong.
    """

    def find(self, what: str, defect: dict[str, Any], *, eager: bool = False, **both: Any) -> None:
        """
        @param what: the rule that has to be broken.
        @param defect: what both sides do wrong.
        """
        base = BASES[0]._replace(**both, **defect)
        pair = Pair(base._replace(speaksFirst=True), base._replace(speaksFirst=eager))
        self.assertIn(what, str(self.assertRaises(Found, pair.explore)))

    def test_prefixLeaks(self) -> None:
        self.find("was delivered, b'' was said", {"machine": ForgetsTheLatePrefix})

    def test_bytesLost(self) -> None:
        self.find("delivered behind b'' of b'a'", {"machine": DropsTheRest}, hold=Hold.READ)

    def test_prefixTwice(self) -> None:
        self.find("was delivered, ", {"machine": AnswersTwice}, eager=True)

    def test_deadlock(self) -> None:
        """
        With the timeout, it is only slow; without, nothing happens at all.
        """
        silent = BASES[0]._replace(speaksFirst=False, machine=WaitsForAnOpening)
        pair = Pair(silent, silent, Options(timeouts=False, ends=False))
        found = str(self.assertRaises(Found, pair.explore))
        self.assertIn("nothing more happens, and left: does not know of its peer", found)

    def test_stalls(self) -> None:
        """
        A short message without a prefix, to which the peer wants an answer.
        """
        slow = BASES[0]._replace(machine=WaitsForEightBytes)
        pair = Pair(slow, slow._replace(speaksFirst=False), Options(ends=False))
        found = str(self.assertRaises(Found, pair.explore))
        self.assertIn("nothing more happens, and left: ", found)

    def test_pauseIgnored(self) -> None:
        self.find(
            "came when it should not have", {"layer": DeliversDuringAPause}, pausedAtFirst=True
        )

    def test_timerLeft(self) -> None:
        self.find("error: AssertionError", {"layer": ForgetsItsTimer})
        self.assertTrue(self.flushLoggedErrors(AssertionError))

    def test_endLost(self) -> None:
        self.find("is not closed in order", {"layer": ForgetsTheEnd})

    def test_wayThere(self) -> None:
        """
        The finding tells the shortest way to it.
        """
        side = Settings(False, machine=DropsTheRest)
        row = next(row for row in rows() if row.name == "prefix and more")
        found = str(self.assertRaises(Found, Alone(Table(side), row).explore))
        self.assertIn("prefix and more: b'b' was delivered, not b'=b'", found)
        self.assertIn(f"connect\nreads {PREFIX + b'='!r}\nreads b'b'\n", found)
