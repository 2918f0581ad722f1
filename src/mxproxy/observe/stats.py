"""
The one declaration of all statistics: what is counted or measured, what it is called, and what
it means.  Values are elsewhere (L{mxproxy.observe.counters}).

A statistic is known by a dotted name, Envoy's where Envoy has it and it means the same.  To add
one, add a L{Stat} to L{STATS}, and count it where it happens::

    context.count("metadata_exchange.metadata_added")
    context.count(f"cluster.{name}.upstream_cx_total")

Nothing else has to be done: the admin interface, the Prometheus exposition and the table in
docs/observability.md are made of this list, and a test fails for a name that is counted in
C{src/} and is not in it.  Count edges, never chunks.

A part of a name in braces stands for any text, the cluster's name for example.  For Prometheus
it becomes a label, and what is left becomes the family, as in Envoy's own exposition::

    cluster.{cluster}.upstream_cx_total  ->  envoy_cluster_upstream_cx_total{envoy_cluster_name="db"}

Families of statistics that Envoy does not have begin with C{mxproxy_}, and end in C{_total} if
they count, as Prometheus wants it.  What a third party's filter counts without declaring it is
shown all the same, as C{mxproxy_}, its name and C{_total}.

Istio's metrics (L{mxproxy.observe.istio}) are no statistics in this sense: they are series by
label sets.  Their families are declared here too: L{ISTIO}.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

#: Parts of names, and the Prometheus labels that Envoy makes of them.
LABELS: Mapping[str, str] = {
    "cluster": "envoy_cluster_name",
    "listener": "envoy_listener_address",
    "local_rate_limit": "envoy_local_network_ratelimit_prefix",
    "proxy_protocol": "envoy_proxy_protocol_version",
    "ssl_version": "envoy_ssl_version",
    "ssl_cipher": "envoy_ssl_cipher",
}

#: How families of Envoy's and of ours begin.
ENVOY, OURS = "envoy", "mxproxy"


class Kind(enum.Enum):
    """
    What a statistic is.
    """

    COUNTER = "counter"
    GAUGE = "gauge"


class Merge(enum.Enum):
    """
    What becomes of several workers' values.
    """

    SUM = "sum"
    MAX = "max"
    MIN = "min"

    def of(self, values: Iterable[float]) -> float:
        """
        @param values: the workers'; at least one.
        """
        if self is Merge.SUM:
            return sum(values)
        return max(values) if self is Merge.MAX else min(values)


_PART = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Stat:
    """
    One statistic, or as many as there are texts for the parts in braces.

    @ivar name: dotted.
    @ivar help: one line, for people.
    @ivar envoy: whether it is Envoy's.
    @ivar family: the name for Prometheus; empty: made of C{name}.
    @ivar prometheus: whether Prometheus is told.
    @ivar labels: the names of the parts in braces, in order.
    """

    name: str
    help: str
    kind: Kind = Kind.COUNTER
    envoy: bool = True
    family: str = ""
    merge: Merge = Merge.SUM
    prometheus: bool = True
    labels: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(_PART.findall(self.name)))
        if not self.family:
            # As in Envoy: a part that became a label leaves the name.
            plain = re.sub(r"\.?\{\w+\}", "", self.name)
            family = f"{ENVOY if self.envoy else OURS}_{familyName(plain)}"
            if not self.envoy and self.kind is Kind.COUNTER:
                family += "_total"
            object.__setattr__(self, "family", family)

    @property
    def prometheusLabels(self) -> tuple[str, ...]:
        """The names of the labels that Prometheus is told, in order."""
        return tuple(LABELS[label] for label in self.labels)

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches this statistic's names; groups are the parts in braces."""
        texts = _PART.split(self.name)[::2]
        return re.compile("(.+)".join(re.escape(text) for text in texts), re.DOTALL)

    def named(self, **parts: str) -> str:
        """
        @param parts: what stands for the parts in braces.
        @return: a name to count under.
        """
        return self.name.format(**parts)


def familyName(dotted: str) -> str:
    """
    A dotted name with what Prometheus allows in one.
    """
    return re.sub(r"[^a-zA-Z0-9_]", "_", dotted)


def _exchange(name: str, help: str, envoy: bool = True) -> Stat:
    return Stat(f"metadata_exchange.{name}", help, envoy=envoy)


def _tls(where: str) -> tuple[Stat, ...]:
    return (
        Stat(f"{where}.ssl.handshake", "TLS handshakes that succeeded."),
        Stat(
            f"{where}.ssl.connection_error",
            "TLS handshakes that failed otherwise than by the peer's certificate.",
        ),
        Stat(f"{where}.ssl.session_reused", "TLS handshakes that took up an earlier session."),
        Stat(f"{where}.ssl.no_certificate", "TLS handshakes without a certificate of the peer's."),
        Stat(
            f"{where}.ssl.fail_verify_no_cert",
            "TLS handshakes refused because the peer showed no certificate.",
        ),
        Stat(
            f"{where}.ssl.fail_verify_error",
            "TLS handshakes refused because the peer's certificate could not be verified.",
        ),
        Stat(
            f"{where}.ssl.fail_verify_san",
            "TLS handshakes refused because the certificate names nobody who is accepted.",
        ),
        Stat(
            f"{where}.ssl.key_rotation_failed",
            "Renewed files of TLS that could not be used.",
            envoy=False,
        ),
        Stat(f"{where}.ssl.versions.{{ssl_version}}", "TLS handshakes, by version."),
        Stat(f"{where}.ssl.ciphers.{{ssl_cipher}}", "TLS handshakes, by cipher suite."),
    )


def _listener(name: str, help: str, kind: Kind = Kind.COUNTER, envoy: bool = True) -> Stat:
    return Stat(f"listener.{{listener}}.{name}", help, kind, envoy)


def _cluster(name: str, help: str, kind: Kind = Kind.COUNTER, merge: Merge = Merge.SUM) -> Stat:
    return Stat(f"cluster.{{cluster}}.{name}", help, kind, merge=merge)


#: All of them, in the order in which people are shown them.
STATS: Sequence[Stat] = (
    # -- the exchange
    _exchange("alpn_protocol_found", "TLS negotiated the exchange's protocol."),
    _exchange("alpn_protocol_not_found", "TLS negotiated another protocol, or none."),
    _exchange("metadata_added", "Own metadata written to a peer."),
    _exchange("initial_header_not_found", "The peer's stream did not begin with a prefix."),
    _exchange("header_not_found", "The peer's metadata could not be read whole."),
    _exchange("timeout", "The peer's metadata did not come in time.", envoy=False),
    _exchange("too_large", "The peer's metadata was longer than allowed.", envoy=False),
    _exchange("malformed", "The peer's metadata made no sense.", envoy=False),
    _exchange(
        "namespace_mismatch",
        "A peer claimed a namespace that its certificate contradicts.",
        envoy=False,
    ),
    # -- listeners
    _listener("downstream_cx_total", "Connections accepted."),
    _listener("downstream_cx_active", "Connections open.", Kind.GAUGE),
    _listener("downstream_cx_destroy", "Connections ended."),
    _listener("no_filter_chain_match", "Connections that no filter chain takes."),
    _listener("downstream_cx_overflow", "Connections refused because too many were open."),
    _listener(
        "downstream_cx_per_address_overflow",
        "Connections refused because too many of their address were open.",
        envoy=False,
    ),
    _listener(
        "downstream_cx_handshake_overflow",
        "Connections dropped because they had not finished their handshake and too many had not.",
        envoy=False,
    ),
    _listener(
        "accept_paused", "Times that accepting paused since no files were left.", envoy=False
    ),
    _listener(
        "downstream_pre_cx_timeout", "Connections whose listener filters did not finish in time."
    ),
    _listener(
        "downstream_cx_transport_socket_connect_timeout",
        "Connections whose TLS handshake did not finish in time.",
    ),
    *_tls("listener.{listener}"),
    _listener(
        "server_ssl_socket_factory.ssl_context_update_by_sds",
        "Times that renewed certificates were taken.",
    ),
    Stat(
        "listener_manager.total_listeners_active",
        "Listeners that listen.",
        Kind.GAUGE,
        merge=Merge.MAX,
    ),
    # -- listener filters
    Stat("tls_inspector.tls_found", "Connections that begin with a ClientHello."),
    Stat("tls_inspector.tls_not_found", "Connections that begin otherwise."),
    Stat("http_inspector.http10_found", "Connections that begin with HTTP/1.0."),
    Stat("http_inspector.http11_found", "Connections that begin with HTTP/1.1."),
    Stat("http_inspector.http2_found", "Connections that begin with HTTP/2."),
    Stat("http_inspector.http_not_found", "Connections that begin otherwise."),
    Stat("http_inspector.read_error", "Connections whose first bytes could not be read."),
    Stat(
        "proxy_proto.versions.v{proxy_protocol}.found",
        "PROXY headers read, by version.",
        family="envoy_proxy_proto_found",
    ),
    Stat("proxy_proto.not_found_allowed", "Connections without the PROXY header, let through."),
    Stat("downstream_cx_proxy_proto_error", "PROXY headers that could not be read."),
    # -- network filters
    Stat(
        "connection_limit.limited_connections",
        "Connections refused because too many were open.",
        envoy=False,
    ),
    Stat(
        "local_rate_limit.{local_rate_limit}.rate_limited",
        "Connections refused because they came too fast.",
    ),
    Stat("tcp.idle_timeout", "Connections closed because no byte had moved."),
    Stat(
        "tcp.half_closed_timeout",
        "Connections closed because no byte had moved since one side had ended its stream.",
        envoy=False,
    ),
    Stat(
        "tcp.max_downstream_connection_duration",
        "Connections closed because they had been open for long enough.",
    ),
    # -- clusters
    Stat("cluster_manager.active_clusters", "Clusters.", Kind.GAUGE, merge=Merge.MAX),
    _cluster("upstream_cx_total", "Connections to hosts, and attempts at one."),
    _cluster("upstream_cx_active", "Connections to hosts that are open or made.", Kind.GAUGE),
    _cluster("upstream_cx_connect_fail", "Attempts that failed, TLS and exchange included."),
    _cluster("upstream_cx_connect_timeout", "Attempts that did not come through in time."),
    _cluster("upstream_cx_none_healthy", "Times that there was no host to connect to."),
    _cluster("upstream_cx_overflow", "Times that max_connections was reached."),
    _cluster("upstream_cx_rx_bytes_total", "Bytes of applications received from hosts."),
    _cluster("upstream_cx_tx_bytes_total", "Bytes of applications sent to hosts."),
    *_tls("cluster.{cluster}"),
    _cluster(
        "client_ssl_socket_factory.ssl_context_update_by_sds",
        "Times that renewed certificates were taken.",
    ),
    _cluster("membership_total", "Hosts.", Kind.GAUGE, Merge.MAX),
    _cluster("membership_healthy", "Hosts that are fit for connections.", Kind.GAUGE, Merge.MIN),
    _cluster("health_check.success", "Health checks that passed."),
    _cluster("health_check.failure", "Health checks that did not."),
    _cluster("outlier_detection.ejections_active", "Hosts left out.", Kind.GAUGE, Merge.MAX),
    _cluster(
        "outlier_detection.ejections_enforced_consecutive_local_origin_failure",
        "Hosts left out because they could not be connected.",
    ),
    _cluster("outlier_detection.ejections_overflow", "Hosts not left out: too many others are."),
    # -- the process
    Stat("server.live", "1 while new connections are taken.", Kind.GAUGE, merge=Merge.MIN),
    Stat("server.uptime", "Seconds since the start.", Kind.GAUGE, merge=Merge.MAX),
    Stat("server.concurrency", "Worker processes.", Kind.GAUGE),
    Stat("server.total_connections", "Downstream connections open.", Kind.GAUGE),
    Stat("server.memory_physical_size", "Resident memory, bytes.", Kind.GAUGE),
    Stat(
        "server.days_until_first_cert_expiring",
        "Days until the first certificate expires.",
        Kind.GAUGE,
        merge=Merge.MIN,
        # It wants base units (and promtool does); the next one is in its place.
        prometheus=False,
    ),
    Stat(
        "server.first_cert_expiration_timestamp_seconds",
        "When the first certificate expires, seconds since the epoch.",
        Kind.GAUGE,
        envoy=False,
        merge=Merge.MIN,
    ),
    Stat("server.reload_accepted", "Configurations that were read again and run.", envoy=False),
    Stat("server.worker_restarts", "Workers started in the place of dead ones.", envoy=False),
    Stat("server.reload_rejected", "Configurations that could not be used.", envoy=False),
    # -- the telemetry itself
    Stat(
        "stats.series",
        "Label sets of Istio's metrics that are kept.",
        Kind.GAUGE,
        envoy=False,
    ),
    Stat(
        "stats.series_overflow",
        "Connections counted without their labels: there were too many series.",
        envoy=False,
    ),
    Stat("stats.series_evicted", "Series dropped since their peers were gone.", envoy=False),
)


@dataclass(frozen=True)
class IstioMetric:
    """
    One of Istio's metrics: a counter for each label set.

    @ivar attribute: what of a L{mxproxy.observe.series.Series} it is.
    """

    name: str
    help: str
    attribute: str


#: Istio's standard metrics for TCP.
ISTIO: Sequence[IstioMetric] = (
    IstioMetric("istio_tcp_connections_opened_total", "TCP connections opened.", "opened"),
    IstioMetric("istio_tcp_connections_closed_total", "TCP connections closed.", "closed"),
    IstioMetric("istio_tcp_sent_bytes_total", "Bytes of the response, sent to the client.", "sent"),
    IstioMetric(
        "istio_tcp_received_bytes_total",
        "Bytes of the request, received of the client.",
        "received",
    ),
)


# The longest fixed text first: "cluster.{cluster}.x" takes any text between its ends.
_BY_PATTERN = tuple(
    (stat.pattern, stat)
    for stat in sorted(
        (stat for stat in STATS if stat.labels),
        key=lambda stat: len(_PART.sub("", stat.name)),
        reverse=True,
    )
)
_PLAIN = {stat.name: stat for stat in STATS if not stat.labels}


@lru_cache(maxsize=4096)
def find(name: str) -> tuple[Stat, tuple[str, ...]]:
    """
    @param name: a name that was counted.
    @return: what declares it, and what stands for its parts in braces.  For an undeclared
        name that is a L{Stat} made for it.
    """
    stat = _PLAIN.get(name)
    if stat is not None:
        return stat, ()
    for pattern, candidate in _BY_PATTERN:
        match = pattern.fullmatch(name)
        if match is not None:
            return candidate, match.groups()
    return Stat(name.replace("{", "_").replace("}", "_"), "Counted by a filter.", envoy=False), ()


def isDeclared(name: str) -> bool:
    """
    @param name: a name that is counted.
    """
    return find(name)[0] in STATS
