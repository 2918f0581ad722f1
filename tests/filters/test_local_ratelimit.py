"""
How fast connections of a chain are taken.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.chain import ChainContext
from mxproxy.filters.local_ratelimit import LocalRateLimit, LocalRateLimitFactory, configure
from mxproxy.filters.options import OptionError
from mxproxy.interfaces import IFilter
from mxproxy.testing import Bench, Conversation, checkFilter
from mxproxy.testing.unused import mustNotBeUsed
from mxproxy.wire.metadata import Node
from tests.wire import helpers

__all__ = ["helpers"]  # Imported for hypothesis' settings.


class BucketTests(SynchronousTestCase):
    def bucket(self, *settings: float) -> LocalRateLimitFactory:
        self.clock = Clock()
        unused = mustNotBeUsed("a bucket asks for the time only")
        context = ChainContext("downstream", "", "", Node(), self.clock, unused)
        inner = LocalRateLimit(*settings).wrap(None, context)  # type: ignore[arg-type]
        assert isinstance(inner, LocalRateLimitFactory)
        return inner

    def taken(self, bucket: LocalRateLimitFactory, tries: int = 10) -> int:
        return sum(bucket.take() for _ in range(tries))

    def test_fullAtFirst(self) -> None:
        self.assertEqual(self.taken(self.bucket(3, 1, 1.0)), 3)

    def test_comeBackOneByOne(self) -> None:
        """
        Four in four seconds are one in each, as in Envoy, and not four after four seconds.
        """
        bucket = self.bucket(4, 4, 4.0)
        self.assertEqual(self.taken(bucket), 4)
        for _ in range(6):
            self.clock.advance(0.5)
            self.assertEqual(self.taken(bucket), 0)
            self.clock.advance(0.5)
            self.assertEqual(self.taken(bucket), 1)

    def test_noMoreThanFitIn(self) -> None:
        bucket = self.bucket(2, 5, 1.0)
        for _ in range(3):
            self.clock.advance(1000)
            self.assertEqual(self.taken(bucket), 2)

    def test_partsAddUp(self) -> None:
        """
        Asking does not cost what has been filled in so far.
        """
        bucket = self.bucket(1, 1, 1.0)
        self.assertEqual(self.taken(bucket), 1)
        for _ in range(9):
            self.clock.advance(0.1)
            self.assertEqual(self.taken(bucket), 0)
        self.clock.advance(0.1)
        self.assertEqual(self.taken(bucket), 1)

    @given(
        st.integers(1, 5),
        st.integers(1, 5),
        st.floats(0.05, 10.0),
        st.lists(st.floats(0.0, 5.0), max_size=50),
    )
    def test_bounds(self, most: int, fill: int, interval: float, waits: list[float]) -> None:
        """
        Invariant: in any time no more are taken than fit in and what came back meanwhile; and
        one that asks often enough misses none.
        """
        bucket = self.bucket(most, fill, interval)
        taken = self.taken(bucket)
        for wait in waits:
            self.clock.advance(wait)
            taken += self.taken(bucket)
            back = self.clock.seconds() * fill / interval
            self.assertLessEqual(taken, most + back + 1e-3)
            if all(wait * fill / interval <= most - 1 for wait in waits):
                self.assertGreater(taken, most + back - 1 - 1e-3)


class LocalRateLimitTests(SynchronousTestCase):
    def test_limited(self) -> None:
        settings = LocalRateLimit(1, 1, 60.0, "in")
        bench = Bench(settings)
        bench.connect()
        self.assertEqual(bench.application.connections, 1)
        self.assertEqual(bench.counts, {})
        # Another connection of the same chain, through the same factory.
        other = Bench(lambda inner, context: bench.factory)
        other.play(
            """
            << close
            closed: local_ratelimit: more than 1 connection in 60 s
            """
        )
        self.assertEqual(bench.counts, {"local_rate_limit.in.rate_limited": 1})

    def test_letThrough(self) -> None:
        Bench(LocalRateLimit(1, 1, 1.0)).play(
            """
            app<< connected
            left: local_ratelimit
            >> 'hello'
            app<< 'hello'
            """
        )

    def test_contract(self) -> None:
        checkFilter(LocalRateLimit(1, 1, 1.0), conversation=Conversation(b"hello"))

    def test_refused(self) -> None:
        error = self.assertRaises(ValueError, Bench, LocalRateLimit(1, 1, 1.0), side="upstream")
        self.assertEqual(str(error), "local_ratelimit is for the connections of a listener")
        error = self.assertRaises(ValueError, Bench, LocalRateLimit(1, 1, 0.049))
        self.assertEqual(str(error), "fill_interval is 0.049 s; it has to be 0.05 s at least")
        Bench(LocalRateLimit(1, 1, 0.05))

    def test_configure(self) -> None:
        options = {"max_tokens": "3", "fill_interval": "2"}
        self.assertEqual(configure(options), LocalRateLimit(3, 1, 2.0, ""))
        more = {**options, "tokens_per_fill": "2", "stat_prefix": "in"}
        self.assertEqual(configure(more), LocalRateLimit(3, 2, 2.0, "in"))
        self.assertTrue(IFilter.providedBy(configure(options)))
        for wrong in (
            {},
            {"max_tokens": "3"},
            {**options, "max_tokens": "0"},
            {**options, "tokens_per_fill": "0"},
            {**options, "fill_interval": "0"},
            {**options, "share_key": "x"},
        ):
            self.assertRaises(OptionError, configure, wrong)
