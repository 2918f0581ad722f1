"""
The open connections: a part of them, the most interesting first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...connection import Peer
from ...observe.access_log import (
    OFFERED_LIMIT,
    PRINCIPAL_LIMIT,
    TEXT_LIMIT,
    formatAddress,
    formatTime,
)
from ...observe.istio.labels import LABELS
from ...observe.telemetry import Watched
from ...wire.metadata import Metadata

if TYPE_CHECKING:
    from ...service import ProxyService

#: How many are shown unless somebody says otherwise, and at most.
DEFAULT_LIMIT, MAX_LIMIT = 100, 1000

Row = dict[str, Any]

#: What they can be sorted by; the greatest first, unless they are asked for in ascending order.
SORTS: Mapping[str, Callable[[Watched], Any]] = {
    "rate": lambda one: one.sentRate + one.receivedRate,
    "bytes": lambda one: (
        one.connection.downstream.bytes_sent + one.connection.downstream.bytes_received
    ),
    "sent": lambda one: one.connection.downstream.bytes_sent,
    "received": lambda one: one.connection.downstream.bytes_received,
    "age": lambda one: one.connection.duration,
    "source": lambda one: _name(one, "source"),
    "destination": lambda one: _name(one, "destination"),
    "listener": lambda one: one.connection.listener,
}


def take(service: ProxyService, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    @param arguments: C{limit}, C{offset}, C{sort} (of L{SORTS}), C{ascending}, C{filter}: a
        text that has to be in what is known of a connection.
    """
    telemetry = service.telemetry
    if telemetry is None:
        return {"total": 0, "matched": 0, "rows": []}
    telemetry.flush()
    sort = SORTS[arguments["sort"]]
    wanted = arguments["filter"].lower()
    every = [one for one in telemetry.watched() if not wanted or wanted in _searchable(one)]
    pick = heapq.nsmallest if arguments["ascending"] else heapq.nlargest
    # Those of other processes may come before any of these.
    count = arguments["offset"] + arguments["limit"]
    return {
        "total": len(telemetry),
        "matched": len(every),
        "rows": [[sort(one), describe(one)] for one in pick(count, every, key=sort)],
    }


def merge(values: Sequence[dict[str, Any]], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    @param values: of the processes.
    """
    rows = [row for value in values for row in value["rows"]]
    rows.sort(key=lambda row: row[0], reverse=not arguments["ascending"])
    start = arguments["offset"]
    return {
        "total": sum(value["total"] for value in values),
        "matched": sum(value["matched"] for value in values),
        "offset": start,
        "limit": arguments["limit"],
        "connections": [row for _, row in rows[start : start + arguments["limit"]]],
    }


def describe(one: Watched) -> Row:
    """
    A connection, as the access log has it, with its state and its rates.
    """
    connection = one.connection
    return {
        "id": connection.id,
        "listener": connection.listener,
        "filter_chain": connection.filter_chain or None,
        "cluster": connection.cluster or None,
        "state": stateOf(one),
        "reporter": None if one.series is None else one.series.labels[0],
        "source": _describeSide(one, "source"),
        "destination": _describeSide(one, "destination"),
        "started": formatTime(connection.started),
        "duration_ms": round(connection.duration * 1000),
        "downstream": _describePeer(connection.downstream),
        "upstream": _describePeer(connection.upstream),
        "bytes_sent": connection.downstream.bytes_sent,
        "bytes_received": connection.downstream.bytes_received,
        "sent_rate": round(one.sentRate, 1),
        "received_rate": round(one.receivedRate, 1),
        "trail": list(connection.trail),
    }


def stateOf(one: Watched) -> str:
    """
    @return: C{"connecting"}, C{"established"} or C{"closing"}.
    """
    connection = one.connection
    if connection.close_reason or not connection.downstream.open:
        return "closing"
    # A filter that answers by itself connects to nobody.
    answered = one.series is not None and not connection.cluster
    return "established" if connection.established or answered else "connecting"


def _describePeer(peer: Peer) -> dict[str, Any]:
    metadata = peer.metadata
    found = isinstance(metadata, Metadata)
    return {
        "address": formatAddress(peer.address),
        "host": peer.host,
        "principal": _cut(peer.principals[0], PRINCIPAL_LIMIT) if peer.principals else None,
        "tls_version": peer.tls_version,
        "server_name": _cut(peer.server_name),
        "alpn": _cut(peer.alpn),
        "alpn_offered": [_cut(name) for name in peer.alpn_offered[:OFFERED_LIMIT]],
        "peer_state": peer.peer_state.value,
        "workload": _cut(metadata.workload) if found else None,
        "namespace": _cut(metadata.namespace) if found else None,
        "service": _cut(metadata.service) if found else None,
        "cluster": _cut(metadata.cluster) if found else None,
    }


#: What of the metrics' labels says who a side is.
_SIDE = {"workload": "workload", "namespace": "workload_namespace", "principal": "principal"}
_INDEX = {name: index for index, name in enumerate(LABELS)}


def _describeSide(one: Watched, side: str) -> dict[str, str] | None:
    """How the metrics call a side, once they do."""
    if one.series is None:
        return None
    labels = one.series.labels
    return {name: labels[_INDEX[f"{side}_{label}"]] for name, label in _SIDE.items()}


def _name(one: Watched, side: str) -> str:
    return "" if one.series is None else one.series.labels[_INDEX[f"{side}_workload"]]


def _searchable(one: Watched) -> str:
    """
    Everything that somebody could look for, in small letters.
    """
    connection = one.connection
    if one.searchable:
        return one.searchable
    texts: list[str] = [connection.id, connection.listener, connection.cluster]
    if one.series is not None:
        texts += one.series.labels
    for peer in (connection.downstream, connection.upstream):
        texts += [formatAddress(peer.address) or "", peer.alpn or "", peer.peer_state.value]
    found = "\n".join(texts).lower()
    if connection.established:
        one.searchable = found  # Nothing of it changes any more.
    return found


def _cut(text: str | None, limit: int = TEXT_LIMIT) -> str | None:
    if not text:
        return None
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
