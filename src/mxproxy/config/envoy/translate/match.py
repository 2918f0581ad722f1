"""
Filter chain match: Envoy's C{listener.v3.FilterChainMatch}.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from ....matching import AmbiguousMatch, Matcher
from ...plan import FilterChainMatch
from ..faults import Faults, Path
from .scope import enumName, wrapped

_ANY_SOURCE = "ANY"


def translateMatch(message: Any, path: Path, faults: Faults) -> FilterChainMatch:
    """
    @return: the same, in plain values.
    """

    def networks(name: str) -> tuple[str, ...]:
        ranges = getattr(message, name)
        found = (
            _network(one, place, faults)
            for one, place in zip(ranges, (path / name).each(ranges), strict=True)
        )
        return tuple(filter(None, found))

    for name, place in zip(
        message.server_names, (path / "server_names").each(message.server_names), strict=True
    ):
        if "*" in name.removeprefix("*."):
            faults.add(place, f"{name!r}: a wildcard is the whole first label, as in *.example.com")
    source = enumName(message, "source_type")
    return FilterChainMatch(
        destination_port=wrapped(message, "destination_port", None),
        prefix_ranges=networks("prefix_ranges"),
        server_names=tuple(message.server_names),
        transport_protocol=message.transport_protocol,
        application_protocols=tuple(message.application_protocols),
        direct_source_prefix_ranges=networks("direct_source_prefix_ranges"),
        source_type="" if source == _ANY_SOURCE else source,
        source_prefix_ranges=networks("source_prefix_ranges"),
        source_ports=tuple(message.source_ports),
    )


def _network(message: Any, path: Path, faults: Faults) -> str:
    try:
        address = ip_address(message.address_prefix)
    except ValueError:
        faults.add(path / "address_prefix", f"{message.address_prefix!r} is no IP address")
        return ""
    length = wrapped(message, "prefix_len", 0)
    if length > address.max_prefixlen:
        faults.add(path / "prefix_len", f"{length} is more than {address.max_prefixlen}")
        return ""
    return str(ip_network((address, length), strict=False))


def checkAmbiguity(matches: Sequence[FilterChainMatch], path: Path, faults: Faults) -> None:
    """
    Two chains may not take the same connections.

    @param path: of the list of filter chains.
    """
    try:
        Matcher([(match, None) for match in matches])
    except AmbiguousMatch as error:
        faults.add(path.item(error.second) / "filter_chain_match", str(error))


def needsTLSInspector(match: FilterChainMatch) -> bool:
    """
    Whether Envoy adds a TLS inspector for this match where the file has none
    (C{ListenerImpl::buildFilterChains}: "trying to inject it").
    """
    return match.transport_protocol == "tls" or (
        not match.transport_protocol and bool(match.server_names or match.application_protocols)
    )
