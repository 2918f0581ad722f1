"""
Who talks to whom: Istio's series, by workload.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...observe.istio.labels import LABELS

if TYPE_CHECKING:
    from ...service import ProxyService

#: What a node of the graph is told apart by.
NODE = ("workload", "workload_namespace", "canonical_service", "principal")

_INDEX = {name: index for index, name in enumerate(LABELS)}
_SIDES = {side: [_INDEX[f"{side}_{name}"] for name in NODE] for side in ("source", "destination")}
_REPORTER = _INDEX["reporter"]
_SECURITY = _INDEX["connection_security_policy"]
_NUMBERS = ("active", "opened", "closed", "sent", "received")

#: How many edges are told; a person cannot look at more.
EDGE_LIMIT = 200


def take(service: ProxyService, arguments: Mapping[str, Any]) -> list[list[Any]]:
    """
    @return: edges: source, destination (each what L{NODE} says), which of the two we are,
        security policy, and numbers.
    """
    telemetry = service.telemetry
    if telemetry is None:
        return []
    telemetry.flush()
    edges: dict[tuple[Any, ...], list[int]] = {}
    for series in telemetry.series:
        labels = series.labels
        source, destination = (
            tuple(labels[index] for index in _SIDES[side]) for side in ("source", "destination")
        )
        key = (source, destination, labels[_REPORTER], labels[_SECURITY])
        numbers = edges.setdefault(key, [0] * len(_NUMBERS))
        for index, name in enumerate(_NUMBERS):
            numbers[index] += getattr(series, name)
    return [[*map(list, key[:2]), *key[2:], *numbers] for key, numbers in edges.items()]


def merge(values: Sequence[list[list[Any]]], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    @param values: of the processes.
    """
    edges: dict[tuple[Any, ...], list[int]] = {}
    for value in values:
        for source, destination, reporter, security, *numbers in value:
            key = (tuple(source), tuple(destination), reporter, security)
            before = edges.get(key, [0] * len(numbers))
            edges[key] = [a + b for a, b in zip(before, numbers, strict=True)]
    busiest = sorted(edges.items(), key=lambda item: (item[1][0], item[1][1]), reverse=True)
    return {
        "total": len(edges),
        "edges": [
            {
                "source": dict(zip(NODE, key[0], strict=True)),
                "destination": dict(zip(NODE, key[1], strict=True)),
                "reporter": key[2],
                "connection_security_policy": key[3],
                **dict(zip(_NUMBERS, numbers, strict=True)),
            }
            for key, numbers in busiest[:EDGE_LIMIT]
        ],
    }
