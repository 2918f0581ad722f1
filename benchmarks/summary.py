"""
From samples to figures: medians, spreads, and ratios within a round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .loads import FIXED_RATE, Values


@dataclass(frozen=True)
class Metric:
    """
    A column.

    @ivar load: which measurement it is taken from.
    @ivar of: how.
    """

    section: str
    title: str
    load: str
    of: Callable[[Values], float | None]

    @property
    def name(self) -> str:
        """In the JSON."""
        return f"{self.section}: {self.title}"


@dataclass(frozen=True)
class Figure:
    """
    What the rounds have come to.

    @ivar low: the smallest of the rounds.
    @ivar high: the largest.
    @ivar spread: half of the difference between the largest and the smallest, as a part of
        the median.
    @ivar ratio: to the baseline: the median of the rounds' ratios.
    """

    median: float
    low: float
    high: float
    spread: float
    ratio: float | None
    rounds: int


def _value(name: str) -> Callable[[Values], float | None]:
    return lambda values: values.get(name)


def _both(name: str) -> Callable[[Values], float | None]:
    def total(values: Values) -> float | None:
        sides = [values.get(f"{name}.{side}") for side in ("outbound", "inbound")]
        return None if None in sides else sum(filter(None, sides))

    return total


def _mean(name: str) -> Callable[[Values], float | None]:
    both = _both(name)
    return lambda values: None if (total := both(values)) is None else total / 2


_BULK = "bulk, MB/s"
_CPU = "CPU seconds per GB, both proxies"
_REQUESTS = "requests/s"
_HALF = "latency at half the own rate, µs"
_SAME = "latency at half the baseline's rate, µs"
_FIXED = f"latency at {FIXED_RATE:,} requests/s, µs"
_NEW = "new connections/s"
_MEMORY = "of one proxy: memory idle, of an idle connection; start"

METRICS = [
    Metric(_BULK, "up", "up", _value("rate")),
    Metric(_BULK, "down", "down", _value("rate")),
    Metric(_BULK, "up, 8 conn.", "up-8", _value("rate")),
    Metric(_CPU, "up", "up", _both("gb")),
    Metric(_CPU, "down", "down", _both("gb")),
    Metric(_CPU, "up, 8 conn.", "up-8", _both("gb")),
    Metric(_REQUESTS, "1 conn.", "requests-1", _value("rate")),
    Metric(_REQUESTS, "32 conn.", "requests-32", _value("rate")),
    Metric(_REQUESTS, "256 conn.", "requests-256", _value("rate")),
    Metric(_HALF, "p50", "latency-half", _value("p50")),
    Metric(_HALF, "p99", "latency-half", _value("p99")),
    Metric(_SAME, "p50", "latency-same", _value("p50")),
    Metric(_SAME, "p99", "latency-same", _value("p99")),
    Metric(_FIXED, "p50", "latency-fixed", _value("p50")),
    Metric(_FIXED, "p99", "latency-fixed", _value("p99")),
    Metric(_NEW, "full", "connections", _value("rate")),
    Metric(_NEW, "resumed", "resumed", _value("rate")),
    Metric(_MEMORY, "idle MB", "idle", _mean("idle")),
    Metric(_MEMORY, "kB/conn.", "idle", _mean("each")),
    Metric(_MEMORY, "start ms", "idle", _mean("start")),
]

Samples = Mapping[str, Mapping[str, Sequence["Values | None"]]]


def _rounds(samples: Samples, peer: str, metric: Metric) -> list[float | None]:
    found = samples.get(peer, {}).get(metric.load, ())
    return [None if values is None else metric.of(values) for values in found]


def figure(samples: Samples, peer: str, metric: Metric, baseline: str | None) -> Figure | None:
    """
    @return: C{None} when there is no value.
    """
    rounds = _rounds(samples, peer, metric)
    known = [value for value in rounds if value is not None]
    if not known:
        return None
    middle = median(known)
    low, high = min(known), max(known)
    spread = (high - low) / 2 / middle if middle else 0.0
    ratios = []
    if baseline is not None:
        for own, other in zip(rounds, _rounds(samples, baseline, metric), strict=False):
            if own is not None and other:
                ratios.append(own / other)
    return Figure(middle, low, high, spread, median(ratios) if ratios else None, len(known))


def summarize(samples: Samples, baseline: str | None) -> dict[str, dict[str, Figure]]:
    """
    @return: by metric and peer.
    """
    figures: dict[str, dict[str, Figure]] = {}
    for metric in METRICS:
        found = {peer: figure(samples, peer, metric, baseline) for peer in samples}
        known = {peer: value for peer, value in found.items() if value is not None}
        if known:
            figures[metric.name] = known
    return figures


def others(samples: Samples) -> float | None:
    """
    @return: CPUs that others on this machine have used meanwhile, the median.
    """
    used = [
        values["cpu.others"]
        for loads in samples.values()
        for rounds in loads.values()
        for values in rounds
        if values and "cpu.others" in values
    ]
    return median(used) if used else None
