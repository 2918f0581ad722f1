"""
The OpenTelemetry SDK beside the reactor: its threads send, the reactor never waits for them.

Spans are queued, C{OTEL_BSP_MAX_QUEUE_SIZE} of them at most (2048), and dropped where the queue is
full; metrics are collected every C{OTEL_METRIC_EXPORT_INTERVAL} milliseconds (60000).  Where to, and how, is
said by the SDK's own environment variables: C{OTEL_EXPORTER_OTLP_ENDPOINT} (C{http://localhost:4318}),
C{OTEL_EXPORTER_OTLP_HEADERS}, C{OTEL_TRACES_SAMPLER} and so on
(U{https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/}).
"""

from __future__ import annotations

import logging  # noqa: TID251 - what the SDK logs with
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger

from ... import __version__
from ...wire.metadata import Node
from ..snapshot import Snapshot
from ..throttle import Throttle
from .instruments import Instruments
from .resource import resourceOf
from .spans import ConnectionSpans

TRACES: Final = "traces"
METRICS: Final = "metrics"

#: Seconds that the last spans and metrics may take when the proxy stops.
STOP_TIMEOUT: Final = 5.0

_SCOPE: Final = "mxproxy"
_SDK: Final = "opentelemetry"


class Exporting:
    """
    What is sent, from the start of a proxy to its end.

    @ivar spans: to be told of all connections; C{None} without traces.
    """

    log = Logger()

    def __init__(
        self,
        signals: Sequence[str],
        node: Node,
        take: Callable[[], Snapshot],
        reactor: Any,
        *,
        worker: bool = False,
        spanExporter: Callable[[], SpanExporter] = OTLPSpanExporter,
        metricReader: Callable[[], MetricReader] | None = None,
    ) -> None:
        """
        @param signals: of L{TRACES} and L{METRICS}.
        @param take: takes a snapshot of the statistics, in the reactor's thread.
        @param worker: see L{resourceOf}.
        @param spanExporter: makes what spans are given to.
        @param metricReader: makes what collects and sends metrics.
        """
        self.spans = ConnectionSpans() if TRACES in signals else None
        self._metrics = METRICS in signals
        self._node = node
        self._worker = worker
        self._take = take
        self._reactor = reactor
        self._spanExporter = spanExporter
        self._metricReader = metricReader or _periodic
        self._providers: list[TracerProvider | MeterProvider] = []
        self._forwarder = _Forwarder(reactor, self.log)

    def start(self) -> None:
        """
        Begin to export.  Not before a daemon has forked: threads do not survive that.
        """
        self._forwarder.install()
        resource = resourceOf(self._node, self._worker)
        # They are stopped with the proxy; at the process's exit nobody waits for them.
        if self.spans is not None:
            tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
            tracers.add_span_processor(BatchSpanProcessor(self._spanExporter()))
            self.spans.tracer = tracers.get_tracer(_SCOPE, __version__)
            self._providers.append(tracers)
        if self._metrics:
            meters = MeterProvider(
                [self._metricReader()], resource=resource, shutdown_on_exit=False
            )
            Instruments(self._takeFromThread).create(meters.get_meter(_SCOPE, __version__))
            self._providers.append(meters)

    def _takeFromThread(self) -> Snapshot:
        snapshot: Snapshot = blockingCallFromThread(self._reactor, self._take)
        return snapshot

    def stop(self) -> Deferred[None]:
        """
        Send what there is.

        @return: fires when that is done, or has taken L{STOP_TIMEOUT}.
        """
        done: Deferred[None] = Deferred()
        if self.spans is not None:
            self.spans.tracer = None
        providers, self._providers = self._providers, []
        if not providers:
            done.callback(None)
            return done

        def late() -> None:
            self.log.error("OpenTelemetry: not everything could be sent in time")
            finish()

        def finish() -> None:
            if timer.active():
                timer.cancel()
            if not done.called:
                self._forwarder.remove()
                done.callback(None)

        timer = self._reactor.callLater(STOP_TIMEOUT, late)
        # A daemon thread: one that hangs does not keep the process from its end.
        shutdown = lambda: self._shutdown(providers, finish)  # noqa: E731
        threading.Thread(target=shutdown, name="mxproxy-otel-stop", daemon=True).start()
        return done

    def _shutdown(
        self, providers: Sequence[TracerProvider | MeterProvider], finish: Callable[[], None]
    ) -> None:
        """
        In a thread.
        """
        try:
            for provider in providers:
                provider.shutdown()
        except Exception:  # noqa: BLE001 - nothing of it may keep the proxy from stopping
            self._reactor.callFromThread(self.log.failure, "OpenTelemetry: the end has failed")
        finally:
            with suppress(Exception):  # The reactor may have stopped meanwhile.
                self._reactor.callFromThread(finish)


def _periodic() -> MetricReader:
    return PeriodicExportingMetricReader(OTLPMetricExporter())


def checkEnvironment(environ: Mapping[str, str] = os.environ) -> None:
    """
    @raise ValueError: the environment wants something that there is not.
    """
    for name in (
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    ):
        protocol = environ.get(name, "http/protobuf")
        if protocol != "http/protobuf":
            raise ValueError(f"{name}={protocol}: OTLP is sent as http/protobuf only")


class _Forwarder(logging.Handler):
    """
    What the SDK says (a collector that does not answer, a full queue), in the proxy's own log,
    and not as often as it is said.
    """

    def __init__(self, reactor: Any, log: Logger) -> None:
        super().__init__(logging.WARNING)
        self._reactor = reactor
        self._log = log
        self._throttle = Throttle(reactor.seconds)
        self._propagate = True

    def install(self) -> None:
        """Take the place of standard error."""
        logger = logging.getLogger(_SDK)
        self._propagate, logger.propagate = logger.propagate, False
        logger.addHandler(self)

    def remove(self) -> None:
        """Give it back."""
        logger = logging.getLogger(_SDK)
        logger.removeHandler(self)
        logger.propagate = self._propagate

    def emit(self, record: logging.LogRecord) -> None:
        """In whichever thread."""
        with suppress(Exception):  # The reactor may have stopped.
            self._reactor.callFromThread(self._say, record.levelname, record.getMessage())

    def _say(self, level: str, message: str) -> None:
        more = self._throttle.line()
        if more is not None:
            text = " ".join(message.split())[:500]
            self._log.warn("OpenTelemetry: {text}{more}", text=text, more=more)
