"""
One worker as its parent sees it: started, spoken to, and started again when it has died.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from .channel import Channel, ChannelError, ChannelFactory
from .logging import WorkerLog
from .messages import CHANNEL, FIRST_SOCKET, LOCK, STANDARD_ERROR

if TYPE_CHECKING:
    from .sockets import SharedSocket
    from .supervisor import Supervisor

#: A worker that has lived for so many seconds was well; its death is no part of a loop.
WELL_AFTER = 60.0

#: Seconds until the next one is started, after as many deaths in a row; the first is at once.
DELAYS = (0.0, 1.0, 2.0, 4.0, 8.0)


class Worker(ProcessProtocol):
    """
    The worker of one number, whichever process it is.

    @ivar number: from 1.
    @ivar pid: the process; 0 while there is none.
    @ivar channel: to it, while it lives.
    @ivar ready: it accepts.
    @ivar wasReady: it does, or one before it did.
    @ivar version: which of the parent's configurations it has been told.
    @ivar sockets: those that it has.
    """

    log = Logger()
    transport: Any

    def __init__(self, number: int, supervisor: Supervisor, reactor: Any) -> None:
        self.number = number
        self.pid = 0
        self.channel: Channel | None = None
        self.ready = False
        self.wasReady = False
        self.version = 0
        self.sockets: list[SharedSocket] = []
        self._supervisor = supervisor
        self._reactor = reactor
        self._log = WorkerLog(self.name)
        self._began = 0.0
        self._deaths = 0
        self._timer: IDelayedCall | None = None
        self._waiting: list[Deferred[None]] = []

    @property
    def name(self) -> str:
        """For the log."""
        return f"worker {self.number}"

    # -- beginning

    def start(self) -> None:
        """Start a process; one that cannot be started is as one that has died."""
        self._timer = None
        if self._supervisor.stopping:
            return
        try:
            self._spawn()
        except OSError as error:  # No memory for it, no file left, ...
            if self.pid:
                self.kill()  # Its end is told by and by.
            else:
                self._died(str(error), f"it could not be started: {error}")

    def _spawn(self) -> None:
        supervisor = self._supervisor
        self._began = self._reactor.seconds()
        ours, theirs = socket.socketpair()
        with ours, theirs, open(os.devnull, "rb") as null:
            inherited, start = supervisor.startOf(self)
            descriptors: dict[int, Any] = {0: null.fileno(), 1: 1, 2: "r"}
            descriptors |= {CHANNEL: theirs.fileno(), LOCK: supervisor.lock, STANDARD_ERROR: 2}
            for index, descriptor in enumerate(inherited):
                descriptors[FIRST_SOCKET + index] = descriptor
            self._reactor.spawnProcess(
                self,
                sys.executable,
                [sys.executable, "-m", "mxproxy.workers", f"{self.number}/{supervisor.count}"],
                env=_environment(),
                childFDs=descriptors,
            )
            ours.setblocking(False)
            self.channel = Channel(self._asked, lambda: None)
            self._reactor.adoptStreamConnection(
                ours.fileno(), socket.AF_UNIX, ChannelFactory(self.channel)
            )
            self.channel.transport.write(start.line())

    def connectionMade(self) -> None:
        """There is a process."""
        self.pid = self.transport.pid

    def _asked(self, what: str, about: Any, descriptors: list[int]) -> None:
        if what != "ready":
            raise ChannelError(f"a worker does not ask {what!r}")
        self.ready = self.wasReady = True
        self._supervisor.isReady(self)

    # -- living

    def ask(
        self, what: str, about: Any = None, descriptors: tuple[int, ...] = ()
    ) -> Deferred[Any] | None:
        """
        @return: see L{Channel.ask}; C{None} while there is nobody to be asked.
        """
        if self.channel is None or not self.pid:
            return None
        return self.channel.ask(what, about, descriptors)

    def errReceived(self, data: bytes) -> None:
        """What it has to say for the log."""
        self._log.received(data)

    def kill(self) -> None:
        """End it at once."""
        try:
            self.transport.signalProcess(signal.SIGKILL)
        except ProcessExitedAlready:
            pass

    # -- ending

    def processEnded(self, reason: Failure) -> None:
        """It is gone; another one takes its place, unless all are to stop."""
        self._log.ended()
        pid, self.pid = self.pid, 0
        self.ready, self.channel = False, None
        value: Any = reason.value
        how = f"signal {value.signal}" if value.signal else f"exit status {value.exitCode}"
        if self._supervisor.stopping:
            self._gone()
        else:
            self._died(how, f"process {pid} has ended: {how}")

    def _died(self, how: str, said: str) -> None:
        lived = self._reactor.seconds() - self._began
        self._deaths = 1 if lived >= WELL_AFTER else self._deaths + 1
        self.log.error("{worker}: {said}", worker=self.name, said=said)
        if not self.wasReady:
            self._supervisor.giveUp(f"{self.name} could not start: {how}")
        elif self._deaths > len(DELAYS):
            self._supervisor.giveUp(
                f"{self.name} has died {self._deaths} times in a row, within {WELL_AFTER:g} s of "
                f"its start each time; the last time: {how}"
            )
        else:
            self._supervisor.died()
            self._timer = self._reactor.callLater(DELAYS[self._deaths - 1], self.start)

    def whenEnded(self) -> Deferred[None]:
        """
        @return: fires when there is no process, and none will be.
        """
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()
        if not self.pid:
            self._gone()
        return deferred

    def _gone(self) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def __repr__(self) -> str:
        state = "ready" if self.ready else "starting" if self.pid else "dead"
        return f"<Worker {self.number} {state}, process {self.pid}>"


def _environment() -> dict[str, str]:
    """
    A worker finds the modules, and so the filters, that its parent does; and none in what
    happens to be the current directory.
    """
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
