"""
Whose turn it is: Envoy's load balancing policies, as pure machines.

A balancer is told which hosts may be used (C{refresh}) and answers with one of them
(C{pick}).  Which may be used is decided here, too (L{usable}).  There is no Twisted, no clock
and no socket in here, and nothing random that is not handed in.

Where a policy has an order, it is Envoy's, so that a file that both run spreads connections
alike.  One thing differs on purpose: Envoy begins a round at a random host, so that a fleet
of proxies does not begin at the same one; this begins at the first, as does a single proxy
that is looked at by its owner.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import ceil
from random import Random
from typing import Any, Final, Generic, Protocol, TypeVar

from ..config.plan import LEAST_REQUEST, MAGLEV, RANDOM, RING_HASH, ROUND_ROBIN
from .xxhash import xxh64

#: Envoy's C{minimum_ring_size} and C{maximum_ring_size} unless they are set.
RING_SIZE: Final = 1024
MAX_RING_SIZE: Final = 8 * 1024 * 1024

#: Envoy's C{table_size} unless it is set: a prime number.
TABLE_SIZE: Final = 65537


class Candidate(Protocol):
    """
    What a balancer looks at.

    @ivar key: what the host's place is computed from: its address and port.
    @ivar weight: its share, beside those of the others.
    @ivar active: how many connections it has.
    @ivar healthy: whether it is fit for more.
    """

    @property
    def key(self) -> str:
        """See L{Candidate}."""

    @property
    def weight(self) -> int:
        """See L{Candidate}."""

    @property
    def active(self) -> int:
        """See L{Candidate}."""

    @property
    def healthy(self) -> bool:
        """See L{Candidate}."""


H = TypeVar("H", bound=Candidate)


def usable(hosts: Sequence[H], panicThreshold: float) -> list[H]:
    """
    The healthy hosts; or, when too few are healthy for that to be likely, all of them: what
    is broken is then rather the check than the hosts, and those few could not carry the load.

    @param panicThreshold: per cent.  0: never all.
    """
    healthy = [host for host in hosts if host.healthy]
    if 100.0 * len(healthy) < panicThreshold * len(hosts):
        return list(hosts)
    return healthy


class Balancer(Protocol[H]):
    """
    A policy.
    """

    def refresh(self, hosts: Sequence[H]) -> None:
        """
        Other hosts may be used from now on.
        """

    def pick(self, hash: int) -> H:
        """
        There is at least one host.

        @param hash: of what is to stay together; 64 bits.
        """


class _EDF(Generic[H]):
    """
    Earliest deadline first: Envoy's weighted round (C{edf_scheduler.h}).

    Each host is due again 1/weight after it was picked; who was put back first goes first.
    """

    def __init__(self, hosts: Sequence[H], weight: Callable[[H], float]) -> None:
        self._now = 0.0
        self._order = 0
        self._queue: list[tuple[float, int, H]] = []
        self._weight = weight
        for host in hosts:
            self._add(host)

    def _add(self, host: H) -> None:
        heapq.heappush(self._queue, (self._now + 1.0 / self._weight(host), self._order, host))
        self._order += 1

    def pick(self) -> H:
        """The one that is due."""
        self._now, _, host = heapq.heappop(self._queue)
        self._add(host)
        return host


def _equalWeights(hosts: Sequence[Candidate]) -> bool:
    return len({host.weight for host in hosts}) <= 1


class RoundRobin(Generic[H]):
    """
    One after the other; with weights, by L{_EDF}.
    """

    def __init__(self) -> None:
        self._hosts: Sequence[H] = ()
        self._edf: _EDF[H] | None = None
        self._turn = 0

    def refresh(self, hosts: Sequence[H]) -> None:
        """See L{Balancer}.  As in Envoy the turn stays, the deadlines begin anew."""
        self._hosts = hosts
        self._edf = None if _equalWeights(hosts) else _EDF(hosts, lambda host: host.weight)

    def pick(self, hash: int) -> H:
        """See L{Balancer}."""
        if self._edf is not None:
            return self._edf.pick()
        turn, self._turn = self._turn, self._turn + 1
        return self._hosts[turn % len(self._hosts)]


class LeastRequest(Generic[H]):
    """
    Of two hosts by chance, the one with fewer connections; with weights, L{_EDF} with each
    weight divided by the connections.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._hosts: Sequence[H] = ()
        self._edf: _EDF[H] | None = None

    def refresh(self, hosts: Sequence[H]) -> None:
        """See L{Balancer}."""
        self._hosts = hosts
        self._edf = None
        if not _equalWeights(hosts):
            self._edf = _EDF(hosts, lambda host: host.weight / (host.active + 1))

    def pick(self, hash: int) -> H:
        """See L{Balancer}."""
        if self._edf is not None:
            return self._edf.pick()
        # With replacement, as in Envoy: the worst host is spared almost always, not always.
        first, second = self._random.choices(self._hosts, k=2)
        return second if second.active < first.active else first


class RandomHost(Generic[H]):
    """
    Any; weights are not looked at, as in Envoy.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._hosts: Sequence[H] = ()

    def refresh(self, hosts: Sequence[H]) -> None:
        """See L{Balancer}."""
        self._hosts = hosts

    def pick(self, hash: int) -> H:
        """See L{Balancer}."""
        return self._random.choice(self._hosts)


class RingHash(Generic[H]):
    """
    Hosts have places on a ring, as many as their weight; a hash goes to the next one
    (Envoy's C{ring_hash_lb.cc}, after ketama).

    The ring is made when it is first needed, in 4 ms.
    """

    def __init__(self) -> None:
        self._hosts: Sequence[H] = ()
        self._places: list[int] = []
        self._owners: list[H] = []

    def refresh(self, hosts: Sequence[H]) -> None:
        """See L{Balancer}."""
        self._hosts = hosts
        self._places = []

    def pick(self, hash: int) -> H:
        """See L{Balancer}."""
        if not self._places:
            self._build()
        return self._owners[bisect_left(self._places, hash) % len(self._places)]

    def _build(self) -> None:
        total = sum(host.weight for host in self._hosts)
        least = min(host.weight for host in self._hosts) / total
        # So many that the lightest host has a whole number of them.
        scale = min(ceil(least * RING_SIZE) / least, MAX_RING_SIZE)
        ring: list[tuple[int, H]] = []
        target = 0.0
        for host in self._hosts:
            target += scale * (host.weight / total)
            index = 0
            while len(ring) < target:
                ring.append((xxh64(f"{host.key}_{index}".encode()), host))
                index += 1
        ring.sort(key=lambda place: place[0])
        self._places = [place for place, _ in ring]
        self._owners = [host for _, host in ring]


class Maglev(Generic[H]):
    """
    A table in which each host has as many entries as its weight; a hash is an index into it
    (Envoy's C{maglev_lb.cc}, after listing 1 of the paper).

    The table is made when it is first needed, in 20 to 60 ms.
    """

    def __init__(self) -> None:
        self._hosts: Sequence[H] = ()
        self._table: list[H] = []

    def refresh(self, hosts: Sequence[H]) -> None:
        """See L{Balancer}."""
        self._hosts = hosts
        self._table = []

    def pick(self, hash: int) -> H:
        """See L{Balancer}."""
        if not self._table:
            self._build()
        return self._table[hash % TABLE_SIZE]

    def _build(self) -> None:
        size = TABLE_SIZE
        # In the order of their keys, so that the order of the configuration moves no entry.
        hosts = sorted(self._hosts, key=lambda host: host.key)
        keys = [host.key.encode() for host in hosts]
        at = [xxh64(key) % size for key in keys]
        skip = [xxh64(key, 1) % (size - 1) + 1 for key in keys]
        total = sum(host.weight for host in hosts)
        weights = [host.weight / total for host in hosts]
        heaviest = max(weights)
        due = [0.0] * len(hosts)
        table: list[Any] = [None] * size
        left, iteration = size, 0
        while left:
            iteration += 1
            for index, host in enumerate(hosts):
                # A host of a third of the heaviest's weight has its turn every third time.
                if iteration * weights[index] < due[index]:
                    continue
                due[index] += heaviest
                place, step = at[index], skip[index]
                while table[place] is not None:
                    place = (place + step) % size
                table[place] = host
                at[index] = (place + step) % size
                left -= 1
                if not left:
                    break
        self._table = table


def balancer(policy: str, random: Random) -> Balancer[Any]:
    """
    @param policy: one of Envoy's names.
    @raise ValueError: it is another.
    """
    made: dict[str, Callable[[], Balancer[Any]]] = {
        ROUND_ROBIN: RoundRobin,
        LEAST_REQUEST: lambda: LeastRequest(random),
        RANDOM: lambda: RandomHost(random),
        RING_HASH: RingHash,
        MAGLEV: Maglev,
    }
    if policy not in made:
        raise ValueError(f"there is no lb_policy {policy!r}; there is: {', '.join(made)}")
    return made[policy]()
