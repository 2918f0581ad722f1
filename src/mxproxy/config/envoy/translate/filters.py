"""
Filters: the messages of network filters and listener filters as filters' settings.

Each message has one function here; mxproxy's plugins, whose options are a
C{google.protobuf.Struct}, are found by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....filters.connection_limit import ConnectionLimit
from ....filters.direct_response import DirectResponse
from ....filters.echo import Echo
from ....filters.http_inspector import HTTPInspector
from ....filters.local_ratelimit import LocalRateLimit
from ....filters.metadata_exchange import EAGER, REPLY, MetadataExchange
from ....filters.original_dst import OriginalDst
from ....filters.proxy_protocol import ProxyProtocol
from ....filters.sni_cluster import SNICluster
from ....filters.tcp_proxy import TCPProxy
from ....filters.tls_inspector import TLSInspector
from ....interfaces import ITerminal
from ....plugins import UnknownFilter, findFilter
from ....timeouts import IDLE, Timeouts
from ....wire.exchange import ALPN, DEFAULT_MAX_SIZE, Hold
from ...plan import MAGLEV, RING_HASH, FilterSpec
from .. import subset
from ..faults import Path
from ..registry import messageClass, unpack
from .access_log import translateAccessLogs
from .scope import Scope, enumName, secondsOf, sourceBytes, structValues, wrapped

# core.v3.ProxyProtocolConfig.Version
_PROXY_VERSIONS = {0: 1, 1: 2}

#: Envoy's C{local_ratelimit} has no faster one.
SHORTEST_FILL_INTERVAL = 0.05


@dataclass(frozen=True)
class Translated:
    """
    A filter of the file.

    @ivar filter: configured.
    """

    spec: FilterSpec
    filter: object

    @property
    def isTerminal(self) -> bool:
        """
        Whether it ends a chain.
        """
        return ITerminal.providedBy(self.filter)

    @property
    def isExchange(self) -> bool:
        """
        Whether it exchanges metadata.
        """
        return bool(getattr(self.filter, "exchanges_metadata", False))


def translateFilters(messages: Sequence[Any], path: Path, scope: Scope) -> list[Translated]:
    """
    @param messages: of network filters, of a cluster's, or of listener filters.
    @return: those without a fault.
    """
    found = []
    for message, place in zip(messages, path.each(messages), strict=True):
        config = message.typed_config
        inside = place / "typed_config"
        if config.TypeName() == subset.STRUCT:
            plugin = _plugin(message.name, unpack(config), place, scope)
            if plugin is not None:
                found.append(plugin)
        else:
            settings = _SETTINGS[config.TypeName()](unpack(config), inside, scope)
            spec = FilterSpec(message.name, where=place, settings=settings)
            found.append(Translated(spec, settings))
    return found


def checkTerminal(filters: Sequence[Translated], path: Path, scope: Scope) -> None:
    """
    The last one ends the chain, and none before it does.

    @param path: of the list.
    """
    for one in filters[:-1]:
        if one.isTerminal:
            scope.faults.add(
                one.spec.where, f"{one.spec.name} ends a chain, but is not its last filter"
            )
    if not filters[-1].isTerminal:
        scope.faults.add(
            filters[-1].spec.where, f"{filters[-1].spec.name} does not end a chain, but is its last"
        )


# -- plugins


def _plugin(name: str, options: Any, path: Path, scope: Scope) -> Translated | None:
    texts = {
        key: _optionText(value, path / "typed_config" / "value" / key, scope)
        for key, value in structValues(options).items()
    }
    try:
        filter = findFilter(name).configure(texts)
    except UnknownFilter as error:
        scope.faults.add(path / "name", str(error))
        return None
    except ValueError as error:
        scope.faults.add(path / "typed_config", str(error))
        return None
    return Translated(FilterSpec(name, texts, path), filter)


def _optionText(value: object, path: Path, scope: Scope) -> str:
    """
    An option's value as C{--filter NAME:key=value} would have it.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ",".join(_optionText(item, path, scope) for item in value)
    scope.faults.add(path, "an option is a text, a number, a truth value or a list of them")
    return ""


# -- Envoy's own


def _tcpProxy(message: Any, path: Path, scope: Scope) -> TCPProxy:
    weighted = [(one.name, one.weight) for one in message.weighted_clusters.clusters]
    places = (path / "weighted_clusters/clusters").each(weighted)
    named = [(name, place / "name") for (name, _), place in zip(weighted, places, strict=True)]
    for name, place in named or [(message.cluster, path / "cluster")]:
        if name not in scope.clusters:
            known = ", ".join(scope.clusters) or "none"
            scope.faults.add(place, f"there is no cluster {name!r}; there is: {known}")
        elif scope.clusters[name] in (RING_HASH, MAGLEV) and not message.hash_policy:
            scope.faults.add(
                path / "hash_policy",
                f"without it, {scope.clusters[name]} of the cluster {name!r} is not implemented "
                "by mxproxy: add [{source_ip: {}}]",
            )
    options = message.access_log_options
    logs = translateAccessLogs(
        message.access_log,
        path / "access_log",
        scope.faults,
        options.flush_access_log_on_connected,
        secondsOf(options, "access_log_flush_interval", 0.0),
    )
    return TCPProxy(
        message.cluster,
        wrapped(message, "max_connect_attempts", 1),
        tuple(weighted),
        Timeouts(
            secondsOf(message, "idle_timeout", IDLE),
            duration=secondsOf(message, "max_downstream_connection_duration", 0.0),
            duration_jitter=(message.max_downstream_connection_duration_jitter_percentage.value),
        ),
        access_logs=logs,
    )


def _directResponse(message: Any, path: Path, scope: Scope) -> DirectResponse:
    if not message.HasField("response"):
        return DirectResponse()
    return DirectResponse(sourceBytes(message.response, path / "response", scope.faults) or b"")


def _connectionLimit(message: Any, path: Path, scope: Scope) -> ConnectionLimit:
    return ConnectionLimit(message.max_connections.value, secondsOf(message, "delay", 0.0))


def _localRateLimit(message: Any, path: Path, scope: Scope) -> LocalRateLimit:
    bucket = message.token_bucket
    interval = secondsOf(bucket, "fill_interval", 0.0)
    if interval < SHORTEST_FILL_INTERVAL:
        scope.faults.add(
            path / "token_bucket/fill_interval", f"has to be at least {SHORTEST_FILL_INTERVAL:g}s"
        )
    return LocalRateLimit(
        bucket.max_tokens, wrapped(bucket, "tokens_per_fill", 1), interval, message.stat_prefix
    )


def _istioExchange(message: Any, path: Path, scope: Scope) -> MetadataExchange:
    return MetadataExchange(
        protocol=message.protocol, additional_labels=tuple(message.additional_labels)
    )


def _exchange(message: Any, path: Path, scope: Scope) -> MetadataExchange:
    timeout = secondsOf(message, "timeout", MetadataExchange.timeout)
    if not timeout:
        scope.faults.add(path / "timeout", "has to be above 0s")
    size = wrapped(message, "max_size", DEFAULT_MAX_SIZE)
    if not size:
        scope.faults.add(path / "max_size", "has to be above 0")
    return MetadataExchange(
        protocol=message.protocol or ALPN,
        timeout=timeout,
        max_size=size,
        opening={"REPLY": REPLY, "EAGER": EAGER}[enumName(message, "opening")],
        hold={"BOTH": Hold.BOTH, "READ": Hold.READ}[enumName(message, "hold")],
        additional_labels=tuple(message.additional_labels),
    )


def _proxyProtocol(message: Any, path: Path, scope: Scope) -> ProxyProtocol:
    return ProxyProtocol(
        message.allow_requests_without_proxy_protocol,
        tuple(_PROXY_VERSIONS[version] for version in message.disallowed_versions),
    )


_SETTINGS: Mapping[str, Callable[[Any, Path, Scope], object]] = {
    subset.TCP_PROXY: _tcpProxy,
    subset.DIRECT_RESPONSE: _directResponse,
    subset.ECHO: lambda *_: Echo(),
    subset.CONNECTION_LIMIT: _connectionLimit,
    subset.LOCAL_RATE_LIMIT: _localRateLimit,
    subset.SNI_CLUSTER: lambda *_: SNICluster(),
    subset.ISTIO_METADATA_EXCHANGE: _istioExchange,
    subset.METADATA_EXCHANGE: _exchange,
    subset.TLS_INSPECTOR: lambda *_: TLSInspector(),
    subset.HTTP_INSPECTOR: lambda *_: HTTPInspector(),
    subset.PROXY_PROTOCOL: _proxyProtocol,
    subset.ORIGINAL_DST: lambda *_: OriginalDst(),
}


def exchangeProtocols(messages: Sequence[Any]) -> set[str]:
    """
    The ALPN names that stand for the exchanges among these filters.
    """
    names = (subset.ISTIO_METADATA_EXCHANGE, subset.METADATA_EXCHANGE)
    return {
        messageClass(config.TypeName()).FromString(config.value).protocol or ALPN
        for config in (message.typed_config for message in messages)
        if config.TypeName() in names
    }
