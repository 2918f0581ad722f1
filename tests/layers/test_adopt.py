"""
Stock wrapping factories in a chain.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory
from twisted.protocols.policies import (
    LimitConnectionsByPeer,
    ProtocolWrapper,
    SpewingFactory,
    ThrottlingFactory,
    TimeoutFactory,
    TrafficLoggingFactory,
    WrappingFactory,
)
from twisted.python import log  # noqa: TID251 - what the stock factory logs with
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.interfaces import IConnection
from mxproxy.layers.adopt import AdoptFactory, adopt
from mxproxy.layers.base import LayerFactory
from mxproxy.testing import Bench, Conversation, checkFilter
from mxproxy.testing.bench import Wrap

CONVERSATION = Conversation(b"0123456789", patience=60)


class Counting(ProtocolWrapper):
    """
    Counts the bytes of both directions, as most wrappers in the wild do something like it.
    """

    def dataReceived(self, data: bytes) -> None:
        self.factory.read += len(data)  # type: ignore[attr-defined]
        super().dataReceived(data)

    def write(self, data: bytes) -> None:
        self.factory.written += len(data)  # type: ignore[attr-defined]
        super().write(data)


class CountingFactory(WrappingFactory):
    protocol = Counting
    read = written = 0


def throttling(*args: Any, **kwargs: Any) -> Wrap:
    def wrap(inner: Any, context: Any) -> Any:
        factory = ThrottlingFactory(inner, *args, **kwargs)
        factory.callLater = context.clock.callLater  # type: ignore[method-assign]
        return factory

    return wrap


def timing(period: float) -> Wrap:
    def wrap(inner: Any, context: Any) -> Any:
        factory = TimeoutFactory(inner, period)
        factory.callLater = context.clock.callLater  # type: ignore[method-assign]
        return factory

    return wrap


class StockTests(SynchronousTestCase):
    """
    The contract, for what Twisted ships.
    """

    def check(self, wrap: Wrap) -> None:
        for side in ("downstream", "upstream"):
            checkFilter(wrap, conversation=CONVERSATION, side=side)

    def test_wrapping(self) -> None:
        self.check(lambda inner, context: WrappingFactory(inner))

    def test_counting(self) -> None:
        self.check(lambda inner, context: CountingFactory(inner))

    def test_throttling(self) -> None:
        self.check(throttling(readLimit=1 << 30, writeLimit=1 << 30))

    def test_throttlingAtWork(self) -> None:
        """
        It pauses for a reason of its own, every second.
        """
        self.check(throttling(readLimit=3))

    def test_timeout(self) -> None:
        self.check(timing(1000))

    def test_spewing(self) -> None:
        # It logs every byte, more at once than a worker of trial's can tell of.
        self.patch(log, "msg", lambda *args, **kwargs: None)
        self.check(lambda inner, context: SpewingFactory(inner))

    def test_logging(self) -> None:
        class Logging(TrafficLoggingFactory):
            def open(self, name: str) -> Any:
                import io

                return io.StringIO()

        self.check(lambda inner, context: Logging(inner, "traffic"))

    def test_twoOfThem(self) -> None:
        def wrap(inner: Any, context: Any) -> Any:
            return adopt(CountingFactory(adopt(WrappingFactory(inner), context)), context)

        self.check(wrap)


class AdoptTests(SynchronousTestCase):
    def test_onlyStock(self) -> None:
        context = Bench(lambda inner, context: inner).context
        factory = LayerFactory(Factory(), context)
        self.assertIs(adopt(factory, context), factory)
        self.assertIsInstance(adopt(WrappingFactory(factory), context), AdoptFactory)

    def test_counted(self) -> None:
        made: list[CountingFactory] = []

        def wrap(inner: Any, context: Any) -> Any:
            made.append(CountingFactory(inner))
            return made[0]

        Bench(wrap).play(
            """
            app<< connected
            >> 'hello'
            app<< 'hello'
            app>> 'good day'
            << 'good day'
            app>> eof
            << eof
            >> ' again'
            app<< ' again'
            >> eof
            app<< eof
            """
        )
        self.assertEqual((made[0].read, made[0].written), (11, 8))

    def test_ownPause(self) -> None:
        """
        A throttled reader is not resumed by whoever is above, nor the other way round.
        """
        Bench(throttling(readLimit=5)).play(
            """
            app<< connected
            >> '0123456789'
            app<< '0123456789'
            wait 1
            >> 'more'
            app>> pause
            app>> resume
            wait 0.5
            app>> pause
            wait 0.5
            app>> resume
            app<< 'more'
            """
        )

    def test_ownPauseOfAProducer(self) -> None:
        """
        A throttled writer is not resumed when the network has taken everything, nor is one
        that the network holds up when the second is over.
        """
        Bench(throttling(writeLimit=50_000)).play(
            """
            app<< connected
            app>> produce
            app>> 'x' * 60000
            << 'x' * 60000
            wait 1
            app<< pause
            network stalls
            app>> 'x' * 10000
            << 'x' * 10000
            network flows
            wait 0.3
            app<< resume
            network stalls
            app>> 'y' * 70000
            << 'y' * 70000
            app<< pause
            wait 5
            network flows
            app<< resume
            """
        )

    def test_producerStops(self) -> None:
        """
        A producer is told when the connection is lost; one that is gone is not, and may be
        unregistered twice.
        """
        for registered in (True, False):
            bench = Bench(throttling())
            bench.play("app<< connected\napp>> produce")
            if not registered:
                bench.application.transport.unregisterProducer()
                bench.application.transport.unregisterProducer()
            bench.transport.lose()
            self.assertEqual(bench.application.held, registered)

    def test_idle(self) -> None:
        """
        A stock timeout closes.
        """
        Bench(timing(30)).play(
            """
            app<< connected
            wait 29
            >> 'x'
            app<< 'x'
            wait 30
            << close
            app<< closed: done
            closed: closed
            """
        )

    def test_idleAndStalled(self) -> None:
        """
        A peer that reads nothing is not waited for for ever, nor is a paused producer.
        """
        bench = Bench(timing(30))
        bench.play(
            """
            app<< connected
            network stalls
            app>> produce
            app>> 'x' * 100000
            << 'x' * 100000
            app<< pause
            wait 30
            wait 29
            wait 1
            << reset
            app<< closed: aborted
            closed: aborted
            """
        )
        self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_halfCloseWritten(self) -> None:
        """
        Who has ended its stream is told when that is out.
        """
        told: list[str] = []
        bench = Bench(lambda inner, context: WrappingFactory(inner))
        bench.connect()
        bench.application.writeConnectionLost = lambda: told.append("out")  # type: ignore[method-assign]
        bench.application.end()
        bench.reactor.settle()
        self.assertEqual(told, ["out"])

    def test_tooMany(self) -> None:
        """
        A stock factory that takes no more builds nothing; the connection is closed, and why is
        known.
        """
        context: Any = None
        made: list[Any] = []

        def wrap(inner: Any, given: Any) -> Any:
            nonlocal context
            context = given
            made.append(adopt(throttling(0)(inner, given), given))
            return LayerFactory(made[0], given)

        Bench(wrap).play(
            """
            << close
            closed: refused: AdoptFactory took no connection
            """
        )

    def test_wrappedNone(self) -> None:
        """
        What is above takes no connection: the wrapper never learns of it, and the connection
        is closed.
        """

        class Declining(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> None:
                return None

        Bench(lambda inner, context: WrappingFactory(Declining())).play(
            """
            << close
            closed: refused: Declining took no connection
            """
        )

    def test_neverConnects(self) -> None:
        """
        A wrapper that withholds what is above, and then has nothing to say at the end.
        """

        class Withholding(ProtocolWrapper):
            def makeConnection(self, transport: Any) -> None:
                self.transport = transport

            def connectionLost(self, reason: Any) -> None:
                pass

        class WithholdingFactory(WrappingFactory):
            protocol = Withholding

        Bench(lambda inner, context: WithholdingFactory(inner)).play(
            """
            >> eof
            << close
            closed: closed
            """
        )

    def test_silentAboutTheLoss(self) -> None:
        """
        What is above is told of the loss even if the wrapper keeps it to itself.
        """

        class Silent(ProtocolWrapper):
            def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
                pass

        class SilentFactory(WrappingFactory):
            protocol = Silent

        bench = Bench(lambda inner, context: SilentFactory(inner))
        bench.play(
            """
            app<< connected
            >> lost
            << reset
            app<< closed: lost
            closed: reset
            """
        )

    def test_stockThatRaises(self) -> None:
        """
        LimitConnectionsByPeer takes addresses for tuples, as they were before Twisted 2: what
        it raises ends the connection and is logged.
        """
        bench = Bench(
            lambda inner, context: LayerFactory(
                adopt(LimitConnectionsByPeer(inner), context), context
            )
        )
        bench.play("<< close\nclosed: error: TypeError")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_startAndStop(self) -> None:
        """
        A stock factory starts and stops with its chain, and so does what it wraps.
        """
        told: list[str] = []

        class Top(Factory):
            noisy = False

            def startFactory(self) -> None:
                told.append("start")

            def stopFactory(self) -> None:
                told.append("stop")

        factory = adopt(WrappingFactory(Top()), Bench(lambda inner, context: inner).context)
        factory.doStart()
        factory.doStop()
        self.assertEqual(told, ["start", "stop"])

    def test_facts(self) -> None:
        """
        A wrapper is a transport like any other to what is above.
        """
        seen: list[Any] = []

        class Looking(ProtocolWrapper):
            def makeConnection(self, transport: Any) -> None:
                seen.append(IConnection(transport))
                super().makeConnection(transport)

        class LookingFactory(WrappingFactory):
            protocol = Looking

        bench = Bench(lambda inner, context: LookingFactory(inner))
        bench.connect()
        self.assertEqual(seen, [bench.connection])
        self.assertIs(bench.application.connection, bench.connection)
