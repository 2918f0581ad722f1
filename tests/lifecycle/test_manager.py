"""
What systemd is told.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.lifecycle.manager import STATUS_LIMIT, ServiceManager


class ManagerTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Short, since a UNIX socket's name has to be.
        directory = tempfile.mkdtemp(prefix="mxproxy-")
        self.addCleanup(shutil.rmtree, directory)
        self.address = str(Path(directory) / "notify")
        self.clock = Clock()

    def listen(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(self.socket.close)
        self.socket.bind(address)

    def manager(self, **more: str) -> ServiceManager:
        self.listen(self.address)
        self.environment = {"NOTIFY_SOCKET": self.address, "PATH": "/", **more}
        return ServiceManager(self.clock, self.environment)

    def said(self) -> list[list[str]]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return messages

    def test_life(self) -> None:
        manager = self.manager()
        manager.ready("up")
        manager.reloading()
        manager.ready("up\nagain")
        manager.stopping("down", 12.5)
        manager.stopped()
        ready, reloading, again, stopping = self.said()
        self.assertEqual(ready, ["READY=1", "STATUS=up"])
        self.assertEqual(reloading[0], "RELOADING=1")
        name, _, value = reloading[1].partition("=")
        self.assertEqual(name, "MONOTONIC_USEC")
        self.assertGreater(int(value), 0)
        self.assertEqual(again, ["READY=1", "STATUS=up again"])
        self.assertEqual(stopping, ["STOPPING=1", "STATUS=down", "EXTEND_TIMEOUT_USEC=12500000"])

    def test_longStatus(self) -> None:
        manager = self.manager()
        manager.ready("x" * 1000)
        self.assertEqual(self.said()[0][1], "STATUS=" + "x" * STATUS_LIMIT)

    def test_notInherited(self) -> None:
        """
        No child process speaks for this one.
        """
        self.manager(WATCHDOG_USEC="1", WATCHDOG_PID="1")
        self.assertEqual(self.environment, {"PATH": "/"})

    def test_abstract(self) -> None:
        name = f"mxproxy-test-{os.getpid()}"
        self.listen(f"\0{name}")
        ServiceManager(self.clock, {"NOTIFY_SOCKET": f"@{name}"}).ready("up")
        self.assertEqual(self.said(), [["READY=1", "STATUS=up"]])

    def test_watchdog(self) -> None:
        """
        Twice as often as has to be, from when it is ready until it has stopped.
        """
        manager = self.manager(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
        self.clock.advance(3)
        self.assertEqual(self.said(), [])
        manager.ready("up")
        manager.ready("up")
        self.said()
        self.clock.pump([0.5] * 6)
        self.assertEqual(self.said(), [["WATCHDOG=1"]] * 2)
        manager.stopping("down", 1)
        self.said()
        self.clock.advance(1.5)
        self.assertEqual(self.said(), [["WATCHDOG=1"]])
        manager.stopped()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_anothersWatchdog(self) -> None:
        manager = self.manager(WATCHDOG_USEC="3000000", WATCHDOG_PID="1")
        manager.ready("up")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody(self) -> None:
        manager = ServiceManager(self.clock, {})
        manager.ready("up")
        manager.stopping("down", 1)
        manager.stopped()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone(self) -> None:
        """
        A manager that does not listen is complained of once, and is no reason to end.
        """
        with capturedLogs() as events:
            manager = ServiceManager(self.clock, {"NOTIFY_SOCKET": self.address})
            manager.ready("up")
            manager.ready("up")
        self.assertEqual(len(events), 1)
