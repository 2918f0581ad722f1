"""
The states that a connection's peer can be in: one list, for logs, metrics and code.

Only the names belong here.  What leads to which is decided by the transition table in
L{mxproxy.wire.exchange}, and by the layer for the two that need TLS or a configuration to be
known (C{alpn_mismatch}, C{disabled}).
"""

from __future__ import annotations

import enum


class PeerState(str, enum.Enum):
    """
    What is known of the peer.

    A connection is in exactly one of these: pending, and then found or absent for one reason.
    The values are what the access log writes as C{peer_state} and what metrics use as a label.

    @cvar PENDING: the exchange goes on; not yet known is not unknown.
    @cvar FOUND: the peer's prefix was read and understood.
    @cvar ALPN_MISMATCH: TLS did not negotiate the exchange, so nobody sent a prefix.
    @cvar BAD_MAGIC: the stream does not begin as a prefix does.
    @cvar CLOSED: the stream ended before a whole prefix had come.
    @cvar TOO_LARGE: the announced length is over the cap; the connection is aborted.
    @cvar MALFORMED: the payload is not an Any that holds a Struct.
    @cvar TIMEOUT: no whole prefix had come when the time was up.
    @cvar DISABLED: no exchange is configured on this side.
    """

    PENDING = "pending"
    FOUND = "found"
    ALPN_MISMATCH = "alpn_mismatch"
    BAD_MAGIC = "bad_magic"
    CLOSED = "closed"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    TIMEOUT = "timeout"
    DISABLED = "disabled"

    def __str__(self) -> str:
        # Formatting a str mixed into an Enum gives the value on Python 3.10 and 3.11 and the
        # member's name from 3.12 on (python/cpython#100458); this is the value on all of them.
        return self.value
