"""
What a worker says is in its parent's log.
"""

from __future__ import annotations

import os

from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.workers import logging
from mxproxy.workers.logging import PipeLogObserver, WorkerLog


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.reading)
        self.addCleanup(os.close, self.writing)
        self.worker = Logger("some.part", observer=LogPublisher(PipeLogObserver(self.writing)))
        self.log = WorkerLog("worker 1")

    def told(self, size: int = 1 << 16) -> list[LogEvent]:
        """
        What the parent logs of what is in the pipe.
        """
        data = os.read(self.reading, 1 << 16)
        with capturedLogs() as events:
            for start in range(0, len(data), size):
                self.log.received(data[start : start + size])
        return list(events)

    def test_event(self) -> None:
        self.worker.warn("a {thing} ü", thing="{b}")
        (event,) = self.told()
        self.assertEqual(formatEvent(event), "worker 1: a {b} ü")
        self.assertEqual((event["log_namespace"], event["log_level"]), ("some.part", LogLevel.warn))

    def test_chunks(self) -> None:
        """
        However it comes.
        """
        self.worker.info("one")
        self.worker.error("two")
        texts = [formatEvent(event) for event in self.told(1)]
        self.assertEqual(texts, ["worker 1: one", "worker 1: two"])

    def test_traceback(self) -> None:
        """
        With its lines, in one event.
        """
        try:
            raise ZeroDivisionError("oh")
        except ZeroDivisionError:
            self.worker.failure("bad", Failure())
        (event,) = self.told()
        lines = formatEvent(event).splitlines()
        self.assertEqual((lines[0], lines[1][:9]), ("worker 1: bad", "Traceback"))
        self.assertIn("ZeroDivisionError: oh", lines[-1])
        self.assertEqual(event["log_level"], LogLevel.critical)

    def test_interpreter(self) -> None:
        """
        What is no event is a line.
        """
        os.write(self.writing, b'Fatal Python error: \xff\n{"worker log": nonsense\n')
        texts = [formatEvent(event) for event in self.told()]
        self.assertEqual(
            texts, ["worker 1: Fatal Python error: \ufffd", 'worker 1: {"worker log": nonsense']
        )

    def test_end(self) -> None:
        """
        The last line may have no end.
        """
        os.write(self.writing, b"Killed")
        self.assertEqual(self.told(), [])
        with capturedLogs() as events:
            self.log.ended()
            self.log.ended()
        self.assertEqual([formatEvent(event) for event in events], ["worker 1: Killed"])

    def test_endless(self) -> None:
        # A line of the real limit would be too long for trial's own workers.
        self.patch(logging, "LINE_LIMIT", 100)
        with capturedLogs() as events:
            self.log.received(b"x" * 101)
        self.assertEqual(len(events), 1)
        self.assertEqual(self.log._rest, b"")
