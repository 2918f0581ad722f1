"""
What all layers share: connecting late, passing on, counting pauses, leaving.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mxproxy.interfaces import IConnection, ILayer
from mxproxy.layers.base import CLOSE_TIMEOUT, Layer, LayerFactory
from mxproxy.testing import Application, Bench, Conversation, checkFilter
from mxproxy.testing.bench import Wrap


class Stacked:
    """
    Several layers, the first one at the bottom, and the layers that were made, if they are kept.
    """

    def __init__(self, *kinds: Any, keep: bool = True) -> None:
        self.kinds = kinds
        self.keep = keep
        self.made: list[Any] = []

    def wrap(self, inner: Any, context: Any) -> Any:
        for kind in reversed(self.kinds):

            def make(factory: Any, kind: Any = kind) -> Any:
                layer = kind(factory)
                if self.keep:
                    self.made.append(layer)
                return layer

            inner = LayerFactory(inner, context, make)
        return inner


class Patient(Layer):
    """
    Pauses for its own reason whenever it has delivered, for a second.
    """

    _patience: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.pause()
        self._patience = self.context.clock.callLater(1, self._enough)
        super().dataReceived(data)

    def _enough(self) -> None:
        self._patience = None
        self.resume()

    def connectionLost(self, reason: Failure) -> None:
        if self._patience is not None:
            self._patience.cancel()
        super().connectionLost(reason)


class Leaving(Layer):
    """
    Leaves at the first byte, paused or not.
    """

    name = "leaving"

    def dataReceived(self, data: bytes) -> None:
        protocol = self.protocol
        self.leave()
        protocol.dataReceived(data)


class Failing(Layer):
    def connectionMade(self) -> None:
        self.fail("not_today: come back tomorrow")


class TransparentTests(SynchronousTestCase):
    def test_contract(self) -> None:
        for side in ("downstream", "upstream"):
            for kinds in ((Layer,), (Layer, Layer, Layer), (Leaving, Layer), (Layer, Leaving)):
                stacked = Stacked(*kinds, keep=False)
                checkFilter(stacked, conversation=Conversation(b"0123456789"), side=side)

    def test_interface(self) -> None:
        stacked = Stacked(Layer)
        Bench(stacked).connect()
        verifyObject(ILayer, stacked.made[0])

    def test_facts(self) -> None:
        stacked = Stacked(Layer, Layer)
        bench = Bench(stacked, side="upstream")
        bench.connect()
        for layer in stacked.made:
            self.assertIs(IConnection(layer), bench.connection)
            self.assertIs(layer.peer, bench.connection.upstream)
            self.assertEqual(layer.getPeer(), bench.transport.getPeer())
            self.assertEqual(layer.getHost(), bench.transport.getHost())
            self.assertFalse(layer.disconnecting)
        self.assertIsNone(IHalfCloseableProtocol(Protocol(), None))
        bench.application.close()
        self.assertTrue(all(layer.disconnecting for layer in stacked.made))

    def test_writeSequence(self) -> None:
        bench = Bench(Stacked(Layer))
        bench.connect()
        bench.application.transport.writeSequence([b"a", b"b"])
        bench.reactor.settle()
        bench.transcript.check("app<< connected\n<< 'ab'")

    def test_stopProducing(self) -> None:
        bench = Bench(Stacked(Layer))
        bench.connect()
        bench.application.transport.stopProducing()
        bench.reactor.settle()
        self.assertTrue(bench.transport.closed)

    def test_producers(self) -> None:
        """
        Registered with whoever has the buffer, and unregistered.
        """
        bench = Bench(Stacked(Layer, Layer))
        bench.connect()
        bench.application.produce()
        self.assertIs(bench.transport.producer, bench.application)
        bench.application.transport.unregisterProducer()
        self.assertIsNone(bench.transport.producer)

    def test_noHalves(self) -> None:
        """
        Above a layer, too, a protocol that knows no halves loses the connection at the end of
        the stream.
        """

        class Plain(Protocol):
            lost: Any = None

            def connectionLost(self, reason: Failure | None = None) -> None:
                self.lost = reason

        plain = Plain()

        def wrap(inner: Any, context: Any) -> Any:
            return LayerFactory(Factory.forProtocol(lambda: plain), context)

        bench = Bench(wrap)
        bench.connect()
        bench.transport.feedEOF()
        self.assertIsNotNone(plain.lost)

    def test_repr(self) -> None:
        stacked = Stacked(Layer)
        bench = Bench(stacked)
        layer = Layer(LayerFactory(bench.factory, bench.context))
        self.assertEqual(repr(layer), "<Layer layer waiting>")
        bench.connect()
        self.assertEqual(repr(stacked.made[0]), "<Layer layer connected>")
        bench.application.pause()
        self.assertEqual(repr(stacked.made[0]), "<Layer layer paused>")
        self.assertRegex(repr(bench.factory), "^<function .*make.*> > <.*_Top object")

    def test_startAndStop(self) -> None:
        """
        A chain's factories start and stop with it.
        """
        told: list[str] = []

        class Top(Factory):
            noisy = False

            def startFactory(self) -> None:
                told.append("start")

            def stopFactory(self) -> None:
                told.append("stop")

        chain = Stacked(Layer, Layer).wrap(Top(), Bench(Stacked()).context)
        chain.doStart()
        chain.doStop()
        self.assertEqual(told, ["start", "stop"])


class PauseTests(SynchronousTestCase):
    def test_contract(self) -> None:
        checkFilter(Stacked(Patient, keep=False), conversation=Conversation(b"0123456789"))

    def test_counted(self) -> None:
        """
        Delivering starts again when neither wants a pause.
        """
        for first, second in (
            ("app>> resume\nwait 1", "app>> resume\nwait 1"),
            ("wait 1\napp>> resume", "wait 1\napp>> resume"),
        ):
            Bench(Stacked(Patient)).play(
                f"""
                app<< connected
                >> 'one'
                app<< 'one'
                app>> pause
                >> 'two'
                {first}
                app<< 'two'
                app>> pause
                >> 'three'
                >> eof
                {second}
                app<< 'three'
                wait 1
                app<< eof
                """
            )

    def test_twiceIsOnce(self) -> None:
        Bench(Stacked(Layer)).play(
            """
            app<< connected
            app>> pause
            app>> pause
            >> 'x'
            app>> resume
            app<< 'x'
            app>> resume
            """
        )

    def test_leavingWhilePaused(self) -> None:
        """
        The pause of what is above outlives the layer.
        """

        class LeavesLater(Layer):
            name = "later"

            def connectionMade(self) -> None:
                super().connectionMade()
                self.context.clock.callLater(1, self.leave)

        Bench(Stacked(Layer, LeavesLater)).play(
            """
            app<< connected
            app>> pause
            wait 1
            left: later
            >> 'x'
            app>> resume
            app<< 'x'
            """
        )

    def test_leavingWithAPauseOfItsOwn(self) -> None:
        """
        Its own ends with it.
        """

        class LeavesPaused(Layer):
            name = "paused"

            def connectionMade(self) -> None:
                super().connectionMade()
                self.pause()
                self.context.clock.callLater(1, self.leave)

        Bench(Stacked(Layer, LeavesPaused)).play(
            """
            app<< connected
            >> 'x'
            wait 1
            app<< 'x'
            left: paused
            """
        )


class TimerTests(SynchronousTestCase):
    """
    A layer's timer goes when the layer does.
    """

    def layer(self) -> tuple[Bench, Layer, list[str]]:
        stacked = Stacked(Layer)
        bench = Bench(stacked)
        bench.connect()
        fired: list[str] = []
        stacked.made[0].startTimer(5, lambda: fired.append("first"))
        return bench, stacked.made[0], fired

    def test_fires(self) -> None:
        bench, _, fired = self.layer()
        bench.reactor.advance(4.9)
        self.assertEqual(fired, [])
        bench.reactor.advance(10)
        self.assertEqual(fired, ["first"])

    def test_stopped(self) -> None:
        """
        By hand, by the layer's leaving and by the connection's end; twice is as good as once.
        """
        for end in ("stopTimer", "leave", "lose"):
            bench, layer, fired = self.layer()
            if end == "lose":
                bench.transport.lose()
            else:
                getattr(layer, end)()
            self.assertEqual(bench.reactor.getDelayedCalls(), [], end)
            layer.stopTimer()
            bench.reactor.advance(10)
            self.assertEqual(fired, [])

    def test_replaced(self) -> None:
        bench, layer, fired = self.layer()
        bench.reactor.advance(3)
        layer.startTimer(5, lambda: fired.append("second"))
        self.assertEqual(len(bench.reactor.getDelayedCalls()), 1)
        bench.reactor.advance(10)
        self.assertEqual(fired, ["second"])

    def test_startedAgainFromWithin(self) -> None:
        bench, layer, fired = self.layer()

        def again() -> None:
            fired.append("again")
            layer.startTimer(1, lambda: fired.append("last"))

        layer.startTimer(1, again)
        bench.reactor.advance(10)
        self.assertEqual(fired, ["again", "last"])


class ConnectingTests(SynchronousTestCase):
    def test_leftIsGone(self) -> None:
        stacked = Stacked(Leaving, Leaving)
        bench = Bench(stacked)
        bench.play(
            """
            app<< connected
            >> 'x'
            app<< 'x'
            left: leaving
            left: leaving
            >> 'y'
            app<< 'y'
            """
        )
        self.assertIs(bench.transport.protocol, bench.application)
        self.assertIs(bench.application.transport, bench.transport)
        self.assertEqual(bench.connection.trail, ["downstream/leaving", "downstream/leaving"])

    def test_failed(self) -> None:
        """
        A layer that fails before anything is connected above speaks for the connection.
        """
        Bench(Stacked(Layer, Failing)).play(
            """
            << close
            closed: not_today: come back tomorrow
            """
        )

    def test_failedWithBytesToSend(self) -> None:
        """
        What it has written is flushed; but a peer that does not read is not waited for for ever.
        """

        class Reproachful(Layer):
            def connectionMade(self) -> None:
                self.write(b"go away")
                self.fail("not_today: go away")

        bench = Bench(Stacked(Reproachful))
        bench.stall()
        bench.connect()
        bench.reactor.advance(CLOSE_TIMEOUT - 1)
        self.assertFalse(bench.transport.closed)
        bench.reactor.advance(1)
        bench.transcript.check("<< 'go away'\n<< reset\nclosed: not_today: go away")
        self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_declined(self) -> None:
        """
        What is above takes no connection: it is closed, whichever way it was to be connected.
        """

        class Declining(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> None:
                return None

        class LeavesAtOnce(Layer):
            name = "left"

            def connectionMade(self) -> None:
                self.leave()

        for kind, left in ((Layer, ""), (LeavesAtOnce, "left: left")):
            wrap: Wrap = lambda inner, context, kind=kind: LayerFactory(Declining(), context, kind)  # type: ignore[misc]  # noqa: E731
            Bench(wrap).play(
                f"""
                << close
                closed: refused: Declining took no connection
                {left}
                """
            )

    def test_errorWhileConnecting(self) -> None:
        """
        What is half made does not wait for ever.
        """

        def fail() -> None:
            raise ZeroDivisionError

        for kinds in ((), (Layer,), (Leaving, Layer)):
            bench = Bench(Stacked(Layer, *kinds))
            bench.application.onConnect = fail
            bench.play(
                """
                app<< connected
                << reset
                app<< closed: aborted
                closed: error: ZeroDivisionError
                """
            )
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_endBeforeConnected(self) -> None:
        """
        The stream ends before a layer has come to anything.
        """

        class Waiting(Layer):
            def connectionMade(self) -> None:
                pass

        Bench(Stacked(Waiting)).play(
            """
            >> eof
            << close
            closed: closed: the stream ended too early
            """
        )

    def test_lossOnce(self) -> None:
        """
        However many layers there are.
        """
        bench = Bench(Stacked(Layer, Layer, Layer))
        bench.connect()
        bench.transport.lose()
        self.assertEqual(bench.application.losses, ["lost"])


class WithoutHalvesTests(SynchronousTestCase):
    def test_transport(self) -> None:
        """
        Where what is below has no halves, the end of one direction is the end of both.
        """

        class NoHalves:
            closed = False

            def loseConnection(self) -> None:
                self.closed = True

        layer = Layer(LayerFactory(Factory(), Bench(Stacked()).context))
        layer.transport = NoHalves()
        layer.loseWriteConnection()
        self.assertTrue(layer.transport.closed)

    def test_application(self) -> None:
        """
        An application's own end is passed on by any number of layers.
        """
        told: list[str] = []

        class Told(Application):
            def writeConnectionLost(self) -> None:
                told.append("written")

        told_ = Told()
        wrap: Wrap = lambda inner, context: Stacked(Layer, Layer).wrap(  # noqa: E731
            Factory.forProtocol(lambda: told_), context
        )
        bench = Bench(wrap)
        bench.connect()
        told_.end()
        bench.reactor.settle()
        self.assertEqual(told, ["written"])
