"""
From Envoy's messages to the plan: one module a concept.

Messages have been checked (L{mxproxy.config.envoy.check}): their fields are those of the
table, with values that their rules allow.  What is found here is what no rule of a single
field can say: names that are none, certificates that cannot be used, chains that take the
same connections.

Most fields are taken as they are; defaults are Envoy's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ....wire.exchange import ALPN
from ...plan import Plan
from ..faults import Faults, Path
from .address import serverEndpoint
from .cluster import translateCluster
from .filters import exchangeProtocols
from .listener import translateListener
from .node import translateNode
from .scope import Scope, enumName


def translate(bootstrap: Any, faults: Faults) -> Plan:
    """
    @param bootstrap: a C{bootstrap.v3.Bootstrap}, checked.
    @param faults: where everything that is wrong goes; if there is any, the plan cannot be
        run.
    """
    resources, path = bootstrap.static_resources, Path("static_resources")
    scope = Scope(
        faults,
        clusters={one.name: enumName(one, "lb_policy") for one in resources.clusters},
        exchanges=frozenset({ALPN, *_exchanges(resources)}),
    )
    for secret, place in zip(
        resources.secrets, (path / "secrets").each(resources.secrets), strict=True
    ):
        scope.secrets[secret.name] = secret, place
    listeners = tuple(
        translateListener(one, place, scope)
        for one, place in zip(
            resources.listeners, (path / "listeners").each(resources.listeners), strict=True
        )
    )
    clusters = tuple(
        translateCluster(one, place, scope)
        for one, place in zip(
            resources.clusters, (path / "clusters").each(resources.clusters), strict=True
        )
    )
    _checkUnique((one.name for one in resources.listeners), path / "listeners", "name", faults)
    _checkUnique((one.name for one in clusters), path / "clusters", "name", faults)
    _checkUnique((one.name for one in resources.secrets), path / "secrets", "name", faults)
    _checkUnique(map(_whole, listeners), path / "listeners", "address", faults)
    admin = ""
    if bootstrap.admin.HasField("address"):
        admin = serverEndpoint(bootstrap.admin.address, Path("admin") / "address", faults)
    return Plan(
        node=translateNode(bootstrap.node, Path("node"), faults),
        listeners=listeners,
        clusters=clusters,
        admin=admin,
    )


def _exchanges(resources: Any) -> Iterable[str]:
    for cluster in resources.clusters:
        yield from exchangeProtocols(cluster.filters)
    for listener in resources.listeners:
        for chain in (*listener.filter_chains, listener.default_filter_chain):
            yield from exchangeProtocols(chain.filters)


def _whole(listener: Any) -> str:
    # Port 0 is another one each time.
    endpoint: str = listener.endpoint
    return "" if endpoint.startswith("tcp:0:") else endpoint


def _checkUnique(values: Iterable[str], path: Path, field: str, faults: Faults) -> None:
    """
    @param values: of C{field}, of each item of the list at C{path}; empty ones do not count.
    """
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        if value and seen.setdefault(value, index) != index:
            faults.add(path.item(index) / field, f"the same as that of {path.item(seen[value])}")
