"""
Clusters and their hosts: Envoy's C{/clusters}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...service import ProxyService

#: What of a host adds up over workers.
_SUMS = ("cx_active", "cx_total", "cx_connect_fail")


def take(service: ProxyService, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    @return: by name.
    """
    plans = {plan.name: plan for plan in service.plan.clusters}
    found = {}
    for name, cluster in service.clusters.items():
        plan = plans.get(name)
        found[name] = {
            "type": "" if plan is None else plan.type,
            "lb_policy": "" if plan is None else plan.lb_policy,
            "max_connections": None if plan is None else plan.max_connections,
            "warm": cluster.warm,
            "hosts": [
                {
                    "address": host.key,
                    "cx_active": host.active,
                    "cx_total": host.total,
                    "cx_connect_fail": host.failures,
                    "weight": host.weight,
                    "failed_active_health_check": host.failedCheck,
                    "failed_outlier_check": host.ejected,
                    "pending_dynamic_removal": host.unlisted,
                }
                for host in cluster.hosts
            ],
        }
    return found


def merge(values: Sequence[dict[str, Any]], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    Workers check hosts on their own; a host that one of them holds for unfit is shown as that.
    """
    merged = values[0]
    for value in values[1:]:
        for name, cluster in value.items():
            if name not in merged:
                merged[name] = cluster
                continue
            known = {host["address"]: host for host in merged[name]["hosts"]}
            for host in cluster["hosts"]:
                same = known.get(host["address"])
                if same is None:
                    merged[name]["hosts"].append(host)
                    continue
                for key in host:
                    if key in _SUMS:
                        same[key] += host[key]
                    elif isinstance(host[key], bool):
                        same[key] = same[key] or host[key]
    return merged
