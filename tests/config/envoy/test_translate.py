"""
What a file says is in the plan, field by field; what it does not say is as in Envoy.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.testing import MemoryReactor

from mxproxy.config.plan import (
    TLS_INSPECTOR,
    AccessLogPlan,
    FilterChainMatch,
    HealthCheckPlan,
    HostPlan,
    OutlierDetectionPlan,
    ServicePlan,
    TransportSocketMatch,
)
from mxproxy.filters.connection_limit import ConnectionLimit
from mxproxy.filters.direct_response import DirectResponse
from mxproxy.filters.echo import Echo
from mxproxy.filters.http_inspector import HTTPInspector
from mxproxy.filters.local_ratelimit import LocalRateLimit
from mxproxy.filters.metadata_exchange import EAGER, MetadataExchange
from mxproxy.filters.original_dst import OriginalDst
from mxproxy.filters.proxy_protocol import ProxyProtocol
from mxproxy.filters.sni_cluster import SNICluster
from mxproxy.filters.tcp_proxy import TCPProxy
from mxproxy.filters.tls_inspector import TLSInspector
from mxproxy.socketoptions import keepalive, userTimeout
from mxproxy.timeouts import Timeouts
from mxproxy.tls.settings import (
    PEM,
    ClientTLS,
    Comparison,
    NameKind,
    NameMatcher,
    ServerTLS,
    TLSVersion,
)
from mxproxy.wire.exchange import Hold
from mxproxy.wire.metadata import Metadata, Node
from tests.config.envoy.files import (
    CA_FILE,
    ECHO,
    ISTIO_EXCHANGE,
    LISTENER,
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

EXCHANGE = typed(ISTIO_EXCHANGE, protocol="istio-peer-exchange")


class NodeTests(FileCase):
    def test_everything(self) -> None:
        plan = self.read(
            """
            node:
              id: sidecar~1
              cluster: shop
              locality: {region: r, zone: z, sub_zone: s}
              metadata: {NAME: db-0, LABELS: {version: 1.10, app: db}, PORTS: [1, 2.5, {a: 3}]}
            admin: {address: {socket_address: {address: "::1", port_value: 9901}}}
            """
        )
        metadata = {
            "NAME": "db-0",
            "LABELS": {"version": "1.10", "app": "db"},
            "PORTS": [1, "2.5", {"a": 3}],
        }
        self.assertEqual(plan.node, Node("sidecar~1", metadata, "shop", "r", "z"))
        self.assertIsInstance(plan.node.metadata["PORTS"][0], int)  # type: ignore[index]
        self.assertEqual(plan.admin, r"tcp:9901:interface=\:\:1:backlog=4096")

    def test_nothing(self) -> None:
        plan = self.read("{}")
        self.assertEqual((plan.node, plan.listeners, plan.clusters), (Node(), (), ()))
        self.assertEqual((plan.admin, plan.access_log), ("", None))


class ListenerTests(FileCase):
    def endpoint(self, where: object, **fields: object) -> str:
        """
        Twisted makes an endpoint of it, too.
        """
        found = self.listener(address=where, **fields).endpoint
        serverFromString(MemoryReactor(), found)
        return found

    def test_addresses(self) -> None:
        self.assertEqual(self.endpoint(address()), "tcp:15006:interface=127.0.0.1:backlog=4096")
        self.assertEqual(
            self.endpoint(address("::", 1), tcp_backlog_size=7),
            r"tcp:1:interface=\:\::backlog=7",
        )
        here = os.getcwd()
        self.assertEqual(
            self.endpoint({"pipe": {"path": "a:b.sock", "mode": 0o660}}),
            rf"unix:{here}/a\:b.sock:mode=660:backlog=4096",
        )
        self.assertEqual(
            self.endpoint({"pipe": {"path": "/x"}}, tcp_backlog_size=5), "unix:/x:backlog=5"
        )
        self.assertEqual(self.endpoint({"pipe": {"path": "@x"}}), "unix:\0x:backlog=4096")

    def test_defaults(self) -> None:
        found = self.listener()
        self.assertEqual(found.name, "in")
        self.assertEqual(found.listener_filters_timeout, 15)
        self.assertEqual(found.listener_filters, ())
        self.assertIs(found.continue_on_listener_filters_timeout, False)
        self.assertIs(found.use_original_dst, False)
        self.assertEqual(found.access_logs, ())
        self.assertEqual(found.traffic_direction, "")
        self.assertIsNone(found.per_connection_buffer_limit)
        self.assertIsNone(found.default_filter_chain)

    def test_everything(self) -> None:
        found = self.listener(
            listener_filters_timeout="0s",
            continue_on_listener_filters_timeout=True,
            use_original_dst=True,
            traffic_direction="OUTBOUND",
            per_connection_buffer_limit_bytes=32768,
            default_filter_chain={"filters": [ECHO], "name": "rest"},
            stat_prefix="x",
            bind_to_port=True,
            enable_reuse_port=False,
            metadata={"filter_metadata": {"x": {"y": 1}}},
        )
        self.assertEqual(found.listener_filters_timeout, 0)
        self.assertIs(found.continue_on_listener_filters_timeout, True)
        self.assertIs(found.use_original_dst, True)
        self.assertEqual(found.traffic_direction, "OUTBOUND")
        self.assertEqual(found.per_connection_buffer_limit, 32768)
        assert found.default_filter_chain is not None
        self.assertEqual(found.default_filter_chain.name, "rest")
        self.assertEqual(found.default_filter_chain.filters[0].settings, Echo())

    def test_socketOptions(self) -> None:
        """
        By Linux' numbers, as people write them for Envoy.
        """
        plan = self.read(
            bootstrap(
                listeners=[
                    listener(
                        socket_options=[
                            {"description": "on", "level": 1, "name": 9, "int_value": 1},
                            {"level": 6, "name": 4, "int_value": 9},
                            {"level": 6, "name": 5, "int_value": 8, "state": "STATE_LISTENING"},
                            {"level": 6, "name": 6, "int_value": 7},
                            {"level": 6, "name": 18, "int_value": 1500},
                        ]
                    )
                ]
            )
        )
        self.assertEqual(plan.listeners[0].socket_options, (*keepalive(9, 8, 7), *userTimeout(1.5)))

    def test_names(self) -> None:
        """
        What has no name is called by its address, or its place.
        """
        for where, name in (
            (address(), "127.0.0.1:15006"),
            (address("::1", 1), "[::1]:1"),
            ({"pipe": {"path": "/x"}}, "/x"),
        ):
            self.assertEqual(self.listener(name="", address=where).name, name)
        found = self.listener(
            filter_chains=[
                {"filters": [ECHO], "filter_chain_match": {"destination_port": 1}},
                {"filters": [ECHO], "name": "two"},
            ],
            default_filter_chain={"filters": [ECHO]},
        )
        self.assertEqual([chain.name for chain in found.chains], ["filter_chains[0]", "two"])
        assert found.default_filter_chain is not None
        self.assertEqual(found.default_filter_chain.name, "default_filter_chain")

    def test_onlyDefault(self) -> None:
        found = self.listener(filter_chains=[], default_filter_chain={"filters": [ECHO]})
        self.assertEqual(found.chains, ())

    def test_match(self) -> None:
        match = {
            "destination_port": 80,
            "prefix_ranges": [
                {"address_prefix": "10.1.2.3", "prefix_len": 8},
                {"address_prefix": "fd00::1", "prefix_len": 64},
                {"address_prefix": "0.0.0.0"},
            ],
            "server_names": ["a.test", "*.b.test"],
            "transport_protocol": "tls",
            "application_protocols": ["h2", "istio"],
            "direct_source_prefix_ranges": [{"address_prefix": "::1", "prefix_len": 128}],
            "source_type": "EXTERNAL",
            "source_prefix_ranges": [{"address_prefix": "127.0.0.1", "prefix_len": 32}],
            "source_ports": [1, 2],
        }
        self.assertEqual(
            self.chain(filter_chain_match=match).match,
            FilterChainMatch(
                80,
                ("10.0.0.0/8", "fd00::/64", "0.0.0.0/0"),
                ("a.test", "*.b.test"),
                "tls",
                ("h2", "istio"),
                ("::1/128",),
                "EXTERNAL",
                ("127.0.0.1/32",),
                (1, 2),
            ),
        )
        self.assertEqual(self.chain().match, FilterChainMatch())
        self.assertEqual(
            self.chain(filter_chain_match={"source_type": "ANY"}).match, FilterChainMatch()
        )

    def test_inspectorAdded(self) -> None:
        """
        As in Envoy, a match that needs a TLS inspector has one; and just one.
        """
        inspector = typed(LISTENER + "tls_inspector.v3.TlsInspector", "mine")
        http = typed(LISTENER + "http_inspector.v3.HttpInspector", "http")
        for match, names in (
            ({"transport_protocol": "tls"}, ["http", TLS_INSPECTOR]),
            ({"server_names": ["a"]}, ["http", TLS_INSPECTOR]),
            ({"application_protocols": ["a"]}, ["http", TLS_INSPECTOR]),
            ({"transport_protocol": "raw_buffer", "application_protocols": ["h2c"]}, ["http"]),
            ({"destination_port": 1}, ["http"]),
        ):
            chains = [{"filters": [ECHO], "filter_chain_match": match}]
            found = self.listener(filter_chains=chains, listener_filters=[http])
            self.assertEqual([spec.name for spec in found.listener_filters], names)
            found = self.listener(filter_chains=chains, listener_filters=[inspector])
            self.assertEqual([spec.name for spec in found.listener_filters], ["mine"])

    def test_listenerFilters(self) -> None:
        found = self.listener(
            listener_filters=[
                typed(LISTENER + "original_dst.v3.OriginalDst"),
                typed(
                    LISTENER + "proxy_protocol.v3.ProxyProtocol",
                    allow_requests_without_proxy_protocol=True,
                    disallowed_versions=["V2"],
                    stat_prefix="x",
                ),
                typed(LISTENER + "proxy_protocol.v3.ProxyProtocol", disallowed_versions=["V1"]),
                typed(LISTENER + "tls_inspector.v3.TlsInspector"),
                typed(LISTENER + "http_inspector.v3.HttpInspector"),
            ]
        )
        self.assertEqual(
            [spec.settings for spec in found.listener_filters],
            [
                OriginalDst(),
                ProxyProtocol(True, (2,)),
                ProxyProtocol(False, (1,)),
                TLSInspector(),
                HTTPInspector(),
            ],
        )
        self.assertEqual(
            found.listener_filters[1].where, "static_resources.listeners[0].listener_filters[1]"
        )


class FilterTests(FileCase):
    def test_simple(self) -> None:
        for filters, wanted in (
            ([ECHO], Echo()),
            ([typed(NETWORK + "direct_response.v3.Config")], DirectResponse(b"")),
            (
                [
                    typed(
                        NETWORK + "connection_limit.v3.ConnectionLimit",
                        stat_prefix="x",
                        max_connections=5,
                        delay="0.5s",
                    ),
                    ECHO,
                ],
                ConnectionLimit(5, 0.5),
            ),
            (
                [
                    typed(
                        NETWORK + "local_ratelimit.v3.LocalRateLimit",
                        stat_prefix="x",
                        token_bucket={"max_tokens": 5, "fill_interval": "0.05s"},
                    ),
                    ECHO,
                ],
                LocalRateLimit(5, 1, 0.05, "x"),
            ),
            (
                [
                    typed(
                        NETWORK + "local_ratelimit.v3.LocalRateLimit",
                        stat_prefix="x",
                        token_bucket={
                            "max_tokens": 5,
                            "tokens_per_fill": 2,
                            "fill_interval": "60s",
                        },
                    ),
                    ECHO,
                ],
                LocalRateLimit(5, 2, 60.0, "x"),
            ),
            ([typed(NETWORK + "sni_cluster.v3.SniCluster"), TCP_PROXY], SNICluster()),
        ):
            self.assertEqual(self.filters(*filters)[0], wanted)

    def test_sources(self) -> None:
        Path("body").write_bytes(b"from a file")
        os.environb[b"MXPROXY_TEST"] = b"of the environment\xff"
        self.addCleanup(os.environb.pop, b"MXPROXY_TEST")
        for source, body in (
            ({"inline_string": "ä"}, "ä".encode()),
            ({"filename": "body"}, b"from a file"),
            ({"environment_variable": "MXPROXY_TEST"}, b"of the environment\xff"),
        ):
            found = self.filters(typed(NETWORK + "direct_response.v3.Config", response=source))
            self.assertEqual(found, [DirectResponse(body)])

    def test_tcpProxy(self) -> None:
        self.assertEqual(self.filters(TCP_PROXY), [TCPProxy("one", 1, (), Timeouts(3600))])
        full = put(
            TCP_PROXY,
            "typed_config",
            {
                "@type": NETWORK + "tcp_proxy.v3.TcpProxy",
                "stat_prefix": "x",
                "weighted_clusters": {
                    "clusters": [{"name": "one", "weight": 3}, {"name": "two", "weight": 1}]
                },
                "idle_timeout": "0s",
                "max_downstream_connection_duration": "60s",
                "max_downstream_connection_duration_jitter_percentage": {"value": 50},
                "max_connect_attempts": 3,
                "hash_policy": [{"source_ip": {}}],
                "access_log": [typed(LOGS + "stream.v3.StdoutAccessLog")],
                "access_log_options": {
                    "flush_access_log_on_connected": True,
                    "access_log_flush_interval": "5s",
                },
            },
        )
        plan = self.read(
            bootstrap(
                listeners=[listener(filter_chains=[{"filters": [full]}])],
                clusters=[cluster(), cluster(name="two", lb_policy="MAGLEV")],
            )
        )
        self.assertEqual(
            plan.listeners[0].chains[0].filters[0].settings,
            TCPProxy(
                "",
                3,
                (("one", 3), ("two", 1)),
                Timeouts(duration=60, duration_jitter=50),
                (AccessLogPlan("-", on_connected=True, flush_interval=5.0),),
            ),
        )

    def test_exchange(self) -> None:
        self.assertEqual(
            self.filters(
                typed(
                    ISTIO_EXCHANGE,
                    "istio.metadata_exchange",
                    protocol="mx-protocol",
                    enable_discovery=False,
                    additional_labels=["a", "b"],
                ),
                ECHO,
            )[0],
            MetadataExchange("mx-protocol", additional_labels=("a", "b")),
        )
        self.assertEqual(self.filters(typed(OWN_EXCHANGE), ECHO)[0], MetadataExchange())
        self.assertEqual(
            self.filters(
                typed(
                    OWN_EXCHANGE,
                    protocol="x",
                    additional_labels=["a"],
                    timeout="1.5s",
                    max_size=100,
                    opening="EAGER",
                    hold="READ",
                ),
                ECHO,
            )[0],
            MetadataExchange("x", 1.5, 100, EAGER, Hold.READ, ("a",)),
        )

    def test_plugin(self) -> None:
        """
        Anything that is registered goes by its name, with its options as texts.
        """
        found = self.chain(
            filters=[
                typed(
                    STRUCT,
                    "istio.metadata_exchange",
                    value={
                        "protocol": "x",
                        "timeout": 2.5,
                        "max_size": 100,
                        "additional_labels": ["a", True, 1],
                    },
                ),
                typed(STRUCT, "envoy.filters.network.echo"),
            ]
        ).filters
        self.assertEqual(
            [(spec.name, spec.options, spec.settings) for spec in found],
            [
                (
                    "istio.metadata_exchange",
                    {
                        "protocol": "x",
                        "timeout": "2.5",
                        "max_size": "100",
                        "additional_labels": "a,true,1",
                    },
                    None,
                ),
                ("envoy.filters.network.echo", {}, None),
            ],
        )
        self.assertEqual(
            found[1].where, "static_resources.listeners[0].filter_chains[0].filters[1]"
        )


class AccessLogTests(FileCase):
    def logs(self, *logs: object) -> list[AccessLogPlan]:
        return list(self.listener(access_log=list(logs)).access_logs)

    def test_where(self) -> None:
        file = LOGS + "file.v3.FileAccessLog"
        self.assertEqual(
            self.logs(
                typed(LOGS + "stream.v3.StdoutAccessLog"),
                typed(LOGS + "stream.v3.StderrAccessLog"),
                typed(file, path="a.log"),
                typed(file, path="/dev/stdout"),
                typed(file, path="/dev/stderr"),
            ),
            [
                AccessLogPlan(path)
                for path in ("-", "!", os.path.join(os.getcwd(), "a.log"), "-", "!")
            ],
        )

    def test_formats(self) -> None:
        def log(**form: object) -> AccessLogPlan:
            (found,) = self.logs(typed(LOGS + "stream.v3.StdoutAccessLog", log_format=form))
            return found

        values = {"a": "%BYTES_SENT%", "b": {"c": ["%DURATION%", 1, True]}}
        self.assertEqual(log(json_format=values), AccessLogPlan("-", json_format=values))
        self.assertEqual(
            log(text_format="%DURATION%\n", omit_empty_values=True),
            AccessLogPlan("-", text_format="%DURATION%\n", omit_empty_values=True),
        )
        source = {"inline_string": "%DURATION%\n"}
        self.assertEqual(
            log(text_format_source=source), AccessLogPlan("-", text_format="%DURATION%\n")
        )


class TLSTests(FileCase):
    def server(self, socket: object, *filters: object) -> ServerTLS:
        found = self.chain(transport_socket=socket, filters=[*filters, ECHO]).tls
        assert found is not None
        return found

    def client(self, socket: object, **fields: object) -> ClientTLS:
        found = self.cluster(transport_socket=socket, **fields).tls
        assert found is not None
        return found

    def file(self, name: str) -> PEM:
        return PEM(os.path.join(os.getcwd(), name))

    def test_none(self) -> None:
        self.assertIsNone(self.chain(transport_socket=RAW).tls)
        self.assertIsNone(self.cluster(transport_socket=RAW).tls)
        self.assertIsNone(self.cluster().tls)

    def test_keyLog(self) -> None:
        """
        Envoy's own field for it.
        """
        log = {"path": "/tmp/keys.log"}
        self.assertEqual(self.server(downstreamTLS(key_log=log)).key_log, "/tmp/keys.log")
        self.assertIsNone(self.server(downstreamTLS()).key_log)

    def test_server(self) -> None:
        own = ServerTLS(self.file("db.crt"), self.file("db.key"), require_client_certificate=False)
        self.assertEqual(self.server(downstreamTLS()), own)
        self.assertEqual(
            self.server(
                downstreamTLS(
                    True,
                    validation_context=CA_FILE,
                    alpn_protocols=["h2", "istio"],
                    tls_params={
                        "tls_minimum_protocol_version": "TLSv1_3",
                        "tls_maximum_protocol_version": "TLSv1_3",
                    },
                )
            ),
            replace(
                own,
                authorities=self.file("ca.crt"),
                require_client_certificate=True,
                alpn=("h2", "istio"),
                minimum=TLSVersion.TLS13,
            ),
        )

    def test_client(self) -> None:
        """
        Envoy's client offers TLS 1.2 at most unless told otherwise, and checks no name
        unless told which.
        """
        bare = ClientTLS(
            authorities=self.file("ca.crt"), maximum=TLSVersion.TLS12, verify_name=False
        )
        self.assertEqual(self.client(upstreamTLS()), bare)
        self.assertEqual(
            self.client(
                upstreamTLS(
                    {"sni": "db.test", "max_session_keys": 0, "allow_renegotiation": False},
                    tls_certificates=OWN,
                    tls_params={"tls_maximum_protocol_version": "TLSv1_3"},
                    alpn_protocols=["istio"],
                )
            ),
            replace(
                bare,
                certificate=self.file("db.crt"),
                key=self.file("db.key"),
                server_name="db.test",
                resumable=False,
                maximum=TLSVersion.TLS13,
                alpn=("istio",),
            ),
        )

    def test_unverified(self) -> None:
        """
        Without a CA, Envoy believes whoever answers.
        """
        for common in ({"validation_context": {}}, {}):
            socket = typed(SOCKETS + "tls.v3.UpstreamTlsContext", common_tls_context=common)
            self.assertEqual(
                self.client(socket),
                ClientTLS(maximum=TLSVersion.TLS12, verify_name=False, verify=False),
            )

    def test_inline(self) -> None:
        texts = {name: Path(name).read_text() for name in ("db.crt", "db.key", "ca.crt")}
        found = self.server(
            downstreamTLS(
                tls_certificates=[
                    {
                        "certificate_chain": {"inline_string": texts["db.crt"]},
                        "private_key": {"inline_string": texts["db.key"]},
                    }
                ],
                validation_context={"trusted_ca": {"inline_string": texts["ca.crt"]}},
            )
        )
        self.assertEqual(
            [pem and pem.text for pem in (found.certificate, found.key, found.authorities)],
            [texts[name].encode() for name in ("db.crt", "db.key", "ca.crt")],
        )

    def test_matchers(self) -> None:
        matchers = [
            {"san_type": "URI", "matcher": {"exact": "a"}},
            {"san_type": "DNS", "matcher": {"prefix": "a", "ignore_case": True}},
            {"san_type": "IP_ADDRESS", "matcher": {"suffix": "a"}},
            {"san_type": "EMAIL", "matcher": {"contains": "a"}},
            {"san_type": "URI", "matcher": {"safe_regex": {"regex": "a+", "google_re2": {}}}},
        ]
        found = self.server(
            downstreamTLS(validation_context=CA_FILE | {"match_typed_subject_alt_names": matchers})
        )
        self.assertEqual(
            found.accepted,
            (
                NameMatcher(NameKind.URI, Comparison.EXACT, "a"),
                NameMatcher(NameKind.DNS, Comparison.PREFIX, "a", True),
                NameMatcher(NameKind.IP_ADDRESS, Comparison.SUFFIX, "a"),
                NameMatcher(NameKind.EMAIL, Comparison.CONTAINS, "a"),
                NameMatcher(NameKind.URI, Comparison.REGEX, "a+"),
            ),
        )

    def secrets(self, directory: str = ".") -> None:
        Path("own.yaml").write_text(
            """
            version_info: "1"
            resources:
            - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
              name: other
            - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
              name: own
              tls_certificate:
                certificate_chain: {filename: db.crt}
                private_key: {filename: db.key}
            """
        )
        Path("trusted.json").write_text(
            """
            {"resources": [{
              "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
              "name": "trusted",
              "validationContext": {
                "trustedCa": {"filename": "ca.crt"},
                "matchTypedSubjectAltNames": [{"sanType": "URI", "matcher": {"exact": "b"}}]
              }
            }]}
            """
        )

    def test_secretFiles(self) -> None:
        self.secrets()

        def config(name: str, path: str) -> dict[str, object]:
            source = {"path_config_source": {"path": path}, "resource_api_version": "V3"}
            return {"name": name, "sds_config": source}

        own = [config("own", "own.yaml")]
        trusted = config("trusted", "trusted.json")
        wanted = ServerTLS(
            self.file("db.crt"),
            self.file("db.key"),
            self.file("ca.crt"),
            accepted=(NameMatcher(NameKind.URI, Comparison.EXACT, "b"),),
            require_client_certificate=True,
        )
        common: dict[str, Any] = {"tls_certificate_sds_secret_configs": own, "tls_certificates": []}
        found = self.server(
            downstreamTLS(True, validation_context_sds_secret_config=trusted, **common)
        )
        self.assertEqual(found, wanted)
        combined = {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "a"}}]
            },
            "validation_context_sds_secret_config": trusted,
        }
        found = self.server(downstreamTLS(True, combined_validation_context=combined, **common))
        both = (NameMatcher(NameKind.URI, Comparison.EXACT, "a"), *wanted.accepted)
        self.assertEqual(found, replace(wanted, accepted=both))

    def test_staticSecrets(self) -> None:
        socket = downstreamTLS(
            tls_certificates=[],
            tls_certificate_sds_secret_configs=[{"name": "own"}],
            validation_context_sds_secret_config={"name": "trusted"},
        )
        chain = {"filters": [ECHO], "transport_socket": socket}
        document = bootstrap(
            listeners=[listener(filter_chains=[chain])],
            secrets=[
                {"name": "own", "tls_certificate": OWN[0]},
                {"name": "trusted", "validation_context": CA_FILE},
            ],
        )
        found = self.read(document).listeners[0].chains[0].tls
        assert found is not None
        self.assertEqual(
            (found.certificate, found.key, found.authorities),
            (self.file("db.crt"), self.file("db.key"), self.file("ca.crt")),
        )

    def test_timeouts(self) -> None:
        self.assertEqual(self.chain().tls_handshake_timeout, 10)
        for text, seconds in (("3s", 3), ("0s", 10)):
            found = self.chain(transport_socket_connect_timeout=text)
            self.assertEqual(found.tls_handshake_timeout, seconds)


class ALPNTests(FileCase):
    """
    What stands for an exchange is offered where there is one.
    """

    NAMES = ("h2", "istio-peer-exchange", "istio", "mx-protocol")

    def downstream(self, *filters: object) -> tuple[str, ...]:
        chain = {
            "filters": [*filters, TCP_PROXY],
            "transport_socket": downstreamTLS(alpn_protocols=self.NAMES),
        }
        plan = self.read(bootstrap(listeners=[listener(filter_chains=[chain])]))
        tls = plan.listeners[0].chains[0].tls
        assert tls is not None
        return tls.alpn

    def upstream(self, *filters: object, **fields: object) -> tuple[tuple[str, ...], bool]:
        found = self.cluster(
            filters=list(filters),
            transport_socket=upstreamTLS(alpn_protocols=self.NAMES),
            **fields,
        )
        assert found.tls is not None
        return found.tls.alpn, found.external

    def test_downstream(self) -> None:
        self.assertEqual(self.downstream(), ("h2", "istio", "mx-protocol"))
        self.assertEqual(self.downstream(EXCHANGE), self.NAMES)

    def test_another(self) -> None:
        """
        The protocol of any of the file's exchanges is one.
        """
        other = typed(ISTIO_EXCHANGE, protocol="mx-protocol")
        self.assertEqual(self.downstream(other), ("h2", "istio", "mx-protocol"))
        chains = [
            {
                "filters": [EXCHANGE, TCP_PROXY],
                "transport_socket": downstreamTLS(alpn_protocols=self.NAMES),
            },
            {
                "filters": [other, TCP_PROXY],
                "filter_chain_match": {"destination_port": 1},
                "transport_socket": downstreamTLS(alpn_protocols=self.NAMES),
            },
        ]
        found = self.listener(filter_chains=chains).chains
        self.assertEqual(
            [chain.tls and chain.tls.alpn for chain in found],
            [("h2", "istio-peer-exchange", "istio"), ("h2", "istio", "mx-protocol")],
        )

    def test_upstream(self) -> None:
        self.assertEqual(self.upstream(), (("h2", "istio", "mx-protocol"), False))
        self.assertEqual(self.upstream(EXCHANGE), (self.NAMES, False))
        # A protocol that is not said is istio-peer-exchange.
        self.assertEqual(self.upstream(typed(OWN_EXCHANGE)), (self.NAMES, False))

    def test_service(self) -> None:
        """
        What Istio writes into a cluster's metadata says what it is in metrics.
        """

        def service(istio: object) -> ServicePlan | None:
            found: ServicePlan | None = self.cluster(
                metadata={"filter_metadata": {"istio": istio}}
            ).service
            return found

        one = {"host": "db.data.svc.cluster.local", "name": "db", "namespace": "data"}
        self.assertEqual(
            service({"services": [one, {"host": "other"}]}),
            ServicePlan("db.data.svc.cluster.local", "db", "data"),
        )
        self.assertEqual(service({"services": [{"host": "db", "name": 1}]}), ServicePlan("db"))
        for other in ({}, {"services": []}, {"services": "db"}, {"services": ["db"]}):
            self.assertIsNone(service(other))

    def test_workload(self) -> None:
        """
        What Istio writes into a host's metadata says who it is.
        """
        for text, expected in (
            (
                "db-v1;data;db;v1;c1",
                Metadata(
                    workload="db-v1", namespace="data", service="db", revision="v1", cluster="c1"
                ),
            ),
            ("db-v1;data", None),
            (7, None),
        ):
            address = {"socket_address": {"address": "10.0.0.7", "port_value": 5432}}
            host = {
                "endpoint": {"address": address},
                "metadata": {"filter_metadata": {"istio": {"workload": text}}},
            }
            endpoints = {"cluster_name": "c", "endpoints": [{"lb_endpoints": [host]}]}
            found = self.cluster(load_assignment=endpoints)
            self.assertEqual([one.workload for one in found.hosts], [expected])

    def test_external(self) -> None:
        """
        Outside of the mesh, the cluster is marked; what follows is the cluster's business.
        """
        for external in (True, False):
            metadata = {"filter_metadata": {"istio": {"external": external}}}
            alpn, marked = self.upstream(EXCHANGE, metadata=metadata)
            self.assertEqual(marked, external)
            self.assertEqual("istio-peer-exchange" in alpn, not external)
        for other in ({"istio": {"external": "true"}}, {"istio": {}}, {"other": {"external": 1}}):
            self.assertIs(self.cluster(metadata={"filter_metadata": other}).external, False)


class ClusterTests(FileCase):
    def test_defaults(self) -> None:
        found = self.cluster()
        self.assertEqual((found.type, found.lb_policy), ("STATIC", "ROUND_ROBIN"))
        self.assertEqual((found.connect_timeout, found.tls_handshake_timeout), (5, 5))
        self.assertEqual((found.max_connections, found.healthy_panic_threshold), (1024, 50))
        self.assertEqual((found.dns_refresh_rate, found.dns_lookup_family), (5, "AUTO"))
        self.assertEqual((found.health_checks, found.outlier_detection), ((), None))
        self.assertEqual((found.transport_socket_matches, found.proxy_protocol), ((), ""))
        self.assertEqual(found.hosts, (HostPlan("tcp:127.0.0.1:80"),))

    def test_everything(self) -> None:
        found = self.cluster(
            type="STRICT_DNS",
            lb_policy="LEAST_REQUEST",
            connect_timeout="0.25s",
            circuit_breakers={
                "thresholds": [{"max_connections": 7, "max_pending_requests": 7, "max_requests": 1}]
            },
            common_lb_config={"healthy_panic_threshold": {"value": 12.5}},
            dns_refresh_rate="60s",
            dns_lookup_family="V4_ONLY",
            alt_stat_name="x",
            per_connection_buffer_limit_bytes=1,
        )
        self.assertEqual((found.type, found.lb_policy), ("STRICT_DNS", "LEAST_REQUEST"))
        self.assertEqual((found.connect_timeout, found.tls_handshake_timeout), (0.25, 0.25))
        self.assertEqual((found.max_connections, found.healthy_panic_threshold), (7, 12.5))
        self.assertEqual((found.dns_refresh_rate, found.dns_lookup_family), (60, "V4_ONLY"))

    def test_keepalive(self) -> None:
        """
        What is not said is the system's.
        """
        for fields, wanted in (
            ({}, keepalive()),
            ({"keepalive_time": 9}, keepalive(9)),
            (
                {"keepalive_time": 9, "keepalive_interval": 8, "keepalive_probes": 7},
                keepalive(9, 8, 7),
            ),
        ):
            options = {"tcp_keepalive": fields}
            found = self.cluster(upstream_connection_options=options)
            self.assertEqual(found.socket_options, wanted)
        self.assertEqual(self.cluster(upstream_connection_options={}).socket_options, ())

    def test_hosts(self) -> None:
        here = os.getcwd()
        assignment = hosts(
            address("10.0.0.1", 1),
            address("fd00::1", 2),
            {"pipe": {"path": "a:b.sock"}},
            {"pipe": {"path": "@a"}},
        )
        one = assignment["endpoints"][0]["lb_endpoints"][0]  # type: ignore[index]
        one["load_balancing_weight"] = 3
        one["metadata"] = {
            "filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio", "n": 1}}
        }
        found = self.cluster(load_assignment=assignment).hosts
        self.assertEqual(
            found,
            (
                HostPlan("tcp:10.0.0.1:1", 3, {"tlsMode": "istio", "n": 1}),
                HostPlan(r"tcp:fd00\:\:1:2"),
                HostPlan(rf"unix:{here}/a\:b.sock"),
                HostPlan("unix:\0a"),
            ),
        )
        for host in found:
            clientFromString(MemoryReactor(), host.endpoint)
        other = hosts(address("db.test", 1))
        for kind in ("STRICT_DNS", "LOGICAL_DNS"):
            self.assertEqual(
                self.cluster(type=kind, load_assignment=other).hosts,
                (HostPlan("tcp:db.test:1"),),
            )
        self.assertEqual(self.cluster(load_assignment=None).hosts, ())

    def test_originalDst(self) -> None:
        found = self.cluster(
            type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED", load_assignment=None
        )
        self.assertEqual(
            (found.type, found.lb_policy, found.hosts), ("ORIGINAL_DST", "ROUND_ROBIN", ())
        )

    def test_noThreshold(self) -> None:
        for breakers in ({}, {"thresholds": []}, {"thresholds": [{}]}):
            self.assertEqual(self.cluster(circuit_breakers=breakers).max_connections, 1024)
        # What Istio writes for no limit at all.
        most = 2**32 - 1
        thresholds = dict.fromkeys(
            ("max_connections", "max_pending_requests", "max_requests", "max_retries"), most
        )
        found = self.cluster(
            circuit_breakers={"thresholds": [thresholds | {"track_remaining": True}]}
        )
        self.assertEqual(found.max_connections, most)

    def test_healthChecks(self) -> None:
        usual = {
            "timeout": "1s",
            "interval": "2s",
            "unhealthy_threshold": 3,
            "healthy_threshold": 4,
            "tcp_health_check": {},
        }
        full = usual | {
            "unhealthy_interval": "5s",
            "no_traffic_interval": "6s",
            "tcp_health_check": {
                "send": {"text": "50494e47"},
                "receive": [{"text": "504F4E47"}, {"binary": "AAE="}],
            },
        }
        self.assertEqual(
            self.cluster(health_checks=[usual, full]).health_checks,
            (
                HealthCheckPlan(1, 2, 3, 4),
                HealthCheckPlan(1, 2, 3, 4, b"PING", (b"PONG", b"\0\1"), 5, 6),
            ),
        )

    def test_outlierDetection(self) -> None:
        for detection, wanted in (
            ({}, OutlierDetectionPlan()),
            (
                {"consecutive_5xx": 2, "consecutive_local_origin_failure": 3},
                OutlierDetectionPlan(2),
            ),
            (
                {
                    "consecutive_5xx": 2,
                    "consecutive_local_origin_failure": 3,
                    "split_external_local_origin_errors": True,
                    "interval": "1s",
                    "base_ejection_time": "400s",
                    "max_ejection_percent": 100,
                    "always_eject_one_host": True,
                },
                OutlierDetectionPlan(3, 1, 400, 400, 100, True),
            ),
            (
                {"base_ejection_time": "2s", "max_ejection_time": "4s"},
                OutlierDetectionPlan(base_ejection_time=2, max_ejection_time=4),
            ),
        ):
            self.assertEqual(self.cluster(outlier_detection=detection).outlier_detection, wanted)

    def test_proxyProtocol(self) -> None:
        url = SOCKETS + "proxy_protocol.v3.ProxyProtocolUpstreamTransport"
        found = self.cluster(
            transport_socket=typed(url, transport_socket=RAW, config={"version": "V2"})
        )
        self.assertEqual((found.tls, found.proxy_protocol), (None, "V2"))
        found = self.cluster(transport_socket=typed(url, transport_socket=upstreamTLS()))
        self.assertEqual(found.proxy_protocol, "V1")
        assert found.tls is not None
        self.assertIsNotNone(found.tls.authorities)

    def test_socketMatches(self) -> None:
        """
        As Istio writes them for automatic mutual TLS.
        """
        found = self.cluster(
            transport_socket_matches=[
                {
                    "name": "tlsMode-istio",
                    "match": {"tlsMode": "istio"},
                    "transport_socket": upstreamTLS(tls_certificates=OWN, alpn_protocols=["istio"]),
                },
                {"name": "tlsMode-disabled", "match": {}, "transport_socket": RAW},
            ]
        ).transport_socket_matches
        self.assertIsNotNone(found[0].tls)
        self.assertEqual((found[0].name, found[0].match), ("tlsMode-istio", {"tlsMode": "istio"}))
        self.assertEqual(found[1], TransportSocketMatch("tlsMode-disabled", {}, None))
