"""
A worker's log is its parent's: events go over a pipe, and one process writes, rotates or sends to
syslog.  What the interpreter itself writes to standard error comes the same way.
"""

from __future__ import annotations

import json
import os

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText
from zope.interface import implementer

_MARK = b'{"worker log":'

#: A longer line, which has no end, is cut: nothing that mxproxy writes is.
LINE_LIMIT = 1024 * 1024


@implementer(ILogObserver)
class PipeLogObserver:
    """
    The worker's end.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, event: LogEvent) -> None:
        """Write it; whole, since the pipe is this process's alone."""
        level = event.get("log_level", LogLevel.info)
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        said = [level.name, str(event.get("log_namespace") or "-"), text]
        data = b'{"worker log":' + json.dumps(said).encode() + b"}\n"
        while data:
            data = data[os.write(self._descriptor, data) :]


class WorkerLog:
    """
    The parent's end.
    """

    def __init__(self, name: str) -> None:
        """
        @param name: what lines begin with.
        """
        self._name = name
        self._rest = b""

    def received(self, data: bytes) -> None:
        """
        @param data: of the pipe's.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > LINE_LIMIT:
            self.ended()

    def ended(self) -> None:
        """Nothing more comes."""
        rest, self._rest = self._rest, b""
        if rest:
            self._line(rest)

    def _line(self, line: bytes) -> None:
        level, namespace, text = LogLevel.info, "mxproxy.workers", line.decode("utf-8", "replace")
        if line.startswith(_MARK):
            try:
                (name, namespace, text) = json.loads(line)["worker log"]
                level = LogLevel.levelWithName(name)
            except ValueError:
                pass
        Logger(namespace=namespace).emit(level, "{worker}: {text}", worker=self._name, text=text)
