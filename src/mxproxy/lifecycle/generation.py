"""
What a plan comes to, built: its clusters and its listeners, of which nothing runs yet.

When the configuration is read again, the new plan becomes another generation.  What is the same
in both is built once and kept with all that it knows: a cluster its hosts' health, a listener its
counts.  A cluster is the same if its plan is, and who we are; a listener, if moreover all clusters
are, since it holds those that it connects to.  Connections stay with the listener and the clusters
that they were made by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..chain import (
    ChainContext,
    ChainError,
    Claims,
    buildTerminal,
    configure,
    configureFilters,
    exchangesMetadata,
    wrapFilters,
    wrapTLS,
)
from ..config.plan import AccessLogPlan, FilterChainPlan, FilterSpec, ListenerPlan, Plan
from ..interfaces import IConnectionObserver
from ..layers.switch import FilterChain, SwitchFactory
from ..listener import ListenerFactory, listenerFilters
from ..observe.counters import Counters
from ..observe.format import FormatError
from ..observe.live import LiveConnections
from ..observe.logs import AccessLogs
from ..openfiles import OpenFiles
from ..tls.reload import CertificateReloader
from ..upstream import Cluster
from ..upstream.building import buildCluster


@dataclass(frozen=True)
class Surroundings:
    """
    What all generations of a proxy have in common.

    @ivar reactor: where they run.
    @ivar observers: who is told of all connections, beside a listener's own logs.
    """

    reactor: Any
    counters: Counters
    logs: AccessLogs
    certificates: CertificateReloader
    files: OpenFiles
    observers: Sequence[IConnectionObserver]


@dataclass(eq=False)
class Listener:
    """
    A listener, built.

    @ivar factory: takes connections.
    @ivar connections: those that it has taken and that are open.
    @ivar exchanges: whether it learns its clients' metadata.
    @ivar logs: the paths of the access logs that are told of them.
    """

    plan: ListenerPlan
    factory: ListenerFactory
    connections: LiveConnections
    exchanges: bool
    logs: frozenset[str]


@dataclass(eq=False)
class Generation:
    """
    A plan, built.

    @ivar clusters: by their names.
    @ivar listeners: in the plan's order.
    """

    plan: Plan
    clusters: dict[str, Cluster] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)


class Builder:
    """
    Builds one generation.
    """

    def __init__(
        self, plan: Plan, surroundings: Surroundings, before: Generation | None = None
    ) -> None:
        """
        @param before: the one of which is kept what is the same.
        """
        self._surroundings = surroundings
        self._before = before
        self._generation = Generation(plan)
        self._claims: Claims = {}
        self._logs: set[str] = set()

    def build(self) -> Generation:
        """
        @raise ValueError: the plan cannot be run; the text is one line, for a person.
        @raise OSError: a file cannot be used.
        """
        generation, before = self._generation, self._before
        # What is built finds its clusters through us: the one before would be kept, and so all.
        self._before = None
        plan = generation.plan
        keep = before if before is not None and before.plan.node == plan.node else None
        clusters = {} if keep is None else {cluster.name: cluster for cluster in keep.plan.clusters}
        for cluster in plan.clusters:
            if keep is not None and clusters.get(cluster.name) == cluster:
                configureFilters(cluster.filters, self._claims)
                built = keep.clusters[cluster.name]
            else:
                context = self._context("upstream", cluster.name)
                built = buildCluster(
                    cluster, self._claims, context, self._surroundings.certificates
                )
            generation.clusters[cluster.name] = built
        listeners: list[Listener] = []
        if keep is not None and keep.clusters == generation.clusters:
            listeners = keep.listeners
        for listener in plan.listeners:
            same = next((other for other in listeners if other.plan == listener), None)
            if same is not None:
                self._claim(listener)
            generation.listeners.append(same or self._listener(listener))
        return generation

    def _claim(self, listener: ListenerPlan) -> None:
        """Filters that are built already keep facts all the same."""
        for chain in listener.everyChain:
            for spec in chain.filters:
                configure(spec, self._claims)
        configureFilters(listenerFilters(listener), self._claims)

    def _context(self, side: str, name: str, listener: ListenerPlan | None = None) -> ChainContext:
        common = (
            self._generation.plan.node,
            self._surroundings.reactor,
            self._surroundings.counters.count,
            self._upstream,
        )
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
        clusters = self._generation.clusters
        try:
            return clusters[name]
        except KeyError:
            known = ", ".join(clusters) or "none"
            raise ChainError(f"there is no cluster {name!r}; there is: {known}") from None

    def _chain(self, listener: ListenerPlan, plan: FilterChainPlan) -> FilterChain:
        context = self._context("downstream", plan.name, listener)
        below: Sequence[FilterSpec] = plan.filters[:-1]
        filters = configureFilters(below, self._claims)
        terminal = buildTerminal(plan.filters, self._claims, context)
        chain = wrapFilters(terminal, below, filters, context)
        certificates = self._surroundings.certificates
        timeout = plan.tls_handshake_timeout
        factory = wrapTLS(chain, plan.tls, filters, context, timeout, certificates)
        # Of a terminal that is configured already, as a file's is.
        logs = getattr(plan.filters[-1].settings, "access_logs", ())
        observers = [self._log(self._surroundings.logs.ofChain, log, context.name) for log in logs]
        return FilterChain(plan, factory, exchangesMetadata(filters), observers)

    def _listener(self, plan: ListenerPlan) -> Listener:
        surroundings = self._surroundings
        self._logs = set()
        context = self._context("downstream", "", plan)
        chains = [self._chain(plan, chain) for chain in plan.chains]
        default = None
        if plan.default_filter_chain is not None:
            default = self._chain(plan, plan.default_filter_chain)
        specs = listenerFilters(plan)
        filters = configureFilters(specs, self._claims)
        switch = SwitchFactory(chains, default, context)
        inner = wrapFilters(switch, specs, filters, context)
        logs = [self._log(surroundings.logs.ofListener, log, plan.name) for log in plan.access_logs]
        # Last: when it has no connection left, its access logs may go.
        connections = LiveConnections()
        factory = ListenerFactory(
            inner,
            context,
            [*logs, *surroundings.observers, connections],
            plan,
            surroundings.files,
        )
        exchanges = any(chain.exchanges_metadata for chain in chains)
        return Listener(plan, factory, connections, exchanges, frozenset(self._logs))

    def _log(
        self,
        make: Callable[[AccessLogPlan], IConnectionObserver],
        plan: AccessLogPlan,
        where: str,
    ) -> IConnectionObserver:
        self._logs.add(plan.path)
        try:
            return make(plan)
        except FormatError as error:
            raise ChainError(f"{where}: access log {plan.path}: {error}") from None
