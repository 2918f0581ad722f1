"""
Snapshots, of one process and of several, and what Prometheus is told of them.
"""

from __future__ import annotations

import json

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parseOpenMetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.observe.prometheus import expose
from mxproxy.observe.snapshot import Snapshot, merge, take
from mxproxy.observe.stats import ISTIO
from tests.observe.istio.scenario import CLIENT_LABELS, SERVER_LABELS, VALUES
from tests.observe.test_telemetry import Pair

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def snapshot(stats: dict[str, float] | None = None, *series: list[object]) -> Snapshot:
    return {
        "stats": stats or {},
        "istio": {"names": ["reporter", "source_workload"], "series": list(series)},
    }


class ScenarioTests(SynchronousTestCase):
    """
    Istio's scenario, scraped.
    """

    def test_scraped(self) -> None:
        """
        Exactly Istio's metrics, label sets and values, in both formats, and Envoy's beside
        them; read by Prometheus' own parser.
        """
        pair = Pair()
        for _ in range(10):
            pair.hangUp(pair.talk())
        for proxy, labels in (pair.outbound, CLIENT_LABELS), (pair.inbound, SERVER_LABELS):
            taken = take(proxy.service)
            # It can be sent.
            self.assertEqual(json.loads(json.dumps(taken)), taken)
            text, kind = expose(taken)
            self.assertIn("text/plain; version=0.0.4", kind)
            families = {family.name: family for family in parse(text.decode())}
            openText, openKind = expose(taken, OPEN_METRICS)
            self.assertIn("application/openmetrics-text", openKind)
            openFamilies = {family.name: family for family in parseOpenMetrics(openText.decode())}
            self.assertEqual(openFamilies.keys(), families.keys())
            for name, value in VALUES.items():
                for found in families, openFamilies:
                    family = found[name.removesuffix("_total")]
                    self.assertEqual(family.type, "counter")
                    (sample,) = family.samples
                    self.assertEqual(
                        (sample.name, sample.labels, sample.value), (name, labels, value)
                    )
            (sample,) = families["envoy_metadata_exchange_alpn_protocol_found"].samples
            self.assertEqual(sample.value, 10)
            (sample,) = families["envoy_cluster_upstream_cx"].samples
            self.assertEqual((sample.labels, sample.value), ({"envoy_cluster_name": "cluster"}, 10))

    def test_zeros(self) -> None:
        """
        What has not happened yet is there, as 0; TLS only where there is any.
        """
        stats = take(Pair().inbound.service)["stats"]
        self.assertEqual(stats["metadata_exchange.timeout"], 0)
        self.assertEqual(stats["cluster.cluster.upstream_cx_connect_fail"], 0)
        self.assertEqual(stats["listener.127.0.0.1_15006.ssl.fail_verify_san"], 0)
        self.assertNotIn("cluster.cluster.ssl.handshake", stats)
        self.assertFalse([name for name in stats if "{" in name])

    def test_gauges(self) -> None:
        """
        What is read off the proxy.
        """
        pair = Pair()
        pair.talk()
        stats = take(pair.inbound.service)["stats"]
        for name, value in (
            ("listener.127.0.0.1_15006.downstream_cx_active", 1),
            ("cluster.cluster.upstream_cx_active", 1),
            ("cluster.cluster.membership_total", 1),
            ("cluster.cluster.membership_healthy", 1),
            ("server.live", 1),
            ("server.total_connections", 1),
            ("stats.series", 1),
        ):
            self.assertEqual(stats[name], value, name)


class MergeTests(SynchronousTestCase):
    def test_merged(self) -> None:
        """
        Workers' counters and series add up, by label set; gauges as they are declared.
        """
        merged = merge(
            [
                snapshot(
                    {"metadata_exchange.timeout": 1, "server.uptime": 7, "server.live": 1},
                    [["source", "a"], 1, 0, 5, 6],
                    [["source", "b"], 1, 1, 1, 1],
                ),
                snapshot(
                    {"metadata_exchange.timeout": 2, "server.uptime": 9, "server.live": 0},
                    [["source", "a"], 2, 1, 10, 20],
                ),
            ]
        )
        self.assertEqual(
            merged,
            snapshot(
                {"metadata_exchange.timeout": 3, "server.uptime": 9, "server.live": 0},
                [["source", "a"], 3, 1, 15, 26],
                [["source", "b"], 1, 1, 1, 1],
            ),
        )


class TextTests(SynchronousTestCase):
    """
    L{expose}.
    """

    def test_escaped(self) -> None:
        """
        What a peer says of itself cannot leave its label.
        """
        nasty = 'a"b\\c\nd}e 1'
        taken = snapshot({f"cluster.{nasty}.ssl.handshake": 1}, [["source", nasty], 1, 0, 0, 0])
        families = {family.name: family for family in parse(expose(taken)[0].decode())}
        self.assertEqual(
            families["istio_tcp_connections_opened"].samples[0].labels["source_workload"], nasty
        )
        self.assertEqual(
            families["envoy_cluster_ssl_handshake"].samples[0].labels["envoy_cluster_name"], nasty
        )

    def test_types(self) -> None:
        """
        Counters end in _total; what Envoy calls otherwise is of unknown type.
        """
        text = expose(
            snapshot(
                {
                    "cluster.a.upstream_cx_total": 1,
                    "cluster.a.upstream_cx_active": 1,
                    "cluster.a.membership_total": 1,
                    "metadata_exchange.metadata_added": 1,
                    "meter.bytes": 1,
                }
            )
        )[0].decode()
        types = [line.split()[2:] for line in text.split("\n") if line.startswith("# TYPE")]
        self.assertEqual(
            types,
            [
                ["envoy_metadata_exchange_metadata_added", "untyped"],
                ["envoy_cluster_upstream_cx_total", "counter"],
                ["envoy_cluster_upstream_cx_active", "gauge"],
                ["envoy_cluster_membership_total", "untyped"],
                ["mxproxy_meter_bytes_total", "counter"],
            ],
        )

    def test_empty(self) -> None:
        self.assertEqual(expose(snapshot())[0], b"")
        self.assertEqual(expose(snapshot(), OPEN_METRICS)[0], b"# EOF\n")

    def test_everyMetric(self) -> None:
        """
        In the order of their declaration.
        """
        text = expose(snapshot(None, [["source", "a"], 1, 2, 3, 4]))[0].decode()
        labels = '{reporter="source",source_workload="a"}'
        self.assertEqual(
            [line for line in text.split("\n") if not line.startswith("#")],
            [f"{metric.name}{labels} {value}" for value, metric in enumerate(ISTIO, 1)] + [""],
        )
