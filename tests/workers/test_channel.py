"""
Questions and answers between two processes; here, both ends are in one.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.workers.channel import Channel, ChannelError


class Wire:
    """
    One end's transport: what is written arrives at the other when the test says so.
    """

    disconnecting = False

    def __init__(self) -> None:
        self.other: Channel
        self.pending: list[Any] = []

    def write(self, data: bytes) -> None:
        self.pending.append(data)

    def sendFileDescriptor(self, descriptor: int) -> None:
        self.pending.append(descriptor)

    def deliver(self, size: int = 1000) -> None:
        pending, self.pending = self.pending, []
        for one in pending:
            if isinstance(one, int):
                self.other.fileDescriptorReceived(one)
                continue
            for start in range(0, len(one), size):
                self.other.dataReceived(one[start : start + size])


class ChannelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[Any] = []
        self.lost: list[str] = []
        self.reply: Any = None
        self.parent = Channel(lambda *question: None, lambda: self.lost.append("parent"))
        self.worker = Channel(self.handle, lambda: self.lost.append("worker"))
        self.toWorker, self.toParent = Wire(), Wire()
        self.toWorker.other, self.toParent.other = self.worker, self.parent
        self.parent.makeConnection(self.toWorker)
        self.worker.makeConnection(self.toParent)

    def handle(self, what: str, about: Any, descriptors: list[int]) -> Any:
        self.asked.append((what, about, descriptors))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    def deliver(self, size: int = 1000) -> None:
        self.toWorker.deliver(size)
        self.toParent.deliver(size)

    def test_answer(self) -> None:
        self.reply = {"a": [1, None, "ü\n"]}
        answer = self.parent.ask("what", {"about": "ü"})
        self.assertNoResult(answer)
        self.deliver(1)
        self.assertEqual(self.successResultOf(answer), self.reply)
        self.assertEqual(self.asked, [("what", {"about": "ü"}, [])])

    def test_later(self) -> None:
        """
        Answers come when there are any, in whatever order.
        """
        first: Deferred[Any] = Deferred()
        self.reply = first
        one = self.parent.ask("one")
        self.deliver()
        self.reply = 2
        two = self.parent.ask("two")
        self.deliver()
        self.assertEqual(self.successResultOf(two), 2)
        self.assertNoResult(one)
        first.callback(1)
        self.deliver()
        self.assertEqual(self.successResultOf(one), 1)

    def test_refused(self) -> None:
        """
        What is raised is why, in one line.
        """
        self.reply = ChannelError("no\nway")
        answer = self.parent.ask("what")
        self.deliver()
        self.assertEqual(str(self.failureResultOf(answer, ChannelError).value), "no way")

    def test_bug(self) -> None:
        """
        Whatever else is raised is for the log of the one that raised it, too.
        """
        self.reply = ZeroDivisionError("oh")
        answer = self.parent.ask("what")
        self.deliver()
        self.failureResultOf(answer, ChannelError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_descriptors(self) -> None:
        """
        Each question has its own.
        """
        for what, descriptors in ("one", (7, 8)), ("two", ()), ("three", (9,)):
            self.parent.ask(what, None, descriptors)
        self.deliver()
        self.assertEqual(
            self.asked, [("one", None, [7, 8]), ("two", None, []), ("three", None, [9])]
        )

    def test_descriptorsFirst(self) -> None:
        """
        As Twisted sends them: with the first bytes, whatever question those are.
        """
        self.parent.ask("one")
        self.parent.ask("two", None, (7, 8))
        self.parent.ask("three", None, (9,))
        self.toWorker.pending.sort(key=lambda one: not isinstance(one, int))
        self.deliver()
        self.assertEqual(
            self.asked, [("one", None, []), ("two", None, [7, 8]), ("three", None, [9])]
        )

    def test_descriptorsOfNobody(self) -> None:
        """
        Those whose question has not come are closed.
        """
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        self.worker.fileDescriptorReceived(reading)
        self.worker.connectionLost(connectionDone)
        with self.assertRaises(OSError):
            os.fstat(reading)

    def test_nobodyWaits(self) -> None:
        """
        An answer that comes too late is nobody's.
        """
        later: Deferred[Any] = Deferred()
        self.reply = later
        answer = self.parent.ask("what")
        self.deliver()
        answer.cancel()
        self.failureResultOf(answer)
        later.callback("late")
        self.deliver()
        self.reply = "in time"
        following = self.parent.ask("what")
        self.deliver()
        self.assertEqual(self.successResultOf(following), "in time")

    def test_lost(self) -> None:
        """
        Nobody waits for one that is gone.
        """
        answer = self.parent.ask("what")
        self.parent.connectionLost(connectionDone)
        self.failureResultOf(answer, ChannelError)
        self.failureResultOf(self.parent.ask("more"), ChannelError)
        self.assertEqual(self.lost, ["parent"])

    def test_answerToNobody(self) -> None:
        """
        Whoever has asked is gone when there is an answer.
        """
        later: Deferred[Any] = Deferred()
        self.reply = later
        self.parent.ask("what").addErrback(lambda failure: None)
        self.deliver()
        self.worker.connectionLost(connectionDone)
        later.callback("late")
        self.assertEqual(self.toParent.pending, [])
