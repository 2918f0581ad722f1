"""
A connection as a span: from its being accepted to its end.

The span is made when the connection is closed, with the times that are known by then; an open one
costs nothing.  Attribute names are those of the semantic conventions
(U{https://opentelemetry.io/docs/specs/semconv/registry/attributes/}) where they have one: C{client.*}
is the downstream, C{server.*} the upstream's host, C{tls.*} the side that speaks TLS (the downstream,
if both do).  The others begin with C{mxproxy.}.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from ...connection import Connection, Peer
from ...interfaces import IConnectionObserver
from ...wire.metadata import Metadata
from ...wire.peerstate import PeerState
from ..access_log import PRINCIPAL_LIMIT, TEXT_LIMIT, formatAddress
from ..flags import responseFlags

Value = str | int | bool

#: Of a peer's metadata, what says which workload it is.
_FIELDS: Final = ("workload", "namespace", "type", "name", "cluster", "service", "revision")
_NANOSECONDS: Final = 1_000_000_000


@implementer(IConnectionObserver)
class ConnectionSpans:
    """
    Makes the spans.

    @ivar tracer: the SDK's; C{None} while nothing is exported.
    """

    def __init__(self, wallClock: Callable[[], float] = time.time) -> None:
        """
        @param wallClock: seconds since the epoch.
        """
        self.tracer: Tracer | None = None
        self._wallClock = wallClock
        # When those that are open were identified and connected.
        self._events: dict[str, list[tuple[str, float]]] = {}

    def opened(self, connection: Connection) -> None:
        """See L{IConnectionObserver.opened}."""
        self._events[connection.id] = []

    def identified(self, connection: Connection, peer: Peer) -> None:
        """See L{IConnectionObserver.identified}."""
        self._note(connection, f"{peer.side} identified")

    def connected(self, connection: Connection) -> None:
        """See L{IConnectionObserver.connected}."""
        self._note(connection, "connected")

    def _note(self, connection: Connection, what: str) -> None:
        events = self._events.get(connection.id)
        if events is not None:
            events.append((what, self._wallClock()))

    def closed(self, connection: Connection) -> None:
        """See L{IConnectionObserver.closed}."""
        events = self._events.pop(connection.id, [])
        if self.tracer is None:
            return
        span = self.tracer.start_span(
            f"tcp {connection.listener}",
            kind=kindOf(connection),
            attributes=dict(attributesOf(connection)),
            start_time=_time(connection.started),
        )
        for name, moment in events:
            span.add_event(name, timestamp=_time(moment))
        if responseFlags(connection):
            span.set_status(Status(StatusCode.ERROR, connection.close_reason[:TEXT_LIMIT]))
        span.end(_time(connection.started + connection.duration))


def _time(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)


def kindOf(connection: Connection) -> SpanKind:
    """
    Whether it stands before a server (it exchanges metadata with its clients), before a client,
    or before nobody of the mesh.
    """
    if connection.downstream.peer_state is not PeerState.DISABLED:
        return SpanKind.SERVER
    if connection.upstream.peer_state is not PeerState.DISABLED:
        return SpanKind.CLIENT
    return SpanKind.INTERNAL


def attributesOf(connection: Connection) -> Iterator[tuple[str, Value]]:
    """
    What is known of it; a peer's texts are bounded.
    """
    downstream, upstream = connection.downstream, connection.upstream
    unix = isinstance(downstream.local_address, UNIXAddress)
    yield "network.transport", "unix" if unix else "tcp"
    yield from _address("client", downstream.address)
    yield from _address("network.local", downstream.local_address)
    yield from _address("server", upstream.address)
    yield "mxproxy.connection.id", connection.id
    yield "mxproxy.listener", connection.listener
    if connection.filter_chain:
        yield "mxproxy.filter_chain", connection.filter_chain
    if connection.cluster:
        yield "mxproxy.cluster", connection.cluster
    yield "mxproxy.bytes_received", downstream.bytes_received
    yield "mxproxy.bytes_sent", downstream.bytes_sent
    yield "mxproxy.close_reason", _text(connection.close_reason)
    flags = ",".join(flag.short for flag in responseFlags(connection))
    if flags:
        yield "mxproxy.response_flags", flags
    yield from _tls(next((peer for peer in (downstream, upstream) if peer.tls_version), None))
    for peer in downstream, upstream:
        yield from _peer(peer)


def _address(prefix: str, address: IAddress | None) -> Iterator[tuple[str, Value]]:
    name = formatAddress(address)
    if name is not None:
        # Those of IP have a host and a port, and no common base.
        yield f"{prefix}.address", getattr(address, "host", name)
    port = getattr(address, "port", None)
    if port is not None:
        yield f"{prefix}.port", port


def _tls(peer: Peer | None) -> Iterator[tuple[str, Value]]:
    if peer is None or peer.tls_version is None:
        return
    yield "tls.protocol.name", "tls"
    yield "tls.protocol.version", peer.tls_version.removeprefix("TLSv")
    yield "tls.established", True
    if peer.tls_cipher:
        yield "tls.cipher", peer.tls_cipher
    if peer.alpn:
        yield "tls.next_protocol", _text(peer.alpn)
    if peer.server_name:
        yield "tls.client.server_name", _text(peer.server_name)


def _peer(peer: Peer) -> Iterator[tuple[str, Value]]:
    where = f"mxproxy.{peer.side}"
    yield f"{where}.peer_state", peer.peer_state.value
    if peer.principals:
        yield f"{where}.principal", _text(peer.principals[0], PRINCIPAL_LIMIT)
    if not isinstance(peer.metadata, Metadata):
        return
    for name in _FIELDS:
        value = getattr(peer.metadata, name)
        if value:
            yield f"{where}.{name}", _text(value)


def _text(text: str, limit: int = TEXT_LIMIT) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
