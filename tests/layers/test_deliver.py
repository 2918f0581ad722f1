"""
Bytes in hand: they go before the layer does, and not while nobody wants them.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.layers.base import LayerFactory
from mxproxy.layers.deliver import HoldingLayer
from mxproxy.testing import Bench, mustNotBeUsed


class Handing(HoldingLayer):
    """
    Connects at once, and hands out what the test tells it to.
    """

    name = "handing"

    def connectionMade(self) -> None:
        self.connectInner()


class HoldingTests(SynchronousTestCase):
    def bench(self, kind: Any = Handing, chunks: int | None = None) -> tuple[Bench, Any]:
        made: list[Any] = []

        def make(factory: Any) -> Any:
            made.append(kind(factory))
            return made[0]

        bench = Bench(lambda inner, context: LayerFactory(inner, context, make), chunks=chunks)
        bench.connect()
        return bench, made[0]

    def test_notPaused(self) -> None:
        bench, layer = self.bench()
        layer.deliver(b"one")
        layer.deliver(b"")
        layer.deliverEOF()
        bench.transcript.check("app<< connected\napp<< 'one'\napp<< eof")

    def test_paused(self) -> None:
        """
        What comes during a pause waits in its order, the end behind it.
        """
        bench, layer = self.bench()
        bench.application.pause()
        layer.deliver(b"one")
        layer.deliver(b"two")
        layer.deliverEOF()
        self.assertEqual(bench.application.received, b"")
        bench.application.resume()
        bench.transcript.check("app<< connected\napp<< 'onetwo'\napp<< eof")

    def test_leaving(self) -> None:
        """
        It leaves behind what it holds; what comes meanwhile is held too.
        """
        bench, layer = self.bench()
        bench.application.pause()
        layer.leaveWith(b"one")
        layer.dataReceived(b"two")
        layer.readConnectionLost()
        self.assertIs(bench.transport.protocol, layer)
        bench.application.resume()
        self.assertIs(bench.transport.protocol, bench.application)
        bench.transcript.check("app<< connected\napp<< 'onetwo'\napp<< eof")

    def test_leavingWithNothing(self) -> None:
        """
        With nothing in hand there is nothing to wait for, a pause neither.
        """
        for paused in (False, True):
            bench, layer = self.bench()
            if paused:
                bench.application.pause()
            layer.leaveWith(b"")
            self.assertIs(bench.transport.protocol, bench.application)
            self.assertEqual(bench.transport.reading, not paused)

    def test_leavesOnce(self) -> None:
        """
        A layer that had paused what is below for itself lets it go on as it leaves.
        """
        bench, layer = self.bench()
        layer.pause()
        layer.leaveWith(b"")
        self.assertEqual(bench.connection.trail, ["downstream/handing"])
        self.assertTrue(bench.transport.reading)

    def test_timeIsNotUpWhileLeaving(self) -> None:
        """
        A layer that is on its way out waits for nobody but who has paused it.
        """
        bench, layer = self.bench()
        bench.application.pause()
        layer.startTimer(5, mustNotBeUsed("the layer was leaving"))
        layer.leaveWith(b"one")
        self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_endOnce(self) -> None:
        """
        A pause after the end does not bring it back.
        """
        bench, layer = self.bench()
        layer.deliverEOF()
        bench.application.pause()
        bench.application.resume()
        self.assertEqual(bench.application.endings, 1)

    def test_pausedAgainFromWithin(self) -> None:
        """
        The end waits for a pause that begins while the bytes before it are delivered.
        """
        bench, layer = self.bench()
        bench.application.onData = lambda data: bench.application.pause()
        layer.leaveWith(b"one", eof=True)
        self.assertEqual((bench.application.received, bench.application.endings), (b"one", 0))
        bench.application.resume()
        self.assertEqual(bench.application.endings, 1)
        self.assertEqual(bench.application.unexpected, [])

    def test_resumedFromWithin(self) -> None:
        """
        Nothing overtakes what is being delivered, nor is it delivered from within.
        """
        bench, layer = self.bench()
        depths: list[int] = [0]

        def again(data: bytes) -> None:
            depths[0] += 1
            depths.append(depths[0])
            bench.application.pause()
            if data == b"one":
                layer.deliver(b"two")
            bench.application.resume()
            depths[0] -= 1

        bench.application.onData = again
        layer.deliver(b"one")
        self.assertEqual(bench.application.received, b"onetwo")
        self.assertEqual(depths, [0, 1, 1])

    def test_lostWhileHolding(self) -> None:
        """
        There is no later: what is held goes before the loss is told.
        """
        bench, layer = self.bench()
        bench.application.pause()
        layer.deliver(b"one")
        bench.application.paused = False
        bench.transport.lose()
        bench.transcript.check(
            """
            app<< connected
            << reset
            app<< 'one'
            app<< closed: lost
            closed: reset
            """
        )

    def test_resumedAsItIsLost(self) -> None:
        """
        What was held is not delivered twice, and nothing else is.
        """
        bench, layer = self.bench()
        bench.application.pause()
        layer.deliver(b"one")
        bench.application.paused = False
        bench.application.onData = lambda data: bench.application.resume()
        bench.transport.lose()
        self.assertEqual(bench.application.received, b"one")

    def test_closedWhileHolding(self) -> None:
        """
        Who has closed wants nothing more, neither now nor at the loss.
        """
        for close in ("close", "abort"):
            bench, layer = self.bench()
            bench.application.pause()
            layer.leaveWith(b"one", eof=True)
            getattr(bench.application, close)()
            layer.deliver(b"two")
            layer.deliverEOF()
            bench.reactor.settle()
            self.assertEqual(bench.application.received, b"")
            self.assertEqual(bench.application.endings, 0)
            self.assertEqual(len(bench.application.losses), 1)

    def test_closedInConnectionMade(self) -> None:
        """
        Neither the bytes nor the end that came with the result.
        """

        class Late(HoldingLayer):
            def connectionMade(self) -> None:
                pass

        bench, layer = self.bench(Late)
        bench.application.onConnect = bench.application.close
        layer.leaveWith(b"one", eof=True)
        bench.reactor.settle()
        self.assertEqual(bench.application.unexpected, [])
        bench.transcript.check(
            """
            app<< connected
            << close
            app<< closed: done
            closed: closed
            """
        )

    def test_afterTheLoss(self) -> None:
        bench, layer = self.bench()
        bench.transport.lose()
        layer.deliver(b"late")
        self.assertEqual(bench.application.unexpected, [])

    def test_endBeforeAnythingIsConnected(self) -> None:
        class Waiting(HoldingLayer):
            def connectionMade(self) -> None:
                pass

        bench, _ = self.bench(Waiting)
        bench.transport.feedEOF()
        bench.transcript.check("<< close\nclosed: closed: the stream ended too early")
