"""
The process: Envoy's C{/server_info} and C{/ready}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ... import __version__, transports

if TYPE_CHECKING:
    from ...service import ProxyService

#: Envoy's states.
LIVE, DRAINING = "LIVE", "DRAINING"


def take(service: ProxyService, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    What this process is.
    """
    node = service.plan.node
    described = node.describe()
    return {
        "version": __version__,
        "state": LIVE if service.live else DRAINING,
        "uptime": int(service.uptime),
        "data_path": transports.inUse(),
        "concurrency": 1,
        "node": {
            "id": node.id,
            "cluster": node.cluster,
            "metadata": dict(node.metadata),
            "locality": {"region": node.region, "zone": node.zone},
        },
        "workload": described.workload,
        "namespace": described.namespace,
    }


def merge(values: Sequence[dict[str, Any]], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    @param values: of the processes.
    """
    draining = any(value["state"] == DRAINING for value in values)
    return {
        **values[0],
        "state": DRAINING if draining else LIVE,
        "uptime": max(value["uptime"] for value in values),
        "concurrency": len(values),
    }
