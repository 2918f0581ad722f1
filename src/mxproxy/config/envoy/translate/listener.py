"""
Listeners: Envoy's C{listener.v3.Listener}, with its filter chains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ....filters.tls_inspector import TLSInspector
from ....socketoptions import SocketOption, numbered
from ....tls.settings import ServerTLS
from ...descriptions import BACKLOG
from ...plan import TLS_INSPECTOR, FilterChainPlan, FilterSpec, ListenerPlan
from .. import subset
from ..faults import Path
from ..registry import unpack
from .access_log import translateAccessLogs
from .address import describe, serverEndpoint
from .filters import checkTerminal, translateFilters
from .match import checkAmbiguity, needsTLSInspector, translateMatch
from .scope import Scope, enumName, secondsOf, wrapped
from .tls import serverTLS

#: Envoy's C{listener_filters_timeout}.
LISTENER_FILTERS_TIMEOUT = 15.0

#: Envoy has none; a client that does not finish its handshake is not waited for for ever.
TLS_HANDSHAKE_TIMEOUT = 10.0


def translateListener(message: Any, path: Path, scope: Scope) -> ListenerPlan:
    """
    @return: the listener, as far as it is without a fault.
    """
    backlog = wrapped(message, "tcp_backlog_size", BACKLOG)
    endpoint = serverEndpoint(message.address, path / "address", scope.faults, backlog)
    places = list((path / "filter_chains").each(message.filter_chains))
    if not places and not message.HasField("default_filter_chain"):
        scope.faults.add(path / "filter_chains", "is required: there is no filter chain")
    before = len(scope.faults)
    matches = [
        translateMatch(chain.filter_chain_match, place / "filter_chain_match", scope.faults)
        for chain, place in zip(message.filter_chains, places, strict=True)
    ]
    if len(scope.faults) == before:
        # What is wrong is left out of its match, which then may be like another.
        checkAmbiguity(matches, path / "filter_chains", scope.faults)
    chains = [
        replace(_chain(chain, place, scope, f"filter_chains[{index}]"), match=matches[index])
        for index, (chain, place) in enumerate(zip(message.filter_chains, places, strict=True))
    ]
    default = None
    if message.HasField("default_filter_chain"):
        place = path / "default_filter_chain"
        default = _chain(message.default_filter_chain, place, scope, "default_filter_chain")
        if message.default_filter_chain.HasField("filter_chain_match"):
            scope.faults.add(
                place / "filter_chain_match", "not implemented by mxproxy: it has no effect"
            )
    return ListenerPlan(
        name=message.name or describe(message.address),
        endpoint=endpoint,
        chains=tuple(chains),
        default_filter_chain=default,
        listener_filters=_listenerFilters(message, path / "listener_filters", chains, scope),
        listener_filters_timeout=secondsOf(
            message, "listener_filters_timeout", LISTENER_FILTERS_TIMEOUT
        ),
        continue_on_listener_filters_timeout=message.continue_on_listener_filters_timeout,
        use_original_dst=wrapped(message, "use_original_dst", False),
        access_logs=translateAccessLogs(message.access_log, path / "access_log", scope.faults),
        traffic_direction=_direction(message),
        per_connection_buffer_limit=wrapped(message, "per_connection_buffer_limit_bytes", None),
        socket_options=tuple(_socketOptions(message, path / "socket_options", scope)),
    )


def _socketOptions(message: Any, path: Path, scope: Scope) -> Iterator[SocketOption]:
    places = path.each(message.socket_options)
    for one, place in zip(message.socket_options, places, strict=True):
        try:
            yield numbered(one.level, one.name, one.int_value)
        except ValueError as error:
            scope.faults.add(place, str(error))


def _direction(message: Any) -> str:
    direction = enumName(message, "traffic_direction")
    return "" if direction == "UNSPECIFIED" else direction


def _listenerFilters(
    message: Any, path: Path, chains: list[FilterChainPlan], scope: Scope
) -> tuple[FilterSpec, ...]:
    filters = [one.spec for one in translateFilters(message.listener_filters, path, scope)]
    inspected = any(
        one.typed_config.TypeName() == subset.TLS_INSPECTOR for one in message.listener_filters
    )
    if not inspected and any(needsTLSInspector(chain.match) for chain in chains):
        # Envoy does so, and says so in a warning.
        filters.append(FilterSpec(TLS_INSPECTOR, where=path, settings=TLSInspector()))
    return tuple(filters)


def _chain(message: Any, path: Path, scope: Scope, name: str) -> FilterChainPlan:
    filters = translateFilters(message.filters, path / "filters", scope)
    if not message.filters:
        scope.faults.add(
            path / "filters", "a filter chain without filters is not implemented by mxproxy"
        )
    elif len(filters) == len(message.filters):
        checkTerminal(filters, path / "filters", scope)
    protocols = {
        protocol for one in filters for protocol in getattr(one.filter, "alpn_protocols", ())
    }
    tls = None
    if message.HasField("transport_socket"):
        tls = _socket(message.transport_socket, path / "transport_socket", scope, protocols)
    return FilterChainPlan(
        name=message.name or name,
        filters=tuple(one.spec for one in filters),
        tls=tls,
        # Envoy's 0 is for ever, and so is its default.
        tls_handshake_timeout=secondsOf(message, "transport_socket_connect_timeout", 0.0)
        or TLS_HANDSHAKE_TIMEOUT,
    )


def _socket(message: Any, path: Path, scope: Scope, protocols: set[str]) -> ServerTLS | None:
    name = message.typed_config.TypeName()
    if name == subset.DOWNSTREAM_TLS:
        return serverTLS(unpack(message.typed_config), path / "typed_config", scope, protocols)
    if name != subset.RAW_BUFFER:
        scope.faults.add(path / "typed_config", f"{name} is not for a listener")
    return None
