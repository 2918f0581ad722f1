"""
Runs a plan, and another one when the configuration is read again.

Everything is built, and everything that can be wrong with it is found, before anything
listens or changes: L{ProxyService} either is whole or is not.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.usage import UsageError

from .config.errors import reasons
from .config.plan import Plan
from .interfaces import IConnectionObserver
from .lifecycle.changes import changes
from .lifecycle.draining import Drain
from .lifecycle.generation import Builder, Generation, Listener, Surroundings
from .lifecycle.listening import CannotListen, Listening, match
from .lifecycle.manager import ServiceManager
from .lifecycle.privileges import warnUnreadable
from .lifecycle.signals import SignalHandler, StopSignals
from .observe.access_log import formatAddress
from .observe.counters import Counters
from .observe.faults import FaultLog
from .observe.live import LiveConnections
from .observe.logs import AccessLogs, CannotOpenLog
from .observe.snapshot import take
from .observe.telemetry import Telemetry, buildTelemetry, reporterOf
from .openfiles import OpenFiles, softLimit
from .tls.reload import CertificateReloader
from .transports import tellMissing
from .upstream import Cluster
from .words import counted

if TYPE_CHECKING:
    from .admin.listening import AdminListener
    from .observe.otel.exporting import Exporting


class CannotStart(SystemExit, Exception):
    """
    The proxy ends before it has begun: one line, status 1.

    An C{Exception} because twistd, as a daemon, tells only of those the process that was
    called: of a mere C{SystemExit} that one learns nothing, waits for ever, and the file with
    the process id stays.  A C{SystemExit} because that is a line and no traceback.
    """


#: Seconds that connections which were dropped may take to be told closed.
STOP_TIMEOUT = 5.0


class ProxyService(Service):
    """
    A plan, running.

    @ivar plan: the present one.
    @ivar generation: what it has come to.
    @ivar counters: what was counted, by Envoy's names.
    @ivar telemetry: what they are measured by, or C{None} where nobody could look at it.
    @ivar connections: those that are open.
    @ivar sockets: what listens, while running.
    @ivar certificates: looks after the files of TLS; its C{reloadNow} reads them at once.
    @ivar admin: answers what runs, or C{None}.
    @ivar healthy: whether whoever asks is told so; it changes nothing else.
    """

    log = Logger()

    def __init__(
        self,
        plan: Plan,
        reactor: Any,
        observers: Sequence[IConnectionObserver] = (),
        readPlan: Callable[[], Plan] | None = None,
        inherited: Mapping[str, int] | None = None,
        hasAdmin: bool = True,
        manager: ServiceManager | None = None,
        configuration: Iterable[str] = (),
    ) -> None:
        """
        @param observers: who else is told of connections, beside the logs.
        @param readPlan: makes a plan of what the files now say, when SIGHUP comes; whatever it
            raises is why they cannot be used.
        @param inherited: descriptors of sockets that a parent process has opened, by
            L{mxproxy.lifecycle.listening.key}.
        @param hasAdmin: whether the admin interface is this process's; that of workers is their
            parent's.
        @param manager: is told how far it is.
        @param configuration: the files that the plan was made of, by which it is seen whether
            they can still be read when privileges are dropped.
        @raise ValueError: the plan cannot be run; the text is one line, for a person.
        @raise OSError: a file cannot be used.
        """
        self.counters = Counters()
        self.connections = LiveConnections()
        self.sockets: list[Listening] = []
        self.certificates = CertificateReloader(
            reactor, plan.tls_reload_interval, plan.tls_session_resumption
        )
        self.healthy = True
        self._begun: float | None = None
        self._reactor = reactor
        self._readPlan = readPlan
        self._inherited = inherited or {}
        self._manager = manager or ServiceManager(reactor)
        self._configuration = tuple(configuration)
        self._signals: list[SignalHandler] = []
        self._stopSignals = StopSignals(self.hurry, reactor)
        self._retired: list[Listener] = []
        self._logs = AccessLogs(reactor)
        everywhere = [FaultLog(reactor.seconds), *observers]
        if plan.access_log is not None:
            everywhere.append(self._logs.ofChain(plan.access_log))
        self.telemetry: Telemetry | None = None
        if plan.admin or plan.otel:
            self.telemetry = buildTelemetry(plan, reactor, self.counters)
            everywhere.append(self.telemetry)
        self._exporting: Exporting | None = None
        if plan.otel:
            # An extra that need not be installed.
            from .observe.otel.exporting import Exporting

            worker = inherited is not None
            self._exporting = Exporting(
                plan.otel, plan.node, lambda: take(self), reactor, worker=worker
            )
            if self._exporting.spans is not None:
                everywhere.append(self._exporting.spans)
        # Last: when it has no connection left, the access logs are stopped, and have to have
        # been told by then.
        everywhere.append(self.connections)
        files = OpenFiles(softLimit(), plan.max_handshakes)
        self._surroundings = Surroundings(
            reactor, self.counters, self._logs, self.certificates, files, everywhere
        )
        self.generation = Builder(plan, self._surroundings).build()
        self.admin: AdminListener | None = None
        if plan.admin and hasAdmin:
            # Who has none need not load a web server.
            from .admin.listening import listenerFor

            self.admin = listenerFor(self, reactor)
        self._drain: Drain | None = None

    @property
    def plan(self) -> Plan:
        """What runs."""
        return self.generation.plan

    @property
    def ports(self) -> list[IListeningPort]:
        """The sockets themselves."""
        return [socket.port for socket in self.sockets]

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        """Where connections go, by name."""
        return self.generation.clusters

    def drainListeners(self, inboundOnly: bool = False) -> None:
        """
        Take no new connections; those that are open go on.

        @param inboundOnly: only at listeners whose direction is INBOUND.
        """
        for socket in list(self.sockets):
            if not inboundOnly or socket.listener.plan.traffic_direction == "INBOUND":
                self.sockets.remove(socket)
                socket.close()

    def quit(self) -> None:
        """
        Stop the process, in order.
        """
        self._reactor.callLater(0, self._reactor.stop)

    @property
    def listening(self) -> Mapping[str, IListeningPort]:
        """What listens, by the listener's name."""
        return {socket.listener.plan.name: socket.port for socket in self.sockets}

    @property
    def live(self) -> bool:
        """Whether it takes new connections, and says so to whoever asks."""
        return self.healthy and bool(self.sockets)

    @property
    def uptime(self) -> float:
        """Seconds since it began to listen."""
        return 0.0 if self._begun is None else float(self._reactor.seconds() - self._begun)

    # -- starting

    def privilegedStartService(self) -> None:
        """
        Listen, while still privileged.

        @raise CannotStart: an address cannot be listened on.
        """
        self._begun = self._reactor.seconds()
        if self.admin is not None:
            try:
                self.admin.start()
            except ValueError as error:
                raise CannotStart(f"mxproxy: {error}") from None
        try:
            for listener in self.generation.listeners:
                self._listen(listener)
        except CannotListen as error:
            raise CannotStart(f"mxproxy: {error}") from None

    def _listen(self, listener: Listener) -> Listening:
        socket = Listening(listener)
        socket.open(self._reactor, self._inherited)
        self.sockets.append(socket)
        self._listens(socket)
        return socket

    def _listens(self, socket: Listening) -> None:
        """Metrics are told whose connections come from where."""
        address = formatAddress(socket.port.getHost())
        if self.telemetry is not None and address is not None:
            plan = socket.listener.plan
            reporter = reporterOf(plan.traffic_direction, socket.listener.exchanges)
            self.telemetry.reports(plan.name, reporter)
            self.telemetry.listens(plan.name, address)

    def startService(self) -> None:
        """
        Open the logs, look for hosts, and say what runs.

        @raise CannotStart: a log cannot be written to.
        """
        Service.startService(self)
        try:
            self._logs.start()
        except CannotOpenLog as error:
            raise CannotStart(f"mxproxy: {error}") from None
        self.certificates.start()
        for cluster in self.generation.clusters.values():
            cluster.start()
        if self.telemetry is not None:
            self.telemetry.start()
        if self._exporting is not None:
            self._exporting.start()
        # Of a process; in a test, whose service is not started, they are the test runner's.
        self._handle(signal.SIGHUP, self.reread)
        for socket in self.sockets:
            self._sayWhere(socket)

        tellMissing()
        warnUnreadable(self._configuration)
        # When the reactor runs.
        self._reactor.callLater(0, self._runs)

    def _runs(self) -> None:
        self._stopSignals.install()
        self._manager.ready(self._status())

    def _status(self) -> str:
        return f"listening on {counted(len(self.sockets), 'address', 'es')}"

    def _sayWhere(self, socket: Listening) -> None:
        self.log.info("listening on {address}", address=formatAddress(socket.port.getHost()))

    def _handle(self, number: int, call: Callable[[], object]) -> None:
        handler = SignalHandler(number, call, self._reactor)
        handler.install()
        self._signals.append(handler)

    # -- changing

    def reread(self) -> None:
        """
        Read the configuration again, and run what it says now; if it cannot be used, say why and
        go on as before.
        """
        if self._readPlan is None:
            return
        self._manager.reloading()
        status = ""
        try:
            self.reload(self._readPlan())
            # The same names may stand for other files.
            self.certificates.reloadNow()
        except Exception as error:  # noqa: BLE001 - a proxy that runs is not ended by a file
            if not isinstance(error, (ValueError, OSError, UsageError)):
                self.log.failure("not reloaded")
            self.counters.count("server.reload_rejected")
            for line in reasons(error):
                self.log.error("not reloaded: {line}", line=line)
            status = f"not reloaded: {reasons(error)[0]}"
        self._manager.ready(status or self._status())

    def build(self, plan: Plan) -> Generation:
        """
        What another plan comes to, beside the one that runs.

        @raise ValueError: it cannot be run; the text is one line.
        @raise OSError: a file cannot be used.
        """
        return Builder(plan, self._surroundings, self.generation).build()

    def reload(self, plan: Plan, inherited: Mapping[str, int] | None = None) -> None:
        """
        Run another plan from now on.  Connections that are open keep theirs; only those of
        listeners that are gone are drained.

        @param inherited: as before, for listeners that are new.
        @raise ValueError: it cannot be run; the text is one line.  Nothing has changed then.
        @raise OSError: a file cannot be used; nothing has changed.
        """
        if not self.running and self._signals:
            raise ValueError("the proxy is stopping")
        self._inherited = inherited or {}
        before = self.generation
        after = self.build(plan)
        stay, need, gone = match(after.listeners, self.sockets)
        opened: list[Listening] = []
        try:
            if self.running:
                self._logs.start()
            for listener in need:
                opened += [self._listen(listener)]
        except (CannotOpenLog, CannotListen) as error:
            for socket in opened:
                self.sockets.remove(socket)
                socket.close()
            self._keepLogs()
            raise ValueError(str(error)) from None
        # From here on nothing can go wrong.
        self.generation = after
        if self.telemetry is not None:
            self.telemetry.replan(plan)
        self._replaceClusters(before, after)
        for socket, listener in stay:
            if socket.listener is not listener:
                self._retire(socket.listener)
                socket.factory.replace(listener)
                self._listens(socket)
        for socket in gone:
            self.sockets.remove(socket)
            socket.close()
            self._retire(socket.listener)
            self._drainGone(socket.listener)
        for socket in opened:
            self._sayWhere(socket)
        self.counters.count("server.reload_accepted")
        self.log.info("reloaded: {changes}", changes=changes(before, after))
        self._keepLogs()

    def _replaceClusters(self, before: Generation, after: Generation) -> None:
        kept = set(map(id, after.clusters.values()))
        for cluster in before.clusters.values():
            if id(cluster) not in kept:
                cluster.retire()
        kept = set(map(id, before.clusters.values()))
        for cluster in after.clusters.values():
            if id(cluster) not in kept and self.running:
                cluster.start()

    def _retire(self, listener: Listener) -> None:
        """It takes no more connections; its access logs are kept for those that it has."""
        self._retired.append(listener)
        listener.connections.whenNone().addCallback(lambda none: self._forget(listener))

    def _forget(self, listener: Listener) -> None:
        self._retired.remove(listener)
        self._keepLogs()

    def _keepLogs(self) -> None:
        paths = {path for one in (*self.generation.listeners, *self._retired) for path in one.logs}
        if self.plan.access_log is not None:
            paths.add(self.plan.access_log.path)
        self._logs.keep(paths)

    def _drainGone(self, listener: Listener) -> None:
        connections = [*listener.connections]
        why = f"listener {listener.plan.name} is gone"
        Drain(connections, self._reactor, self.plan.drain_time, why).start()

    # -- stopping

    def stopService(self) -> Deferred[None]:
        """
        Listen no more, drain what is open, and write the logs out.

        While it lasts, one of L{mxproxy.lifecycle.signals.STOP_SIGNALS} ends what is open at once.
        """
        Service.stopService(self)
        self._stopSignals.stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        sockets, self.sockets = self.sockets, []
        for socket in sockets:
            await socket.close()
        connections = [*self.connections]
        drain = Drain(connections, self._reactor, self.plan.drain_time, "stopping")
        self._drain = drain
        self._manager.stopping(
            f"draining {counted(len(connections), 'connection')}",
            self.plan.drain_time + 2 * STOP_TIMEOUT,
        )
        await self._finish(drain)
        self.certificates.stop()
        for cluster in self.generation.clusters.values():
            cluster.stop()
        if self.telemetry is not None:
            self.telemetry.stop()
        if self.admin is not None:
            await self.admin.stop()
        if self._exporting is not None:
            await self._exporting.stop()
        await self._logs.stop()
        self._manager.stopped()

    def hurry(self) -> None:
        """Stop draining: drop what is open."""
        if self._drain is not None:
            self._drain.hurry()

    def reopenLogs(self) -> None:
        """Open the access logs again, since they were renamed."""
        self._logs.reopen()

    async def _finish(self, drain: Drain) -> None:
        drain.start()
        try:
            await drain.done.addTimeout(self.plan.drain_time + STOP_TIMEOUT, self._reactor)
        except defer.TimeoutError:
            # A filter of somebody's has kept a loss to itself.
            self.log.error("stopping with {open} open", open=counted(drain.left, "connection"))
