"""
What is explored: openings, holds, what the applications do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

from mxproxy.wire.exchange import Hold

from .pair import Count, Options, Pair
from .script import Alone, Breaking, rows
from .side import Settings, Table

#: What applications say at the three depths: the first takes seconds, the second a minute, the
#: third many.  From the second on, their first byte could be a magic's first until one more is
#: read.  (Without a second byte, and without an end, nobody could tell what it is.)
BASES = (
    Settings(True, says=b"a"),
    Settings(True, says=b"\x3da", pausedAtFirst=True),
    Settings(True, says=b"\x3dab", pauses=1),
)

#: What may happen, by the name that the table of counts has for it.
SITUATIONS = {
    "": Options(),
    "nothing ends": Options(ends=False),
    "no timeout": Options(timeouts=False),
    "neither": Options(timeouts=False, ends=False),
}

Explore = Callable[[], Count]


@cache
def table(settings: Settings) -> Table:
    """One for all explorations of a process: most of the time goes into filling it."""
    return Table(settings)


def openings() -> Iterator[tuple[str, bool, Hold, Hold]]:
    """
    Every opening and hold: a name, whether the server is eager, the client's hold, the
    server's.  Without the one that is another's mirror image, see L{tests.exploration.pair}.
    """
    for eager in (False, True):
        for client in Hold:
            for server in Hold:
                if eager and (client, server) == (Hold.READ, Hold.BOTH):
                    continue
                opening = "eager" if eager else "reply"
                yield (
                    f"{opening}, client {client.value}, server {server.value}",
                    eager,
                    client,
                    server,
                )


def pairs(base: Settings, situations: dict[str, Options]) -> Iterator[tuple[str, Explore]]:
    """
    Two sides, by name.

    @param base: what both are, but for the opening and the hold.
    """
    for name, eager, client, server in openings():
        for situation, options in situations.items():
            left = base._replace(speaksFirst=True, hold=client)
            right = base._replace(speaksFirst=eager, hold=server)
            pair = Pair(table(left), table(right), options)
            yield f"{name}{', ' if situation else ''}{situation}", pair.explore


def tooLarge(base: Settings) -> Iterator[tuple[str, Explore]]:
    """The server's cap is under what the client says of itself."""
    for name, eager, client, server in openings():
        left = base._replace(speaksFirst=True, hold=client)
        right = base._replace(speaksFirst=eager, hold=server, maxSize=0)
        yield f"{name}, too large", Pair(table(left), table(right)).explore


def sides(base: Settings) -> Iterator[tuple[str, Table]]:
    """Each kind of side."""
    for speaksFirst in (True, False):
        for hold in Hold:
            opening = "speaks first" if speaksFirst else "replies"
            side = table(base._replace(speaksFirst=speaksFirst, hold=hold))
            yield f"{opening}, holds {hold.value}", side


def scripts(base: Settings) -> Iterator[tuple[str, Explore]]:
    """Each kind of side, against every row of the table of endings."""
    for name, side in sides(base):
        yield f"{name}, against any peer", partial(_all, side)


def _all(side: Table) -> Count:
    counts = [Alone(side, row).explore() for row in rows()]
    return Count(
        sum(count.states for count in counts),
        sum(count.steps for count in counts),
        max(count.depth for count in counts),
        sum(count.ends for count in counts),
        len(side.facts),
    )


def breaks(base: Settings) -> Iterator[tuple[str, Explore]]:
    """Each kind of side, in every state that it was seen in above: the connection breaks."""
    for name, side in sides(base):
        yield f"{name}, breaks anywhere", Breaking(side).explore


def combinations(depth: int = 0) -> Iterator[tuple[str, Explore]]:
    """
    @param depth: see L{BASES}.
    """
    base = BASES[depth]
    yield from pairs(base, SITUATIONS)
    yield from tooLarge(base)
    yield from scripts(base)
    yield from breaks(base)
