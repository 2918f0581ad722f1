"""
One side, and a peer that sends what it likes: every row of docs/wire.md's table of endings, in
every state that it can be met in.

The peer's bytes are there from the start, and the side reads them when it likes and as little as
it likes: so this is every way to cut them into reads, and every delay between two of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from mxproxy.wire.peerstate import PeerState
from mxproxy.wire.prefix import HEADER, MAGIC, MAGIC_BYTES, encodePrefix

from .pair import Count, Found
from .side import ENDED, MAX_SIZE, OPEN, PREFIX, RESET, TIME, Facts, Table


class Row(NamedTuple):
    """
    What a peer sends, and what has to come of it.

    @ivar name: of the row.
    @ivar sends: the bytes.
    @ivar end: whether its stream ends behind them, and how.
    @ivar delivered: what of it reaches the application.
    @ivar state: what is known of the peer then.
    @ivar late: the same, where the time was up before that was known.
    @ivar aborted: the connection is aborted instead.
    @ivar waits: nothing is known of the peer until the time is up.
    """

    name: str
    sends: bytes
    end: str
    delivered: bytes
    state: PeerState
    late: PeerState = PeerState.TIMEOUT
    aborted: bool = False
    waits: bool = False

    @property
    def answered(self) -> bool:
        """Whether a side that replies does, if it is in time."""
        return self.state in (PeerState.FOUND, PeerState.MALFORMED)


def rows() -> Iterator[Row]:
    """
    The table, in its order.
    """
    app = b"\x3db"
    for end in (OPEN, ENDED):
        found = Row("whole prefix", PREFIX, end, b"", PeerState.FOUND, PeerState.FOUND)
        yield found
        yield found._replace(name="prefix and more", sends=PREFIX + app, delivered=app)
        yield found._replace(name="a second prefix", sends=PREFIX * 2, delivered=PREFIX)
        for same in range(4):
            data = MAGIC_BYTES[:same] + b"!" + app
            yield Row(f"magic differs at {same}", data, end, data, PeerState.BAD_MAGIC)
        for payload in (b"", b"X", b"PP"):
            data = encodePrefix(payload) + app
            yield Row(f"payload {payload!r}", data, end, app, PeerState.MALFORMED)
        data = HEADER.pack(MAGIC, MAX_SIZE + 1) + app
        yield Row("too large", data, end, b"", PeerState.TOO_LARGE, aborted=True)
    for size in range(len(PREFIX)):
        data = PREFIX[:size]
        kept = data if size <= len(MAGIC_BYTES) else b""
        yield Row(f"ends after {size}", data, ENDED, kept, PeerState.CLOSED)
        yield Row(f"breaks after {size}", data, RESET, b"", PeerState.CLOSED)
        yield Row(f"silent after {size}", data, OPEN, b"", PeerState.PENDING, waits=True)


_State = tuple[int, bytes, str, bytes, bool]


class Alone:
    """
    One exploration.
    """

    def __init__(self, table: Table, row: Row) -> None:
        self._table = table
        self._row = row
        self._before: dict[_State, tuple[_State, str] | None] = {}

    def explore(self) -> Count:
        """
        @raise Found: a rule does not hold.
        """
        table, row = self._table, self._row
        start: _State = (table.start, row.sends, row.end, b"", False)
        before = self._before = {start: None}
        waiting = deque([(start, 0)])
        steps = ends = depth = 0
        while waiting:
            state, depth = waiting.popleft()
            last = True
            for what, following in self._following(state):
                last = False
                steps += 1
                if following not in before:
                    before[following] = (state, what)
                    self._need(following, self._wrong(following))
                    waiting.append((following, depth + 1))
            if last:
                ends += 1
                self._need(state, self._wrongAtTheEnd(state))
        return Count(len(before), steps, depth, ends, len(table.facts))

    def _following(self, state: _State) -> Iterator[tuple[str, _State]]:
        number, data, end, sent, late = state
        table = self._table
        facts = table.facts[number]
        for event in facts.events:
            following, more, _ = table.step(number, event)
            yield event, (following, data, end, sent + more, late or event == TIME)
        if not facts.reading:
            return
        for size in [len(data)] if facts.left and data else range(1, len(data) + 1):
            following, more, _ = table.step(number, data[:size])
            yield f"reads {data[:size]!r}", (following, data[size:], end, sent + more, late)
        if end and not data:
            following, more, _ = table.step(number, end)
            yield f"reads: {end}", (following, b"", OPEN, sent + more, late)

    def _wrong(self, state: _State) -> str:
        facts = self._table.facts[state[0]]
        if facts.wrong or facts.closeReason.startswith("error"):
            return facts.wrong or facts.closeReason
        if not self._row.delivered.startswith(facts.received):
            return f"{facts.received!r} was delivered, not {self._row.delivered!r}"
        return ""

    def _wrongAtTheEnd(self, state: _State) -> str:
        number, _, _, sent, late = state
        row, facts = self._row, self._table.facts[number]
        expected = row.late if late else row.state
        if facts.learnt is not expected:
            return f"the peer is {facts.learnt.value}, not {expected.value}"
        if facts.lost and (facts.timer or facts.told != facts.connected):
            return "a lost connection is not over"
        if row.aborted:
            tells = facts.closeReason.startswith("too_large: ")
            return "" if facts.lost and tells else "was not aborted with a reason"
        if row.end == RESET:
            return "" if facts.lost else "a broken connection is not lost"
        return self._incomplete(facts, sent, late)

    def _incomplete(self, facts: Facts, sent: bytes, late: bool) -> str:
        row, settings = self._row, self._table.settings
        if not facts.connected:
            return "its application was not connected"
        if facts.received != row.delivered:
            return f"{facts.received!r} was delivered, not {row.delivered!r}"
        if row.end == ENDED and not (facts.sawEnd and facts.lost):
            return "the end was not delivered"
        if not (facts.left or facts.lost or row.waits):
            return "the layer has not left"
        own = PREFIX if settings.speaksFirst or (row.answered and not late) else b""
        if sent != own + facts.said:
            return f"{sent!r} was sent, not {own + facts.said!r}"
        return ""

    def _need(self, state: _State, wrong: str) -> None:
        if not wrong:
            return
        way = []
        at: _State | None = state
        while at is not None:
            before = self._before[at]
            at = None
            if before is not None:
                at, step = before
                way.append(step)
        raise Found(
            "\n".join(
                [
                    f"{self._row.name}: {wrong}",
                    "",
                    *reversed(way),
                    "",
                    self._table.describe(state[0]),
                ]
            )
        )


class Breaking:
    """
    The connection breaks in every state that a side was seen in.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def explore(self) -> Count:
        """
        @raise Found: it was not over then.
        """
        table, tried = self._table, 0
        for number in range(len(table.facts)):
            facts = table.facts[number]
            if not facts.lost and facts.reading:
                tried += 1
                wrong = self._wrong(table.facts[table.step(number, RESET)[0]])
                if wrong:
                    raise Found(f"{wrong}\n\n{table.describe(number)}\n\nreads: {RESET}")
        return Count(tried, tried, 1, tried, len(table.facts))

    @staticmethod
    def _wrong(after: Facts) -> str:
        if after.wrong:
            return after.wrong
        if not after.lost or after.timer or after.told != after.connected:
            return "a broken connection is not over"
        if after.learnt is PeerState.PENDING:
            return "the peer of a broken connection is pending for ever"
        return ""
