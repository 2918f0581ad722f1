"""
Gauges: what is read off a running proxy when somebody asks, instead of being counted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ..tls.contents import Contents
from ..tls.expiry import daysUntil, utcNow
from .envoy import clusterPrefix

if TYPE_CHECKING:
    from ..service import ProxyService


def gauges(service: ProxyService) -> Iterator[tuple[str, float]]:
    """
    @return: names, as in L{mxproxy.observe.stats}, with values.
    """
    telemetry = service.telemetry
    active = Counter(connection.listener for connection in service.connections)
    if telemetry is not None:
        for listener, prefix in telemetry.listeners.items():
            yield f"{prefix}.downstream_cx_active", active[listener]
        yield "stats.series", len(telemetry.series)
    yield "listener_manager.total_listeners_active", len(service.ports)
    yield "cluster_manager.active_clusters", len(service.clusters)
    for name, cluster in service.clusters.items():
        prefix = clusterPrefix(name)
        yield f"{prefix}.upstream_cx_active", cluster.active
        yield f"{prefix}.membership_total", len(cluster.hosts)
        yield f"{prefix}.membership_healthy", sum(host.healthy for host in cluster.hosts)
        yield (
            f"{prefix}.outlier_detection.ejections_active",
            sum(host.ejected for host in cluster.hosts),
        )
    yield "server.live", int(service.live)
    yield "server.uptime", int(service.uptime)
    yield "server.concurrency", 1
    yield "server.total_connections", len(service.connections)
    end = firstExpiration(service.certificates.contents())
    if end is not None:
        yield "server.days_until_first_cert_expiring", daysUntil(end, utcNow())
        yield "server.first_cert_expiration_timestamp_seconds", int(end.timestamp())
    memory = residentMemory()
    if memory is not None:
        yield "server.memory_physical_size", memory


def firstExpiration(sets: Sequence[Contents]) -> datetime | None:
    """
    @return: when the first certificate of all sets expires; C{None} without any.
    """
    ends = [
        one.not_valid_after_utc
        for contents in sets
        for one in (contents.certificate, *contents.authorities)
        if one is not None
    ]
    return min(ends, default=None)


def residentMemory() -> int | None:
    """
    @return: bytes of this process, or C{None} where the system does not say.
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
