"""
Response flags and the like: Envoy's words for how a connection ended.

The one place where they are derived, from the tokens that close reasons begin with and from how
many hosts were tried.  Which flag Envoy sets when was seen by running it (1.40): on TCP it never
says C{DC} or C{UC}, and a connection limit or an idle timeout has no flag.
"""

from __future__ import annotations

from typing import NamedTuple

from ..connection import Connection, Peer


class Flag(NamedTuple):
    """
    @ivar short: as in C{%RESPONSE_FLAGS%}.
    @ivar long: as in C{%RESPONSE_FLAGS_LONG%}.
    """

    short: str
    long: str


NO_HEALTHY_UPSTREAM = Flag("UH", "NoHealthyUpstream")
CONNECTION_FAILURE = Flag("UF", "UpstreamConnectionFailure")
REMOTE_RESET = Flag("UR", "UpstreamRemoteReset")
OVERFLOW = Flag("UO", "UpstreamOverflow")
RETRY_LIMIT = Flag("URX", "UpstreamRetryLimitExceeded")
NO_ROUTE = Flag("NR", "NoRouteFound")
NO_CLUSTER = Flag("NC", "NoClusterFound")
DURATION_TIMEOUT = Flag("DT", "DurationTimeout")

#: What Envoy says of a connection that the listener or a filter has refused.
_BY_TOKEN = {
    ("downstream", "no_filter_chain"): NO_ROUTE,
    ("downstream", "local_ratelimit"): RETRY_LIMIT,
    ("proxy", "max_connection_duration"): DURATION_TIMEOUT,
}

#: Why there was no other attempt; whatever else it was, the attempts were used up.
_NO_ATTEMPT = {
    "no_cluster": NO_CLUSTER,
    "no_healthy_upstream": NO_HEALTHY_UPSTREAM,
    "overflow": OVERFLOW,
}

#: Envoy's C{%RESPONSE_CODE_DETAILS%}, which TCP connections seldom have.
_DETAILS = {
    "no_filter_chain": "filter_chain_not_found",
    "direct_response": "direct_response",
}

#: The first words of L{mxproxy.tls.explain}, and C{handshake_timeout}.
TRANSPORT_FAILURES = frozenset(
    {
        "alert_received",
        "certificate_expired",
        "certificate_not_yet_valid",
        "certificate_purpose",
        "certificate_rejected",
        "certificate_revoked",
        "handshake_timeout",
        "identity_mismatch",
        "malformed_certificate",
        "no_client_certificate",
        "no_shared_algorithm",
        "no_shared_cipher",
        "not_tls",
        "protocol_error",
        "protocol_version",
        "tls_error",
        "unknown_ca",
    }
)

#: How an attempt ends that nobody can be blamed for.
_GIVEN_UP = ("", "aborted", "cancelled")


def responseFlags(connection: Connection) -> list[Flag]:
    """
    What Envoy would say of a connection, in the order in which it would have noticed.
    """
    flags = [CONNECTION_FAILURE] if _failedAttempt(connection) else []
    who, _, what = connection.close_reason.partition(": ")
    token = _token(what)
    flag = _BY_TOKEN.get((who, token))
    if flag is not None:
        flags.append(flag)
    elif who == "upstream" and connection.established:
        if token == "reset":
            flags.append(REMOTE_RESET)
    elif who == "upstream":
        # Every attempt's failure is named; last of all, why there was no other one.
        last = token if not flags else _token(what.rpartition("; ")[2])
        flags.append(_NO_ATTEMPT.get(last, RETRY_LIMIT))
    return flags


def responseCodeDetails(connection: Connection) -> str | None:
    """
    Envoy's C{%RESPONSE_CODE_DETAILS%}.
    """
    return _DETAILS.get(_token(connection.close_reason.partition(": ")[2]))


def closeType(peer: Peer) -> str:
    """
    Envoy's C{%DOWNSTREAM_DETECTED_CLOSE_TYPE%}.
    """
    return {"reset": "RemoteReset", "aborted": "LocalReset"}.get(peer.close_reason, "Normal")


def downstreamFailure(connection: Connection) -> str | None:
    """
    Why TLS with the downstream has failed; C{None} if it has not.
    """
    return _transportFailure(connection.downstream.close_reason)


def upstreamFailure(connection: Connection) -> str | None:
    """
    Why the last host that could not be used could not be; C{None} where all were.
    """
    last = connection.upstream.close_reason
    return _transportFailure(last) or _transportFailure(connection.failed_attempt)


def _failedAttempt(connection: Connection) -> bool:
    if connection.established or connection.attempts != 1:
        return connection.attempts > 1
    return _token(connection.upstream.close_reason) not in _GIVEN_UP


def _transportFailure(reason: str) -> str | None:
    token, _, detail = reason.partition(": ")
    if token == "connect_failed":
        # What people search Envoy's logs for.
        return f"delayed connect error: {detail}"
    return reason if token in TRANSPORT_FAILURES else None


def _token(what: str) -> str:
    return what.partition(":")[0]
