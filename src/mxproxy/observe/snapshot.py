"""
All of a proxy's statistics at one moment, as plain values that a worker can send.

A snapshot is what JSON has::

    {"stats": {"metadata_exchange.metadata_added": 3, ...},
     "istio": {"names": ["reporter", ...], "series": [[[value, ...], 1, 0, 12, 6], ...]}}

Statistics that are declared and have not been counted yet are there as 0, as in Envoy: a counter
that begins with its first event has no rate for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .gauges import gauges
from .stats import ISTIO, STATS, Kind, Merge, find

if TYPE_CHECKING:
    from ..service import ProxyService

Snapshot = dict[str, Any]

_TLS = ".ssl."


def take(service: ProxyService) -> Snapshot:
    """
    This process's snapshot.
    """
    stats: dict[str, float] = dict.fromkeys(_expected(service), 0)
    stats.update(service.counters)
    stats.update(gauges(service))
    istio: dict[str, Any] = {"names": [], "series": []}
    if service.telemetry is not None:
        service.telemetry.flush()
        istio["names"] = list(service.telemetry.labeller.names)
        istio["series"] = [
            [list(series.labels), *(getattr(series, metric.attribute) for metric in ISTIO)]
            for series in service.telemetry.series
        ]
    return {"stats": stats, "istio": istio}


def merge(snapshots: Sequence[Snapshot]) -> Snapshot:
    """
    @param snapshots: of workers that run the same plan; at least one.
    @return: theirs, as if it were one process's.
    """
    if len(snapshots) == 1:
        return snapshots[0]
    values: dict[str, list[float]] = {}
    series: dict[tuple[str, ...], list[int]] = {}
    for snapshot in snapshots:
        for name, value in snapshot["stats"].items():
            values.setdefault(name, []).append(value)
        for labels, *numbers in snapshot["istio"]["series"]:
            before = series.setdefault(tuple(labels), [0] * len(numbers))
            series[tuple(labels)] = [a + b for a, b in zip(before, numbers, strict=True)]
    return {
        "stats": {name: find(name)[0].merge.of(several) for name, several in values.items()},
        "istio": {
            "names": snapshots[0]["istio"]["names"],
            "series": [[list(labels), *numbers] for labels, numbers in series.items()],
        },
    }


def _expected(service: ProxyService) -> Iterator[str]:
    """
    The names of the counters that there will be.
    """
    listeners = {} if service.telemetry is None else service.telemetry.listeners
    encrypted = {
        *(
            plan.name
            for plan in service.plan.listeners
            if any(chain.tls is not None for chain in plan.everyChain)
        )
    }
    for stat in STATS:
        if stat.kind is Kind.GAUGE:
            continue
        if not stat.labels:
            yield stat.name
        elif stat.labels == ("listener",):
            for name, prefix in listeners.items():
                if name in encrypted or _TLS not in stat.name:
                    yield stat.name.replace("listener.{listener}", prefix)
        elif stat.labels == ("cluster",):
            for plan in service.plan.clusters:
                if plan.tls is not None or plan.transport_socket_matches or _TLS not in stat.name:
                    yield stat.named(cluster=plan.name)


__all__ = ["Merge", "Snapshot", "merge", "take"]
