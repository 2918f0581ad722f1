"""
What a host behind us is told of the downstream's addresses: which PROXY header.

The formats are L{mxproxy.wire.proxyprotocol}; here it is decided what goes into them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address

from ..connection import Peer
from ..wire.proxyprotocol import Command, ProxyHeader, encodeV1, encodeV2

_VERSIONS = {"V1": (1, encodeV1), "V2": (2, encodeV2)}


def proxyHeader(version: str, downstream: Peer, transport: Any) -> bytes:
    """
    As Envoy 1.40 does: the downstream's source and destination; for a health check, which has
    no downstream, version 2 says C{LOCAL} and version 1 the connection's own two addresses.
    Of what is no IP address, or not a pair of one family, nothing is said.

    @param version: C{"V1"} or C{"V2"}.
    @param transport: the connection to the host.
    """
    number, encode = _VERSIONS[version]
    source, destination = downstream.address, downstream.local_address
    if downstream.original_destination is not None:
        destination = downstream.original_destination
    if source is None and number == 1:
        source, destination = transport.getHost(), transport.getPeer()
    nothing = encode(ProxyHeader(number, Command.LOCAL))
    pair = _address(source), _address(destination)
    if pair[0] is None or pair[1] is None:
        return nothing
    try:
        return encode(ProxyHeader(number, Command.PROXY, *pair))
    except ValueError:
        return nothing


def _address(address: object) -> tuple[str, int] | None:
    if isinstance(address, (IPv4Address, IPv6Address)):
        return address.host, address.port
    return None
