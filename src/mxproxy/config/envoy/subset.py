"""
What of Envoy's configuration is implemented: the one table.

L{mxproxy.config.envoy.check} refuses whatever is not in it, and
L{mxproxy.config.envoy.docs} makes the documentation's table of it.  A field is in it once
L{mxproxy.config.envoy.translate} understands it; one that says nothing about the bytes on a
connection may have no effect, and its note says so.

What Envoy requires is in the messages themselves (L{mxproxy.config.envoy.rules}), and here
only where it is Envoy's code that requires it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """
    A field that is implemented.

    @ivar note: what is to be said of it; empty when it is as in Envoy.
    @ivar only: the values that are implemented, an enum's by name; empty: all.
    @ivar types: of an C{Any}: the messages that are implemented there.
    @ivar required: Envoy's code wants it, though its message does not say so.
    """

    note: str = ""
    only: tuple[str | bool | int, ...] = ()
    types: tuple[str, ...] = ()
    required: bool = False


Fields = Mapping[str, Field]


def _fields(**fields: str | Field) -> Fields:
    return {
        name: field if isinstance(field, Field) else Field(field) for name, field in fields.items()
    }


#: Wraps another message: how it is written where its schema is not known.
TYPED_STRUCTS = ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct")

STRUCT = "google.protobuf.Struct"

_NETWORK = "envoy.extensions.filters.network"
_LISTENER = "envoy.extensions.filters.listener"
_SOCKETS = "envoy.extensions.transport_sockets"
_LOGS = "envoy.extensions.access_loggers"

TCP_PROXY = f"{_NETWORK}.tcp_proxy.v3.TcpProxy"
DIRECT_RESPONSE = f"{_NETWORK}.direct_response.v3.Config"
ECHO = f"{_NETWORK}.echo.v3.Echo"
CONNECTION_LIMIT = f"{_NETWORK}.connection_limit.v3.ConnectionLimit"
LOCAL_RATE_LIMIT = f"{_NETWORK}.local_ratelimit.v3.LocalRateLimit"
SNI_CLUSTER = f"{_NETWORK}.sni_cluster.v3.SniCluster"
ISTIO_METADATA_EXCHANGE = "envoy.tcp.metadataexchange.config.MetadataExchange"
METADATA_EXCHANGE = "mxproxy.v1.MetadataExchange"

TLS_INSPECTOR = f"{_LISTENER}.tls_inspector.v3.TlsInspector"
HTTP_INSPECTOR = f"{_LISTENER}.http_inspector.v3.HttpInspector"
PROXY_PROTOCOL = f"{_LISTENER}.proxy_protocol.v3.ProxyProtocol"
ORIGINAL_DST = f"{_LISTENER}.original_dst.v3.OriginalDst"

DOWNSTREAM_TLS = f"{_SOCKETS}.tls.v3.DownstreamTlsContext"
UPSTREAM_TLS = f"{_SOCKETS}.tls.v3.UpstreamTlsContext"
RAW_BUFFER = f"{_SOCKETS}.raw_buffer.v3.RawBuffer"
UPSTREAM_PROXY_PROTOCOL = f"{_SOCKETS}.proxy_protocol.v3.ProxyProtocolUpstreamTransport"

FILE_ACCESS_LOG = f"{_LOGS}.file.v3.FileAccessLog"
STDOUT_ACCESS_LOG = f"{_LOGS}.stream.v3.StdoutAccessLog"
STDERR_ACCESS_LOG = f"{_LOGS}.stream.v3.StderrAccessLog"

TERMINALS = (TCP_PROXY, DIRECT_RESPONSE, ECHO)
NETWORK_FILTERS = (
    *TERMINALS,
    CONNECTION_LIMIT,
    LOCAL_RATE_LIMIT,
    SNI_CLUSTER,
    ISTIO_METADATA_EXCHANGE,
    METADATA_EXCHANGE,
    STRUCT,
)
UPSTREAM_FILTERS = (ISTIO_METADATA_EXCHANGE, METADATA_EXCHANGE, STRUCT)
LISTENER_FILTERS = (TLS_INSPECTOR, HTTP_INSPECTOR, PROXY_PROTOCOL, ORIGINAL_DST, STRUCT)
DOWNSTREAM_SOCKETS = (DOWNSTREAM_TLS, RAW_BUFFER)
PLAIN_UPSTREAM_SOCKETS = (UPSTREAM_TLS, RAW_BUFFER)
UPSTREAM_SOCKETS = (*PLAIN_UPSTREAM_SOCKETS, UPSTREAM_PROXY_PROTOCOL)
ACCESS_LOGS = (FILE_ACCESS_LOG, STDOUT_ACCESS_LOG, STDERR_ACCESS_LOG)

_FREE = "no effect: for people"
_STAT = "no effect: counters are not called by it"
_BUFFER = "no effect: of a side that does not read, one read is kept, of 256 KiB at most"
_WATCHED = "no effect: the files themselves are looked at, whichever way they are replaced"
_SESSIONS = "sessions are resumed with `--tls-session-resumption on` only"
_HTTP = "no effect: it is about HTTP"
_PLUGIN = "; mxproxy's plugins by `name`, their options as a `google.protobuf.Struct`"

#: Messages, by full name, with their fields.  The same message may be used in several places
#: of which only some take everything: L{translate<mxproxy.config.envoy.translate>} refuses
#: what is left, with its path.
SUBSET: Mapping[str, Fields] = {
    # -- the whole
    "envoy.config.bootstrap.v3.Bootstrap": _fields(
        node="",
        admin="",
        static_resources="",
    ),
    "envoy.config.core.v3.Node": _fields(
        id="",
        cluster="",
        metadata="what the metadata exchange tells peers is taken from it",
        locality="",
    ),
    "envoy.config.core.v3.Locality": _fields(region="", zone="", sub_zone=_FREE),
    "envoy.config.bootstrap.v3.Admin": _fields(
        address="where the administration interface answers (observability.md)"
    ),
    "envoy.config.bootstrap.v3.Bootstrap.StaticResources": _fields(
        listeners="", clusters="", secrets=""
    ),
    # -- addresses and sources
    "envoy.config.core.v3.Address": _fields(socket_address="", pipe=""),
    "envoy.config.core.v3.SocketAddress": _fields(
        protocol=Field(only=("TCP",)),
        address="an IP address; in a DNS cluster a name",
        port_value="",
        ipv4_compat="on `::`: IPv4 as well",
    ),
    "envoy.config.core.v3.Pipe": _fields(path="`@name` is an abstract one", mode=""),
    "envoy.config.core.v3.CidrRange": _fields(address_prefix="", prefix_len=""),
    "envoy.config.core.v3.DataSource": _fields(
        filename="",
        inline_bytes="",
        inline_string="",
        environment_variable="",
    ),
    "envoy.config.core.v3.Metadata": _fields(
        filter_metadata="`envoy.transport_socket_match` of a host; `istio` of a cluster, with "
        "`external: true` or `services`, and of a host, with `workload`; no effect otherwise"
    ),
    # -- listeners
    "envoy.config.listener.v3.Listener": _fields(
        name="",
        address=Field(required=True),
        stat_prefix=_STAT,
        filter_chains="",
        default_filter_chain="",
        listener_filters="",
        listener_filters_timeout="",
        continue_on_listener_filters_timeout="",
        use_original_dst="the address that a redirected connection was meant for is its local "
        "address; it is not handed on to another listener",
        bind_to_port=Field(only=(True,)),
        traffic_direction="which side metrics are reported for",
        access_log="",
        tcp_backlog_size="",
        per_connection_buffer_limit_bytes="at most 256 KiB are kept, whatever it is",
        metadata=_FREE,
        enable_reuse_port="no effect: there is one worker",
        socket_options="of accepted sockets: keepalive, `TCP_USER_TIMEOUT`, `TCP_NODELAY`",
    ),
    "envoy.config.core.v3.SocketOption": _fields(
        description=_FREE,
        level="",
        name="",
        int_value="",
        state="no effect: they are set on what is accepted",
    ),
    "envoy.config.listener.v3.ListenerFilter": _fields(
        name="",
        typed_config=Field(
            "the type decides, whatever the name" + _PLUGIN, types=LISTENER_FILTERS, required=True
        ),
    ),
    "envoy.config.listener.v3.FilterChain": _fields(
        name="",
        filter_chain_match="",
        filters="",
        transport_socket="",
        transport_socket_connect_timeout="10 s unless said, where Envoy waits for ever",
        metadata=_FREE,
    ),
    "envoy.config.listener.v3.FilterChainMatch": _fields(
        destination_port="",
        prefix_ranges="",
        server_names="",
        transport_protocol="",
        application_protocols="",
        direct_source_prefix_ranges="",
        source_type="",
        source_prefix_ranges="",
        source_ports="",
    ),
    "envoy.config.listener.v3.Filter": _fields(
        name="",
        typed_config=Field(
            "the type decides, whatever the name" + _PLUGIN, types=NETWORK_FILTERS, required=True
        ),
    ),
    TLS_INSPECTOR: {},
    HTTP_INSPECTOR: {},
    PROXY_PROTOCOL: _fields(
        allow_requests_without_proxy_protocol="", disallowed_versions="", stat_prefix=_STAT
    ),
    ORIGINAL_DST: {},
    # -- network filters
    TCP_PROXY: _fields(
        stat_prefix=_STAT,
        cluster="",
        weighted_clusters="",
        idle_timeout="1 h unless said",
        max_downstream_connection_duration="",
        max_downstream_connection_duration_jitter_percentage="",
        max_connect_attempts="",
        access_log="",
        access_log_options="",
        hash_policy="`source_ip`, for clusters with RING_HASH and MAGLEV",
    ),
    f"{TCP_PROXY}.TcpAccessLogOptions": _fields(
        flush_access_log_on_connected="", access_log_flush_interval=""
    ),
    f"{TCP_PROXY}.WeightedCluster": _fields(clusters=""),
    f"{TCP_PROXY}.WeightedCluster.ClusterWeight": _fields(name="", weight=""),
    "envoy.type.v3.HashPolicy": _fields(source_ip=""),
    "envoy.type.v3.HashPolicy.SourceIp": {},
    DIRECT_RESPONSE: _fields(response=""),
    ECHO: {},
    CONNECTION_LIMIT: _fields(stat_prefix=_STAT, max_connections=Field(required=True), delay=""),
    LOCAL_RATE_LIMIT: _fields(stat_prefix="", token_bucket=""),
    "envoy.type.v3.TokenBucket": _fields(max_tokens="", tokens_per_fill="", fill_interval=""),
    SNI_CLUSTER: {},
    ISTIO_METADATA_EXCHANGE: _fields(
        protocol="",
        enable_discovery=Field(only=(False,)),
        additional_labels="",
    ),
    METADATA_EXCHANGE: _fields(
        protocol="`istio-peer-exchange` unless said",
        additional_labels="",
        timeout="5 s unless said",
        max_size="65536 bytes unless said",
        opening="",
        hold="",
    ),
    # -- access logs
    "envoy.config.accesslog.v3.AccessLog": _fields(
        name="", typed_config=Field(types=ACCESS_LOGS, required=True)
    ),
    FILE_ACCESS_LOG: _fields(path="", log_format="mxproxy's own lines unless said"),
    STDOUT_ACCESS_LOG: _fields(log_format="mxproxy's own lines unless said"),
    STDERR_ACCESS_LOG: _fields(log_format="mxproxy's own lines unless said"),
    "envoy.config.core.v3.SubstitutionFormatString": _fields(
        text_format="", text_format_source="", json_format="", omit_empty_values=""
    ),
    # -- transport sockets
    "envoy.config.core.v3.TransportSocket": _fields(
        name="", typed_config=Field(types=(*DOWNSTREAM_SOCKETS, *UPSTREAM_SOCKETS), required=True)
    ),
    RAW_BUFFER: {},
    UPSTREAM_PROXY_PROTOCOL: _fields(config="", transport_socket=""),
    "envoy.config.core.v3.ProxyProtocolConfig": _fields(version=""),
    DOWNSTREAM_TLS: _fields(
        common_tls_context="",
        require_client_certificate="",
        disable_stateless_session_resumption=_SESSIONS,
        disable_stateful_session_resumption="no effect: a server keeps no sessions",
    ),
    UPSTREAM_TLS: _fields(
        common_tls_context="",
        sni="",
        allow_renegotiation=Field(only=(False,)),
        max_session_keys=_SESSIONS + "; 0: none, any other number: one for each host",
    ),
    f"{_SOCKETS}.tls.v3.CommonTlsContext": _fields(
        tls_params="",
        tls_certificates="one",
        tls_certificate_sds_secret_configs="one",
        validation_context="",
        validation_context_sds_secret_config="",
        combined_validation_context="",
        alpn_protocols="as written, and what the chain's metadata exchange stands for in front; "
        "without an exchange in the chain, its protocol is left out; `istio*` is never offered "
        "to an external cluster",
        key_log="for debugging",
    ),
    f"{_SOCKETS}.tls.v3.TlsKeyLog": _fields(path=""),
    f"{_SOCKETS}.tls.v3.CommonTlsContext.CombinedCertificateValidationContext": _fields(
        default_validation_context="", validation_context_sds_secret_config=""
    ),
    f"{_SOCKETS}.tls.v3.TlsParameters": _fields(
        tls_minimum_protocol_version=Field(only=("TLS_AUTO", "TLSv1_2", "TLSv1_3")),
        tls_maximum_protocol_version=Field(
            "unless said, TLS 1.2 for clients", only=("TLS_AUTO", "TLSv1_2", "TLSv1_3")
        ),
    ),
    f"{_SOCKETS}.tls.v3.TlsCertificate": _fields(
        certificate_chain=Field(required=True),
        private_key=Field(required=True),
        watched_directory=_WATCHED,
    ),
    f"{_SOCKETS}.tls.v3.CertificateValidationContext": _fields(
        trusted_ca="without it a peer's certificate is not looked at",
        match_typed_subject_alt_names="",
        crl="",
        only_verify_leaf_cert_crl="",
        watched_directory=_WATCHED,
        trust_chain_verification=Field(only=("VERIFY_TRUST_CHAIN",)),
    ),
    f"{_SOCKETS}.tls.v3.SubjectAltNameMatcher": _fields(
        san_type=Field(only=("EMAIL", "DNS", "URI", "IP_ADDRESS")), matcher=""
    ),
    "envoy.type.matcher.v3.StringMatcher": _fields(
        exact="", prefix="", suffix="", contains="", safe_regex="", ignore_case=""
    ),
    "envoy.type.matcher.v3.RegexMatcher": _fields(
        regex="read by Python's `re`, where it means the same as RE2", google_re2=""
    ),
    "envoy.type.matcher.v3.RegexMatcher.GoogleRE2": {},
    # -- secrets
    f"{_SOCKETS}.tls.v3.Secret": _fields(name="", tls_certificate="", validation_context=""),
    f"{_SOCKETS}.tls.v3.SdsSecretConfig": _fields(
        name="", sds_config="without it: one of `static_resources.secrets`"
    ),
    "envoy.config.core.v3.ConfigSource": _fields(
        path_config_source="",
        resource_api_version=Field("no effect: there is one", only=("AUTO", "V3")),
    ),
    "envoy.config.core.v3.PathConfigSource": _fields(
        path="read again whenever it changes", watched_directory=_WATCHED
    ),
    "envoy.config.core.v3.WatchedDirectory": _fields(path=""),
    "envoy.service.discovery.v3.DiscoveryResponse": _fields(
        version_info=_FREE,
        resources=Field(types=(f"{_SOCKETS}.tls.v3.Secret",)),
        type_url="",
    ),
    # -- clusters
    "envoy.config.cluster.v3.Cluster": _fields(
        name="",
        alt_stat_name=_STAT,
        type=Field(only=("STATIC", "STRICT_DNS", "LOGICAL_DNS", "ORIGINAL_DST")),
        connect_timeout="5 s unless said; with TLS, as long again for the handshake",
        per_connection_buffer_limit_bytes=_BUFFER,
        lb_policy=Field(
            only=(
                "ROUND_ROBIN",
                "LEAST_REQUEST",
                "RANDOM",
                "RING_HASH",
                "MAGLEV",
                "CLUSTER_PROVIDED",
            ),
        ),
        load_assignment="",
        health_checks="",
        circuit_breakers="",
        common_lb_config="",
        dns_refresh_rate="",
        dns_lookup_family="",
        outlier_detection="",
        transport_socket="",
        transport_socket_matches="",
        filters="",
        metadata="`istio` with `external: true`: outside of the mesh; with `services`: the first "
        "one's `host`, `name` and `namespace` are the destination in metrics",
        upstream_connection_options="",
    ),
    "envoy.config.cluster.v3.UpstreamConnectionOptions": _fields(tcp_keepalive=""),
    "envoy.config.core.v3.TcpKeepalive": _fields(
        keepalive_probes="", keepalive_time="", keepalive_interval=""
    ),
    "envoy.config.cluster.v3.Filter": _fields(
        name="",
        typed_config=Field(
            "the type decides, whatever the name" + _PLUGIN, types=UPSTREAM_FILTERS, required=True
        ),
    ),
    "envoy.config.cluster.v3.Cluster.TransportSocketMatch": _fields(
        name="", match="", transport_socket=Field(required=True)
    ),
    "envoy.config.cluster.v3.CircuitBreakers": _fields(thresholds=""),
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds": _fields(
        priority=Field(only=("DEFAULT",)),
        max_connections="1024 unless said",
        max_pending_requests="not below `max_connections`, which bounds them, too",
        max_requests=_HTTP,
        max_retries=_HTTP,
        track_remaining=_STAT,
    ),
    "envoy.config.cluster.v3.Cluster.CommonLbConfig": _fields(healthy_panic_threshold=""),
    "envoy.type.v3.Percent": _fields(value=""),
    "envoy.config.cluster.v3.OutlierDetection": _fields(
        consecutive_5xx="failures to connect, unless `split_external_local_origin_errors`",
        split_external_local_origin_errors="",
        consecutive_local_origin_failure="with `split_external_local_origin_errors`",
        interval="",
        base_ejection_time="",
        max_ejection_time="",
        max_ejection_percent="",
        always_eject_one_host="",
    ),
    "envoy.config.core.v3.HealthCheck": _fields(
        timeout="",
        interval="",
        unhealthy_interval="",
        no_traffic_interval="",
        unhealthy_threshold="",
        healthy_threshold="",
        tcp_health_check="",
    ),
    "envoy.config.core.v3.HealthCheck.TcpHealthCheck": _fields(send="", receive=""),
    "envoy.config.core.v3.HealthCheck.Payload": _fields(text="", binary=""),
    "envoy.config.endpoint.v3.ClusterLoadAssignment": _fields(cluster_name=_FREE, endpoints=""),
    "envoy.config.endpoint.v3.LocalityLbEndpoints": _fields(
        locality=_FREE, lb_endpoints="", priority=Field(only=(0,)), metadata=_FREE
    ),
    "envoy.config.endpoint.v3.LbEndpoint": _fields(
        endpoint=Field(required=True),
        metadata="`envoy.transport_socket_match`; `istio` with `workload`, "
        "`NAME;NAMESPACE;SERVICE;REVISION;CLUSTER`: who it is in metrics, if it does not say",
        load_balancing_weight="",
    ),
    "envoy.config.endpoint.v3.Endpoint": _fields(address=Field(required=True), hostname=_FREE),
}
