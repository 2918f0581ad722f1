"""
Clusters: Envoy's C{cluster.v3.Cluster}, with their hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....socketoptions import SocketOption, keepalive
from ....tls.settings import ClientTLS
from ....wire.metadata import Metadata
from ...plan import (
    LOGICAL_DNS,
    ORIGINAL_DST,
    ROUND_ROBIN,
    STRICT_DNS,
    ClusterPlan,
    HealthCheckPlan,
    HostPlan,
    OutlierDetectionPlan,
    ServicePlan,
    TransportSocketMatch,
)
from .. import subset
from ..faults import Path
from ..registry import unpack
from .address import clientEndpoint
from .filters import translateFilters
from .scope import Scope, enumName, secondsOf, structValues, wrapped
from .tls import clientTLS

#: Envoy's C{connect_timeout}, which includes the TLS handshake.
CONNECT_TIMEOUT = 5.0

#: Envoy's C{circuit_breakers}.
MAX_CONNECTIONS = 1024

#: Where a host's metadata says how to speak to it, and where Istio says what a cluster is.
_SOCKET_MATCH = "envoy.transport_socket_match"
_ISTIO = "istio"

#: How many things Istio's endpoints say of themselves.
_WORKLOAD = 5

_CLUSTER_PROVIDED = "CLUSTER_PROVIDED"


def translateCluster(message: Any, path: Path, scope: Scope) -> ClusterPlan:
    """
    @return: the cluster, as far as it is without a fault.
    """
    kind = enumName(message, "type")
    filters = translateFilters(message.filters, path / "filters", scope)
    istio = message.metadata.filter_metadata.get(_ISTIO)
    external = istio is not None and structValues(istio).get("external") is True
    protocols = {
        protocol
        for one in filters
        if not (external and one.isExchange)
        for protocol in getattr(one.filter, "alpn_protocols", ())
    }
    for one in filters:
        if one.isTerminal:
            scope.faults.add(one.spec.where, f"{one.spec.name} ends a chain; a cluster's does not")
    tls, proxyProtocol = _socket(message, path, scope, protocols)
    connectTimeout = secondsOf(message, "connect_timeout", CONNECT_TIMEOUT)
    panic = message.common_lb_config
    return ClusterPlan(
        name=message.name,
        hosts=_hosts(message, kind, path, scope),
        type=kind,
        lb_policy=_policy(message, kind, path, scope),
        tls=tls,
        filters=tuple(one.spec for one in filters),
        connect_timeout=connectTimeout,
        tls_handshake_timeout=connectTimeout,
        max_connections=_maxConnections(message.circuit_breakers, path, scope),
        healthy_panic_threshold=wrapped(panic, "healthy_panic_threshold", 50.0),
        dns_refresh_rate=secondsOf(message, "dns_refresh_rate", ClusterPlan.dns_refresh_rate),
        dns_lookup_family=enumName(message, "dns_lookup_family"),
        health_checks=_healthChecks(message.health_checks, path / "health_checks", scope),
        outlier_detection=(
            _outlierDetection(message.outlier_detection, path / "outlier_detection", scope)
            if message.HasField("outlier_detection")
            else None
        ),
        transport_socket_matches=tuple(
            _socketMatch(one, place, scope, protocols)
            for one, place in zip(
                message.transport_socket_matches,
                (path / "transport_socket_matches").each(message.transport_socket_matches),
                strict=True,
            )
        ),
        proxy_protocol=proxyProtocol,
        external=external,
        service=_service({} if istio is None else structValues(istio)),
        socket_options=_socketOptions(
            message.upstream_connection_options, path / "upstream_connection_options", scope
        ),
    )


def _service(istio: Mapping[str, object]) -> ServicePlan | None:
    """
    The first of Istio's C{services}; as in Istio, what is not of this form is none.
    """
    services = istio.get("services")
    first = services[0] if isinstance(services, list) and services else None
    if not isinstance(first, Mapping):
        return None
    host, name, namespace = (
        value if isinstance(value := first.get(key), str) else ""
        for key in ("host", "name", "namespace")
    )
    return ServicePlan(host, name, namespace)


# -- hosts


def _policy(message: Any, kind: str, path: Path, scope: Scope) -> str:
    policy = enumName(message, "lb_policy")
    if (policy == _CLUSTER_PROVIDED) is not (kind == ORIGINAL_DST):
        wanted = "needs" if kind == ORIGINAL_DST else "is only for"
        types = "CLUSTER_PROVIDED" if kind == ORIGINAL_DST else "the type ORIGINAL_DST"
        scope.faults.add(
            path / "lb_policy", f"{kind if kind == ORIGINAL_DST else policy} {wanted} {types}"
        )
    return ROUND_ROBIN if policy == _CLUSTER_PROVIDED else policy


def _hosts(message: Any, kind: str, path: Path, scope: Scope) -> tuple[HostPlan, ...]:
    place = path / "load_assignment"
    if kind == ORIGINAL_DST:
        if message.HasField("load_assignment"):
            scope.faults.add(
                place, "an ORIGINAL_DST cluster has none: the connection says its host"
            )
        return ()
    names = kind in (STRICT_DNS, LOGICAL_DNS)
    hosts = []
    localities = message.load_assignment.endpoints
    for locality, within in zip(localities, (place / "endpoints").each(localities), strict=True):
        endpoints = locality.lb_endpoints
        for one, where in zip(endpoints, (within / "lb_endpoints").each(endpoints), strict=True):
            hosts.append(
                HostPlan(
                    clientEndpoint(
                        one.endpoint.address, where / "endpoint/address", scope.faults, names
                    ),
                    wrapped(one, "load_balancing_weight", 1),
                    _socketMetadata(one.metadata),
                    _workload(one.metadata),
                )
            )
    if kind == LOGICAL_DNS and len(hosts) != 1:
        scope.faults.add(place, f"a LOGICAL_DNS cluster has one host, not {len(hosts)}")
    return tuple(hosts)


def _socketMetadata(metadata: Any) -> Mapping[str, object]:
    known = metadata.filter_metadata
    return structValues(known[_SOCKET_MATCH]) if _SOCKET_MATCH in known else {}


def _workload(metadata: Any) -> Metadata | None:
    """
    Who a host is, where it does not say so itself: Istio's
    C{WORKLOAD;NAMESPACE;SERVICE;REVISION;CLUSTER}.
    """
    known = metadata.filter_metadata
    text = structValues(known[_ISTIO]).get("workload") if _ISTIO in known else None
    parts = text.split(";") if isinstance(text, str) else []
    if len(parts) < _WORKLOAD:
        return None
    workload, namespace, service, revision, cluster = parts[:_WORKLOAD]
    return Metadata(
        workload=workload, namespace=namespace, service=service, revision=revision, cluster=cluster
    )


# -- how hosts are spoken to


def _socketMatch(
    message: Any, path: Path, scope: Scope, protocols: set[str]
) -> TransportSocketMatch:
    tls, proxyProtocol = _socket(message, path, scope, protocols)
    return TransportSocketMatch(message.name, structValues(message.match), tls, proxyProtocol)


def _socket(
    message: Any, path: Path, scope: Scope, protocols: set[str]
) -> tuple[ClientTLS | None, str]:
    """
    @param message: something with a C{transport_socket}.
    @return: TLS, and the version of the PROXY header.
    """
    if not message.HasField("transport_socket"):
        return None, ""
    config, path = message.transport_socket.typed_config, path / "transport_socket/typed_config"
    name = config.TypeName()
    if name == subset.UPSTREAM_TLS:
        return clientTLS(unpack(config), path, scope, protocols), ""
    if name == subset.UPSTREAM_PROXY_PROTOCOL:
        outer = unpack(config)
        tls, inner = _socket(outer, path, scope, protocols)
        if inner:
            scope.faults.add(path / "transport_socket", "a PROXY header behind a PROXY header")
        return tls, enumName(outer.config, "version")
    if name != subset.RAW_BUFFER:
        scope.faults.add(path, f"{name} is not for a cluster")
    return None, ""


def _socketOptions(message: Any, path: Path, scope: Scope) -> tuple[SocketOption, ...]:
    if not message.HasField("tcp_keepalive"):
        return ()
    asked = message.tcp_keepalive
    names = ("keepalive_time", "keepalive_interval", "keepalive_probes")
    try:
        return keepalive(*(wrapped(asked, name, None) for name in names))
    except ValueError as error:
        scope.faults.add(path / "tcp_keepalive", str(error))
        return ()


# -- which hosts may be used


def _maxConnections(message: Any, path: Path, scope: Scope) -> int:
    place = path / "circuit_breakers/thresholds"
    if not message.thresholds:
        return MAX_CONNECTIONS
    if len(message.thresholds) > 1:
        scope.faults.add(
            place.item(1), "a second one for the same priority is not implemented by mxproxy"
        )
    threshold = message.thresholds[0]
    most: int = wrapped(threshold, "max_connections", MAX_CONNECTIONS)
    if wrapped(threshold, "max_pending_requests", most) < most:
        scope.faults.add(
            place.item(0) / "max_pending_requests",
            f"less than max_connections, {most}, is not implemented by mxproxy",
        )
    return most


def _healthChecks(messages: Any, path: Path, scope: Scope) -> tuple[HealthCheckPlan, ...]:
    found = []
    for message, place in zip(messages, path.each(messages), strict=True):
        check, inside = message.tcp_health_check, place / "tcp_health_check"
        interval = secondsOf(message, "interval", 0.0)
        found.append(
            HealthCheckPlan(
                timeout=secondsOf(message, "timeout", 0.0),
                interval=interval,
                unhealthy_threshold=message.unhealthy_threshold.value,
                healthy_threshold=message.healthy_threshold.value,
                send=_payload(check.send, inside / "send", scope),
                receive=tuple(
                    _payload(one, where, scope)
                    for one, where in zip(
                        check.receive, (inside / "receive").each(check.receive), strict=True
                    )
                ),
                unhealthy_interval=secondsOf(message, "unhealthy_interval", 0.0) or None,
                no_traffic_interval=secondsOf(
                    message, "no_traffic_interval", HealthCheckPlan.no_traffic_interval
                ),
            )
        )
    return tuple(found)


def _payload(message: Any, path: Path, scope: Scope) -> bytes:
    if message.WhichOneof("payload") != "text":
        return bytes(message.binary)
    try:
        return bytes.fromhex(message.text)
    except ValueError:
        scope.faults.add(path / "text", f"{message.text!r} is not hexadecimal")
        return b""


def _outlierDetection(message: Any, path: Path, scope: Scope) -> OutlierDetectionPlan:
    split = message.split_external_local_origin_errors
    # On TCP all that is seen is whether a connection can be made; which counter that goes to
    # is what "split" says.
    counter = "consecutive_local_origin_failure" if split else "consecutive_5xx"
    default = OutlierDetectionPlan
    return OutlierDetectionPlan(
        consecutive_local_origin_failure=wrapped(
            message, counter, default.consecutive_local_origin_failure
        ),
        interval=secondsOf(message, "interval", default.interval),
        base_ejection_time=secondsOf(message, "base_ejection_time", default.base_ejection_time),
        max_ejection_time=_maxEjectionTime(message),
        max_ejection_percent=wrapped(message, "max_ejection_percent", default.max_ejection_percent),
        always_eject_one_host=wrapped(message, "always_eject_one_host", False),
    )


def _maxEjectionTime(message: Any) -> float:
    # Envoy: 300 s, or the base ejection time if that is longer.
    base = secondsOf(message, "base_ejection_time", OutlierDetectionPlan.base_ejection_time)
    return secondsOf(
        message, "max_ejection_time", max(OutlierDetectionPlan.max_ejection_time, base)
    )
