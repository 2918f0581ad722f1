"""
Two sides joined by queues, in every state that they can get into.

A state is the two sides' and what is on its way in each direction.  What can happen in it:

  - a side connects, its time is up, its application says a byte, ends its stream, pauses or
    goes on: whenever it may;
  - a side reads: any number of the bytes that are there, so every way to cut a stream into
    reads is among the ways; behind the last byte, the end.

The search is breadth-first and remembers every state, so it ends when there is no new one: all
interleavings were tried, whatever their length, and the first finding is a shortest one.  The
longest shortest way to a state is its depth.

What is left out, and why that loses nothing:

  - B{Delays of the network.}  A byte is there to be read as soon as it was sent, but a side
    reads when it likes, and as little as it likes; nobody can tell a byte that is on its way
    from one that is not read yet.
  - B{How a stream is cut once a layer has left.}  What is read goes to the application, whose
    state is the bytes one after the other; so all that is there is read at once.
  - B{Mirror images.}  Where both sides have the same settings, the state with its sides and
    queues swapped has the same future with its sides swapped, and every rule is said of both;
    one of the two is explored.  So an eager server that holds C{both} against a client that
    holds C{read} is not explored beside its mirror image either: a client and an eager server
    differ in nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from mxproxy.wire.exchange import Hold
from mxproxy.wire.peerstate import PeerState

from .side import FINISH, OPEN, TIME, Facts, Settings, Table


class Found(AssertionError):
    """
    A rule does not hold; the text says which, and the shortest way there.
    """


class Options(NamedTuple):
    """
    What may happen.

    @ivar timeouts: a timer may run out.
    @ivar ends: an application may end its stream.  Without it, they only wait for each other:
        so whoever holds a byte back for want of another one is found.
    """

    timeouts: bool = True
    ends: bool = True


class Count(NamedTuple):
    """
    How much there was to explore.

    @ivar states: different ones.
    @ivar steps: ways from one to another.
    @ivar depth: steps to the furthest state.
    @ivar ends: states in which nothing more can happen.
    @ivar sides: states of both sides, each alone.
    """

    states: int
    steps: int
    depth: int
    ends: int
    sides: int


TOO_LARGE = PeerState.TOO_LARGE

Queue = tuple[bytes, str]
State = tuple[int, int, Queue, Queue]

_EMPTY: Queue = (b"", OPEN)


class Pair:
    """
    One exploration.
    """

    def __init__(
        self,
        left: Settings | Table,
        right: Settings | Table,
        options: Options = Options(),  # noqa: B008 - a tuple
    ) -> None:
        """
        @param left: the client's side; a table if it is to be shared with other explorations.
        @param right: the server's.
        """
        self._left = left if isinstance(left, Table) else Table(left)
        self._right = right if isinstance(right, Table) else Table(right)
        if self._left.settings == self._right.settings:
            self._right = self._left
        self._symmetric = self._right is self._left
        self._options = options
        self._before: dict[State, tuple[State, str] | None] = {}

    def explore(self) -> Count:
        """
        @raise Found: a rule does not hold.
        """
        start: State = (self._left.start, self._right.start, _EMPTY, _EMPTY)
        before = self._before = {start: None}
        depths = {start: 0}
        steps = ends = depth = 0
        waiting = deque([start])
        while waiting:
            state = waiting.popleft()
            depth = depths.pop(state)
            last = True
            for what, following in self._following(state):
                last = False
                steps += 1
                canonical = self._canonical(following)
                if canonical not in before:
                    before[canonical] = (state, what)
                    depths[canonical] = depth + 1
                    self._check(canonical)
                    waiting.append(canonical)
            if last:
                ends += 1
                self._checkEnd(state)
        sides = len(self._left.facts) + (0 if self._symmetric else len(self._right.facts))
        return Count(len(before), steps, depth, ends, sides)

    def _canonical(self, state: State) -> State:
        if not self._symmetric:
            return state
        left, right, there, back = state
        return min(state, (right, left, back, there))

    def _following(self, state: State) -> Iterator[tuple[str, State]]:
        left, right, there, back = state
        for what, side, queue, sent in self._side(self._left, left, back, there):
            yield f"left: {what}", (side, right, sent, queue)
        for what, side, queue, sent in self._side(self._right, right, there, back):
            yield f"right: {what}", (left, side, queue, sent)

    def _side(
        self, table: Table, side: int, incoming: Queue, outgoing: Queue
    ) -> Iterator[tuple[str, int, Queue, Queue]]:
        """
        What can happen to one side: what, its next state, and the queues then.
        """
        facts = table.facts[side]
        for event in facts.events:
            if self._mayHappen(event):
                following, sent, end = table.step(side, event)
                yield event, following, incoming, _with(outgoing, sent, end)
        if not facts.reading:
            return
        data, end = incoming
        for size in [len(data)] if facts.left and data else range(1, len(data) + 1):
            following, sent, ended = table.step(side, data[:size])
            kept = _EMPTY if table.facts[following].lost else (data[size:], end)
            yield f"reads {data[:size]!r}", following, kept, _with(outgoing, sent, ended)
        if end and not data:
            following, sent, ended = table.step(side, end)
            yield f"reads: {end}", following, _EMPTY, _with(outgoing, sent, ended)

    def _mayHappen(self, event: str) -> bool:
        if event == TIME:
            return self._options.timeouts
        return event != FINISH or self._options.ends

    # -- the rules

    def _check(self, state: State) -> None:
        left, right = self._facts(state)
        for name, own, other, settings in (
            ("left", left, right, self._left.settings),
            ("right", right, left, self._right.settings),
        ):
            wrong = own.wrong or rule(own, other, settings)
            if wrong:
                raise self._found(state, f"{name}: {wrong}")

    def _checkEnd(self, state: State) -> None:
        left, right = self._facts(state)
        for name, own, other in (("left", left, right), ("right", right, left)):
            wrong = ruleAtTheEnd(own, other, self._options.ends)
            if wrong:
                raise self._found(state, f"nothing more happens, and {name}: {wrong}")

    def _facts(self, state: State) -> tuple[Facts, Facts]:
        return self._left.facts[state[0]], self._right.facts[state[1]]

    def _found(self, state: State, what: str) -> Found:
        way = []
        at: State | None = state
        while at is not None:
            before = self._before[at]
            at = None
            if before is not None:
                at, step = before
                way.append(step)
        lines = [what, "", *reversed(way), ""]
        if self._symmetric:
            lines.append("(left and right may have been swapped on the way: they are alike)")
        lines += [
            f"left: {self._left.describe(state[0])}",
            f"right: {self._right.describe(state[1])}",
            f"on its way there: {state[2]}, back: {state[3]}",
        ]
        return Found("\n".join(lines))


def _with(queue: Queue, sent: bytes, end: str) -> Queue:
    return (queue[0] + sent, end or queue[1])


def rule(own: Facts, other: Facts, settings: Settings) -> str:
    """
    What holds in every state, of each side.

    @return: what does not, or nothing.
    """
    if own.closeReason.startswith("error"):
        return own.closeReason
    if not other.said.startswith(own.received):
        return f"{own.received!r} was delivered, {other.said!r} was said"
    if own.sawEnd and not (other.finished and own.received == other.said):
        return f"the end was delivered behind {own.received!r} of {other.said!r}"
    pending = own.learnt is PeerState.PENDING
    optimistic = settings.speaksFirst and settings.hold is Hold.READ
    if own.connected and pending and not optimistic:
        return "connected before anything was known of the peer"
    if pending and (own.received or own.sawEnd):
        return "delivered something before anything was known of the peer"
    return ""


def _aborted(facts: Facts) -> bool:
    return facts.closeReason.startswith(f"{TOO_LARGE}: ")


def ruleAtTheEnd(own: Facts, other: Facts, ended: bool) -> str:
    """
    What holds where nothing can happen any more.

    @param ended: whether applications have ended their streams.
    """
    if own.learnt is PeerState.PENDING:
        return "does not know of its peer"
    if own.lost and own.timer:
        return "a timer runs on after the connection was lost"
    if _aborted(own) or _aborted(other):
        return "" if own.lost and own.told == own.connected else "is not over, but was aborted"
    if TOO_LARGE in (own.learnt, other.learnt):
        return "was not aborted"
    if not own.connected:
        return "its application was not connected"
    if own.received != other.said:
        return f"{own.received!r} was delivered, {other.said!r} was said"
    if not (own.left or own.lost):
        return "the layer has not left"
    if not ended:
        return "lost" if own.lost else ""
    if not (own.sawEnd and own.lost and own.told == 1):
        return "is not closed in order"
    return ""
