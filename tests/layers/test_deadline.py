"""
What listener filters have in common: their time, and how it ends.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.layers.base import Layer, LayerFactory
from mxproxy.layers.deadline import ListenerFilterLayer, timeIsOver
from mxproxy.testing import Bench, Conversation, checkFilter
from mxproxy.testing.bench import Wrap

GOES_ON = {"listener_filters_timeout": 2.0, "continue_on_listener_filters_timeout": True}
CLOSES = {"listener_filters_timeout": 2.0}


class Password(ListenerFilterLayer):
    """
    The smallest one: takes a word away, or closes.
    """

    name = "password"

    def look(self, data: bytes) -> None:
        if self.seen.startswith(b"sesame "):
            self.goOn(self.seen[7:])
        elif not b"sesame ".startswith(self.seen):
            self.refuse("wrong_password: it was another")


PASSWORD: Wrap = lambda inner, context: LayerFactory(inner, context, Password)  # noqa: E731


class ListenerFilterTests(SynchronousTestCase):
    def test_contract(self) -> None:
        for context in (GOES_ON, CLOSES):
            conversation = Conversation(
                b"sesame open", delivered=b"open", oversize=b"x" * 10, context=context
            )
            checkFilter(PASSWORD, conversation=conversation)

    def test_everyEnd(self) -> None:
        for context, script in (
            (
                GOES_ON,
                """
                >> 'sesa'
                >> 'me open'
                app<< connected
                app<< 'open'
                left: password
                """,
            ),
            (
                GOES_ON,
                """
                >> 'sesa'
                wait 2
                app<< connected
                app<< 'sesa'
                left: password
                >> 'me'
                app<< 'me'
                """,
            ),
            (
                CLOSES,
                """
                >> 'sesa'
                wait 2
                << reset
                closed: listener_filters_timeout: password has seen too little to decide
                """,
            ),
            (
                CLOSES,
                """
                wait 2
                << close
                closed: listener_filters_timeout: password has seen too little to decide
                """,
            ),
            (
                GOES_ON,
                """
                >> 'sesa'
                >> eof
                << reset
                closed: closed: the stream ended while password was looking at it
                """,
            ),
            (
                GOES_ON,
                """
                >> eof
                << close
                closed: closed: the stream ended while password was looking at it
                """,
            ),
            (
                GOES_ON,
                """
                >> 'open'
                << reset
                closed: wrong_password: it was another
                """,
            ),
            (
                {},
                """
                wait 1000000
                >> 'sesame '
                app<< connected
                left: password
                """,
            ),
        ):
            for chunks in (None, 1):
                bench = Bench(PASSWORD, context=context, chunks=chunks)
                bench.play(script)
                self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_over(self) -> None:
        """
        Those that come after the end of the time are told that it is over.
        """
        bench = Bench(PASSWORD, context=GOES_ON)
        self.assertFalse(timeIsOver(bench.connection))
        bench.connect()
        bench.reactor.advance(1.9)
        self.assertFalse(timeIsOver(bench.connection))
        bench.reactor.advance(0.1)
        self.assertTrue(timeIsOver(bench.connection))

    def test_timeUpBehindAResult(self) -> None:
        """
        A filter that is built when the time is up to the second still gets what is in hand.
        """
        twice: Wrap = lambda inner, context: PASSWORD(PASSWORD(inner, context), context)  # noqa: E731
        bench = Bench(twice, context=GOES_ON)
        bench.connect()
        # The time is up, but the reactor has come to the socket first.
        bench.reactor.rightNow += 2
        bench.transport.incoming.put(b"sesame sesame open")
        bench.transport.doRead()
        bench.reactor.settle()
        self.assertEqual(bench.application.received, b"open")
        self.assertFalse(timeIsOver(bench.connection))

    def test_rudeBelow(self) -> None:
        """
        What comes after a result, in spite of a pause, comes behind what is held.
        """

        class Rude(Layer):
            def pauseProducing(self) -> None:
                pass

            def resumeProducing(self) -> None:
                pass

        wrap: Wrap = lambda inner, context: LayerFactory(  # noqa: E731
            PASSWORD(inner, context), context, Rude
        )
        bench = Bench(wrap, context=GOES_ON)
        bench.application.onConnect = bench.application.pause
        bench.play(
            """
            >> 'sesame open'
            app<< connected
            >> ' and'
            >> ' close'
            >> eof
            app>> resume
            app<< 'open and close'
            app<< eof
            left: password
            """
        )

    def test_unfinished(self) -> None:
        """
        Whoever forgets to look is told.
        """
        wrap: Wrap = lambda inner, context: LayerFactory(  # noqa: E731
            inner, context, ListenerFilterLayer
        )
        bench = Bench(wrap)
        bench.connect()
        feed: Any = bench.transport.feed
        self.assertRaises(NotImplementedError, feed, b"x")
