"""
What cannot work together is refused with its place: names that are none, certificates that
cannot be used, chains that take the same connections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.config.envoy.files import (
    CA_FILE,
    ECHO,
    ISTIO_EXCHANGE,
    LOGS,
    NETWORK,
    OWN,
    OWN_EXCHANGE,
    RAW,
    SOCKETS,
    STRUCT,
    TCP_PROXY,
    FileCase,
    address,
    bootstrap,
    cluster,
    downstreamTLS,
    hosts,
    listener,
    put,
    typed,
    upstreamTLS,
)

L = "static_resources.listeners[0]"
C = "static_resources.clusters[0]"
CHAIN = f"{L}.filter_chains[0]"
F = f"{CHAIN}.filters[0]"
MATCH = f"{CHAIN}.filter_chain_match"
DOWN = f"{CHAIN}.transport_socket.typed_config"
UP = f"{C}.transport_socket.typed_config"
COMMON = f"{DOWN}.common_tls_context"
CONTEXT = f"{COMMON}.validation_context"

SNI = typed(NETWORK + "sni_cluster.v3.SniCluster", "sni")


def pair(certificate: str, key: str) -> list[object]:
    return [{"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}]


def sds(path: str, name: str = "own") -> list[object]:
    return [{"name": name, "sds_config": {"path_config_source": {"path": path}}}]


def ranges(prefix: str, length: int | None = None) -> dict[str, object]:
    return {"prefix_ranges": [{"address_prefix": prefix, "prefix_len": length}]}


def matcher(**pattern: object) -> dict[str, object]:
    return CA_FILE | {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": pattern}]}


def proxyTo(**fields: object) -> dict[str, object]:
    return typed(NETWORK + "tcp_proxy.v3.TcpProxy", stat_prefix="x", **fields)


def logged(**form: object) -> list[object]:
    return [typed(LOGS + "stream.v3.StdoutAccessLog", log_format=form)]


SDS_PATH = f"{COMMON}.tls_certificate_sds_secret_configs[0].sds_config.path_config_source.path"

# place, value, what is wrong
FAULTS: list[tuple[str, object, str]] = [
    # addresses
    (
        f"{L}.address",
        address("localhost"),
        f"{L}.address.socket_address.address: 'localhost' is no IP address",
    ),
    ("admin.address", address("x"), "admin.address.socket_address.address: 'x' is no IP address"),
    (
        f"{C}.load_assignment",
        hosts(address("db.test")),
        (
            f"{C}.load_assignment.endpoints[0]."
            "lb_endpoints[0].endpoint.address.socket_address.address: 'db.test' is no IP address; a name "
            "needs a cluster of the type STRICT_DNS or LOGICAL_DNS"
        ),
    ),
    (
        f"{C}.load_assignment",
        hosts(address(port=0)),
        (
            f"{C}.load_assignment.endpoints[0]."
            "lb_endpoints[0].endpoint.address.socket_address.port_value: 0 cannot be connected to"
        ),
    ),
    # names
    (
        "static_resources.listeners",
        [listener(), listener(address=address(port=1))],
        "static_resources.listeners[1].name: the same as that of static_resources.listeners[0]",
    ),
    (
        "static_resources.listeners",
        [listener(), listener(name="other")],
        "static_resources.listeners[1].address: the same as that of static_resources.listeners[0]",
    ),
    (
        "static_resources.clusters",
        [cluster(), cluster()],
        "static_resources.clusters[1].name: the same as that of static_resources.clusters[0]",
    ),
    (
        "static_resources.secrets",
        [{"name": "a"}, {"name": "a"}],
        "static_resources.secrets[1].name: the same as that of static_resources.secrets[0]",
    ),
    (
        f"{F}",
        proxyTo(cluster="two"),
        f"{F}.typed_config.cluster: there is no cluster 'two'; there is: one",
    ),
    (
        f"{F}",
        proxyTo(
            weighted_clusters={
                "clusters": [{"name": "one", "weight": 1}, {"name": "two", "weight": 1}]
            }
        ),
        (
            f"{F}.typed_config.weighted_clusters.clusters[1].name: there is no cluster 'two'; there is: "
            "one"
        ),
    ),
    (
        "static_resources.clusters",
        [],
        f"{F}.typed_config.cluster: there is no cluster 'one'; there is: none",
    ),
    # the node
    (
        "node.metadata",
        {"NAME": 5},
        "node.metadata.NAME: the number 5 where text is needed: peers are told only text",
    ),
    (
        "node.metadata",
        {"LABELS": {"a.b": True}},
        (
            "node.metadata.LABELS['a.b']: the truth value "
            "true where text is needed: peers are told only text"
        ),
    ),
    (
        "node.metadata",
        {"LABELS": []},
        "node.metadata.LABELS: a list where a mapping of texts is needed",
    ),
    # filter chains
    (f"{L}.filter_chains", [], f"{L}.filter_chains: is required: there is no filter chain"),
    (
        f"{CHAIN}.filters",
        [],
        f"{CHAIN}.filters: a filter chain without filters is not implemented by mxproxy",
    ),
    (f"{CHAIN}.filters", [SNI], f"{F}: sni does not end a chain, but is its last"),
    (
        f"{CHAIN}.filters",
        [ECHO, SNI, TCP_PROXY],
        f"{F}: one ends a chain, but is not its last filter",
    ),
    (
        f"{L}.default_filter_chain",
        {"filters": [ECHO], "filter_chain_match": {}},
        f"{L}.default_filter_chain.filter_chain_match: not implemented by mxproxy: it has no effect",
    ),
    (
        f"{L}.default_filter_chain",
        {"filters": [SNI]},
        f"{L}.default_filter_chain.filters[0]: sni does not end a chain, but is its last",
    ),
    # matches
    (
        f"{L}.filter_chains",
        [{"filters": [ECHO]}, {"filters": [ECHO]}],
        (
            f"{L}.filter_chains[1].filter_chain_match: the same match as that of filter chain 0: "
            "everything"
        ),
    ),
    (
        f"{L}.filter_chains",
        [
            {"filters": [ECHO], "filter_chain_match": {"server_names": names}}
            for names in (["a", "b"], ["c"], ["B"])
        ],
        (
            f"{L}.filter_chains[2].filter_chain_match: the same match as that of filter chain 0: "
            "server_names b"
        ),
    ),
    (
        MATCH,
        {"server_names": ["a", "*b.c"]},
        (
            f"{MATCH}.server_names[1]: '*b.c': a wildcard is "
            "the whole first label, as in *.example.com"
        ),
    ),
    (
        MATCH,
        {"server_names": ["*"]},
        f"{MATCH}.server_names[0]: '*': a wildcard is the whole first label, as in *.example.com",
    ),
    (MATCH, ranges("x"), f"{MATCH}.prefix_ranges[0].address_prefix: 'x' is no IP address"),
    (MATCH, ranges("10.0.0.0", 33), f"{MATCH}.prefix_ranges[0].prefix_len: 33 is more than 32"),
    # filters
    (
        f"{L}.listener_filters",
        [typed(NETWORK + "echo.v3.Echo")],
        (
            f"{L}.listener_filters[0]."
            "typed_config.@type: envoy.extensions.filters.network.echo.v3.Echo is not implemented by "
            "mxproxy here; there is: envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector, "
            "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector, "
            "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol, "
            "envoy.extensions.filters.listener.original_dst.v3.OriginalDst, google.protobuf.Struct"
        ),
    ),
    (
        f"{CHAIN}.filters",
        [typed(NETWORK + "connection_limit.v3.ConnectionLimit", stat_prefix="x"), ECHO],
        f"{F}.typed_config.max_connections: is required",
    ),
    (
        f"{CHAIN}.filters",
        [
            typed(
                NETWORK + "local_ratelimit.v3.LocalRateLimit",
                stat_prefix="x",
                token_bucket={"max_tokens": 1, "fill_interval": "0.049s"},
            ),
            ECHO,
        ],
        f"{F}.typed_config.token_bucket.fill_interval: has to be at least 0.05s",
    ),
    (
        f"{CHAIN}.filters",
        [typed(OWN_EXCHANGE, timeout="0s", max_size=0), ECHO],
        (
            f"{F}.typed_config.timeout: has to be above 0s\n{F}.typed_config.max_size: has to be above "
            "0"
        ),
    ),
    (
        f"{CHAIN}.filters",
        [typed(ISTIO_EXCHANGE, enable_discovery=True), ECHO],
        f"{F}.typed_config.enable_discovery: true is not implemented by mxproxy; there is: false",
    ),
    (
        F,
        typed(NETWORK + "direct_response.v3.Config", response={"filename": "none"}),
        f"{F}.typed_config.response.filename: cannot read 'none': No such file or directory",
    ),
    (
        F,
        typed(NETWORK + "direct_response.v3.Config", response={"filename": "a\0b"}),
        f"{F}.typed_config.response.filename: cannot read 'a\\x00b': embedded null byte",
    ),
    (
        F,
        typed(NETWORK + "direct_response.v3.Config", response={"environment_variable": "N0NE"}),
        f"{F}.typed_config.response.environment_variable: there is no environment variable 'N0NE'",
    ),
    (
        f"{C}.filters",
        [typed(STRUCT, "envoy.filters.network.echo")],
        f"{C}.filters[0]: envoy.filters.network.echo ends a chain; a cluster's does not",
    ),
    # plugins
    (
        F,
        typed(STRUCT, "envoy.filters.network.echo", value={"a": 1}),
        f"{F}.typed_config: unknown option a; there is: none",
    ),
    (
        F,
        typed(STRUCT, "envoy.filters.network.direct_response", value={"body": {}, "x": [[]]}),
        (
            f"{F}.typed_config.value.body: an option is a text, a number, a truth value or a list of "
            f"them\n{F}.typed_config.value.x: an option is a text, a number, a truth value or a list of "
            f"them\n{F}.typed_config: unknown option x; there is: body"
        ),
    ),
    # hashes
    (
        f"{C}.lb_policy",
        "RING_HASH",
        (
            f"{F}.typed_config.hash_policy: without it, RING_HASH of the "
            "cluster 'one' is not implemented by mxproxy: add [{source_ip: {}}]"
        ),
    ),
    # access logs
    (
        f"{L}.access_log",
        logged(json_format={"a": "%NOPE%"}),
        f"{L}.access_log[0].typed_config.log_format: ",
    ),
    (
        f"{L}.access_log",
        logged(text_format_source={"filename": "none"}),
        (
            f"{L}.access_log[0]."
            "typed_config.log_format.text_format_source.filename: cannot read 'none': No such file or "
            "directory"
        ),
    ),
    (
        f"{L}.access_log",
        logged(text_format_source={"inline_bytes": "/w=="}),
        (
            f"{L}.access_log[0]."
            "typed_config.log_format.text_format_source: 'utf-8' codec can't decode byte 0xff in position "
            "0: invalid start byte"
        ),
    ),
    # TLS
    (
        f"{CHAIN}.transport_socket",
        typed(SOCKETS + "tls.v3.DownstreamTlsContext", common_tls_context={}),
        f"{COMMON}.tls_certificates: is required: a TLS server has a certificate",
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(True),
        (
            f"{DOWN}.require_client_certificate: "
            "without a trusted_ca to verify it with, a client's certificate proves nothing: not "
            "implemented by mxproxy"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(tls_certificates=pair("db.crt", "web.key")),
        (
            f"{COMMON}.tls_certificates[0]: the key in '{{here}}/web.key' does not match the first "
            "certificate in '{here}/db.crt': give the pair that was issued together"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(tls_certificates=pair("none", "db.key")),
        (
            f"{COMMON}.tls_certificates[0].certificate_chain.filename: cannot read 'none': No such file "
            "or directory"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(tls_certificates=pair("db.key", "db.key")),
        (
            f"{COMMON}.tls_certificates[0]: no PEM certificate in '{{here}}/db.key': it needs a block "
            "that begins with '-----BEGIN CERTIFICATE-----'"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(tls_certificates=OWN * 2),
        f"{COMMON}.tls_certificates[1]: a second certificate is not implemented by mxproxy",
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(tls_certificate_sds_secret_configs=sds("x")),
        (
            f"{COMMON}.tls_certificate_sds_secret_configs[0]: a second certificate is not implemented by "
            "mxproxy"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(validation_context={"trusted_ca": {"inline_string": "x"}}),
        (
            f"{CONTEXT}.trusted_ca: no PEM CA certificate in the inline PEM: it needs a block that begins "
            "with '-----BEGIN CERTIFICATE-----'"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(validation_context={"trusted_ca": {"filename": "none"}}),
        f"{CONTEXT}.trusted_ca.filename: cannot read 'none': No such file or directory",
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(
            validation_context={
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "x"}}]
            }
        ),
        f"{CONTEXT}: match_typed_subject_alt_names without a trusted_ca: whoever wants a name has it",
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(validation_context=matcher(safe_regex={"regex": "("})),
        (
            f"{CONTEXT}.match_typed_subject_alt_names[0].matcher.safe_regex: '(' is no regular "
            "expression: missing ), unterminated subpattern at position 0"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(alpn_protocols=["", "x" * 256, "ok"]),
        (
            f"{COMMON}.alpn_protocols[0]: an ALPN name has 1 to 255 bytes\n"
            f"{COMMON}.alpn_protocols[1]: an ALPN name has 1 to 255 bytes"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(
            tls_params={
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_2",
            }
        ),
        (
            f"{COMMON}: the oldest TLS version to speak, TLSv1.3, is newer than the newest, TLSv1.2: "
            "swap them"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(tls_params={"tls_minimum_protocol_version": "TLSv1_0"}),
        (
            f"{COMMON}.tls_params.tls_minimum_protocol_version: TLSv1_0 is not implemented by mxproxy; "
            "there is: TLS_AUTO, TLSv1_2, TLSv1_3"
        ),
    ),
    (
        f"{C}.transport_socket",
        upstreamTLS({"sni": "a b"}),
        (
            f"{UP}: 'a b' cannot be asked for as a "
            "server name: write a DNS name or an IP address, without port"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        upstreamTLS(),
        (
            f"{DOWN}: envoy.extensions.transport_sockets.tls."
            "v3.UpstreamTlsContext is not for a listener"
        ),
    ),
    (
        f"{C}.transport_socket",
        downstreamTLS(),
        (
            f"{UP}: envoy.extensions.transport_sockets.tls."
            "v3.DownstreamTlsContext is not for a cluster"
        ),
    ),
    (
        f"{C}.transport_socket",
        upstreamTLS(tls_certificates=pair("none", "db.key")),
        (
            f"{UP}.common_tls_context.tls_certificates[0].certificate_chain.filename: cannot read "
            "'none': No such file or directory"
        ),
    ),
    (
        F,
        typed(STRUCT, "envoy.filters.network.echo", value={"a": True, "b": [False, 1]}),
        f"{F}.typed_config: unknown option a, b; there is: none",
    ),
    (
        # One fault, of which nothing else is said to follow.
        f"{CHAIN}.transport_socket",
        downstreamTLS(
            True, validation_context=matcher(exact="x") | {"trusted_ca": {"filename": "none"}}
        ),
        f"{CONTEXT}.trusted_ca.filename: cannot read 'none': No such file or directory",
    ),
    # secrets
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(tls_certificates=[], tls_certificate_sds_secret_configs=[{"name": "own"}]),
        (
            f"{COMMON}.tls_certificate_sds_secret_configs[0].name: there is no 'own' in "
            f"static_resources.secrets"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(
            tls_certificates=[], tls_certificate_sds_secret_configs=sds("own.yaml", "other")
        ),
        (f"{SDS_PATH}: 'own.yaml': resources: there is no secret 'other'"),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(
            tls_certificates=[], tls_certificate_sds_secret_configs=sds("own.yaml", "empty")
        ),
        (
            f"{COMMON}.tls_certificate_sds_secret_configs[0].name: the secret 'empty' has no "
            f"tls_certificate"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(
            tls_certificates=[], tls_certificate_sds_secret_configs=sds("own.yaml", "broken")
        ),
        (
            f"{SDS_PATH}: 'own.yaml': resources[1].tls_certificate.private_key.filename: cannot read "
            f"'none': No such file or directory"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(tls_certificates=[], tls_certificate_sds_secret_configs=sds("wrong.yaml")),
        (
            f"{SDS_PATH}: 'wrong.yaml': resources[0].nmae: unknown field: envoy.extensions."
            "transport_sockets.tls.v3.Secret has none of that name; did you mean name?"
        ),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(tls_certificates=[], tls_certificate_sds_secret_configs=sds("none.yaml")),
        (f"{SDS_PATH}: 'none.yaml': cannot read 'none.yaml': No such file or directory"),
    ),
    (
        f"{CHAIN}.transport_socket",
        downstreamTLS(validation_context_sds_secret_config=sds("own.yaml")[0]),
        (
            f"{COMMON}.validation_context_sds_secret_config.sds_config.path_config_source.path: "
            "'own.yaml': resources: there is no secret 'own'"
        ),
    ),
    # clusters
    (
        f"{C}.type",
        "ORIGINAL_DST",
        (
            f"{C}.load_assignment: an ORIGINAL_DST cluster has none: the "
            f"connection says its host\n{C}.lb_policy: ORIGINAL_DST needs CLUSTER_PROVIDED"
        ),
    ),
    (
        f"{C}.lb_policy",
        "CLUSTER_PROVIDED",
        f"{C}.lb_policy: CLUSTER_PROVIDED is only for the type ORIGINAL_DST",
    ),
    (
        f"{C}",
        cluster(type="LOGICAL_DNS", load_assignment=hosts(address("a"), address("b"))),
        f"{C}.load_assignment: a LOGICAL_DNS cluster has one host, not 2",
    ),
    (
        f"{C}",
        cluster(type="LOGICAL_DNS", load_assignment=None),
        f"{C}.load_assignment: a LOGICAL_DNS cluster has one host, not 0",
    ),
    (
        f"{C}",
        cluster(type="STRICT_DNS", load_assignment=hosts({"pipe": {"path": "x"}})),
        (
            f"{C}.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.pipe: a unix socket in a "
            "cluster of the type that asks DNS"
        ),
    ),
    (
        f"{C}.load_assignment",
        {"cluster_name": "x", "endpoints": [{"lb_endpoints": [{}]}]},
        f"{C}.load_assignment.endpoints[0].lb_endpoints[0].endpoint: is required",
    ),
    (
        f"{C}.circuit_breakers",
        {"thresholds": [{}, {}]},
        (
            f"{C}.circuit_breakers.thresholds[1]: a "
            "second one for the same priority is not implemented by mxproxy"
        ),
    ),
    (
        f"{C}.circuit_breakers",
        {"thresholds": [{"max_pending_requests": 1023}]},
        (
            f"{C}.circuit_breakers.thresholds[0].max_pending_requests: less than max_connections, 1024, "
            "is not implemented by mxproxy"
        ),
    ),
    (
        f"{C}.health_checks",
        [
            {
                "timeout": "1s",
                "interval": "1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "tcp_health_check": {"send": {"text": "xyz"}, "receive": [{"text": "0"}]},
            }
        ],
        (
            f"{C}.health_checks[0].tcp_health_check.send.text: 'xyz' is not hexadecimal\n"
            f"{C}.health_checks[0].tcp_health_check.receive[0].text: '0' is not hexadecimal"
        ),
    ),
    (
        f"{C}.transport_socket_matches",
        [{"name": "a", "match": {}}],
        f"{C}.transport_socket_matches[0].transport_socket: is required",
    ),
    (
        f"{C}.transport_socket",
        typed(
            SOCKETS + "proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            transport_socket=typed(
                SOCKETS + "proxy_protocol.v3.ProxyProtocolUpstreamTransport", transport_socket=RAW
            ),
        ),
        f"{UP}.transport_socket: a PROXY header behind a PROXY header",
    ),
]

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class RefusalTests(FileCase):
    def setUp(self) -> None:
        super().setUp()
        Path("own.yaml").write_text(
            f"""
            resources:
            - {{"@type": {SECRET}, name: empty}}
            - "@type": {SECRET}
              name: broken
              tls_certificate:
                certificate_chain: {{filename: db.crt}}
                private_key: {{filename: none}}
            """
        )
        Path("wrong.yaml").write_text(f"resources: [{{'@type': {SECRET}, nmae: own}}]")

    def test_each(self) -> None:
        for place, value, lines in FAULTS:
            found = self.faults(put(bootstrap(), place, value))
            wanted = lines.replace("{here}", str(self.directory)).split("\n")
            if wanted[-1].endswith(": "):
                # What follows are another module's words.
                found = [line[: len(wanted[-1])] for line in found]
            self.assertEqual(found, wanted, (place, value))

    def test_unknownPlugin(self) -> None:
        document = put(bootstrap(), F, typed(STRUCT, "acme.none"))
        (fault,) = self.faults(document)
        start = f"{F}.name: no filter 'acme.none' is installed; there is: "
        self.assertEqual(fault[: len(start)], start)

    def test_twoPortsZero(self) -> None:
        """
        Two listeners on any free port are on two ports.
        """
        listeners = [listener(name=name, address=address(port=0)) for name in ("a", "b")]
        self.assertEqual(len(self.read(bootstrap(listeners=listeners)).listeners), 2)

    def test_severalMatches(self) -> None:
        """
        A match of which a part is wrong is not said to be that of another chain, too.
        """
        chains: list[dict[str, Any]] = [
            {"filters": [ECHO], "filter_chain_match": ranges(prefix)} for prefix in ("x", "y")
        ]
        self.assertEqual(
            self.faults(bootstrap(listeners=[listener(filter_chains=chains)])),
            [
                f"{L}.filter_chains[{n}].filter_chain_match.prefix_ranges[0].address_prefix: "
                f"{name!r} is no IP address"
                for n, name in enumerate("xy")
            ],
        )

    def test_listenerFilterPlugin(self) -> None:
        """
        A plugin can be a listener filter, too.
        """
        inspector = typed(STRUCT, "envoy.filters.listener.tls_inspector")
        found = self.listener(listener_filters=[inspector])
        self.assertEqual([spec.settings for spec in found.listener_filters], [None])
