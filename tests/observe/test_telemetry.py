"""
What connections leave in the metrics, in Istio's scenario and around it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import METADATA_EXCHANGE, FilterSpec, Plan, ServicePlan, StatsPlan
from mxproxy.filters import metadata_exchange
from mxproxy.observe.stats import ISTIO, STATS, find
from mxproxy.observe.telemetry import OPENED_WITHIN, REPORT_INTERVAL, Telemetry, reporterOf
from mxproxy.testing import Application, ApplicationFactory, MemoryReactor, Proxy
from mxproxy.testing.sidecars import (
    INBOUND,
    OUTBOUND,
    SERVER,
    clientTLS,
    dial,
    onePlan,
    pems,
    serverTLS,
)
from tests.observe.istio.scenario import (
    CLIENT_LABELS,
    CLIENT_NODE,
    CLIENT_PRINCIPAL,
    REPLY,
    REQUEST,
    SERVER_LABELS,
    SERVER_LABELS_WITHOUT_EXCHANGE,
    SERVER_NODE,
    SERVER_PRINCIPAL,
    SERVICE_HOST,
    VALUES,
)


def exchange(**options: str) -> FilterSpec:
    return FilterSpec(METADATA_EXCHANGE, settings=metadata_exchange.configure(options))


def watched(plan: Plan, **changes: Any) -> Plan:
    """
    A plan that somebody looks at, of Istio's service.
    """
    cluster = replace(plan.clusters[0], service=ServicePlan(SERVICE_HOST, "server", "default"))
    return replace(plan, clusters=(cluster,), admin="tcp:0:interface=127.0.0.1", **changes)


class Pair:
    """
    Istio's client and server, in memory.
    """

    def __init__(
        self,
        clientTLSSettings: Any = None,
        inbound: Any = None,
        serverNode: Any = SERVER_NODE,
        clientNode: Any = CLIENT_NODE,
        stats: StatsPlan | None = None,
        labels: str = "",
        resumption: bool = False,
    ) -> None:
        self.reactor = MemoryReactor()
        self.resumption = resumption
        server, client = pems(SERVER_PRINCIPAL), pems(CLIENT_PRINCIPAL)
        self.inbound = self.run(
            watched(
                onePlan(
                    serverNode,
                    INBOUND,
                    SERVER,
                    downstream=serverTLS(**server),
                    downstreamFilters=(exchange(additional_labels=labels),),
                ),
                stats=stats or StatsPlan(),
            )
        )
        self.outbound = self.run(
            watched(
                onePlan(
                    clientNode,
                    OUTBOUND,
                    INBOUND,
                    upstream=clientTLSSettings or clientTLS(**client),
                    upstreamFilters=(
                        () if clientTLSSettings else (exchange(additional_labels=labels),)
                    ),
                ),
                stats=stats or StatsPlan(),
            )
        )
        self.servers = ApplicationFactory()
        self.reactor.listenTCP(SERVER, self.servers)

    def run(self, plan: Plan) -> Proxy:
        proxy = Proxy(replace(plan, tls_session_resumption=self.resumption), self.reactor)
        telemetryOf(proxy).start()
        return proxy

    def talk(self) -> Application:
        """
        One connection of the scenario, still open.
        """
        client = dial(self.reactor, OUTBOUND)
        client.write(REQUEST)
        self.reactor.settle()
        self.servers.built[-1].write(REPLY)
        self.reactor.settle()
        return client

    def hangUp(self, client: Application) -> None:
        client.close()
        self.reactor.settle()
        self.servers.built[-1].close()
        self.reactor.settle()


def telemetryOf(proxy: Proxy) -> Telemetry:
    telemetry = proxy.service.telemetry
    assert telemetry is not None
    return telemetry


def metrics(proxy: Proxy) -> dict[str, list[tuple[dict[str, str], int]]]:
    """
    Istio's metrics: by name, label sets with values.
    """
    telemetry = telemetryOf(proxy)
    return {
        metric.name: [
            (
                dict(zip(telemetry.labeller.names, series.labels, strict=True)),
                getattr(series, metric.attribute),
            )
            for series in telemetry.series
        ]
        for metric in ISTIO
    }


class IstioTests(SynchronousTestCase):
    """
    Istio's expectations.
    """

    def test_scenario(self) -> None:
        """
        Ten connections: four metrics on either side, with exactly Istio's labels and values.
        """
        pair = Pair()
        for _ in range(10):
            pair.hangUp(pair.talk())
        for proxy, labels in (pair.outbound, CLIENT_LABELS), (pair.inbound, SERVER_LABELS):
            self.assertEqual(
                metrics(proxy), {name: [(labels, value)] for name, value in VALUES.items()}
            )

    def test_withoutALPN(self) -> None:
        """
        A client of which only its certificate is known.
        """
        pair = Pair(clientTLSSettings=clientTLS(**pems(CLIENT_PRINCIPAL), alpn=("some-protocol",)))
        for _ in range(10):
            pair.hangUp(pair.talk())
        found = metrics(pair.inbound)
        self.assertEqual(
            found["istio_tcp_connections_opened_total"], [(SERVER_LABELS_WITHOUT_EXCHANGE, 10)]
        )

    def test_openConnection(self) -> None:
        """
        A connection that stays open is counted as opened at once; its bytes are reported
        while it lasts, and once.
        """
        pair = Pair()
        client = pair.talk()
        for proxy in pair.outbound, pair.inbound:
            (opened,) = metrics(proxy)["istio_tcp_connections_opened_total"]
            self.assertEqual(opened[1], 1)
        for _ in range(int(REPORT_INTERVAL) + 1):
            pair.reactor.advance(1)
        for proxy in pair.outbound, pair.inbound:
            found = {name: values[0][1] for name, values in metrics(proxy).items()}
            self.assertEqual(list(found.values()), [1, 0, len(REPLY), len(REQUEST)])
        pair.hangUp(client)
        for proxy in pair.outbound, pair.inbound:
            found = {name: values[0][1] for name, values in metrics(proxy).items()}
            self.assertEqual(list(found.values()), [1, 1, len(REPLY), len(REQUEST)])

    def test_additionalLabels(self) -> None:
        """
        A label that travels becomes one of the metrics' for either side.
        """
        node = replace(
            CLIENT_NODE,
            metadata={
                **CLIENT_NODE.metadata,
                "LABELS": {**CLIENT_NODE.metadata["LABELS"], "team.example/x": "a"},  # type: ignore[dict-item]
            },
        )
        pair = Pair(clientNode=node, labels="team.example/x,cluster")
        pair.talk()
        for proxy, expected in (pair.outbound, CLIENT_LABELS), (pair.inbound, SERVER_LABELS):
            ((labels, _),) = metrics(proxy)["istio_tcp_connections_opened_total"]
            added = {name: labels[name] for name in labels.keys() - expected.keys()}
            self.assertEqual(
                added,
                {
                    "source_team_example_x": "a",
                    "destination_team_example_x": "unknown",
                    "source_label_cluster": "unknown",
                    "destination_label_cluster": "unknown",
                },
            )

    def test_upstreamFailed(self) -> None:
        """
        A connection that leads nowhere is opened and closed at once, with Envoy's flags.
        """
        reactor = MemoryReactor()
        proxy = Proxy(watched(onePlan(CLIENT_NODE, OUTBOUND, INBOUND)), reactor)
        dial(reactor, OUTBOUND)
        reactor.settle()
        found = metrics(proxy)
        ((labels, opened),) = found["istio_tcp_connections_opened_total"]
        self.assertEqual((opened, labels["response_flags"]), (1, "UF,URX"))
        self.assertEqual(found["istio_tcp_connections_closed_total"], [(labels, 1)])

    def test_silentPeer(self) -> None:
        """
        A connection whose peer is not known in time is counted all the same, and what is
        learnt later does not split it into two label sets.
        """
        reactor = MemoryReactor()
        settings = exchange(protocol="", timeout="30")
        plan = watched(onePlan(SERVER_NODE, INBOUND, SERVER, downstreamFilters=(settings,)))
        proxy = Proxy(plan, reactor)
        telemetryOf(proxy).start()
        reactor.listenTCP(SERVER, ApplicationFactory())
        client = dial(reactor, INBOUND)
        for _ in range(int(OPENED_WITHIN) - 1):
            reactor.advance(1)
        self.assertEqual(metrics(proxy)["istio_tcp_connections_opened_total"], [])
        reactor.advance(1)
        ((labels, opened),) = metrics(proxy)["istio_tcp_connections_opened_total"]
        self.assertEqual((opened, labels["source_workload"]), (1, "unknown"))
        self.assertEqual(labels["connection_security_policy"], "none")
        client.write(CLIENT_NODE.prefix() + REQUEST)
        reactor.settle()
        client.abort()
        reactor.settle()
        found = metrics(proxy)
        self.assertEqual(
            found,
            {
                "istio_tcp_connections_opened_total": [(labels, 1)],
                "istio_tcp_connections_closed_total": [(labels, 1)],
                "istio_tcp_sent_bytes_total": [(labels, 0)],
                "istio_tcp_received_bytes_total": [(labels, len(REQUEST))],
            },
        )

    def test_contradiction(self) -> None:
        """
        Whoever claims another namespace than its certificate proves is labelled by the
        certificate, and counted.
        """
        liar = replace(CLIENT_NODE, metadata={**CLIENT_NODE.metadata, "NAMESPACE": "kube-system"})
        pair = Pair(clientNode=liar)
        pair.talk()
        ((labels, _),) = metrics(pair.inbound)["istio_tcp_connections_opened_total"]
        self.assertEqual(labels["source_workload_namespace"], "default")
        self.assertEqual(pair.inbound.service.counters["metadata_exchange.namespace_mismatch"], 1)
        self.assertEqual(pair.outbound.service.counters["metadata_exchange.namespace_mismatch"], 0)

    def test_eviction(self) -> None:
        """
        Series of peers that are gone are dropped; not those of open connections.
        """
        pair = Pair(stats=StatsPlan(eviction=60.0))
        client = pair.talk()
        for _ in range(100):
            pair.reactor.advance(1)
        self.assertEqual(len(telemetryOf(pair.inbound).series), 1)
        pair.hangUp(client)
        for _ in range(100):
            pair.reactor.advance(1)
        self.assertEqual(len(telemetryOf(pair.inbound).series), 0)
        self.assertEqual(pair.inbound.service.counters["stats.series_evicted"], 1)


class EnvoyTests(SynchronousTestCase):
    """
    Envoy's counters.
    """

    def test_scenario(self) -> None:
        """
        Listeners, clusters and TLS, on either side; all of them declared.
        """
        pair = Pair()
        client = pair.talk()
        telemetryOf(pair.outbound).flush()
        telemetryOf(pair.inbound).flush()
        pair.hangUp(client)
        version = "TLSv1.3"
        expected = {
            "cluster.cluster.upstream_cx_total": 1,
            "cluster.cluster.upstream_cx_rx_bytes_total": len(REPLY),
            "cluster.cluster.upstream_cx_tx_bytes_total": len(REQUEST),
            "metadata_exchange.alpn_protocol_found": 1,
            "metadata_exchange.metadata_added": 1,
        }
        for proxy, port, tls in (
            (pair.outbound, OUTBOUND, "cluster.cluster"),
            (pair.inbound, INBOUND, f"listener.127.0.0.1_{INBOUND}"),
        ):
            counters = dict(proxy.service.counters)
            for name in counters:
                self.assertIn(find(name)[0], STATS, name)
            (cipher,) = [name for name in counters if ".ciphers." in name]
            self.assertEqual(
                counters,
                {
                    **expected,
                    f"listener.127.0.0.1_{port}.downstream_cx_total": 1,
                    f"listener.127.0.0.1_{port}.downstream_cx_destroy": 1,
                    f"{tls}.ssl.handshake": 1,
                    f"{tls}.ssl.versions.{version}": 1,
                    cipher: 1,
                },
            )

    def test_sessions(self) -> None:
        """
        Those that were taken up, on either side.
        """
        pair = Pair(resumption=True)
        clients = [pair.talk() for _ in range(3)]
        for proxy, tls in (
            (pair.outbound, "cluster.cluster"),
            (pair.inbound, f"listener.127.0.0.1_{INBOUND}"),
        ):
            counters = proxy.service.counters
            self.assertEqual(counters[f"{tls}.ssl.handshake"], 3)
            self.assertEqual(counters[f"{tls}.ssl.session_reused"], 2)
            self.assertIn(find(f"{tls}.ssl.session_reused")[0], STATS)
        for client in clients:
            pair.hangUp(client)

    def test_failedHandshakes(self) -> None:
        """
        A client without a certificate, seen from both sides.
        """
        anonymous = clientTLS(certificate=None, key=None, accepted=(SERVER_PRINCIPAL,), alpn=())
        pair = Pair(clientTLSSettings=anonymous)
        dial(pair.reactor, OUTBOUND)
        for _ in range(3):
            pair.reactor.advance(1)
        counters = pair.inbound.service.counters
        self.assertEqual(counters[f"listener.127.0.0.1_{INBOUND}.ssl.fail_verify_no_cert"], 1)
        self.assertEqual(counters[f"listener.127.0.0.1_{INBOUND}.ssl.handshake"], 0)

    def test_wrongServer(self) -> None:
        """
        A server that is somebody else.
        """
        pair = Pair(
            clientTLSSettings=clientTLS(
                **pems(CLIENT_PRINCIPAL), accepted=("spiffe://cluster.local/ns/x/sa/y",)
            )
        )
        dial(pair.reactor, OUTBOUND)
        counters = pair.outbound.service.counters
        self.assertEqual(counters["cluster.cluster.ssl.fail_verify_san"], 1)
        self.assertEqual(counters["cluster.cluster.upstream_cx_connect_fail"], 1)


class RateTests(SynchronousTestCase):
    def test_rates(self) -> None:
        """
        Bytes in a second, over the time since the last look; looks in between change nothing.
        """
        pair = Pair()
        telemetry = telemetryOf(pair.inbound)
        pair.reactor.advance(4)
        telemetry.flush()
        client = pair.talk()
        client.write(b"x" * 94)
        pair.reactor.settle()
        telemetry.flush()
        pair.reactor.advance(0.5)
        telemetry.flush()
        (one,) = telemetry.watched()
        self.assertEqual((one.sentRate, one.receivedRate), (0.0, 0.0))
        pair.reactor.advance(1.5)
        telemetry.flush()
        self.assertEqual((one.sentRate, one.receivedRate), (len(REPLY) / 2, 50.0))
        telemetry.flush()
        self.assertEqual((one.sentRate, one.receivedRate), (len(REPLY) / 2, 50.0))


class ReporterTests(SynchronousTestCase):
    def test_reporters(self) -> None:
        """
        The direction says it; without one, whoever learns who its clients are is the server's.
        """
        self.assertEqual(reporterOf("INBOUND", False), "destination")
        self.assertEqual(reporterOf("OUTBOUND", True), "source")
        self.assertEqual(reporterOf("", True), "destination")
        self.assertEqual(reporterOf("", False), "source")
