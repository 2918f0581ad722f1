"""
checkFilter finds what is wrong with a filter, and nothing wrong with one that is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from twisted.plugin import IPlugin
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mxproxy.interfaces import IFilter, IFilterPlugin
from mxproxy.layers.base import Layer, LayerFactory
from mxproxy.layers.handshake import HandshakeFactory
from mxproxy.testing import ContractBroken, Conversation, checkFilter
from mxproxy.testing.bench import Wrap
from mxproxy.wire.handshake import Outcome

TEXT = b"0123456789"
PLAIN = Conversation(TEXT)


class Greeting:
    """
    A handshake: each side says hello with a line, and the application's bytes follow.
    """

    LIMIT = 20

    def __init__(self) -> None:
        self._line = b""

    def opening(self) -> bytes:
        return b"HELLO\n"

    def feed(self, data: bytes) -> Outcome | None:
        self._line += data
        line, newline, rest = self._line.partition(b"\n")
        if newline:
            return Outcome(line, forward=rest)
        if len(line) > self.LIMIT:
            return Outcome(abort="too_long: a greeting without an end")
        return None

    def eof(self) -> Outcome:
        return Outcome()

    def timeout(self) -> Outcome:
        return Outcome(forward=self._line)


GREETED = Conversation(
    b"HI THERE\n0123456789",
    b"0123456789",
    b"bye",
    b"HELLO\nbye",
    oversize=b"x" * 100,
)


def handshake(machine: Any) -> Wrap:
    return lambda inner, context: HandshakeFactory(inner, context, machine, 5)


def layer(kind: type[Layer]) -> Wrap:
    class OneFactory(LayerFactory):
        layer = kind

    return OneFactory


class RightTests(SynchronousTestCase):
    """
    Each of the three ways to write a filter.
    """

    def test_layer(self) -> None:
        self.assertGreater(checkFilter(layer(Layer), conversation=PLAIN), 100)

    def test_machine(self) -> None:
        self.assertGreater(checkFilter(handshake(Greeting), conversation=GREETED), 200)

    def test_upstream(self) -> None:
        checkFilter(handshake(Greeting), conversation=GREETED, side="upstream")

    def test_stock(self) -> None:
        checkFilter(lambda inner, context: WrappingFactory(inner), conversation=PLAIN)

    def test_plugin(self) -> None:
        """
        A plugin is given its options.
        """
        given: list[Mapping[str, str]] = []

        @implementer(IFilter)
        class Nothing:
            def wrap(self, inner: Any, context: Any) -> Any:
                return inner

        @implementer(IPlugin, IFilterPlugin)
        class Plugin:
            name = "nothing"
            description = "Does nothing."

            def configure(self, options: Mapping[str, str]) -> Any:
                given.append(options)
                return Nothing()

        checkFilter(Plugin(), {"a": "1"}, conversation=PLAIN)
        self.assertEqual(given, [{"a": "1"}])

    def test_transforming(self) -> None:
        """
        A filter that changes every byte.
        """

        class Inverting(Layer):
            TABLE: ClassVar[bytes] = bytes(255 - byte for byte in range(256))

            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data.translate(self.TABLE))

            def write(self, data: bytes) -> None:
                super().write(data.translate(self.TABLE))

        turned = TEXT.translate(Inverting.TABLE)
        checkFilter(layer(Inverting), conversation=Conversation(TEXT, turned, turned, TEXT))

    def test_longInput(self) -> None:
        """
        Long input is tried at some of its bytes only.
        """
        runs = checkFilter(layer(Layer), conversation=Conversation(b"x" * 5000))
        self.assertLess(runs, 6000)


# -- broken ones


class DropsAByte(Layer):
    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data.replace(b"7", b""))


class Duplicates(Layer):
    _first = True

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if b"5" in data and len(data) > 1:
            super().dataReceived(b"5")


class Reorders(Layer):
    _kept = b""

    def dataReceived(self, data: bytes) -> None:
        if b"3" in data and not self._kept:
            self._kept = data[:1]
            data = data[1:]
        else:
            data, self._kept = data + self._kept, b""
        if data:
            super().dataReceived(data)


class DropsWrites(Layer):
    def write(self, data: bytes) -> None:
        super().write(data[:-1])


class IgnoresPauses(Layer):
    def pauseProducing(self) -> None:
        pass


class DeliversLaterWithoutLooking(Layer):
    """
    Right but for the pauses: everything in its order, a second later.
    """

    def dataReceived(self, data: bytes) -> None:
        self._later(lambda: self.protocol.dataReceived(data))

    def readConnectionLost(self) -> None:
        self._later(super().readConnectionLost)

    def _later(self, act: Callable[[], None]) -> None:
        self.context.clock.callLater(1, lambda: self.protocol is not None and act())


class ResumesInAPause(Layer):
    """
    It holds bytes back; delivered, they make what is above pause, and it resumes all the same.
    """

    _held = b""

    def dataReceived(self, data: bytes) -> None:
        self._held += data
        self.pause()
        self.context.clock.callLater(1, self._later)

    def _later(self) -> None:
        self.resume()

    def unpaused(self) -> None:
        held, self._held = self._held, b""
        if self.protocol is not None and held:
            self.protocol.dataReceived(held)
        super().unpaused()


class SwallowsEOF(Layer):
    def readConnectionLost(self) -> None:
        pass


class EndsTwice(Layer):
    def readConnectionLost(self) -> None:
        super().readConnectionLost()
        super().readConnectionLost()


class ClosesAtEOF(Layer):
    def readConnectionLost(self) -> None:
        super().readConnectionLost()
        self.loseConnection()


class NoHalfClose(Layer):
    def loseWriteConnection(self) -> None:
        self.loseConnection()


class SwallowsItsEnd(Layer):
    def loseWriteConnection(self) -> None:
        pass


class ForgetsTheLoss(Layer):
    def connectionLost(self, reason: Failure) -> None:
        self.protocol = None


class LosesTwice(Layer):
    def connectionLost(self, reason: Failure) -> None:
        self.protocol.connectionLost(reason)
        self.protocol.connectionLost(reason)


class LeaksATimer(Layer):
    def connectionMade(self) -> None:
        self.context.clock.callLater(100_000, list)
        super().connectionMade()


class KeepsACycle(Layer):
    def connectionLost(self, reason: Failure) -> None:
        self.above = self.protocol
        self.above.below = self
        super().connectionLost(reason)


class KeepsItsTimer(Layer):
    """
    The timer that it keeps keeps it, and the chain's factories with it.
    """

    def connectionMade(self) -> None:
        self.mine = self.context.clock.callLater(0, self._nothing)
        super().connectionMade()

    def _nothing(self) -> None:
        pass


class IsNoConnection(Layer):
    def __conform__(self, interface: Any) -> None:
        return None


class UndoesItsOwnPause(Layer):
    """
    Pauses are passed down as they come, and so the filter's own is undone by anybody's resume.
    """

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.pauseProducing()
        self.context.clock.callLater(1, self._resume)

    def _resume(self) -> None:
        self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()


class Raises(Layer):
    def dataReceived(self, data: bytes) -> None:
        if b"9" in data:
            raise ZeroDivisionError("nine")
        super().dataReceived(data)


class RaisesAtEOF(Layer):
    def readConnectionLost(self) -> None:
        raise ZeroDivisionError("the end")


class SwallowsProducers(Layer):
    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass


class WritesAfterwards(Layer):
    """
    What is written waits for a timer; a close does not.
    """

    def write(self, data: bytes) -> None:
        self.context.clock.callLater(1, super().write, data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))


class NeverCloses(Layer):
    def loseConnection(self) -> None:
        pass


class AbortsGently(Layer):
    def abortConnection(self) -> None:
        self.loseConnection()


class Unbounded(Greeting):
    LIMIT = 1 << 30


class ForgetsTheRest(Greeting):
    def feed(self, data: bytes) -> Outcome | None:
        outcome = super().feed(data)
        return outcome and Outcome(outcome.result)


class ForgetsWhatItSaw(Greeting):
    def timeout(self) -> Outcome:
        return Outcome(forward=b"???")


class StockThatDrops(ProtocolWrapper):
    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data[1:])


class StockThatDropsFactory(WrappingFactory):
    protocol = StockThatDrops


BROKEN: dict[type[Layer], str] = {
    DropsAByte: "whole: delivered: b'012345689'",
    Duplicates: "whole: delivered: b'01234567895'",
    Reorders: "whole: delivered: b'123456789'",
    DropsWrites: "whole: sent: b'what the application says\\r'",
    IgnoresPauses: "paused, after 0 of 10 bytes: 10 bytes delivered while it was paused",
    DeliversLaterWithoutLooking: "while it was paused",
    ResumesInAPause: "the end of the stream delivered while it was paused",
    SwallowsEOF: "whole: the end of the stream was not delivered",
    EndsTwice: "whole: the end of the stream delivered after the end of the stream",
    ClosesAtEOF: "whole: no writing after the peer's end",
    NoHalfClose: "its end closed both directions",
    SwallowsItsEnd: "whole: the application's end was not passed on",
    ForgetsTheLoss: "whole: the application was not told of the connection's loss",
    LosesTwice: "whole: connectionLost was called more often than makeConnection",
    LeaksATimer: "whole: a timer is left: <DelayedCall",
    KeepsACycle: "whole: a reference cycle keeps the application: BenchApplication → KeepsACycle → BenchApplication",
    KeepsItsTimer: "KeepsItsTimer → DelayedCall → method → KeepsItsTimer",
    IsNoConnection: "whole: IConnection(self.transport) is not to be had in connectionMade",
    UndoesItsOwnPause: "the filter's own pause was undone by a resume",
    Raises: "whole: ZeroDivisionError was raised: nine",
    RaisesAtEOF: "whole: ZeroDivisionError was raised: the end",
    SwallowsProducers: "the network is slow: the producer was not paused",
    WritesAfterwards: "ends its stream first, after 0 of 10 bytes: what was written before was not",
    NeverCloses: "the application closes, after 0 of 10 bytes: 10 bytes delivered after",
    AbortsGently: "the application aborts, after 0 of 10 bytes: the connection was not reset",
}


class BrokenTests(SynchronousTestCase):
    """
    Each is found out, and the message says at which step.
    """

    def assertBroken(self, filter: Any, conversation: Conversation, why: str) -> str:
        error = self.assertRaises(ContractBroken, checkFilter, filter, conversation=conversation)
        self.assertIn(why, str(error))
        self.flushLoggedErrors()
        return str(error)

    def test_machine(self) -> None:
        for machine, why in (
            (Unbounded, "oversize, whole: the connection is still open"),
            (ForgetsTheRest, "whole: delivered: b''"),
            (ForgetsWhatItSaw, "the peer falls silent, after 0 of 19 bytes: what came after"),
        ):
            self.assertBroken(handshake(machine), GREETED, why)

    def test_waitsForEver(self) -> None:
        """
        A peer that says nothing holds the connection for as long as it likes.
        """
        wrap: Wrap = lambda inner, context: HandshakeFactory(inner, context, Greeting, 1e9)  # noqa: E731
        why = "the peer falls silent, after 0 of 19 bytes: after 3600 s the application is not"
        self.assertBroken(wrap, GREETED, why)

    def test_stock(self) -> None:
        self.assertBroken(
            lambda inner, context: StockThatDropsFactory(inner), PLAIN, "delivered: b'123456789'"
        )

    def test_message(self) -> None:
        """
        It shows what had happened.
        """
        message = self.assertBroken(layer(IgnoresPauses), PLAIN, "while it was paused")
        self.assertEqual(
            message.splitlines()[1:],
            [
                "",
                "what had happened:",
                "# the connection is made",
                "app<< connected",
                "# bytes 0 to 0 come",
                "# the application pauses",
                "# bytes 0 to 10 come",
                "app<< wrong: 10 bytes delivered while it was paused",
                "app<< '0123456789'",
            ],
        )

    def test_cycleIsNotMissed(self) -> None:
        """
        The collector is off meanwhile, and on again after.
        """
        import gc

        self.assertTrue(gc.isenabled())
        self.assertBroken(layer(KeepsACycle), PLAIN, "a reference cycle")
        self.assertTrue(gc.isenabled())


def _addTests() -> None:
    for kind, why in BROKEN.items():

        def test(self: BrokenTests, kind: type[Layer] = kind, why: str = why) -> None:
            self.assertBroken(layer(kind), PLAIN, why)

        setattr(BrokenTests, f"test_{kind.__name__[0].lower()}{kind.__name__[1:]}", test)


_addTests()
