"""
Envoy's counters of listeners, clusters and TLS, from what is known of a connection.

Which names a handshake or an ending counts belongs here; when there was one does not
(L{mxproxy.observe.telemetry}).  What they mean is declared in L{mxproxy.observe.stats}.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..connection import Connection, Peer
from ..tls.explain import failureCounter

#: What the first word of a downstream's close reason counts, beside TLS.
_LISTENER = {
    "no_filter_chain": "no_filter_chain_match",
    "listener_filters_timeout": "downstream_pre_cx_timeout",
    "inspection_timeout": "downstream_pre_cx_timeout",
    "handshake_timeout": "downstream_cx_transport_socket_connect_timeout",
}


def listenerPrefix(address: str) -> str:
    """
    What the names of a listener's counters begin with.

    @param address: C{ip:port}; Envoy has an underscore for each colon.
    """
    return f"listener.{address.replace(':', '_')}"


def clusterPrefix(cluster: str) -> str:
    """
    What the names of a cluster's counters begin with.
    """
    return f"cluster.{cluster}"


def handshake(peer: Peer, where: str) -> Iterator[str]:
    """
    A TLS handshake has succeeded.

    @param where: the listener's or the cluster's prefix.
    """
    yield f"{where}.ssl.handshake"
    yield f"{where}.ssl.versions.{peer.tls_version}"
    if peer.tls_cipher:
        yield f"{where}.ssl.ciphers.{peer.tls_cipher}"
    if peer.session_reused:
        yield f"{where}.ssl.session_reused"
    if not peer.principals and peer.certificate is None:
        yield f"{where}.ssl.no_certificate"


def endings(connection: Connection, where: str) -> Iterator[str]:
    """
    A connection has ended.  (What has failed at an upstream is the cluster's to count: there may
    have been several hosts.)

    @param where: the listener's prefix.
    """
    yield f"{where}.downstream_cx_destroy"
    peer = connection.downstream
    reason = _LISTENER.get(peer.close_reason.partition(":")[0])
    if reason is not None:
        yield f"{where}.{reason}"
    if peer.tls_version is None:
        failed = failureCounter(peer.close_reason)
        if failed is not None:
            yield f"{where}.ssl.{failed}"
