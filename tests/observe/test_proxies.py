"""
The logs of a running proxy: whom they are told of, and what they say of connections that were
proxied.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mxproxy.chain import ChainError
from mxproxy.config.plan import (
    TCP_PROXY,
    TLS,
    AccessLogPlan,
    ClusterPlan,
    FilterChainMatch,
    FilterSpec,
    HostPlan,
    Plan,
)
from mxproxy.filters.tcp_proxy import TCPProxy
from mxproxy.observe.format import compileText
from mxproxy.observe.operators import Record
from mxproxy.service import ProxyService
from mxproxy.testing import Application, MemoryReactor, Proxy, Sidecars
from mxproxy.testing.sidecars import CLIENT_ID, SERVER, SERVER_ID, onePlan, serverTLS
from mxproxy.wire.metadata import Node
from tests.proxies import PORT, ProxyTestCase

HOST = f"127.0.0.1:{SERVER}"
FORMAT = "%RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %UPSTREAM_TRANSPORT_FAILURE_REASON%"


class LoggedCase(ProxyTestCase):
    def plan(
        self,
        listener: str | None = None,
        chain: str | None = None,
        cluster: dict[str, Any] | None = None,
        **terminal: Any,
    ) -> Plan:
        """
        @param listener: the format of a log of the listener's; C{chain}: of the chain's.
        @param cluster: what is different of the cluster, and C{terminal}: of the tcp_proxy.
        """

        def logs(format: str | None) -> tuple[AccessLogPlan, ...]:
            return () if format is None else (AccessLogPlan("/log", text_format=format),)

        plan = onePlan(Node(), PORT, SERVER)
        (old,) = plan.listeners
        settings = TCPProxy("cluster", access_logs=logs(chain), **terminal)
        filters = (FilterSpec(TCP_PROXY, settings=settings),)
        return replace(
            plan,
            listeners=(
                replace(
                    old,
                    chains=(replace(old.chains[0], filters=filters),),
                    access_logs=logs(listener),
                ),
            ),
            clusters=(replace(plan.clusters[0], **(cluster or {})),),
        )

    def leave(self, *clients: Application) -> None:
        """
        Everybody closes.
        """
        for application in (*clients, *self.servers.built):
            if application.transport is not None:
                application.close()
        self.settle()

    def lines(self, proxy: Proxy) -> list[str]:
        """What waits to be written to the one file."""
        (writer,) = proxy.service._logs._writers.values()
        return [line.text.decode() for line in writer._queue if line is not None]


class EdgesTests(LoggedCase):
    def test_listenerAndChain(self) -> None:
        """
        One line of each; they share a file, and say the same of a connection.
        """
        said = "%ACCESS_LOG_TYPE% %FILTER_CHAIN_NAME% %BYTES_RECEIVED% %BYTES_SENT%"
        proxy = self.start(self.plan(said, said))
        client = self.dial()
        client.write(b"abc")
        self.server.write(b"hello")
        self.settle()
        self.assertEqual(self.lines(proxy), [])
        self.leave(client)
        self.assertEqual(
            sorted(self.lines(proxy)), ["NotSet chain 3 5", "TcpConnectionEnd chain 3 5"]
        )
        self.assertQuiet(client)

    def test_noChain(self) -> None:
        """
        The listener's log hears of it, the chain's does not.
        """
        plan = self.plan("%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %FILTER_CHAIN_NAME%", "chain")
        (listener,) = plan.listeners
        chain = replace(listener.chains[0], match=FilterChainMatch(transport_protocol=TLS))
        proxy = self.start(replace(plan, listeners=(replace(listener, chains=(chain,)),)))
        client = self.dial()
        self.leave(client)
        self.assertEqual(self.lines(proxy), ["NR filter_chain_not_found -"])
        self.assertQuiet(client)

    def test_tlsFails(self) -> None:
        """
        The chain was chosen: its log hears of it, though the terminal was never reached.
        """
        plan = self.plan(None, "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%")
        (listener,) = plan.listeners
        chain = replace(listener.chains[0], tls=serverTLS())
        proxy = self.start(replace(plan, listeners=(replace(listener, chains=(chain,)),)))
        client = self.dial()
        client.write(b"GET / HTTP/1.1\r\n\r\n")
        self.leave(client)
        (line,) = self.lines(proxy)
        self.assertTrue(line.startswith("not_tls:_"), line)

    def test_periodic(self) -> None:
        """
        From the chain's choice to the connection's end, and no longer.
        """
        logs = (AccessLogPlan("/log", text_format="%ACCESS_LOG_TYPE%", flush_interval=10.0),)
        plan = self.plan()
        (listener,) = plan.listeners
        filters = (FilterSpec(TCP_PROXY, settings=TCPProxy("cluster", access_logs=logs)),)
        chain = replace(listener.chains[0], filters=filters)
        proxy = self.start(replace(plan, listeners=(replace(listener, chains=(chain,)),)))
        client = self.dial()
        self.reactor.advance(25)
        self.leave(client)
        self.assertEqual(self.lines(proxy), ["TcpPeriodic", "TcpPeriodic", "TcpConnectionEnd"])
        self.assertQuiet(client)

    def test_refused(self) -> None:
        """
        A format that cannot be used: one line that says of which log, before anything listens.
        """
        for plan, where in (
            (self.plan("%FOO%"), "listener: access log /log: "),
            (self.plan(None, "%FOO%"), "chain: access log /log: "),
        ):
            error = self.assertRaises(ChainError, ProxyService, plan, MemoryReactor())
            self.assertEqual(str(error), f"{where}position 0: FOO is not a known operator")


class FlagsTests(LoggedCase):
    """
    What is said when Envoy says so, of connections that had that fate.
    """

    def fate(self, cluster: dict[str, Any] | None = None, listen: bool = True, **more: Any) -> str:
        proxy = self.start(self.plan(FORMAT, cluster=cluster, **more), listen=listen)
        client = self.dial()
        self.reactor.advance(60)
        self.leave(client)
        return self.lines(proxy)[-1]

    def test_orderly(self) -> None:
        self.assertEqual(self.fate(), f"- cluster {HOST} -")

    def test_refused(self) -> None:
        self.assertEqual(
            self.fate(listen=False),
            f"UF,URX cluster {HOST} delayed_connect_error:_Connection_refused",
        )

    def test_secondHost(self) -> None:
        hosts = (HostPlan("tcp:127.0.0.1:9"), HostPlan(f"tcp:127.0.0.1:{SERVER}"))
        self.assertEqual(
            self.fate({"hosts": hosts}),
            f"UF cluster {HOST} delayed_connect_error:_Connection_refused",
        )

    def test_noHosts(self) -> None:
        self.assertEqual(self.fate({"hosts": ()}), "UH cluster - -")

    def test_overflow(self) -> None:
        self.assertEqual(self.fate({"max_connections": 0}), "UO cluster - -")

    def test_timeout(self) -> None:
        proxy = self.start(self.plan(FORMAT))
        self.reactor.silent.add(("127.0.0.1", SERVER))
        client = self.dial()
        self.reactor.advance(60)
        self.leave(client)
        self.assertEqual(self.lines(proxy), [f"UF,URX cluster {HOST} -"])
        self.assertQuiet(client)

    def test_reset(self) -> None:
        proxy = self.start(self.plan(FORMAT))
        client = self.dial()
        self.server.abort()
        self.leave(client)
        self.assertEqual(self.lines(proxy), [f"UR cluster {HOST} -"])
        self.assertQuiet(client)


class FactsTests(LoggedCase):
    def test_whoIsWho(self) -> None:
        """
        What TLS and the exchange have found out, on both sides of both sidecars.
        """
        sidecars = Sidecars(server=serverTLS(require_client_certificate=True))
        client = sidecars.dial()
        client.write(b"x")
        sidecars.reactor.settle()

        def said(proxy: Proxy, side: str) -> list[str]:
            names = ("PEER_URI_SAN", "LOCAL_URI_SAN", "TLS_VERSION", "TLS_CIPHER")
            operators = [f"%{side}_{name}%" for name in names]
            operators.append(f"%FILTER_STATE({side.lower()}_peer:FIELD:workload)%")
            render = compileText(" ".join(operators))
            return render(Record(proxy.connection, "", 0.0)).decode().split()

        for proxy, side, peers, ours, workload in (
            (sidecars.outbound, "UPSTREAM", SERVER_ID, CLIENT_ID, "httpbin"),
            (sidecars.inbound, "DOWNSTREAM", CLIENT_ID, SERVER_ID, "sleep"),
        ):
            self.assertEqual(
                said(proxy, side),
                [peers, ours, "TLSv1.3", "TLS_AES_128_GCM_SHA256", workload],
            )
        self.assertEqual(said(sidecars.outbound, "DOWNSTREAM"), ["-"] * 5)

    def test_unverified(self) -> None:
        """
        Only what was proven counts: of a client that was not asked for a certificate there is
        none.
        """
        sidecars = Sidecars(server=serverTLS(authorities=None, require_client_certificate=False))
        sidecars.dial()
        downstream = sidecars.inbound.connection.downstream
        self.assertIsNone(downstream.certificate)
        assert downstream.local_certificate is not None


class ClusterTests(LoggedCase):
    def test_chosen(self) -> None:
        """
        The cluster that was chosen, of several.
        """
        plan = self.plan("%UPSTREAM_CLUSTER%", weighted_clusters=(("other", 1),))
        other = ClusterPlan("other", plan.clusters[0].hosts)
        proxy = self.start(replace(plan, clusters=(*plan.clusters, other)))
        client = self.dial()
        self.leave(client)
        self.assertEqual(self.lines(proxy), ["other"])
        self.assertQuiet(client)
