"""
Whose turn it is.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import LEAST_REQUEST, MAGLEV, RANDOM, RING_HASH, ROUND_ROBIN
from mxproxy.upstream import balance
from mxproxy.upstream.balance import TABLE_SIZE, balancer, usable
from mxproxy.upstream.xxhash import xxh64

from .helpers import Spot

POLICIES = (ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV)
HASHING = (RING_HASH, MAGLEV)


def spots(*weights: int, first: int = 1) -> list[Spot]:
    return [Spot(f"10.0.0.{first + n}:80", weight) for n, weight in enumerate(weights)]


def picks(policy: str, hosts: list[Spot], times: int) -> list[Spot]:
    made = balancer(policy, Random(1))
    made.refresh(hosts)
    return [made.pick(xxh64(b"%d" % n)) for n in range(times)]


def order(policy: str, hosts: list[Spot], times: int) -> str:
    return "".join(str(hosts.index(host)) for host in picks(policy, hosts, times))


manySpots = st.lists(
    st.builds(
        lambda weight, active, healthy: (weight, active, healthy),
        st.integers(1, 20),
        st.integers(0, 5),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
).map(lambda rows: [Spot(f"10.0.0.{n}:80", *row) for n, row in enumerate(rows)])


class UsableTests(SynchronousTestCase):
    @given(manySpots, st.sampled_from((0, 1, 49, 50, 51, 100)))
    def test_panic(self, hosts: list[Spot], threshold: int) -> None:
        """
        Only healthy hosts, unless fewer are than the threshold says: then all.
        """
        healthy = [host for host in hosts if host.healthy]
        enough = 100 * len(healthy) >= threshold * len(hosts)
        self.assertEqual(usable(hosts, threshold), healthy if enough else hosts)

    def test_half(self) -> None:
        """
        Half of them are enough for 50 per cent.
        """
        hosts = spots(1, 1, 1, 1)
        hosts[0].healthy = hosts[1].healthy = False
        self.assertEqual(usable(hosts, 50), hosts[2:])
        hosts[2].healthy = False
        self.assertEqual(usable(hosts, 50), hosts)
        self.assertEqual(usable(hosts, 0), hosts[3:])

    def test_none(self) -> None:
        self.assertEqual(usable([], 50), [])

    @given(manySpots, st.sampled_from(POLICIES))
    def test_neverUnhealthy(self, hosts: list[Spot], policy: str) -> None:
        """
        With enough healthy hosts, no policy picks another.
        """
        self.patch(balance, "TABLE_SIZE", 251)  # For the time that the real one takes.
        may = usable(hosts, 50)
        if 2 * sum(host.healthy for host in hosts) >= len(hosts):
            for host in picks(policy, may, 30):
                self.assertTrue(host.healthy)


class RoundRobinTests(SynchronousTestCase):
    def test_inTurn(self) -> None:
        self.assertEqual(order(ROUND_ROBIN, spots(1, 1, 1), 7), "0120120")
        self.assertEqual(order(ROUND_ROBIN, spots(7, 7), 4), "0101")

    def test_refresh(self) -> None:
        """
        The turn outlasts a change of the hosts.
        """
        hosts = spots(1, 1, 1)
        made = balancer(ROUND_ROBIN, Random(1))
        made.refresh(hosts)
        made.pick(0)
        made.pick(0)
        made.refresh(hosts[:2])
        self.assertEqual([hosts.index(made.pick(0)) for _ in range(3)], [0, 1, 0])

    def test_weights(self) -> None:
        """
        Earliest deadline first; who was put back first goes first.
        """
        self.assertEqual(order(ROUND_ROBIN, spots(2, 1), 9), "010010010")
        self.assertEqual(order(ROUND_ROBIN, spots(1, 4), 10), "1110111101")

    def test_envoysShares(self) -> None:
        """
        Envoy 1.40 with these weights goes 424031244241, over and over, from a place by chance;
        whose turn it is among those that are due at once depends on its rounding.
        """
        theirs = Counter("424031244241")
        mine = order(ROUND_ROBIN, spots(1, 2, 3, 1, 5), 12 * 50)
        for start in range(0, len(mine), 12):
            self.assertEqual(Counter(mine[start : start + 12]), theirs)

    @given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(1, 400))
    def test_proportional(self, weights: list[int], times: int) -> None:
        """
        At any time nobody is ahead or behind by more than a turn of everybody's.
        """
        for policy in (ROUND_ROBIN, LEAST_REQUEST):
            hosts = spots(*weights)
            if policy == LEAST_REQUEST and len(set(weights)) == 1:
                continue  # Then it is by chance.
            counts = Counter(picks(policy, hosts, times))
            for host in hosts:
                share = times * host.weight / sum(weights)
                self.assertLess(abs(counts[host] - share), len(hosts) + 1)


class LeastRequestTests(SynchronousTestCase):
    def test_fewer(self) -> None:
        """
        Of two by chance the one with fewer connections: the busiest of three is picked only
        when it is drawn twice, one time in nine.
        """
        hosts = spots(1, 1, 1)
        hosts[0].active, hosts[1].active = 5, 2
        counts = Counter(picks(LEAST_REQUEST, hosts, 9000))
        for host, ninths in zip(hosts, (1, 3, 5)):
            self.assertLess(abs(counts[host] - 1000 * ninths), 150)

    def test_weights(self) -> None:
        """
        Each weight is divided by the connections, and this one.
        """
        hosts = spots(4, 1)
        hosts[0].active = 1  # As good as a weight of 2.
        self.assertEqual(order(LEAST_REQUEST, hosts, 9), "010010010")


class RandomTests(SynchronousTestCase):
    def test_anyone(self) -> None:
        """
        Whatever their weights, as in Envoy.
        """
        hosts = spots(1, 9)
        counts = Counter(picks(RANDOM, hosts, 4000))
        self.assertLess(abs(counts[hosts[0]] - 2000), 200)


class HashingTests(SynchronousTestCase):
    """
    By source address.
    """

    #: Whom Envoy 1.40, with tcp_proxy's hash_policy source_ip, connects clients of the
    #: addresses 127.0.0.1, 127.0.1.2, ... 127.0.3.60 to: by policy and weights, the index of
    #: the host of 127.0.0.1:23101 to 23105.
    ENVOY = {
        (
            RING_HASH,
            (1, 1, 1, 1, 1),
        ): "133334431443423412204144242330121244333032204001240033323022",
        (
            RING_HASH,
            (1, 2, 3, 1, 5),
        ): "133444442444423402424444244412121244334442424021440033324422",
        (MAGLEV, (1, 1, 1, 1, 1)): "212321424230324034130302204232103032002232430444444011334223",
        (MAGLEV, (1, 2, 3, 1, 5)): "212121444230424434134342204242143442004232444444444411134242",
    }

    def test_envoysHosts(self) -> None:
        """
        The same as Envoy's, every one.
        """
        for (policy, weights), expected in self.ENVOY.items():
            hosts = [Spot(f"127.0.0.1:{23101 + n}", weight) for n, weight in enumerate(weights)]
            made = balancer(policy, Random(1))
            made.refresh(hosts)
            sources = [f"127.0.{n % 7}.{1 + n % 250}" for n in range(60)]
            found = [hosts.index(made.pick(xxh64(source.encode()))) for source in sources]
            self.assertEqual("".join(map(str, found)), expected, (policy, weights))

    def test_ends(self) -> None:
        """
        The ring is closed, the table ends where it says.
        """
        for policy in HASHING:
            made = balancer(policy, Random(1))
            made.refresh(spots(1, 1))
            for hash in (0, 1, TABLE_SIZE - 1, TABLE_SIZE, 2**64 - 1):
                made.pick(hash)

    def test_proportional(self) -> None:
        """
        A weight of three is about three times as much.
        """
        for policy in HASHING:
            hosts = spots(1, 3)
            counts = Counter(picks(policy, hosts, 4000))
            self.assertLess(abs(counts[hosts[1]] - 3000), 300)

    @settings(max_examples=30)
    @given(st.integers(2, 9), st.integers(0, 8), st.sampled_from(HASHING))
    def test_fewMove(self, count: int, gone: int, policy: str) -> None:
        """
        When one of n hosts goes, those that it had move, and few others.  Modulo n, nearly all
        would.  (On the ring they do because each host has a whole number of places, 1024 of
        them at least.)
        """
        hosts = spots(*[1] * count)
        before = picks(policy, hosts, 500)
        lost = hosts.pop(gone % count)
        after = picks(policy, hosts, 500)
        moved = sum(a is not b for a, b in zip(before, after) if a is not lost)
        self.assertLess(moved, 75)
        self.assertNotIn(lost, after)

    @settings(max_examples=20)
    @given(st.permutations(range(6)), st.sampled_from(HASHING))
    def test_order(self, permutation: list[int], policy: str) -> None:
        """
        The order of the hosts does not matter.
        """
        hosts = spots(1, 2, 3, 4, 5, 6)
        shuffled = [hosts[index] for index in permutation]
        if policy == MAGLEV:
            self.assertEqual(picks(policy, hosts, 50), picks(policy, shuffled, 50))
        else:
            same = sum(
                a is b for a, b in zip(picks(policy, hosts, 50), picks(policy, shuffled, 50))
            )
            self.assertGreater(same, 45)


class NameTests(SynchronousTestCase):
    def test_unknown(self) -> None:
        error: Any = self.assertRaises(ValueError, balancer, "CLUSTER_PROVIDED", Random())
        self.assertEqual(
            str(error),
            "there is no lb_policy 'CLUSTER_PROVIDED'; there is: ROUND_ROBIN, LEAST_REQUEST,"
            " RANDOM, RING_HASH, MAGLEV",
        )
