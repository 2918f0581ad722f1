"""
A snapshot of all statistics as OpenTelemetry's instruments.

Each family of L{mxproxy.observe.stats} is an observable instrument of the same name without
C{_total}, which exporters to Prometheus append to counters, so that both ways lead to one name.

The SDK asks from a thread of its own; what it gets is a snapshot that was taken in the reactor's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from ..snapshot import Snapshot
from ..stats import ISTIO, STATS, Kind, Stat, find

_TOTAL: Final = "_total"
_BYTES: Final = "By"


class Instruments:
    """
    All of them.
    """

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        """
        @param take: takes a snapshot; called in the SDK's thread.
        """
        self._take = take
        # Which instruments have had their part of the snapshot that there is.
        self._asked: set[str] | None = None
        self._stats: dict[Stat, list[Observation]] = {}
        self._istio: Sequence[list[Observation]] = [[] for _ in ISTIO]

    def create(self, meter: Meter) -> None:
        """
        Make them.
        """
        for stat in STATS:
            create = (
                meter.create_observable_counter
                if stat.kind is Kind.COUNTER
                else meter.create_observable_gauge
            )
            create(
                stat.family.removesuffix(_TOTAL),
                callbacks=[self._statCallback(stat)],
                description=stat.help,
                unit=_BYTES if "bytes" in stat.family or "memory" in stat.family else "",
            )
        for index, metric in enumerate(ISTIO):
            meter.create_observable_counter(
                metric.name.removesuffix(_TOTAL),
                callbacks=[self._istioCallback(index)],
                description=metric.help,
                unit=_BYTES if "bytes" in metric.name else "",
            )

    def _statCallback(self, stat: Stat) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterator[Observation]:
            self._refresh(stat.family)
            return iter(self._stats.get(stat, ()))

        return observe

    def _istioCallback(self, index: int) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterator[Observation]:
            self._refresh(ISTIO[index].name)
            return iter(self._istio[index])

        return observe

    def _refresh(self, name: str) -> None:
        """
        The instruments are asked one after the other: one that is asked again begins another
        round, which gets another snapshot.
        """
        if self._asked is not None and name not in self._asked:
            self._asked.add(name)
            return
        snapshot = self._take()
        self._asked = {name}
        self._stats = _byStat(snapshot["stats"])
        names = snapshot["istio"]["names"]
        self._istio = [[] for _ in ISTIO]
        for values, *numbers in snapshot["istio"]["series"]:
            attributes = dict(zip(names, values, strict=True))
            for observations, number in zip(self._istio, numbers, strict=True):
                observations.append(Observation(number, attributes))


def _byStat(values: dict[str, Any]) -> dict[Stat, list[Observation]]:
    found: dict[Stat, list[Observation]] = {}
    for name, value in values.items():
        stat, parts = find(name)
        labels = dict(zip(stat.prometheusLabels, parts, strict=True))
        found.setdefault(stat, []).append(Observation(value, labels))
    return found
