"""
The access logs of a proxy: which there are, and their files.

Logs that go to one file share its queue and its thread, so that their lines do not mix.  All
files are opened at start, opened again on SIGUSR1, and written out at the end.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger

from ..config.plan import AccessLogPlan
from ..interfaces import IConnectionObserver
from ..lifecycle.signals import SignalHandler
from . import access_log, formatted
from .access_log import AccessLog
from .format import compileFormat
from .formatted import END, NOT_SET, FormattedLog
from .writer import STDERR, STDOUT, Writer, openLog

#: Seconds that the last lines may take when the proxy stops.
STOP_TIMEOUT = 5.0

# Opened, they are not the same as the descriptors: with a file, each has its own place in it;
# and a socket cannot be opened at all.
_DEVICES = {"/dev/stdout": STDOUT, "/dev/stderr": STDERR}


def _key(path: str) -> str:
    path = _DEVICES.get(path, path)
    return path if path in (STDOUT, STDERR) else os.path.abspath(path)


class CannotOpenLog(Exception):
    """
    A log's file cannot be opened; the text, one line, says which and why.
    """


class AccessLogs:
    """
    Makes observers of L{AccessLogPlan}s, and keeps the files that they write to.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        wallClock: Callable[[], float] = time.time,
        open: Callable[[str], int] = openLog,
    ) -> None:
        """
        @param wallClock: seconds since the epoch.
        @param open: see L{Writer}.
        """
        self._reactor = reactor
        self._wallClock = wallClock
        self._open = open
        self._writers: dict[str, Writer] = {}
        self._running: set[str] = set()
        self._endings: list[Deferred[None]] = []
        self._signal: SignalHandler | None = None

    def ofListener(self, plan: AccessLogPlan) -> IConnectionObserver:
        """
        A log that is told of all connections of a listener.

        @raise mxproxy.observe.format.FormatError: its format cannot be used.
        """
        return self._make(plan, NOT_SET)

    def ofChain(self, plan: AccessLogPlan) -> IConnectionObserver:
        """
        A log that is told of the connections of a filter chain, once it is chosen.

        @raise mxproxy.observe.format.FormatError: its format cannot be used.
        """
        return self._make(plan, END)

    def _make(self, plan: AccessLogPlan, end: str) -> IConnectionObserver:
        render = compileFormat(plan)
        if render is None:
            return AccessLog(self._writer(plan.path, access_log.describeLoss), self._wallClock)
        describeLoss = formatted if plan.json_format is None else access_log
        return FormattedLog(
            plan,
            render,
            self._writer(plan.path, describeLoss.describeLoss),
            self._reactor,
            end=end,
            wallClock=self._wallClock,
        )

    def _writer(self, path: str, describeLoss: Callable[[int, float], bytes]) -> Writer:
        key = _key(path)
        if key not in self._writers:
            self._writers[key] = Writer(
                _DEVICES.get(path, path),
                lambda lines: describeLoss(lines, self._wallClock()),
                open=self._open,
            )
        return self._writers[key]

    # -- running

    def start(self) -> None:
        """
        Open the files that are not open yet, begin to write, and reopen them on SIGUSR1.

        @raise CannotOpenLog: one of them cannot be opened; then none is that was not before, and
            they cannot be used any more.
        """
        started: list[str] = []
        for key, writer in self._writers.items():
            if key in self._running:
                continue
            try:
                writer.start()
            except OSError as error:
                for other in started:
                    self._writers[other].stop()
                raise CannotOpenLog(
                    f"access log {writer.path}: {error.strerror or error}"
                ) from None
            started.append(key)
        self._running.update(started)
        if self._signal is not None:
            return
        # It is what tells a proxy to reopen its logs; one without any goes on running.
        self._signal = SignalHandler(signal.SIGUSR1, self.reopen, self._reactor, chain=True)
        self._signal.install()

    def reopen(self) -> None:
        """Open all files again."""
        for key in self._running:
            self._writers[key].reopen()

    def keep(self, paths: Iterable[str]) -> None:
        """
        Write out and close all files but these: nobody writes to the others any more.
        """
        for key in self._writers.keys() - {_key(path) for path in paths}:
            writer = self._writers.pop(key)
            if key in self._running:
                self._running.remove(key)
                self._endings = [ending for ending in self._endings if not ending.called]
                self._endings.append(self._stop(writer))

    def stop(self) -> Deferred[Any]:
        """
        Write out what waits and close the files.

        @return: fires when that is done, or has taken L{STOP_TIMEOUT}.
        """
        if self._signal is None:
            return succeed(None)
        self._signal.remove()
        self._signal = None
        return gatherResults([*self._endings, *map(self._stop, self._writers.values())])

    def _stop(self, writer: Writer) -> Deferred[None]:
        stopped: Deferred[None] = Deferred()

        def timedOut() -> None:
            self.log.error(
                "access log {path}: not written out within {timeout:g} s, the last lines are lost",
                path=writer.path,
                timeout=STOP_TIMEOUT,
            )
            stopped.callback(None)

        timer = self._reactor.callLater(STOP_TIMEOUT, timedOut)

        def done() -> None:
            if timer.active():
                timer.cancel()
                stopped.callback(None)

        writer.stop(lambda: self._reactor.callFromThread(done))
        return stopped
