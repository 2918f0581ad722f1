"""
A terminal that says one thing and closes.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.filters.direct_response import DirectResponse, configure
from mxproxy.filters.options import OptionError
from mxproxy.filters.tls_inspector import TLSInspector
from mxproxy.interfaces import ITerminal
from mxproxy.testing import Bench

from .answering import played, terminal
from .listening import GOES_ON


class DirectResponseTests(SynchronousTestCase):
    def test_says(self) -> None:
        bench = played(
            DirectResponse(b"hello"),
            """
            << 'hello'
            << close
            closed: direct_response
            """,
        )
        self.assertEqual((bench.peer.bytes_received, bench.peer.bytes_sent), (0, 5))

    def test_nothing(self) -> None:
        played(DirectResponse(), "<< close\nclosed: direct_response")

    def test_all(self) -> None:
        """
        The close waits for the last byte, but not for ever.
        """
        body = b"x" * 300_000
        bench = Bench(terminal(DirectResponse(body)))
        bench.stall()
        bench.connect()
        self.assertFalse(bench.transport.closed)
        bench.flow()
        self.assertTrue(bench.transport.closed)
        self.assertEqual(bench.transport.take(), body)
        self.assertEqual(bench.reactor.getDelayedCalls(), [])

        bench = Bench(terminal(DirectResponse(body)))
        bench.stall()
        bench.connect()
        bench.reactor.advance(30)
        self.assertTrue(bench.transport.aborted)
        self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_deaf(self) -> None:
        """
        What it is told meanwhile is nothing to it, nor what a listener filter has in hand.
        """
        bench = Bench(
            lambda inner, context: TLSInspector().wrap(
                DirectResponse(b"hello").terminal(context), context
            ),
            context=GOES_ON,
        )
        bench.play(
            """
            >> 'GET'
            << 'hello'
            << close
            closed: direct_response
            """
        )
        self.assertEqual(bench.peer.bytes_received, 0)

    def test_configure(self) -> None:
        self.assertEqual(configure({}), DirectResponse())
        self.assertEqual(configure({"body": "h\u00e9"}), DirectResponse(b"h\xc3\xa9"))
        self.assertTrue(ITerminal.providedBy(configure({})))
        self.assertRaises(OptionError, configure, {"status": "200"})
