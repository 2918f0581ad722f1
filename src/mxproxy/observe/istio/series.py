"""
Istio's series: values by label set, a bounded number of them.

What a peer says of itself ends in labels, so how many label sets there are is the peers' choice
as long as nobody bounds it.  Over L{DEFAULT_LIMIT} of them, connections are counted in one series
whose labels are C{overflow}.  Series that no connection has, and that have not changed for a
while, are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

#: How many label sets are kept.  A scrape of so many is some 3 MB.
DEFAULT_LIMIT = 1000

#: The value of every label but the first, the reporter, where there are too many series.
OVERFLOW = "overflow"

Labels = tuple[str, ...]


class Series:
    """
    The values of one label set.

    @ivar labels: its values.
    @ivar opened: how many connections have begun.
    @ivar closed: how many of them have ended.
    @ivar sent: bytes, to clients.
    @ivar received: bytes, from clients.
    @ivar touched: when they changed last, on the clock.
    """

    __slots__ = ("closed", "labels", "opened", "received", "sent", "touched")

    def __init__(self, labels: Labels, now: float) -> None:
        self.labels = labels
        self.opened = self.closed = self.sent = self.received = 0
        self.touched = now

    @property
    def active(self) -> int:
        """How many connections it has."""
        return self.opened - self.closed

    def __repr__(self) -> str:
        return (
            f"<Series {self.labels[:2]} opened {self.opened} closed {self.closed}"
            f" sent {self.sent} received {self.received}>"
        )


class AllSeries:
    """
    All of a proxy's.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        limit: int = DEFAULT_LIMIT,
        eviction: float = 0.0,
        count: Callable[[str], None] = lambda name: None,
    ) -> None:
        """
        @param limit: how many label sets are kept, those that overflow aside.
        @param eviction: seconds without a connection or a change; 0: never.
        @param count: see L{IChainContext.count<mxproxy.interfaces.IChainContext.count>}.
        """
        self._seconds = seconds
        self._limit = limit
        self._eviction = eviction
        self._count = count
        self._all: dict[Labels, Series] = {}
        self._overflow: dict[Labels, Series] = {}

    def get(self, labels: Labels) -> Series:
        """
        The series with these labels; the one for all others, if there are too many.
        """
        series = self._all.get(labels)
        if series is not None:
            return series
        if len(self._all) < self._limit:
            series = self._all[labels] = Series(labels, self._seconds())
            return series
        self._count("stats.series_overflow")
        instead = (labels[0], *[OVERFLOW] * (len(labels) - 1))
        series = self._overflow.get(instead)
        if series is None:
            series = self._overflow[instead] = Series(instead, self._seconds())
        return series

    def evict(self) -> None:
        """
        Drop what nobody has used for long.
        """
        if not self._eviction:
            return
        before = self._seconds() - self._eviction
        for labels, series in list(self._all.items()):
            if series.touched <= before and not series.active:
                del self._all[labels]
                self._count("stats.series_evicted")

    def __iter__(self) -> Iterator[Series]:
        yield from self._all.values()
        yield from self._overflow.values()

    def __len__(self) -> int:
        return len(self._all) + len(self._overflow)
