"""
Watches a proxy's connections for its metrics: Istio's series, Envoy's counters, and rates.

How a number flows: halves count bytes on their L{Peer<mxproxy.connection.Peer>}s, as they always
do.  Nothing here is called per chunk.  At a connection's edges its counters go up; every
L{REPORT_INTERVAL} seconds, and whenever somebody asks (L{Telemetry.flush}), what its bytes have
grown by is added to its series, with one timer for all connections.

Istio's rule of one label set for all of a connection's metrics: it is counted as opened when both
peers are known and it is connected, at the latest L{OPENED_WITHIN} seconds after it was accepted
or at its end.  What is known by then are its labels; what comes later changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from ..config.descriptions import split
from ..config.plan import FilterSpec, Plan, ServicePlan
from ..connection import Connection, Peer
from ..interfaces import IConnectionObserver
from ..wire.metadata import Metadata
from . import envoy
from .counters import Counters
from .istio.labels import DESTINATION, SOURCE, Labeller, contradicts
from .istio.series import AllSeries, Series
from .istio.workloads import Directory, DirectoryFile

#: Seconds between two reports of bytes: Istio's C{tcp_reporting_duration}.
REPORT_INTERVAL = 5.0

#: Seconds after which a connection is counted as opened with what is known of it.
OPENED_WITHIN = 5.0

#: Seconds between two looks at who has waited for so long.
TICK = 1.0


class Watched:
    """
    A connection, and what of it is in the metrics already.

    @ivar series: where it is counted; C{None} until it is opened.
    @ivar sent: bytes to the client that were reported.
    @ivar received: bytes from the client that were reported.
    @ivar sampled: both, as they were when rates were last looked at.
    @ivar sentRate: bytes to the client, in a second, of late.
    @ivar receivedRate: bytes from the client, in a second, of late.
    @ivar handshakes: the sides whose TLS handshake was counted.
    @ivar searchable: a text in which it can be looked for, once somebody has.
    """

    __slots__ = (
        "connection",
        "handshakes",
        "opened",
        "received",
        "receivedRate",
        "sampled",
        "searchable",
        "sent",
        "sentRate",
        "series",
    )

    def __init__(self, connection: Connection, now: float) -> None:
        self.connection = connection
        self.opened = now
        self.series: Series | None = None
        self.sent = self.received = 0
        self.sampled = (0, 0)
        self.sentRate = self.receivedRate = 0.0
        self.handshakes: tuple[str, ...] = ()
        self.searchable = ""


@implementer(IConnectionObserver)
class Telemetry:
    """
    One for all connections of a proxy.

    @ivar labeller: makes the labels.
    @ivar series: Istio's.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        count: Callable[[str, int], None],
        labeller: Labeller,
        series: AllSeries,
    ) -> None:
        """
        @param clock: an L{IReactorTime}.
        @param count: adds to a counter.
        """
        self.labeller = labeller
        self.series = series
        self._seconds: Callable[[], float] = clock.seconds
        self._add = count
        self._reporters: dict[str, str] = {}
        self._prefixes: dict[str, str] = {}
        self._watched: dict[str, Watched] = {}
        # In the order in which they were accepted, which is that of their deadlines.
        self._waiting: dict[str, Watched] = {}
        self._flushed = clock.seconds()
        self._sampled = clock.seconds()
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = clock
        self._every: list[Callable[[], object]] = []

    # -- with the service

    def start(self) -> None:
        """Begin to report."""
        self._ticking.start(TICK, now=False).addErrback(self._broken)

    def stop(self) -> None:
        """Report no more by itself."""
        if self._ticking.running:
            self._ticking.stop()

    def everyReport(self, call: Callable[[], object]) -> None:
        """
        Have something done as often as bytes are reported.
        """
        self._every.append(call)

    def reports(self, listener: str, reporter: str) -> None:
        """
        Which side of its connections a listener reports.

        @param reporter: L{SOURCE} or L{DESTINATION}; see L{reporterOf}.
        """
        self._reporters[listener] = reporter

    def listens(self, listener: str, address: str) -> None:
        """
        A listener has its address, by which Envoy's counters call it.

        @param address: C{ip:port}.
        """
        self._prefixes[listener] = envoy.listenerPrefix(address)

    @property
    def listeners(self) -> dict[str, str]:
        """What the names of Envoy's counters begin with, by listener."""
        return self._prefixes

    def replan(self, plan: Plan) -> None:
        """
        Another plan runs from now on.  The names of the labels stay as they were at start, since
        all of a metric's series have the same.
        """
        self.labeller = self.labeller.replaced(plan.node, _services(plan))

    def _broken(self, failure: Any) -> None:
        self.log.failure("metrics are reported no more", failure)

    # -- edges

    def opened(self, connection: Connection) -> None:
        """See L{IConnectionObserver.opened}."""
        watched = Watched(connection, self._seconds())
        self._watched[connection.id] = self._waiting[connection.id] = watched
        self._add(f"{self._prefix(connection)}.downstream_cx_total", 1)

    def identified(self, connection: Connection, peer: Peer) -> None:
        """See L{IConnectionObserver.identified}."""
        watched = self._watched.get(connection.id)
        if watched is not None:
            self._handshake(watched, peer)
        if contradicts(peer):
            self._add("metadata_exchange.namespace_mismatch", 1)

    def connected(self, connection: Connection) -> None:
        """See L{IConnectionObserver.connected}."""
        watched = self._waiting.pop(connection.id, None)
        if watched is not None:
            self._open(watched)

    def closed(self, connection: Connection) -> None:
        """See L{IConnectionObserver.closed}."""
        watched = self._watched.pop(connection.id, None)
        if watched is None:
            return
        self._waiting.pop(connection.id, None)
        series = watched.series or self._open(watched)
        now = self._seconds()
        self._report(watched, series, now)
        series.closed += 1
        series.touched = now
        for peer in (connection.downstream, connection.upstream):
            self._handshake(watched, peer)
        for name in envoy.endings(connection, self._prefix(connection)):
            self._add(name, 1)

    # -- reports

    def flush(self) -> None:
        """
        Report all bytes that there are by now.
        """
        now = self._seconds()
        self._flushed = now
        # Rates are of at least a second, whoever asks however often.
        since = now - self._sampled
        if since >= TICK:
            self._sampled = now
        for watched in self._watched.values():
            if watched.series is not None:
                self._report(watched, watched.series, now)
            if since >= TICK:
                _sample(watched, min(since, now - watched.opened) or since)

    def watched(self) -> Iterator[Watched]:
        """
        @return: the open connections, the oldest first.
        """
        return iter(self._watched.values())

    def __len__(self) -> int:
        return len(self._watched)

    def _tick(self) -> None:
        now = self._seconds()
        for identifier, watched in list(self._waiting.items()):
            if now - watched.opened < OPENED_WITHIN:
                break
            del self._waiting[identifier]
            self._open(watched)
        if now - self._flushed >= REPORT_INTERVAL:
            self.flush()
            self.series.evict()
            for call in self._every:
                call()

    def _open(self, watched: Watched) -> Series:
        connection = watched.connection
        for peer in (connection.downstream, connection.upstream):
            self._handshake(watched, peer)
        reporter = self._reporters.get(connection.listener, SOURCE)
        series = self.series.get(self.labeller.values(reporter, connection))
        watched.series = series
        series.opened += 1
        series.touched = self._seconds()
        return series

    def _handshake(self, watched: Watched, peer: Peer) -> None:
        if peer.tls_version is None or peer.side in watched.handshakes:
            return
        watched.handshakes += (peer.side,)
        connection = watched.connection
        where = (
            self._prefix(connection)
            if peer.side == "downstream"
            else envoy.clusterPrefix(connection.cluster)
        )
        for name in envoy.handshake(peer, where):
            self._add(name, 1)

    def _report(self, watched: Watched, series: Series, now: float) -> None:
        downstream = watched.connection.downstream
        sent = downstream.bytes_sent - watched.sent
        received = downstream.bytes_received - watched.received
        if not sent and not received:
            return
        watched.sent += sent
        watched.received += received
        series.sent += sent
        series.received += received
        series.touched = now
        cluster = watched.connection.cluster
        if cluster:
            # What the client sends goes on to the host.
            where = envoy.clusterPrefix(cluster)
            self._add(f"{where}.upstream_cx_rx_bytes_total", sent)
            self._add(f"{where}.upstream_cx_tx_bytes_total", received)

    def _prefix(self, connection: Connection) -> str:
        prefix = self._prefixes.get(connection.listener)
        return prefix or envoy.listenerPrefix(connection.listener)


def _sample(watched: Watched, seconds: float) -> None:
    downstream = watched.connection.downstream
    sent, received = watched.sampled
    watched.sampled = downstream.bytes_sent, downstream.bytes_received
    watched.sentRate = (downstream.bytes_sent - sent) / seconds
    watched.receivedRate = (downstream.bytes_received - received) / seconds


def buildTelemetry(plan: Plan, clock: Any, counters: Counters) -> Telemetry:
    """
    The telemetry of a plan; who its listeners report for is said later
    (L{Telemetry.reports}).

    @raise mxproxy.config.errors.ConfigurationError: the file of workloads cannot be used.
    """
    directory = DirectoryFile(plan.stats.workloads, _listedWorkloads(plan))
    labeller = Labeller(
        plan.node,
        _services(plan),
        additionalLabels(plan),
        directory.find,
        plan.stats.service_accounts,
    )
    series = AllSeries(clock.seconds, eviction=plan.stats.eviction, count=counters.count)
    telemetry = Telemetry(clock, counters.add, labeller, series)
    telemetry.everyReport(directory.refresh)
    return telemetry


def _services(plan: Plan) -> dict[str, ServicePlan]:
    return {cluster.name: cluster.service for cluster in plan.clusters if cluster.service}


def _listedWorkloads(plan: Plan) -> dict[str, Metadata]:
    """
    The hosts of clusters that are listed with who they are, by address and port.
    """
    listed = {}
    for cluster in plan.clusters:
        for host in cluster.hosts:
            kind, values, _ = split(host.endpoint)
            if host.workload is not None and kind == "tcp" and len(values) > 1:
                name = f"[{values[0]}]" if ":" in values[0] else values[0]
                with suppress(ValueError):  # A name: its addresses are not known here.
                    Directory({f"{name}:{values[1]}": host.workload})
                    listed[f"{name}:{values[1]}"] = host.workload
    return listed


def additionalLabels(plan: Plan) -> tuple[str, ...]:
    """
    The names of the labels that any of a plan's exchanges takes beside the known ones.
    """
    specs: list[FilterSpec] = []
    for listener in plan.listeners:
        specs += [spec for chain in listener.everyChain for spec in chain.filters]
    for cluster in plan.clusters:
        specs += cluster.filters
    names: dict[str, None] = {}
    for spec in specs:
        given = getattr(spec.settings, "additional_labels", None)
        if given is None:
            given = filter(None, spec.options.get("additional_labels", "").split(","))
        names.update(dict.fromkeys(given))
    return tuple(names)


def reporterOf(direction: str, exchanges: bool) -> str:
    """
    Which side of a connection a listener reports.

    @param direction: Envoy's C{traffic_direction}: C{INBOUND}, C{OUTBOUND} or empty.
    @param exchanges: whether it learns its clients' metadata.
    """
    if direction:
        return DESTINATION if direction == "INBOUND" else SOURCE
    return DESTINATION if exchanges else SOURCE
