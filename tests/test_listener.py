"""
From the accepted connection to its chain.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mxproxy.config.plan import (
    METADATA_EXCHANGE,
    RAW_BUFFER,
    TCP_PROXY,
    TLS,
    TLS_INSPECTOR,
    ClusterPlan,
    FilterChainMatch,
    FilterChainPlan,
    FilterSpec,
    HostPlan,
    ListenerPlan,
    Plan,
)
from mxproxy.filters.tcp_proxy import TCPProxy
from mxproxy.testing import Application, Proxy
from mxproxy.testing.sidecars import (
    CLIENT_NODE,
    SERVER,
    SERVER_NODE,
    clientTLS,
    dial,
    onePlan,
    serverTLS,
)
from mxproxy.tls.context import ClientContext

from .proxies import PORT, CollectorOff, ProxyTestCase, assertNoCycles

TERMINAL = FilterSpec(TCP_PROXY, settings=TCPProxy("cluster"))

ENCRYPTED = FilterChainPlan(
    "encrypted",
    (FilterSpec(METADATA_EXCHANGE), TERMINAL),
    FilterChainMatch(transport_protocol=TLS),
    serverTLS(),
)
PLAIN = FilterChainPlan("plain", (TERMINAL,), FilterChainMatch(transport_protocol=RAW_BUFFER))


def plan(*chains: FilterChainPlan, **more: Any) -> Plan:
    """
    A listener that tells its chains apart by the first bytes.
    """
    return Plan(
        SERVER_NODE,
        (
            ListenerPlan(
                "listener",
                f"tcp:{PORT}",
                chains,
                listener_filters=(FilterSpec(TLS_INSPECTOR),),
                **{"listener_filters_timeout": 1.0, **more},
            ),
        ),
        (ClusterPlan("cluster", (HostPlan(f"tcp:127.0.0.1:{SERVER}"),)),),
    )


class PermissiveTests(ProxyTestCase):
    """
    TLS and plaintext on one port: looking at the first bytes takes none of them.
    """

    def setUp(self) -> None:
        self.start(plan(ENCRYPTED, PLAIN, continue_on_listener_filters_timeout=True))

    def restart(self, chunks: Any = None, **more: Any) -> None:
        self.start(
            plan(ENCRYPTED, PLAIN, **{"continue_on_listener_filters_timeout": True, **more}),
            chunks=chunks,
        )

    def finish(self, client: Application) -> None:
        client.close()
        self.settle()
        self.server.close()
        self.settle()
        self.assertQuiet(client)

    def test_plaintext(self) -> None:
        for chunks in (None, 1, 3):
            for text in (b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01 is not all of it", b"\x15"):
                self.restart(chunks)
                client = self.dial()
                client.write(text)
                client.end()
                self.settle()
                self.assertEqual((self.server.received, self.server.endings), (text, 1), text)
                self.assertEqual(self.proxy.connection.filter_chain, "plain")
                self.assertEqual(self.proxy.connection.trail, ["downstream/tls_inspector"])
                self.finish(client)

    def test_everyLength(self) -> None:
        """
        A ClientHello that stops anywhere is plaintext once the time is up, and all of it goes on.
        """
        hello = self.hello()
        for length in range(len(hello)):
            client = self.dial()
            client.write(hello[:length])
            self.settle()
            self.assertEqual(len(self.servers.built), length)
            self.reactor.advance(1)
            client.end()
            self.settle()
            self.assertEqual((self.server.received, self.server.endings), (hello[:length], 1))

    def test_endBeforeItIsKnown(self) -> None:
        """
        A stream that ends before it is known what it is, is nobody's.
        """
        for text in (b"", b"\x16", self.hello()[:-1]):
            self.restart()
            client = self.dial()
            client.write(text)
            client.end()
            self.settle()
            self.assertEqual(self.servers.built, [])
            self.assertEqual(
                self.told[-1],
                "closed: downstream: closed: the stream ended while tls_inspector was looking at"
                " it",
            )
            client.close()
            self.settle()
            self.assertQuiet(client)

    def hello(self) -> bytes:
        tls = ClientContext(clientTLS()).connection()
        try:
            tls.do_handshake()
        except Exception:  # noqa: BLE001 - it wants an answer
            pass
        return tls.bio_read(65536)

    def test_silentClient(self) -> None:
        """
        A server that speaks first is reached after the timeout.
        """
        client = self.dial()
        self.assertEqual(self.servers.built, [])
        self.reactor.advance(1)
        self.server.write(b"220 hello")
        self.settle()
        self.assertEqual(client.received, b"220 hello")
        self.assertEqual(self.proxy.connection.filter_chain, "plain")
        self.finish(client)

    def test_silentClientRefused(self) -> None:
        """
        Unless the listener says otherwise, it is closed.
        """
        self.restart(continue_on_listener_filters_timeout=False)
        client = self.dial()
        self.reactor.advance(1)
        self.assertEqual(client.endings, 1)
        client.close()
        self.settle()
        self.assertEqual(
            self.told[-1],
            "closed: downstream: listener_filters_timeout: tls_inspector has seen too little to"
            " decide",
        )
        self.assertQuiet(client)

    def test_clientThatGoes(self) -> None:
        client = self.dial()
        client.write(b"\x16")
        self.settle()
        client.abort()
        self.settle()
        self.assertEqual(self.told, ["opened", "closed: downstream: reset"])
        self.assertQuiet(client)

    def test_encrypted(self) -> None:
        """
        What begins with a ClientHello takes the other chain.
        """
        for chunks in (None, 1, 7):
            self.restart(chunks)
            outbound = Proxy(
                onePlan(
                    CLIENT_NODE,
                    PORT + 1,
                    PORT,
                    upstream=clientTLS(server_name="db.example"),
                    upstreamFilters=(FilterSpec(METADATA_EXCHANGE),),
                ),
                self.reactor,
            )
            client = self.dial(port=PORT + 1)
            client.write(b"hello")
            self.settle()
            self.assertEqual(self.server.received, b"hello")
            connection = self.proxy.connection
            self.assertEqual(connection.filter_chain, "encrypted")
            self.assertEqual(
                connection.trail,
                ["downstream/tls_inspector", "downstream/tls", "downstream/metadata_exchange"],
            )
            downstream = connection.downstream
            self.assertEqual(downstream.server_name, "db.example")
            self.assertEqual(downstream.metadata.workload, "sleep")
            self.assertEqual(len(outbound.edges.all), 1)
            self.finish(client)


class MatchTests(ProxyTestCase):
    def test_noChain(self) -> None:
        """
        None takes it: closed, and why is known. What was seen goes nowhere.
        """
        self.start(plan(ENCRYPTED))
        client = self.dial()
        client.write(b"GET / HTTP/1.0\r\n\r\n")
        self.settle()
        client.close()
        self.settle()
        self.assertTrue(
            self.told[-1].startswith("closed: downstream: no_filter_chain: none takes"), self.told
        )
        self.assertEqual(self.servers.built, [])
        self.assertQuiet(client)

    def test_noChainForSilence(self) -> None:
        self.start(plan(ENCRYPTED, continue_on_listener_filters_timeout=True))
        client = self.dial()
        self.reactor.advance(1)
        client.end()
        self.settle()
        client.close()
        self.settle()
        self.assertTrue(
            self.told[-1].startswith("closed: downstream: no_filter_chain: none takes"), self.told
        )
        self.assertQuiet(client)

    def test_default(self) -> None:
        self.start(plan(ENCRYPTED, default_filter_chain=replace(PLAIN, match=FilterChainMatch())))
        client = self.dial()
        client.write(b"GET /")
        self.settle()
        self.assertEqual(self.server.received, b"GET /")

    def test_bufferLimit(self) -> None:
        """
        A client that does not read: of what the host has written no more than the limit, and
        one read more, is kept; the rest is the host's to keep.
        """
        kept: dict[int | None, int] = {}
        for limit in (None, 0, 4096, 1 << 20):
            self.start(plan(PLAIN, per_connection_buffer_limit=limit), capacity=1000)
            client = self.dial()
            client.write(b"GET /")
            self.settle()
            client.pause()
            (server,) = self.servers.built
            server.write(b"x" * 500_000)
            self.settle()
            (connection,) = self.proxy.service.connections
            kept[limit] = connection.upstream.bytes_received
            client.close()
            self.settle()
        self.assertLessEqual(kept[4096], 2 * 4096 + 2000)
        self.assertGreater(kept[None], 65536)
        self.assertEqual(kept[0], kept[None])
        self.assertEqual(kept[1 << 20], kept[None])

    def test_nothingToTellApart(self) -> None:
        """
        Where one chain takes whatever comes, nobody waits for a first byte.
        """
        self.start(onePlan(CLIENT_NODE, PORT, SERVER))
        self.dial()
        self.assertEqual(len(self.servers.built), 1)
        self.assertEqual(self.proxy.connection.trail, [])

    def test_noCycles(self) -> None:
        with CollectorOff():
            self.start(plan(ENCRYPTED, PLAIN))
            for text in (b"GET /", b"\x16"):
                client = self.dial()
                client.write(text)
                self.settle()
                client.abort()
                self.settle()
                self.reactor.advance(1)
                for server in self.servers.built:
                    if not server.losses:
                        server.close()
                self.settle()
            self.assertQuiet()
            assertNoCycles(self, self.reactor, [self.proxy])


class ManyTests(ProxyTestCase):
    def test_apart(self) -> None:
        """
        Connections know nothing of each other.
        """
        self.start()
        clients = [dial(self.reactor, PORT) for _ in range(50)]
        for number, client in enumerate(clients):
            client.write(b"%d" % number)
        self.settle()
        self.assertEqual(
            [server.received for server in self.servers.built],
            [b"%d" % number for number in range(50)],
        )
        self.assertEqual(len({connection.id for connection in self.proxy.edges.all}), 50)
        for client in clients:
            client.abort()
        self.settle()
        for server in self.servers.built:
            server.close()
        self.settle()
        self.assertQuiet(*clients)
