"""
The access log: two lines of JSON for each connection, C{connected} when its peers are known
and C{closed} at its end.

The keys and their order are a contract with whoever reads them.  What is not known is null:
an empty text of a peer's too.  How lines get into the file is L{mxproxy.observe.writer}; lines
of another form are L{mxproxy.observe.formatted}.

Names, labels, server names and the like are what a peer says of itself.  They are bounded,
and escaped to ASCII, so that a line is one line and harmless on a terminal, whatever a peer
sends.  A text that was cut ends in an ellipsis.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import datetime, timezone

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from ..connection import Connection, Peer
from ..interfaces import IConnectionObserver
from ..wire.metadata import Metadata
from .writer import Writer

#: The longest text of a peer's that is written, in characters.  DNS names, Kubernetes' names
#: and ALPN's names end at 253 to 255; a sidecar's node id holds two of them.
TEXT_LIMIT = 512

#: The same for a principal: a SPIFFE ID has at most 2048 bytes (SPIFFE-ID, section 2.3).
PRINCIPAL_LIMIT = 2048

#: How many offered protocols are written; browsers offer three, sidecars two.
OFFERED_LIMIT = 16

_ELLIPSIS = "…"


@implementer(IConnectionObserver)
class AccessLog:
    """
    Makes the lines.
    """

    def __init__(self, writer: Writer, wallClock: Callable[[], float] = time.time) -> None:
        """
        @param writer: where they go.
        @param wallClock: seconds since the epoch.
        """
        self._writer = writer
        self._wallClock = wallClock

    def opened(self, connection: Connection) -> None:
        """Nothing to write yet."""

    def identified(self, connection: Connection, peer: Peer) -> None:
        """Nothing to write yet."""

    def connected(self, connection: Connection) -> None:
        """See L{IConnectionObserver.connected}."""
        self._write("connected", connection)

    def closed(self, connection: Connection) -> None:
        """See L{IConnectionObserver.closed}."""
        self._write("closed", connection)

    def _write(self, event: str, connection: Connection) -> None:
        self._writer.write(_line(describe(event, connection, self._wallClock())))


def describeLoss(lines: int, now: float) -> bytes:
    """
    The line at the place of lines that are missing.

    @param now: seconds since the epoch.
    """
    return _line({"event": "dropped", "time": formatTime(now), "lines": lines})


def describe(event: str, connection: Connection, now: float) -> dict[str, object]:
    """
    A line's contents.

    @param now: seconds since the epoch.
    """
    return {
        "event": event,
        "time": formatTime(now),
        "connection": connection.id,
        "listener": connection.listener,
        "filter_chain": connection.filter_chain or None,
        "downstream": _describePeer(connection.downstream),
        "upstream": _describePeer(connection.upstream),
        "duration_ms": round(connection.duration * 1000),
        "trail": list(connection.trail),
        "close_reason": _text(connection.close_reason),
    }


def _describePeer(peer: Peer) -> dict[str, object]:
    return {
        "address": formatAddress(peer.address),
        "local_address": formatAddress(peer.local_address),
        "tls_version": peer.tls_version,
        "server_name": _text(peer.server_name),
        "alpn": _text(peer.alpn),
        "principal": _text(peer.principals[0], PRINCIPAL_LIMIT) if peer.principals else None,
        "peer_state": peer.peer_state.value,
        "peer": _describeMetadata(peer.metadata) if isinstance(peer.metadata, Metadata) else None,
        "bytes_received": peer.bytes_received,
        "bytes_sent": peer.bytes_sent,
        # What a filter chain is picked by, known of TLS that is passed through, too.
        "transport_protocol": peer.transport_protocol,
        "alpn_offered": [_text(name) for name in peer.alpn_offered[:OFFERED_LIMIT]],
    }


def _describeMetadata(metadata: Metadata) -> dict[str, object]:
    return {
        "name": _text(metadata.name),
        "namespace": _text(metadata.namespace),
        "workload": _text(metadata.workload),
        "type": _text(metadata.type),
        "cluster": _text(metadata.cluster),
        "service": _text(metadata.service),
        "revision": _text(metadata.revision),
        "app": _text(metadata.app),
        "version": _text(metadata.version),
        # How many there can be, and their names, is our own configuration's choice.
        "labels": {name: _text(value) for name, value in metadata.labels.items()},
        "id": _text(metadata.id),
    }


def formatAddress(address: IAddress | None) -> str | None:
    """
    C{"ip:port"}, C{"[ip]:port"}, C{"unix:/path"} (C{"unix:@name"} in the abstract namespace,
    C{"unix:"} for a socket without a name), or C{None}.
    """
    if address is None:
        return None
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, UNIXAddress):
        name = os.fsdecode(address.name or b"")
        return f"unix:@{name[1:]}" if name.startswith("\0") else f"unix:{name}"
    return _text(str(address))


def _text(text: str | None, limit: int = TEXT_LIMIT) -> str | None:
    if not text:
        return None
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS


def formatTime(seconds: float) -> str:
    """RFC 3339, UTC, milliseconds."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(contents: dict[str, object]) -> bytes:
    # Escaped to ASCII by json itself: no line separators, no control characters, no
    # surrogates that could not be encoded.
    return json.dumps(contents).encode("ascii") + b"\n"
