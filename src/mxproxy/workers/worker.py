"""
A worker: what its parent has told it to run, until the parent says stop, or is gone.

How a worker begins: it reads the first line of its channel (L{Start}), makes a plan of the
parent's command line and of the files as the parent has read them, and runs it on the sockets that
it has inherited.  Its exit status is 0 when it was told to end.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from typing import Any

from ..config.files import replaying
from ..config.options import EXIT_FILE, Options, refuse
from ..service import ProxyService
from .channel import Channel, ChannelError, ChannelFactory
from .logging import PipeLogObserver
from .messages import CHANNEL, LOCK, STANDARD_ERROR, Start, unpack


class Worker:
    """
    Does what the parent asks for.
    """

    def __init__(self, service: ProxyService, options: Options, reactor: Any) -> None:
        self.channel = Channel(self.handle, self.orphaned)
        self._service = service
        self._options = options
        self._reactor = reactor

    def begin(self, more: bytes) -> None:
        """
        @param more: what the parent has said meanwhile.
        """
        self.channel.ask("ready").addErrback(lambda failure: None)
        self.channel.dataReceived(more)  # type: ignore[no-untyped-call]

    def handle(self, what: str, about: Any, descriptors: list[int]) -> Any:
        """See L{Channel}."""
        try:
            return getattr(self, f"ask_{what}")(about, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def ask_reload(self, about: Any, descriptors: list[int]) -> None:
        """Run another plan."""
        sockets = dict(zip(about["sockets"], descriptors, strict=True))
        try:
            with replaying(unpack(about["files"])):
                self._service.reload(self._options.readPlan(), sockets)
        except (ValueError, OSError) as error:
            raise ChannelError(str(error)) from error
        self._service.certificates.reloadNow()

    def ask_reopen(self, about: Any, descriptors: list[int]) -> None:
        """Open the logs again."""
        self._service.reopenLogs()

    def ask_stop(self, about: Any, descriptors: list[int]) -> None:
        """Drain, and end."""
        self._reactor.callLater(0, self._stop)

    def ask_hurry(self, about: Any, descriptors: list[int]) -> None:
        """Drain no more."""
        self._service.hurry()

    def ask_perform(self, about: Any, descriptors: list[int]) -> Any:
        """What the administration interface wants."""
        # Who is never asked need not load it.
        from ..admin.source import perform

        return perform(self._service, about["command"], about["arguments"])

    def ask_count(self, about: Any, descriptors: list[int]) -> None:
        """Something that the parent wants counted."""
        self._service.counters.count(about)

    def orphaned(self) -> None:
        """The parent is gone, and nobody else is to be signalled."""
        self._stop()

    def _stop(self) -> None:
        if self._service.running:
            self._reactor.stop()


def main() -> None:
    """
    Be one.
    """
    channel = socket.socket(fileno=CHANNEL)
    line, more = _readLine(channel)
    start = Start.read(line)
    importlib.import_module(start.reactor).install()
    from twisted.internet import reactor as installed
    from twisted.logger import globalLogBeginner

    reactor: Any = installed
    globalLogBeginner.beginLoggingTo([PipeLogObserver(2)], redirectStandardIO=False)
    options, service = _build(start, reactor)
    worker = Worker(service, options, reactor)
    service.privilegedStartService()
    service.startService()
    for descriptor in start.sockets.values():
        _close(descriptor)
    reactor.adoptStreamConnection(channel.fileno(), socket.AF_UNIX, ChannelFactory(worker.channel))
    channel.close()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    # A terminal sends it to all processes; the parent says what is to be done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reactor.callWhenRunning(worker.begin, more)
    if all(os.access(path, os.R_OK) for path in start.files):
        # They may have been renewed since the parent has read them.
        reactor.callWhenRunning(service.certificates.reloadNow)
    reactor.run()


def _build(start: Start, reactor: Any) -> tuple[Options, ProxyService]:
    from ..observe import writer

    writer.shareWith(LOCK, STANDARD_ERROR)
    options = Options()  # type: ignore[no-untyped-call]
    with replaying(unpack(start.files)):
        options.parseOptions(start.arguments)
        try:
            service = ProxyService(options.plan, reactor, inherited=start.sockets, hasAdmin=False)
        except (ValueError, OSError) as error:
            refuse(str(error), EXIT_FILE)
    return options, service


def _readLine(channel: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\n" not in data:
        more = channel.recv(1 << 20)
        if not more:
            sys.exit("mxproxy.workers: the parent is gone")
        data += more
    line, _, more = data.partition(b"\n")
    return line, more


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        pass  # Several listeners, one socket.
