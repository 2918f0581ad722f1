"""
Runs a plan.

Everything is built, and everything that can be wrong with it is found, before anything
listens: L{ProxyService} either is whole or is not.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from .chain import (
    ChainContext,
    ChainError,
    Claims,
    buildTerminal,
    configureFilters,
    exchangesMetadata,
    wrapFilters,
    wrapTLS,
)
from .config.descriptions import withBacklog
from .config.plan import AccessLogPlan, FilterChainPlan, ListenerPlan, Plan
from .interfaces import IConnectionObserver
from .layers.switch import FilterChain, SwitchFactory
from .lifecycle.draining import Drain
from .lifecycle.signals import SignalHandler
from .listener import ListenerFactory, listenerFilters
from .observe.access_log import formatAddress
from .observe.counters import Counters
from .observe.faults import FaultLog
from .observe.format import FormatError
from .observe.live import LiveConnections
from .observe.logs import AccessLogs, CannotOpenLog
from .observe.telemetry import Telemetry, buildTelemetry, reporterOf
from .openfiles import OpenFiles, softLimit
from .tls.reload import CertificateReloader
from .upstream import Cluster
from .upstream.building import buildCluster


class CannotStart(SystemExit, Exception):
    """
    The proxy ends before it has begun: one line, status 1.

    An C{Exception} because twistd, as a daemon, tells only of those the process that was
    called: of a mere C{SystemExit} that one learns nothing, waits for ever, and the file with
    the process id stays.  A C{SystemExit} because that is a line and no traceback.
    """


#: Seconds that connections which were dropped may take to be told closed.
STOP_TIMEOUT = 5.0

#: What tells a proxy to stop.
STOP_SIGNALS = signal.SIGTERM, signal.SIGINT


class ProxyService(Service):
    """
    A plan, running.

    @ivar counters: what was counted, by Envoy's names.
    @ivar telemetry: what they are measured by, or C{None} where nobody could look at it.
    @ivar connections: those that are open.
    @ivar ports: what listens, while running.
    @ivar certificates: looks after the files of TLS; its C{reloadNow} reads them at once.
    @ivar healthy: whether whoever asks is told so; it changes nothing else.
    """

    log = Logger()

    def __init__(
        self, plan: Plan, reactor: Any, observers: Sequence[IConnectionObserver] = ()
    ) -> None:
        """
        @param observers: who else is told of connections, beside the logs.
        @raise ValueError: the plan cannot be run; the text is one line, for a person.
        @raise OSError: a file cannot be used.
        """
        self.plan = plan
        self.counters = Counters()
        self.connections = LiveConnections()
        self.ports: list[IListeningPort] = []
        self.certificates = CertificateReloader(reactor, plan.tls_reload_interval)
        self.healthy = True
        self._begun: float | None = None
        self._reactor = reactor
        self._started = False
        self._files = OpenFiles(softLimit(), plan.max_handshakes)
        self._logs = AccessLogs(reactor)
        self._observers = [FaultLog(reactor.seconds), *observers]
        if plan.access_log:
            self._observers.append(self._logs.ofListener(AccessLogPlan(plan.access_log)))
        self.telemetry: Telemetry | None = None
        if plan.admin:
            self.telemetry = buildTelemetry(plan, reactor, self.counters)
            self._observers.append(self.telemetry)
        # Last: when it has no connection left, the access logs are stopped, and have to have
        # been told by then.
        self._observers.append(self.connections)
        claims: Claims = {}
        self._clusters: dict[str, Cluster] = {}
        for cluster in plan.clusters:
            self._clusters[cluster.name] = buildCluster(
                cluster, claims, self._context("upstream", cluster.name), self.certificates
            )
        self._listeners = [self._listener(listener, claims) for listener in plan.listeners]

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        """Where connections go, by name."""
        return self._clusters

    @property
    def live(self) -> bool:
        """Whether it takes new connections, and says so to whoever asks."""
        return self.healthy and bool(self.ports)

    @property
    def uptime(self) -> float:
        """Seconds since it began to listen."""
        return 0.0 if self._begun is None else float(self._reactor.seconds() - self._begun)

    # -- building

    def _context(self, side: str, name: str, listener: ListenerPlan | None = None) -> ChainContext:
        common = (self.plan.node, self._reactor, self.counters.count, self._upstream)
        if listener is None:
            return ChainContext(side, name, "", *common)
        return ChainContext(
            side,
            name,
            listener.name,
            *common,
            listener.listener_filters_timeout,
            listener.continue_on_listener_filters_timeout,
        )

    def _upstream(self, name: str) -> Cluster:
        try:
            return self._clusters[name]
        except KeyError:
            known = ", ".join(self._clusters) or "none"
            raise ChainError(f"there is no cluster {name!r}; there is: {known}") from None

    def _chain(self, listener: ListenerPlan, plan: FilterChainPlan, claims: Claims) -> FilterChain:
        context = self._context("downstream", plan.name, listener)
        below = plan.filters[:-1]
        filters = configureFilters(below, claims)
        terminal = buildTerminal(plan.filters, claims, context)
        chain = wrapFilters(terminal, below, filters, context)
        factory = wrapTLS(
            chain, plan.tls, filters, context, plan.tls_handshake_timeout, self.certificates
        )
        # Of a terminal that is configured already, as a file's is.
        logs = getattr(plan.filters[-1].settings, "access_logs", ())
        observers = [self._log(self._logs.ofChain, log, context.name) for log in logs]
        return FilterChain(plan, factory, exchangesMetadata(filters), observers)

    def _listener(
        self, plan: ListenerPlan, claims: Claims
    ) -> tuple[ListenerPlan, IStreamServerEndpoint, ListenerFactory]:
        context = self._context("downstream", "", plan)
        chains = [self._chain(plan, chain, claims) for chain in plan.chains]
        default = None
        if plan.default_filter_chain is not None:
            default = self._chain(plan, plan.default_filter_chain, claims)
        specs = listenerFilters(plan)
        filters = configureFilters(specs, claims)
        if self.telemetry is not None:
            exchanges = any(chain.exchanges_metadata for chain in chains)
            self.telemetry.reports(plan.name, reporterOf(plan.traffic_direction, exchanges))
        switch = SwitchFactory(chains, default, context)
        inner = wrapFilters(switch, specs, filters, context)
        logs = [self._log(self._logs.ofListener, log, plan.name) for log in plan.access_logs]
        observers = [*logs, *self._observers]
        factory = ListenerFactory(inner, context, observers, plan, self._files)
        return plan, serverFromString(self._reactor, withBacklog(plan.endpoint)), factory

    def _log(
        self,
        make: Callable[[AccessLogPlan], IConnectionObserver],
        plan: AccessLogPlan,
        where: str,
    ) -> IConnectionObserver:
        try:
            return make(plan)
        except FormatError as error:
            raise ChainError(f"{where}: access log {plan.path}: {error}") from None

    # -- running

    def privilegedStartService(self) -> None:
        """
        Listen, while still privileged.

        @raise CannotStart: an address cannot be listened on.
        """
        self._begun = self._reactor.seconds()
        for plan, endpoint, factory in self._listeners:
            refused: list[Failure] = []
            listening = endpoint.listen(factory)
            listening.addCallback(factory.guard)
            listening.addCallbacks(partial(self._listens, plan), refused.append)
            if refused:
                reason = " ".join(str(refused[0].value).split())
                raise CannotStart(f"mxproxy: listener {plan.name}: {plan.endpoint}: {reason}")

    def _listens(self, plan: ListenerPlan, port: IListeningPort) -> None:
        self.ports.append(port)
        address = formatAddress(port.getHost())
        if self.telemetry is not None and address is not None:
            self.telemetry.listens(plan.name, address)

    def startService(self) -> None:
        """
        Open the logs, look for hosts, and say what runs.

        @raise CannotStart: a log cannot be written to.
        """
        Service.startService(self)
        self._started = True
        try:
            self._logs.start()
        except CannotOpenLog as error:
            raise CannotStart(f"mxproxy: {error}") from None
        self.certificates.start()
        for cluster in self._clusters.values():
            cluster.start()
        if self.telemetry is not None:
            self.telemetry.start()
        for port in self.ports:
            self.log.info("listening on {address}", address=formatAddress(port.getHost()))

    def stopService(self) -> Deferred[None]:
        """
        Listen no more, drain what is open, and write the logs out.

        While it lasts, one of L{STOP_SIGNALS} ends what is open at once.
        """
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        ports, self.ports = self.ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        drain = Drain([*self.connections], self._reactor, self.plan.drain_time, "stopping")
        # Of a process; in a test, whose service is not started, they are the test runner's.
        handlers = [SignalHandler(number, drain.hurry, self._reactor) for number in STOP_SIGNALS]
        for handler in handlers if self._started else ():
            handler.install()
        await self._drain(drain)
        self.certificates.stop()
        for cluster in self._clusters.values():
            cluster.stop()
        if self.telemetry is not None:
            self.telemetry.stop()
        await self._logs.stop()

    async def _drain(self, drain: Drain) -> None:
        drain.start()
        try:
            await drain.done.addTimeout(self.plan.drain_time + STOP_TIMEOUT, self._reactor)
        except defer.TimeoutError:
            # A filter of somebody's has kept a loss to itself.
            self.log.error("stopping with {open} connections open", open=drain.left)
