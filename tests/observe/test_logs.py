"""
The files of access logs: opened once, shared, reopened, written out.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import AccessLogPlan
from mxproxy.connection import Connection
from mxproxy.observe.access_log import AccessLog
from mxproxy.observe.format import FormatError
from mxproxy.observe.formatted import FormattedLog
from mxproxy.observe.logs import STOP_TIMEOUT, AccessLogs, CannotOpenLog
from mxproxy.observe.writer import Writer, openLog

NEW_YEAR = 1767225600.0


class Reactor(Clock):
    """
    A clock that can be called from the writer's thread: at once, in that thread.
    """

    def callFromThread(self, call: Any) -> None:
        call()


class LogsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        self.path = Path(self.mktemp())
        self.reactor = Reactor()
        self.opened: list[str] = []
        self.logs = AccessLogs(self.reactor, wallClock=lambda: NEW_YEAR, open=self.open)

    def open(self, path: str) -> int:
        self.opened.append(path)
        return openLog(path)

    @property
    def writers(self) -> list[Writer]:
        return list(self.logs._writers.values())

    def connection(self, listener: str = "listener") -> Connection:
        return Connection(listener, self.reactor.seconds)

    def stop(self) -> None:
        stopped = self.logs.stop()
        for writer in self.writers:
            self.assertTrue(writer.join(30))
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()


class MakingTests(LogsCase):
    def test_kinds(self) -> None:
        own = self.logs.ofListener(AccessLogPlan(str(self.path)))
        self.assertIsInstance(own, AccessLog)
        for plan in (
            AccessLogPlan(str(self.path), {"a": "%ACCESS_LOG_TYPE%"}),
            AccessLogPlan(str(self.path), text_format="%ACCESS_LOG_TYPE%\n"),
        ):
            self.assertIsInstance(self.logs.ofListener(plan), FormattedLog)

    def test_refused(self) -> None:
        """
        Before any file is opened.
        """
        plan = AccessLogPlan(str(self.path), text_format="%FOO%")
        self.assertRaises(FormatError, self.logs.ofChain, plan)
        self.assertEqual(self.writers, [])

    def test_shared(self) -> None:
        """
        One file, one writer, whatever it is called; standard output by both its names.
        """
        os.makedirs(self.path)
        for path in (
            str(self.path / "a"),
            f"{self.path}/./a",
            str(self.path / "b"),
            "-",
            "/dev/stdout",
            "!",
            "/dev/stderr",
        ):
            self.logs.ofListener(AccessLogPlan(path))
        self.assertEqual(
            [writer.path for writer in self.writers],
            [str(self.path / "a"), str(self.path / "b"), "-", "!"],
        )

    def test_lossIsALine(self) -> None:
        """
        In the form of the file's first log.
        """
        for plan, wanted in (
            (AccessLogPlan("a"), b'{"event": "dropped", "time": "2026-'),
            (AccessLogPlan("b", {}), b'{"event": "dropped", "time": "2026-'),
            (AccessLogPlan("c", text_format=""), b"[2026-01-01T00:00:00.000Z] 7 lines of this log"),
        ):
            self.logs.ofListener(plan)
            line = self.writers[-1]._describeLoss(7)
            self.assertEqual(line[: len(wanted)], wanted)


class RunningTests(LogsCase):
    def test_written(self) -> None:
        """
        What was logged is in the file when the logs have stopped, of all of them in order.
        """
        path = str(self.path)
        own = self.logs.ofListener(AccessLogPlan(path))
        text = self.logs.ofListener(AccessLogPlan(path, text_format="%ACCESS_LOG_TYPE%\n"))
        chain = self.logs.ofChain(AccessLogPlan(path, text_format="%ACCESS_LOG_TYPE%\n"))
        self.logs.start()
        for log in (own, text, chain):
            log.closed(self.connection())
        self.stop()
        self.assertEqual(json.loads(self.lines[0])["event"], "closed")
        self.assertEqual(self.lines[1:], ["NotSet", "TcpConnectionEnd"])
        self.assertEqual(self.opened, [path])

    def test_signal(self) -> None:
        """
        All files are opened again, and whoever handled the signal before does again.
        """
        before = signal.getsignal(signal.SIGUSR1)
        paths = [f"{self.path}.{name}" for name in "ab"]
        logs = [self.logs.ofListener(AccessLogPlan(path)) for path in paths]
        self.logs.start()
        for log in logs:
            log.closed(self.connection("first"))
        os.kill(os.getpid(), signal.SIGUSR1)
        for log in logs:
            log.closed(self.connection("second"))
        self.stop()
        self.assertEqual(sorted(self.opened), sorted(paths * 2))
        for path in paths:
            self.assertEqual(len(Path(path).read_text().splitlines()), 2)
        self.assertEqual(signal.getsignal(signal.SIGUSR1), before)

    def test_withoutLogs(self) -> None:
        """
        The signal never ends a proxy that has none.
        """
        self.logs.start()
        os.kill(os.getpid(), signal.SIGUSR1)
        self.stop()

    def test_notStarted(self) -> None:
        self.logs.ofListener(AccessLogPlan(str(self.path)))
        self.successResultOf(self.logs.stop())

    def test_stoppedTwice(self) -> None:
        self.logs.ofListener(AccessLogPlan(str(self.path)))
        self.logs.start()
        self.stop()
        self.stop()

    def test_cannotOpen(self) -> None:
        """
        One line, and none of the files stays open.
        """
        before = signal.getsignal(signal.SIGUSR1)
        there, gone = str(self.path), str(self.path / "gone")
        for path in (there, gone):
            self.logs.ofListener(AccessLogPlan(path))
        error = self.assertRaises(CannotOpenLog, self.logs.start)
        self.assertEqual(str(error), f"access log {gone}: Not a directory")
        self.assertTrue(self.writers[0].join(30))
        self.assertEqual(signal.getsignal(signal.SIGUSR1), before)

    def test_cannotOpenWithoutAReason(self) -> None:
        def refuse(path: str) -> int:
            raise OSError("no")

        logs = AccessLogs(self.reactor, open=refuse)
        logs.ofListener(AccessLogPlan("here"))
        error = self.assertRaises(CannotOpenLog, logs.start)
        self.assertEqual(str(error), "access log here: no")

    def test_blockedForEver(self) -> None:
        """
        A reader that has stopped reading holds the end up for a while, not for good.
        """
        said: list[str] = []

        def observe(event: Any) -> None:
            if event.get("log_namespace") == "mxproxy.observe.logs.AccessLogs":
                said.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        reader, file = os.pipe()
        logs = AccessLogs(self.reactor, open=lambda path: file)
        logs.ofListener(AccessLogPlan("/pipe"))
        logs.start()
        (writer,) = logs._writers.values()
        writer.write(b"x" * 1_000_000 + b"\n")
        stopped = logs.stop()
        self.reactor.advance(STOP_TIMEOUT - 0.1)
        self.assertNoResult(stopped)
        self.reactor.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(
            said, ["access log /pipe: not written out within 5 s, the last lines are lost"]
        )
        # The thread goes on, and may end after all; nobody waits for it.
        failed: list[object] = []
        self.patch(threading, "excepthook", failed.append)
        got = 0
        while got < 1_000_001:
            got += len(os.read(reader, 65536))
        self.assertTrue(writer.join(30))
        self.assertEqual(failed, [])
        os.close(reader)
