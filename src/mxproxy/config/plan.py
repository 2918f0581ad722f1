"""
The plan: what a running proxy is made of, as frozen values.

It is the one input of L{mxproxy.service}.  The command line (L{mxproxy.config.options})
makes one; a configuration file makes one (L{mxproxy.config.envoy}).  Nothing in here opens
a file, resolves a name or imports a reactor.

Names and meanings are Envoy's; a field that is not described here is described there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..socketoptions import SocketOption
from ..tls.settings import ClientTLS, ServerTLS
from ..wire.metadata import Metadata, Node

#: Envoy's names for the two things that can be below a filter chain.
TLS = "tls"
RAW_BUFFER = "raw_buffer"

#: The names of built-in filters, as in Envoy's files.
METADATA_EXCHANGE = "envoy.filters.network.metadata_exchange"
TCP_PROXY = "envoy.filters.network.tcp_proxy"
TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"


@dataclass(frozen=True)
class FilterSpec:
    """
    A filter by name.

    @ivar options: what L{mxproxy.interfaces.IFilterPlugin.configure} is given.
    @ivar settings: an L{IFilter<mxproxy.interfaces.IFilter>} or
        L{ITerminal<mxproxy.interfaces.ITerminal>} that is configured already; then
        nothing is looked up and C{options} are not used.
    @ivar where: where it was asked for, for error messages.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    settings: object = None


@dataclass(frozen=True)
class FilterChainMatch:
    """
    Which connections a filter chain takes: Envoy's C{FilterChainMatch}, field by field.

    What is empty matches everything.  L{mxproxy.matching} says which chain wins.

    @ivar prefix_ranges: networks (C{"10.0.0.0/8"}) that the destination has to be in.
    @ivar server_names: SNI, exact or as C{"*.example.com"}.
    @ivar transport_protocol: L{TLS} or L{RAW_BUFFER}.
    @ivar application_protocols: ALPN as the client offers it, or what an HTTP inspector
        has found; any of them.
    @ivar direct_source_prefix_ranges: of the socket's peer, whatever a PROXY header says.
    @ivar source_type: C{"SAME_IP_OR_LOOPBACK"}, C{"EXTERNAL"}, or empty.
    @ivar source_prefix_ranges: of the downstream's address.
    """

    destination_port: int | None = None
    prefix_ranges: tuple[str, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    direct_source_prefix_ranges: tuple[str, ...] = ()
    source_type: str = ""
    source_prefix_ranges: tuple[str, ...] = ()
    source_ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class FilterChainPlan:
    """
    One way through a listener.

    @ivar tls: terminate TLS first, with these settings.
    @ivar filters: from the network's side on; the last is the terminal.
    @ivar tls_handshake_timeout: seconds from the accepted connection to the finished
        handshake.
    """

    name: str
    filters: tuple[FilterSpec, ...]
    match: FilterChainMatch = FilterChainMatch()
    tls: ServerTLS | None = None
    tls_handshake_timeout: float = 10.0


#: More unfinished handshakes than this would take a process more than a second to finish.
MAX_HANDSHAKES = 1024


@dataclass(frozen=True)
class Limits:
    """
    A listener's; C{None}: no limit.

    @ivar connections: how many may be open.
    @ivar connections_per_address: how many of one IPv4 address or one IPv6 /64, which is what
        one subscriber has (RFC 6177); of the sockets' peers, whatever PROXY headers say.
    """

    connections: int | None = None
    connections_per_address: int | None = None


@dataclass(frozen=True)
class ListenerPlan:
    """
    A listening socket.

    @ivar endpoint: a Twisted server endpoint description.
    @ivar chains: L{mxproxy.matching} says which takes a connection.
    @ivar default_filter_chain: takes what no other does.
    @ivar listener_filters: what looks at a connection before its chain is picked, in
        order; below TLS.
    @ivar listener_filters_timeout: seconds for all of them together; 0: for ever.
    @ivar continue_on_listener_filters_timeout: go on with what is known by then, instead
        of closing.
    @ivar use_original_dst: where connections were redirected, the address that they were
        meant for is the local address.
    @ivar access_logs: beside those of the chain's terminal.
    @ivar traffic_direction: C{"INBOUND"}, C{"OUTBOUND"}, or empty.
    @ivar per_connection_buffer_limit: bytes that are read at once, and that may wait to be
        sent to a client before the host is paused; at most the transport's own 256 KiB, which
        is what C{None} stands for, and 0.
    @ivar socket_options: of accepted sockets.
    @ivar limits: how many connections may be open.
    """

    name: str
    endpoint: str
    chains: tuple[FilterChainPlan, ...]
    default_filter_chain: FilterChainPlan | None = None
    listener_filters: tuple[FilterSpec, ...] = ()
    listener_filters_timeout: float = 15.0
    continue_on_listener_filters_timeout: bool = False
    use_original_dst: bool = False
    access_logs: tuple[AccessLogPlan, ...] = ()
    traffic_direction: str = ""
    per_connection_buffer_limit: int | None = None
    socket_options: tuple[SocketOption, ...] = ()
    limits: Limits = Limits()

    @property
    def everyChain(self) -> tuple[FilterChainPlan, ...]:
        """All of them, the default one last."""
        default = self.default_filter_chain
        return self.chains if default is None else (*self.chains, default)


@dataclass(frozen=True)
class AccessLogPlan:
    """
    Where lines go, and what is in them.

    @ivar path: a file's, C{"-"} for standard output, C{"!"} for standard error.
    @ivar json_format: names with what they stand for: texts in which C{%OPERATORS%} are
        filled in, numbers, and lists and mappings of these.
    @ivar text_format: a text in which C{%OPERATORS%} are filled in; with neither this nor
        C{json_format}, mxproxy's own lines.
    @ivar omit_empty_values: leave out what is not known, instead of C{-} and null.
    @ivar on_connected: a line of the format when the upstream is connected, too.
    @ivar flush_interval: seconds, after each of which an open connection gets a line of
        the format; 0: only at its end.
    """

    path: str
    json_format: Mapping[str, object] | None = None
    text_format: str | None = None
    omit_empty_values: bool = False
    on_connected: bool = False
    flush_interval: float = 0.0


# -- clusters ------------------------------------------------------------------------------


@dataclass(frozen=True)
class HostPlan:
    """
    A host of a cluster.

    @ivar endpoint: a Twisted client endpoint description: what is dialled, or, in a DNS
        cluster, C{tcp:host:port}, whose name is resolved.
    @ivar weight: its share, beside those of the others.
    @ivar metadata: C{envoy.transport_socket_match}, what L{TransportSocketMatch} looks at.
    @ivar workload: who it is in metrics, if it does not say so itself.
    """

    endpoint: str
    weight: int = 1
    metadata: Mapping[str, object] = field(default_factory=dict)
    workload: Metadata | None = None


@dataclass(frozen=True)
class TransportSocketMatch:
    """
    Hosts with such metadata are spoken to like this.

    @ivar match: names with values that a host's metadata has to have, all of them.
    @ivar tls: C{None}: without TLS.
    """

    name: str
    match: Mapping[str, object]
    tls: ClientTLS | None
    proxy_protocol: str = ""


@dataclass(frozen=True)
class HealthCheckPlan:
    """
    A TCP health check; times in seconds.

    @ivar send: empty: that a connection is made is enough.
    @ivar receive: what the answer has to contain, in this order.
    @ivar unhealthy_interval: after a check that has failed; C{None}: C{interval}.
    @ivar no_traffic_interval: instead of both, for as long as the cluster has never been
        connected to.
    """

    timeout: float
    interval: float
    unhealthy_threshold: int
    healthy_threshold: int
    send: bytes = b""
    receive: tuple[bytes, ...] = ()
    unhealthy_interval: float | None = None
    no_traffic_interval: float = 60.0


@dataclass(frozen=True)
class OutlierDetectionPlan:
    """
    Hosts that cannot be connected are left out for a while; times in seconds.

    @ivar consecutive_local_origin_failure: how many failures in a row are too many.
    @ivar interval: how often ejected hosts are looked at.
    @ivar base_ejection_time: times the number of ejections, up to C{max_ejection_time}, is
        how long one lasts.
    @ivar max_ejection_percent: of the hosts, at most so many are left out.
    @ivar always_eject_one_host: one may be, whatever the percentage.
    """

    consecutive_local_origin_failure: int = 5
    interval: float = 10.0
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection_percent: int = 10
    always_eject_one_host: bool = False


STATIC = "STATIC"
STRICT_DNS = "STRICT_DNS"
LOGICAL_DNS = "LOGICAL_DNS"
ORIGINAL_DST = "ORIGINAL_DST"

ROUND_ROBIN = "ROUND_ROBIN"
LEAST_REQUEST = "LEAST_REQUEST"
RANDOM = "RANDOM"
RING_HASH = "RING_HASH"
MAGLEV = "MAGLEV"

#: Envoy's C{dns_lookup_family}.  C{AUTO}: IPv4 only where there is no IPv6.
AUTO = "AUTO"
V4_ONLY = "V4_ONLY"
V6_ONLY = "V6_ONLY"
V4_PREFERRED = "V4_PREFERRED"
ALL = "ALL"


@dataclass(frozen=True)
class ServicePlan:
    """
    What service a cluster is, for metrics: Istio's C{services} in a cluster's metadata.

    @ivar host: e.g. C{server.default.svc.cluster.local}.
    @ivar name: its short name; empty: the host's first label.
    """

    host: str
    name: str = ""
    namespace: str = ""


@dataclass(frozen=True)
class ClusterPlan:
    """
    Where connections go.

    @ivar type: L{STATIC}, L{STRICT_DNS}, L{LOGICAL_DNS} or L{ORIGINAL_DST}.
    @ivar tls: originate TLS with these settings.
    @ivar filters: from the network's side to the terminal's.
    @ivar connect_timeout: seconds for one host's TCP connection.
    @ivar tls_handshake_timeout: seconds from there to the finished handshake.
    @ivar max_connections: a circuit breaker; more than so many at once are refused.
        C{None}: no limit.
    @ivar healthy_panic_threshold: per cent; when fewer hosts are healthy, all are used.
    @ivar dns_refresh_rate: seconds.
    @ivar dns_lookup_family: which of a name's addresses are used: L{AUTO}, L{V4_ONLY},
        L{V6_ONLY}, L{V4_PREFERRED} or L{ALL}.
    @ivar proxy_protocol: C{"V1"} or C{"V2"}: tell the host where the connection is from.
    @ivar external: outside of the mesh: never offered an ALPN of the mesh, nor a prefix.
    @ivar socket_options: of sockets that are dialled.
    @ivar service: what it is called in metrics.
    """

    name: str
    hosts: tuple[HostPlan, ...]
    type: str = STATIC
    lb_policy: str = ROUND_ROBIN
    tls: ClientTLS | None = None
    filters: tuple[FilterSpec, ...] = ()
    connect_timeout: float = 10.0
    tls_handshake_timeout: float = 10.0
    max_connections: int | None = None
    healthy_panic_threshold: float = 50.0
    dns_refresh_rate: float = 5.0
    dns_lookup_family: str = AUTO
    health_checks: tuple[HealthCheckPlan, ...] = ()
    outlier_detection: OutlierDetectionPlan | None = None
    transport_socket_matches: tuple[TransportSocketMatch, ...] = ()
    proxy_protocol: str = ""
    external: bool = False
    socket_options: tuple[SocketOption, ...] = ()
    service: ServicePlan | None = None


@dataclass(frozen=True)
class StatsPlan:
    """
    Metrics.

    @ivar eviction: seconds after which series are dropped whose peers are gone; 0: never.
    @ivar workloads: a file that says who is at which address
        (L{mxproxy.observe.istio.workloads}), or empty.
    @ivar service_accounts: call a workload that nobody names like the service account that its
        certificate proves.
    """

    eviction: float = 3600.0
    workloads: str = ""
    service_accounts: bool = False


#: Less than what systemd (90 s), Kubernetes (30 s) and their likes allow before SIGKILL, by
#: enough for the logs to be written out.
DRAIN_TIME = 20.0


@dataclass(frozen=True)
class Plan:
    """
    Everything.

    @ivar access_log: the command line's, of all listeners; or C{None}.
    @ivar otel: what is sent by OTLP: C{"traces"}, C{"metrics"}.
    @ivar admin: a Twisted server endpoint description, or empty.
    @ivar admin_hosts: names that it is asked by, beside addresses and this machine's name.
    @ivar drain_time: seconds that open connections may last once the proxy is told to stop, or
        their listener is taken away.
    @ivar tls_reload_interval: how often the files of TLS are looked at, in seconds.
    @ivar tls_session_resumption: resume TLS sessions, where a chain's settings allow it.
    @ivar max_handshakes: how many accepted connections may be in their listener filters, TLS
        or exchange at once.
    """

    node: Node
    listeners: tuple[ListenerPlan, ...]
    clusters: tuple[ClusterPlan, ...]
    access_log: AccessLogPlan | None = None
    otel: tuple[str, ...] = ()
    admin: str = ""
    admin_hosts: tuple[str, ...] = ()
    stats: StatsPlan = StatsPlan()
    drain_time: float = DRAIN_TIME
    tls_reload_interval: float = 5.0
    tls_session_resumption: bool = False
    max_handshakes: int = MAX_HANDSHAKES
