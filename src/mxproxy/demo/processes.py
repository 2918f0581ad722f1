"""
The sidecars: real C{twistd mxproxy} processes, their access logs, and where they listen.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from .clients import HOST

#: Seconds for a sidecar to listen.  It takes one; only who has a very slow disk needs more.
START_TIMEOUT = 30.0

#: Seconds after SIGTERM before SIGKILL.
STOP_TIMEOUT = 3.0

#: Seconds for a line of an access log.
LOG_TIMEOUT = 5.0

# Between two looks at a log: no portable way to be told of a file's growth.
_LOOK = 0.01

# What is kept of a sidecar's output, which has a line for each refused connection.
_OUTPUT_LIMIT = 32 * 1024

# What mxproxy says of each listener when it is up.
_LISTENING = b"listening on"


class DemoFailed(Exception):
    """
    Something was not as it should be; the text, one line, says what.
    """


def reservePorts(count: int) -> list[int]:
    """
    Ports that the kernel has just had free, each another.

    They are free again when this returns: someone else may be faster, and then the sidecar
    says so and the demo takes others.
    """
    reserved = [socket.socket() for _ in range(count)]
    try:
        for holder in reserved:
            holder.bind((HOST, 0))
        return [holder.getsockname()[1] for holder in reserved]
    finally:
        for holder in reserved:
            holder.close()


def findTwistd() -> list[str]:
    """
    The C{twistd} of the running interpreter, as the beginning of a command line.
    """
    for directory in (os.path.dirname(sys.executable), sysconfig.get_path("scripts")):
        script = os.path.join(directory, "twistd")
        if os.access(script, os.X_OK):
            return [script]
    return [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


class Sidecar(ProcessProtocol):
    """
    A sidecar's process.

    @ivar arguments: of its command line, what follows C{twistd}.
    @ivar listening: fires when it is ready, or fails with L{DemoFailed}.
    @ivar ended: fires when it has ended, with how it did.
    @ivar output: the end of what it has printed.
    """

    def __init__(self, mode: str, options: Sequence[str]) -> None:
        self.mode = mode
        self.arguments = ["-n", "--pidfile=", "mxproxy", "--mode", mode, *options]
        self.listening: Deferred[None] = Deferred()
        self.ended: Deferred[str] = Deferred()
        self.output = b""
        self._ready = False

    def start(self, reactor: Any, directory: str) -> None:
        """
        @param directory: where it runs.
        """
        environment = dict(os.environ)
        if path := environment.get("PYTHONPATH"):
            # It runs elsewhere.
            absolute = [os.path.abspath(entry) for entry in path.split(os.pathsep)]
            environment["PYTHONPATH"] = os.pathsep.join(absolute)
        command = [*findTwistd(), *self.arguments]
        self.listening.addTimeout(START_TIMEOUT, reactor, self._tooSlow)
        reactor.spawnProcess(self, command[0], command, environment, directory)

    def _tooSlow(self, result: object, timeout: float) -> Failure:
        return Failure(
            DemoFailed(f"the {self.mode} sidecar does not listen after {timeout:g} seconds")
        )

    def stop(self, reactor: Any) -> Deferred[bool]:
        """
        End it.

        @return: fires when it is gone; whether SIGTERM was enough.
        """
        if self.transport is None or self.ended.called:
            return succeed(True)
        stopped: Deferred[bool] = Deferred()
        self._signal("TERM")
        kill = reactor.callLater(STOP_TIMEOUT, self._signal, "KILL")

        def gone(how: str) -> str:
            gently = kill.active()
            if gently:
                kill.cancel()
            stopped.callback(gently)
            return how

        self.ended.addCallback(gone)
        return stopped

    def _signal(self, name: str) -> None:
        transport: Any = self.transport
        try:
            transport.signalProcess(name)
        except ProcessExitedAlready:
            pass

    def outReceived(self, data: bytes) -> None:
        """Keep it."""
        self.output = (self.output + data)[-_OUTPUT_LIMIT:]
        if not self._ready and _LISTENING in self.output:
            self._ready = True
            self.listening.callback(None)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """It is gone."""
        status: Any = reason.value
        how = f"status {status.exitCode}" if status.signal is None else f"signal {status.signal}"
        if not self._ready:
            self._ready = True
            self.listening.errback(DemoFailed(f"the {self.mode} sidecar did not start ({how})"))
        self.ended.callback(how)


async def findClosed(reactor: Any, log: Path, address: str) -> dict[str, Any]:
    """
    Wait for a connection to be written to an access log as closed.

    @param address: its downstream's.
    @raise DemoFailed: it was not, for L{LOG_TIMEOUT} seconds.
    """
    deadline = reactor.seconds() + LOG_TIMEOUT
    while reactor.seconds() < deadline:
        for entry in _read(log):
            if entry["event"] == "closed" and entry["downstream"]["address"] == address:
                return entry
        await deferLater(reactor, _LOOK)
    raise DemoFailed(f"{log.name} has no line for the end of the connection from {address}")


def _read(log: Path) -> list[dict[str, Any]]:
    lines = log.read_text("ascii").splitlines(keepends=True) if log.exists() else []
    # The last one may be half written.
    return [json.loads(line) for line in lines if line.endswith("\n")]
