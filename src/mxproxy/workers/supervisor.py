"""
The parent of workers: what twistd runs with C{--workers N}.

It opens the sockets while it is privileged, starts the workers afterwards, and passes on what it is
told by signals.  Why workers are programs of their own, and no forks, is in docs/architecture.md.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredList, fail, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.usage import UsageError

from ..config.errors import reasons
from ..config.files import recording
from ..config.options import Options
from ..lifecycle.changes import changes
from ..lifecycle.listening import CannotListen, key, match
from ..lifecycle.manager import ServiceManager
from ..lifecycle.privileges import warnUnreadable
from ..lifecycle.signals import SignalHandler, StopSignals
from ..observe.access_log import formatAddress
from ..service import CannotStart, ProxyService
from ..words import counted
from .channel import ChannelError
from .messages import FIRST_SOCKET, Start, pack
from .process import Worker
from .sockets import SharedSocket

if TYPE_CHECKING:
    from ..admin.listening import AdminListener

#: Seconds that a worker may take to answer.
ANSWER_TIMEOUT = 5.0

#: Seconds, beyond the time for draining, until a worker that is to stop is killed.
KILL_AFTER = 15.0


class Supervisor(Service):
    """
    Workers, and the sockets that they share.

    @ivar count: how many there are.
    @ivar workers: they.
    @ivar proxy: what they run, built here, too, to see that it can be; it never runs here.
    @ivar stopping: none is to be started any more.
    @ivar lock: a file that whoever writes to a log that all share locks.
    @ivar admin: answers for all workers, or C{None}.
    @ivar failed: why it has given up; empty otherwise.
    """

    log = Logger()

    def __init__(
        self,
        options: Options,
        count: int,
        reactor: Any,
        exit: Callable[[int], object],
        manager: ServiceManager | None = None,
    ) -> None:
        """
        @param manager: is told how far it is.
        @param exit: called with the status that the process has to end with, if it has given up.
        @raise ValueError: the plan cannot be run; the text is one line, for a person.
        @raise OSError: a file cannot be used.
        """
        self.count = count
        self.stopping = False
        self.failed = ""
        self._options = options
        self._reactor = reactor
        self._exit = exit
        self._stopSignals = StopSignals(self._hurry, reactor)
        self._manager = manager or ServiceManager(reactor)
        self._files = dict(options.files)
        with recording(self._files):
            self.proxy = ProxyService(options.plan, reactor, hasAdmin=False)
        self.sockets: list[SharedSocket] = []
        self.workers = [Worker(index + 1, self, reactor) for index in range(count)]
        self._lockFile = tempfile.TemporaryFile()  # noqa: SIM115 - as long as it lives
        self.lock = self._lockFile.fileno()
        self._version = 0
        self._whenReady: list[Deferred[None]] = []
        self.admin: AdminListener | None = None
        if options.plan.admin:
            # Who has none need not load a web server.
            from ..admin.listening import AdminListener as Listener

            plan = options.plan
            self.admin = Listener(plan.admin, self, reactor, plan.admin_hosts)

    # -- starting

    def privilegedStartService(self) -> None:
        """
        Open the sockets, while still privileged.

        @raise CannotStart: one of them cannot be opened.
        """
        try:
            if self.admin is not None:
                self.admin.start()
            for listener in self.proxy.generation.listeners:
                self._open(listener)
        except ValueError as error:
            raise CannotStart(f"mxproxy: {error}") from None

    def _open(self, listener: Any) -> SharedSocket:
        socket = SharedSocket(listener, self.count)
        socket.open(self._reactor)
        self.sockets.append(socket)
        return socket

    def startService(self) -> None:
        """Start the workers."""
        Service.startService(self)
        for number, call in ((signal.SIGHUP, self.reread), (signal.SIGUSR1, self.reopen)):
            # twistd rotates its own log on the latter.
            SignalHandler(number, call, self._reactor, chain=number == signal.SIGUSR1).install()
        self._sayWhere(self.sockets)
        # When the reactor runs.
        self._reactor.callLater(0, self._stopSignals.install)
        warnUnreadable(self._files)
        self.whenReady().addCallback(lambda none: self._manager.ready(self._status()))
        for worker in self.workers:
            worker.start()

    def _status(self) -> str:
        return (
            f"{counted(self.count, 'worker')},"
            f" listening on {counted(len(self.sockets), 'address', 'es')}"
        )

    def _sayWhere(self, sockets: list[SharedSocket]) -> None:
        for socket in sockets:
            how = "a socket for each worker" if socket.balanced else "one socket for all workers"
            self.log.info(
                "listening on {address}, {how}", address=formatAddress(socket.host), how=how
            )

    def startOf(self, worker: Worker) -> tuple[list[int], Start]:
        """
        @return: the descriptors that a worker inherits beside the usual ones, in order, and what
            it is told.
        """
        index = worker.number - 1
        worker.version, worker.sockets = self._version, [*self.sockets]
        descriptors = [socket.descriptor(index) for socket in self.sockets]
        sockets = {
            key(socket.listener.plan): FIRST_SOCKET + place
            for place, socket in enumerate(self.sockets)
        }
        return descriptors, Start(
            worker.number,
            type(self._reactor).__module__,
            self._options.forWorker(),
            pack(self._files),
            sockets,
        )

    def isReady(self, worker: Worker) -> None:
        """It accepts."""
        self.log.info("{worker} is ready (process {pid})", worker=worker.name, pid=worker.pid)
        if worker.version != self._version:
            self._reloadOne(worker)
        if all(one.ready for one in self.workers):
            waiting, self._whenReady = self._whenReady, []
            for deferred in waiting:
                deferred.callback(None)

    def whenReady(self) -> Deferred[None]:
        """
        @return: fires when all workers accept.
        """
        deferred: Deferred[None] = Deferred()
        self._whenReady.append(deferred)
        return deferred

    def died(self) -> None:
        """A worker has, and is going to be replaced."""
        self._count("server.worker_restarts")

    def giveUp(self, why: str) -> None:
        """
        End all, with a status that says that it was no success.
        """
        if self.failed:
            return
        self.failed = why
        self.log.critical("mxproxy: {why}: giving up", why=why)
        self._exit(1)
        self.stopping = True
        self._reactor.callWhenRunning(self._reactor.stop)

    # -- asking

    def collect(self, command: str, arguments: Mapping[str, Any]) -> Deferred[list[Any]]:
        """
        Ask all workers; see L{mxproxy.workers}.

        @return: fires with the answers of those that answer, in their order; fails with
            L{ChannelError} if none does.
        """
        if command == "quitquitquit":
            # Not one after the other: all, and the parent.
            self._reactor.callLater(0, self._reactor.stop)
            return succeed([None])
        about = {"command": command, "arguments": dict(arguments)}
        answers = Deferred.fromCoroutine(self._collect("perform", about))
        if command == "drain_listeners":
            answers.addCallback(self._drained, arguments["inboundonly"])
        return answers

    def _drained(self, answers: list[Any], inboundOnly: bool) -> list[Any]:
        # While anybody has a socket open, whoever connects is not refused, but waits.
        for socket in list(self.sockets):
            if not inboundOnly or socket.listener.plan.traffic_direction == "INBOUND":
                self.sockets.remove(socket)
                socket.close()
        return answers

    async def _collect(self, what: str, about: Any = None) -> list[Any]:
        results: list[Any] = await DeferredList(
            [self._ask(worker, what, about) for worker in self.workers], consumeErrors=True
        )
        answers = [value for succeeded, value in results if succeeded]
        if not answers:
            raise ChannelError(results[0][1].getErrorMessage())
        return answers

    def _ask(
        self, worker: Worker, what: str, about: Any, descriptors: tuple[int, ...] = ()
    ) -> Deferred[Any]:
        answer = worker.ask(what, about, descriptors) if worker.ready else None
        if answer is None:
            return fail(ChannelError(f"{worker.name} is not there"))
        return answer.addTimeout(ANSWER_TIMEOUT, self._reactor)

    def _count(self, name: str) -> None:
        """
        Whoever asks for statistics gets the sum of the workers': so one of them has it.
        """
        for worker in self.workers:
            if worker.ready:
                self._ask(worker, "count", name).addErrback(lambda failure: None)
                return

    # -- changing

    def reopen(self) -> None:
        """Open the logs again."""
        for worker in self.workers:
            self._ask(worker, "reopen", None).addErrback(lambda failure: None)

    def reread(self) -> None:
        """
        Read the configuration again, and have all workers run it; if it cannot be used, say why
        and go on as before.
        """
        self._manager.reloading()
        status = ""
        try:
            self._reread()
        except Exception as error:  # noqa: BLE001 - nothing is ended by a file
            if not isinstance(error, (ValueError, OSError, UsageError)):
                self.log.failure("not reloaded")
            self._count("server.reload_rejected")
            for line in reasons(error):
                self.log.error("not reloaded: {line}", line=line)
            status = f"not reloaded: {reasons(error)[0]}"
        self._manager.ready(status or self._status())

    def _reread(self) -> None:
        if self.stopping:
            raise ValueError("the proxy is stopping")
        with recording() as files:
            plan = self._options.readPlan()
            before = self.proxy.generation
            after = self.proxy.build(plan)
        stay, need, gone = match(after.listeners, self.sockets)
        opened: list[SharedSocket] = []
        try:
            for listener in need:
                opened += [self._open(listener)]
        except CannotListen:
            for socket in opened:
                self.sockets.remove(socket)
                socket.close()
            raise
        self._files.update(files)
        self._version += 1
        self.proxy.generation = after
        for socket, listener in stay:
            socket.listener = listener
        for socket in gone:
            self.sockets.remove(socket)
        self.log.info("reloaded: {changes}", changes=changes(before, after))
        self._sayWhere(opened)
        # Those that are not ready are told when they are.
        done = [self._reloadOne(worker) for worker in self.workers if worker.ready]
        # A worker has closed its own end by then.
        gatherResults(done).addCallback(lambda none: [socket.close() for socket in gone])

    def _reloadOne(self, worker: Worker) -> Deferred[Any]:
        opened = [socket for socket in self.sockets if socket not in worker.sockets]
        worker.version, worker.sockets = self._version, [*self.sockets]
        about = {
            "files": pack(self._files),
            "sockets": [key(socket.listener.plan) for socket in opened],
        }
        descriptors = tuple(socket.descriptor(worker.number - 1) for socket in opened)
        answer = worker.ask("reload", about, descriptors)
        assert answer is not None
        answer.addTimeout(ANSWER_TIMEOUT * 4, self._reactor)
        answer.addErrback(self._notReloaded, worker)
        return answer

    def _notReloaded(self, failure: Any, worker: Worker) -> None:
        # What could be checked was: it is the worker that is out of order.
        if worker.pid and not self.stopping:
            self.log.error(
                "{worker} could not reload, and is replaced: {why}",
                worker=worker.name,
                why=failure.getErrorMessage(),
            )
            worker.kill()

    # -- stopping

    def stopService(self) -> Deferred[None]:
        """
        Close the sockets, have the workers drain, and wait for their end; a second signal ends
        them at once.
        """
        Service.stopService(self)
        self.stopping = self._stopSignals.stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        drain = self.proxy.plan.drain_time
        self._manager.stopping(f"draining {counted(self.count, 'worker')}", drain + 2 * KILL_AFTER)
        sockets, self.sockets = self.sockets, []
        ended = gatherResults([worker.whenEnded() for worker in self.workers], consumeErrors=True)
        for worker in self.workers:
            answer = worker.ask("stop")
            if answer is not None:
                answer.addErrback(lambda failure: None)
        for socket in sockets:
            await socket.close()
        try:
            await ended.addTimeout(drain + KILL_AFTER, self._reactor)
        except (defer.TimeoutError, defer.FirstError):
            for worker in self.workers:
                if worker.pid:
                    self.log.error("{worker} does not end, and is killed", worker=worker.name)
                    worker.kill()
        if self.admin is not None:
            await self.admin.stop()
        self._lockFile.close()
        self._manager.stopped()

    def _hurry(self) -> None:
        for worker in self.workers:
            answer = worker.ask("hurry")
            if answer is not None:
                answer.addErrback(lambda failure: None)


def exitWith(status: int) -> None:
    """
    Have the process end with C{status}, when twistd has ended in order: it knows of no other
    than 0 and a signal.
    """
    import atexit
    import sys

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(leave)
