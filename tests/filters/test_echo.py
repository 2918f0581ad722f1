"""
A terminal that answers with what it is told.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.filters.echo import Echo, configure
from mxproxy.filters.options import OptionError
from mxproxy.filters.tls_inspector import TLSInspector
from mxproxy.interfaces import ITerminal
from mxproxy.testing import Bench

from .answering import played, terminal
from .listening import GOES_ON


class EchoTests(SynchronousTestCase):
    def test_answers(self) -> None:
        for chunks in (None, 1, 3):
            bench = played(
                Echo(),
                """
                >> 'hello'
                << 'hello'
                >> ' again'
                << ' again'
                >> lost
                << reset
                closed: reset
                """,
                chunks=chunks,
            )
            self.assertEqual((bench.peer.bytes_received, bench.peer.bytes_sent), (11, 11))

    def test_end(self) -> None:
        """
        At the end of the stream it closes, behind its last answer.
        """
        played(
            Echo(),
            """
            >> 'hello'
            << 'hello'
            >> eof
            << close
            closed: closed
            """,
        )
        bench = Bench(terminal(Echo()))
        bench.connect()
        bench.stall()
        bench.transport.feed(b"hello")
        bench.transport.feedEOF()
        self.assertFalse(bench.transport.closed)
        bench.flow()
        self.assertEqual(bench.transport.take(), b"hello")
        self.assertTrue(bench.transport.closed)

    def test_neverRead(self) -> None:
        """
        An answer that nobody reads is given up after half a minute.
        """
        played(
            Echo(),
            """
            network stalls
            >> 'hello'
            << 'hello'
            >> eof
            wait 29
            wait 1
            << reset
            closed: closed
            """,
        )

    def test_bounded(self) -> None:
        """
        Whoever does not read is not read from: what is kept has a bound.
        """
        bench = Bench(terminal(Echo()))
        bench.connect()
        bench.stall()
        for _ in range(100):
            bench.transport.feed(b"x" * 10_000)
        self.assertFalse(bench.transport.reading)
        self.assertLess(bench.peer.bytes_sent, 2 * bench.transport.bufferSize + 10_000)
        bench.flow()
        self.assertEqual(bench.peer.bytes_sent, 1_000_000)
        self.assertEqual(bench.transport.take(), b"x" * 1_000_000)

    def test_behindALayerThatLeaves(self) -> None:
        """
        What a listener filter has in hand is answered, and pauses still reach the socket.
        """
        bench = Bench(
            lambda inner, context: TLSInspector().wrap(Echo().terminal(context), context),
            context=GOES_ON,
        )
        bench.connect()
        bench.transport.feed(b"\x16\x03")
        bench.transport.feed(b"hello")
        self.assertEqual(bench.transport.take(), b"\x16\x03hello")
        bench.stall()
        bench.transport.feed(b"x" * 300_000)
        self.assertFalse(bench.transport.reading)
        bench.flow()
        self.assertEqual(len(bench.transport.take()), 300_000)

    def test_configure(self) -> None:
        self.assertEqual(configure({}), Echo())
        self.assertTrue(ITerminal.providedBy(configure({})))
        self.assertRaises(OptionError, configure, {"x": "y"})
        self.assertEqual(repr(Bench(terminal(Echo())).factory), "echo")
