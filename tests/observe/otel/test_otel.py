"""
OpenTelemetry with the SDK's exporters in memory: what is sent of connections, and of whom.
"""

from __future__ import annotations

import logging  # noqa: TID251 - what the SDK logs with
import os
import threading
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mxproxy import service
from mxproxy.observe.otel import exporting
from mxproxy.observe.otel.exporting import METRICS, TRACES, Exporting, checkEnvironment
from mxproxy.observe.otel.instruments import Instruments
from mxproxy.observe.otel.resource import resourceOf
from mxproxy.observe.otel.spans import ConnectionSpans
from mxproxy.observe.stats import ISTIO, STATS
from mxproxy.testing import MemoryReactor, Proxy, Sidecars
from mxproxy.testing.sidecars import CLIENT_ID, CLIENT_NODE, SERVER_ID
from mxproxy.wire.metadata import Node


def tell(proxy: Proxy, observer: ConnectionSpans) -> None:
    """
    Have C{observer} told what the proxy's own observer is.
    """
    for name in "opened", "identified", "connected", "closed":
        both = getattr(proxy.edges, name), getattr(observer, name)

        def call(*arguments: Any, both: Any = both) -> None:
            for one in both:
                one(*arguments)

        setattr(proxy.edges, name, call)


class Spans:
    """
    Sidecars whose connections become spans, at once.
    """

    def __init__(self, sidecars: Sidecars) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor

        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.observer = ConnectionSpans(lambda: 1_700_000_000.0)
        self.observer.tracer = provider.get_tracer("test")

    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


class SpanTests(SynchronousTestCase):
    def run_(self, **options: Any) -> tuple[ReadableSpan, ReadableSpan]:
        """
        A connection through both sidecars.

        @return: the outbound one's span and the inbound one's.
        """
        sidecars = Sidecars(**options)
        spans = Spans(sidecars)
        for proxy in sidecars.outbound, sidecars.inbound:
            tell(proxy, spans.observer)
        client = sidecars.dial()
        client.write(b"hello")
        sidecars.reactor.settle()
        sidecars.server.write(b"hello world")
        sidecars.server.close()
        sidecars.reactor.settle()
        client.close()
        sidecars.reactor.settle()
        one, two = spans.all()
        self.assertEqual(spans.observer._events, {})
        return (one, two) if one.kind is SpanKind.CLIENT else (two, one)

    def test_attributes(self) -> None:
        """
        Both sides know both: who it was, how much, how it ended.
        """
        outbound, inbound = self.run_()
        self.assertEqual((outbound.kind, inbound.kind), (SpanKind.CLIENT, SpanKind.SERVER))
        for span, side, principal, workload in [
            (outbound, "upstream", SERVER_ID, "httpbin"),
            (inbound, "downstream", CLIENT_ID, "sleep"),
        ]:
            found = dict(span.attributes or {})
            self.assertEqual(found[f"mxproxy.{side}.principal"], principal)
            self.assertEqual(found[f"mxproxy.{side}.workload"], workload)
            self.assertEqual(found[f"mxproxy.{side}.namespace"], "default")
            self.assertEqual(found[f"mxproxy.{side}.peer_state"], "found")
            self.assertEqual(found["mxproxy.bytes_received"], 5)
            self.assertEqual(found["mxproxy.bytes_sent"], 11)
            self.assertEqual(found["tls.protocol.version"], "1.3")
            self.assertEqual(found["tls.next_protocol"], "istio-peer-exchange")
            self.assertEqual(found["network.transport"], "tcp")
            self.assertEqual(found["client.address"], "127.0.0.1")
            self.assertIn("server.port", found)
            self.assertIn("closed", str(found["mxproxy.close_reason"]))
            self.assertEqual(
                [event.name for event in span.events], [f"{side} identified", "connected"]
            )
            self.assertEqual(span.status.status_code, StatusCode.UNSET)
            self.assertGreaterEqual(span.end_time, span.start_time)

    def test_failed(self) -> None:
        """
        What the access log has a response flag for is an error.
        """
        sidecars = Sidecars()
        spans = Spans(sidecars)
        tell(sidecars.outbound, spans.observer)
        sidecars.inbound.service.stopService()
        sidecars.reactor.settle()
        sidecars.dial()
        sidecars.reactor.advance(40)
        (span,) = spans.all()
        self.assertEqual(span.status.status_code, StatusCode.ERROR)
        self.assertIn("connect_failed", span.status.description or "")
        attributes = dict(span.attributes or {})
        self.assertIn("UF", str(attributes["mxproxy.response_flags"]))

    def test_bounded(self) -> None:
        """
        A peer's texts.
        """
        node = Node("x" * 3000, {"WORKLOAD_NAME": "w" * 3000})
        outbound, _ = self.run_(serverNode=node)
        attributes = dict(outbound.attributes or {})
        self.assertEqual(len(str(attributes["mxproxy.upstream.workload"])), 512)

    def test_notYet(self) -> None:
        """
        Before it is started, and after it is stopped, nothing is made.
        """
        sidecars = Sidecars()
        observer = ConnectionSpans()
        tell(sidecars.outbound, observer)
        client = sidecars.dial()
        client.abort()
        sidecars.reactor.settle()
        self.assertEqual(observer._events, {})


def environment(test: Any, variables: dict[str, str]) -> None:
    """
    In place: the SDK keeps the mapping.
    """
    changed = patch.dict(os.environ, variables)
    changed.start()
    test.addCleanup(changed.stop)


class ResourceTests(SynchronousTestCase):
    def test_node(self) -> None:
        node = Node(
            "id",
            {
                "NAME": "db-1",
                "NAMESPACE": "data",
                "WORKLOAD_NAME": "db",
                "CLUSTER_ID": "c",
                "OWNER": "kubernetes://apis/apps/v1/namespaces/data/deployments/db",
                "LABELS": {"app": "database", "version": "v2"},
            },
        )
        found = dict(resourceOf(node).attributes)
        wanted = {
            "service.name": "database",
            "service.namespace": "data",
            "service.version": "v2",
            "service.instance.id": "id",
            "k8s.pod.name": "db-1",
            "k8s.deployment.name": "db",
            "k8s.cluster.name": "c",
            "telemetry.sdk.language": "python",
            "telemetry.distro.name": "mxproxy",
        }
        self.assertEqual({name: found[name] for name in wanted}, wanted)

    def test_worker(self) -> None:
        """
        Each has counters of its own.
        """
        found = resourceOf(Node("id"), worker=True).attributes["service.instance.id"]
        self.assertEqual(found, f"id/{os.getpid()}")

    def test_environment(self) -> None:
        """
        It has the last word.
        """
        self.assertEqual(resourceOf(Node()).attributes["service.name"], "mxproxy")
        said = {"OTEL_SERVICE_NAME": "other", "OTEL_RESOURCE_ATTRIBUTES": "a=b"}
        environment(self, said)
        found = resourceOf(CLIENT_NODE).attributes
        self.assertEqual((found["service.name"], found["a"]), ("other", "b"))


SNAPSHOT = {
    "stats": {
        "metadata_exchange.metadata_added": 3,
        "cluster.db.upstream_cx_total": 4,
        "server.total_connections": 2,
        "somebody.elses": 9,
    },
    "istio": {"names": ["reporter", "x"], "series": [[["source", "y"], 10, 9, 120, 60]]},
}


class InstrumentTests(SynchronousTestCase):
    def test_collected(self) -> None:
        """
        Names, kinds and labels as Prometheus has them; one snapshot for all.
        """
        from opentelemetry.sdk.metrics import MeterProvider

        taken: list[int] = []

        def take() -> dict[str, Any]:
            taken.append(1)
            return SNAPSHOT

        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        Instruments(take).create(provider.get_meter("test"))
        data: Any = reader.get_metrics_data()
        found = {
            metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics
        }
        self.assertEqual(len(taken), 1)

        def points(name: str) -> list[tuple[float, dict[str, str]]]:
            return [(p.value, dict(p.attributes)) for p in found[name].data.data_points]

        self.assertEqual(points("envoy_metadata_exchange_metadata_added"), [(3, {})])
        self.assertEqual(
            points("envoy_cluster_upstream_cx_total".removesuffix("_total")),
            [(4, {"envoy_cluster_name": "db"})],
        )
        self.assertTrue(found["envoy_cluster_upstream_cx"].data.is_monotonic)
        self.assertFalse(hasattr(found["envoy_server_total_connections"].data, "is_monotonic"))
        labels = {"reporter": "source", "x": "y"}
        for metric, value in zip(ISTIO, (10, 9, 120, 60), strict=True):
            self.assertEqual(points(metric.name.removesuffix("_total")), [(value, labels)])
        self.assertEqual(found["istio_tcp_sent_bytes"].unit, "By")

    def test_names(self) -> None:
        """
        No two families become one instrument.
        """
        names = [stat.family.removesuffix("_total") for stat in STATS]
        names += [metric.name.removesuffix("_total") for metric in ISTIO]
        self.assertEqual(len(names), len(set(names)))

    def test_rounds(self) -> None:
        """
        Each collection has a snapshot of its own, and all its instruments the same.
        """
        from opentelemetry.sdk.metrics import MeterProvider

        opened = [0]

        def take() -> dict[str, Any]:
            opened[0] += 1
            return {
                "stats": {"tls_inspector.tls_found": opened[0], "server.live": opened[0]},
                "istio": {"names": [], "series": []},
            }

        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        Instruments(take).create(provider.get_meter("test"))
        for wanted in 1, 2, 3:
            data: Any = reader.get_metrics_data()
            metrics = data.resource_metrics[0].scope_metrics[0].metrics
            values = {point.value for metric in metrics for point in metric.data.data_points}
            self.assertEqual(values, {wanted})


class StuckExporter(InMemorySpanExporter):
    """
    A collector that takes for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def export(self, spans: Any) -> Any:
        self.released.wait(60)
        return super().export(spans)


class ExportingTests(TestCase):
    """
    With the real reactor and real threads.
    """

    def exporting(self, *signals: str, **options: Any) -> Exporting:
        from twisted.internet import reactor

        return Exporting(signals, CLIENT_NODE, lambda: SNAPSHOT, reactor, **options)

    async def test_flushed(self) -> None:
        """
        What is queued is sent at the end.
        """
        exporter = InMemorySpanExporter()
        exporting = self.exporting(TRACES, spanExporter=lambda: exporter)
        assert exporting.spans is not None
        self.assertIsNone(exporting.spans.tracer)
        exporting.start()
        assert exporting.spans.tracer is not None
        exporting.spans.tracer.start_span("one").end()
        await exporting.stop()
        (span,) = exporter.get_finished_spans()
        self.assertEqual(span.resource.attributes["service.name"], "sleep")
        self.assertIsNone(exporting.spans.tracer)

    async def test_metrics(self) -> None:
        """
        Asked for in the SDK's thread, taken in the reactor's.
        """
        main = threading.get_ident()
        threads: list[int] = []

        def take() -> dict[str, Any]:
            threads.append(threading.get_ident())
            return SNAPSHOT

        reader = InMemoryMetricReader()
        exporting = self.exporting(METRICS, metricReader=lambda: reader)
        exporting._take = take
        exporting.start()
        data: Any = await deferToThread(reader.get_metrics_data)
        self.assertEqual(threads, [main])
        self.assertGreater(len(data.resource_metrics[0].scope_metrics[0].metrics), 4)
        await exporting.stop()

    async def test_stuck(self) -> None:
        """
        A collector that hangs does not keep the proxy from stopping.
        """
        self.patch(exporting, "STOP_TIMEOUT", 0.05)
        exporter = StuckExporter()
        self.addCleanup(exporter.released.set)
        one = self.exporting(TRACES, spanExporter=lambda: exporter)
        one.start()
        assert one.spans is not None
        assert one.spans.tracer is not None
        one.spans.tracer.start_span("one").end()
        await one.stop()
        self.assertFalse(exporter.released.is_set())
        exporter.released.set()
        (error,) = [
            thread for thread in threading.enumerate() if thread.name == "mxproxy-otel-stop"
        ] or [None]
        if error is not None:
            await deferToThread(error.join, 10)

    # Less than the SDK itself would wait.
    test_stuck.timeout = 20  # type: ignore[attr-defined]

    async def test_bounded(self) -> None:
        """
        More spans than the queue holds are dropped, and nobody has waited.
        """
        environment(self, {"OTEL_BSP_MAX_QUEUE_SIZE": "20", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"})
        exporter = StuckExporter()
        self.addCleanup(exporter.released.set)
        one = self.exporting(TRACES, spanExporter=lambda: exporter)
        one.start()
        assert one.spans is not None
        assert one.spans.tracer is not None
        for _ in range(200):
            one.spans.tracer.start_span("one").end()
        exporter.released.set()
        await one.stop()
        self.assertLessEqual(len(exporter.get_finished_spans()), 50)

    async def test_log(self) -> None:
        """
        The SDK's warnings go to the proxy's log, and not as often as they are said.
        """
        said: list[str] = []
        one = self.exporting(TRACES, spanExporter=InMemorySpanExporter)

        class Log:
            def warn(self, format: str, **values: object) -> None:
                said.append(format.format(**values))

        one._forwarder._log = Log()  # type: ignore[assignment]
        one.start()
        for number in range(50):
            logging.getLogger("opentelemetry.sdk").warning("no\nanswer %d", number)
        await one.stop()
        self.assertEqual(said[0], "OpenTelemetry: no answer 0")
        self.assertEqual(len(said), 10)
        self.assertTrue(logging.getLogger("opentelemetry").propagate)

    async def test_nothing(self) -> None:
        """
        Stopped without having been started.
        """
        await self.exporting(TRACES, METRICS).stop()


class OptionTests(SynchronousTestCase):
    def test_environment(self) -> None:
        checkEnvironment({})
        checkEnvironment({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
        error = self.assertRaises(
            ValueError, checkEnvironment, {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}
        )
        self.assertIn("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc", str(error))

    def test_service(self) -> None:
        """
        Built with a plan that asks for it, and only then.
        """
        plan = Sidecars().outbound.service.plan
        reactor = MemoryReactor()
        self.assertIsNone(service.ProxyService(plan, reactor)._exporting)
        built = service.ProxyService(replace(plan, otel=(TRACES, METRICS)), reactor)
        assert built._exporting is not None
        self.assertIn(built._exporting.spans, built._surroundings.observers)
        self.assertIsNotNone(built.telemetry)
        done: list[object] = []
        stopped: Deferred[None] = built._exporting.stop()
        stopped.addCallback(done.append)
        self.assertEqual(done, [None])
