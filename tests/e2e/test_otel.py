"""
A sidecar with C{--otel}, and a collector that speaks OTLP over HTTP.

Keeps: spans and metrics arrive, those of the last moment too; without a collector connections are
served as well, and the sidecar stops in time.
"""

from __future__ import annotations

import gzip
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from tests.e2e.mesh import DB, WEB, EndToEnd, Pair, Sidecar
from tests.e2e.processes import Child, until


class Collector(Resource):
    """
    Keeps what it is sent.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Any] = []
        self.metrics: list[Any] = []

    def render_POST(self, request: Request) -> bytes:
        body = request.content.read()  # type: ignore[union-attr]
        if request.getHeader("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if request.path == b"/v1/traces":
            self.spans.append(ExportTraceServiceRequest.FromString(body))
        else:
            assert request.path == b"/v1/metrics", request.path
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))
        request.setHeader("content-type", "application/x-protobuf")
        return b""


def attributes(message: Any) -> dict[str, Any]:
    found = {}
    for one in message.attributes:
        kind = one.value.WhichOneof("value")
        found[one.key] = getattr(one.value, kind)
    return found


class OpenTelemetryTests(EndToEnd):
    async def outboundWith(self, environment: dict[str, str], upstream: str) -> Sidecar:
        start = self.start

        def started(command: Any, more: dict[str, str] | None = None) -> Child:
            return start(command, {**environment, **(more or {})})

        self.start = started  # type: ignore[method-assign]
        try:
            return await self.outbound(upstream, "--otel", "traces,metrics")
        finally:
            self.start = start  # type: ignore[method-assign]

    async def talk(self, pair: Pair) -> None:
        client = await self.connect(pair.port)
        client.write(b"hello")
        server = await self.server.accepts()
        self.assertEqual(await server.reads(5), b"hello")
        server.write(b"hello world!")
        self.assertEqual(await client.reads(12), b"hello world!")
        await server.close()
        await client.close()

    async def test_collector(self) -> None:
        from twisted.internet import reactor

        collector = Collector()
        port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(
            Site(collector)
        )
        self.addCleanup(port.stopListening)
        self.server, upstream = await self.application()
        inner = await self.inbound(upstream)
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port.getHost().port}",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        }
        outer = await self.outboundWith(environment, f"tcp:127.0.0.1:{inner.port}")
        pair = Pair(outer, inner)
        await self.talk(pair)
        await outer.close()
        # Metrics go while it runs.
        await until(lambda: collector.metrics, lambda: f"metrics\n{outer.child}")
        await self.talk(pair)
        await outer.closed(2)
        # What has not been sent yet, is at the end.
        await outer.stop()
        resources = [one for request in collector.spans for one in request.resource_spans]
        spans = [span for one in resources for scope in one.scope_spans for span in scope.spans]
        self.assertEqual([span.name for span in spans], ["tcp outbound"] * 2)
        resource = attributes(resources[0].resource)
        self.assertEqual(resource["service.name"], "web")
        self.assertEqual(resource["k8s.deployment.name"], "web")
        self.assertEqual(resource["deployment.environment.name"], "test")
        found = attributes(spans[0])
        self.assertEqual(found["mxproxy.upstream.workload"], "db")
        self.assertEqual(found["mxproxy.upstream.principal"], DB.principal)
        self.assertEqual(found["mxproxy.bytes_sent"], 12)
        self.assertEqual(found["tls.protocol.version"], "1.3")
        self.assertGreater(spans[0].end_time_unix_nano, spans[0].start_time_unix_nano)

        (last,) = collector.metrics[-1].resource_metrics
        metrics = {metric.name: metric for scope in last.scope_metrics for metric in scope.metrics}
        (opened,) = metrics["istio_tcp_connections_opened"].sum.data_points
        self.assertEqual(opened.as_int, 2)
        labels = attributes(opened)
        self.assertEqual(labels["source_workload"], "web")
        self.assertEqual(labels["destination_workload"], "db")
        self.assertEqual(labels["source_principal"], WEB.principal)
        (sent,) = metrics["istio_tcp_sent_bytes"].sum.data_points
        self.assertEqual(sent.as_int, 24)
        (added,) = metrics["envoy_metadata_exchange_metadata_added"].sum.data_points
        self.assertEqual(added.as_int, 2)

    async def test_noCollector(self) -> None:
        """
        Nobody answers there.
        """
        from twisted.internet import reactor

        port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(
            Site(Collector())
        )
        where = f"http://127.0.0.1:{port.getHost().port}"
        await port.stopListening()
        self.server, upstream = await self.application()
        inner = await self.inbound(upstream)
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": where,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        outer = await self.outboundWith(environment, f"tcp:127.0.0.1:{inner.port}")
        pair = Pair(outer, inner)
        await self.talk(pair)
        await outer.child.says("OpenTelemetry: ")
        await self.talk(pair)
        await outer.closed(2)
        self.assertEqual(await outer.child.stop() < 0, True, str(outer.child))
        self.assertNotIn("Traceback", outer.child.text)
