"""
C{example.meter}: what it counts, what it says, and when it says stop.
"""

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.connection import Peer
from mxproxy.filters.options import OptionError
from mxproxy.testing import Bench, Conversation, checkFilter
from mxproxy.wire.metadata import Metadata
from mxproxy_example_filters.meter import MeterFilter, configure


def web(peer: Peer) -> None:
    """What the layers below have learnt."""
    peer.principals = ("spiffe://cluster.local/ns/shop/sa/web",)
    peer.metadata = Metadata(workload="web")


class MeterTests(SynchronousTestCase):
    """
    On a connection.
    """

    def test_counts(self) -> None:
        """
        The connection goes on as if nothing were there, half-close included.
        """
        with capturedLogs() as events:
            Bench(MeterFilter(), prepare=web).play(
                """
                app<< connected
                >> 'hello'
                app<< 'hello'
                >> eof
                app<< eof
                app>> 'goodbye'
                << 'goodbye'
                app>> close
                << close
                app<< closed: done
                closed: closed
                """
            )
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "spiffe://cluster.local/ns/shop/sa/web, web connected",
                "spiffe://cluster.local/ns/shop/sa/web, web: 5 bytes received, 7 sent",
            ],
        )

    def test_contract(self) -> None:
        """
        Fit for a chain, whatever happens at whichever byte.
        """
        runs = checkFilter(MeterFilter(), conversation=Conversation(incoming=b"hello"))
        self.assertGreater(runs, 50)

    def test_limit(self) -> None:
        """
        The byte that is too much goes nowhere.
        """
        Bench(MeterFilter(limit=10)).play(
            """
            app<< connected
            >> 'hello'
            app<< 'hello'
            app>> 'hello'
            << 'hello'
            >> '!'
            << reset
            app<< closed: aborted
            closed: over_limit: more than 10 bytes
            """
        )

    def test_options(self) -> None:
        self.assertEqual(configure({"limit": "10"}), MeterFilter(10))
        self.assertEqual(configure({}), MeterFilter())
        for options in ({"limit": "ten"}, {"limit": "0"}, {"limits": "10"}):
            self.assertRaises(OptionError, configure, options)
