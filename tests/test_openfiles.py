"""
What becomes of a listener when there are no files left: in memory; for real in
tests/e2e/test_limits.py.
"""

from __future__ import annotations

import errno
import os
import resource
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mxproxy import openfiles
from mxproxy.chain import ChainContext
from mxproxy.connection import Connection
from mxproxy.observe.counters import Counters
from mxproxy.openfiles import RETRY, STALLED, GuardedSocket, OpenFiles, raiseSoftLimit
from mxproxy.testing import MemoryReactor, MemoryTransport
from mxproxy.wire.metadata import Node


class Accepted:
    """
    A socket, as far as anybody looks at it here.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


class Listening:
    """
    A listening socket.

    @ivar next: what C{accept} answers.
    """

    closed = False
    next: Any = Accepted(10)

    def accept(self) -> Any:
        if isinstance(self.next, Exception):
            raise self.next
        return self.next, ("192.0.2.1", 1)

    def fileno(self) -> int:
        return 3

    def getsockname(self) -> str:
        return "name"

    def close(self) -> None:
        self.closed = True


class Port:
    """
    A C{tcp.Port}, as far as anybody looks at it here.
    """

    disconnecting = False

    def __init__(self) -> None:
        self.socket = Listening()
        self.reading = True

    def startReading(self) -> None:
        self.reading = True

    def stopReading(self) -> None:
        self.reading = False


class GuardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.files = OpenFiles(1000, 1024)
        self.port = Port()
        self.listening = self.port.socket
        context = ChainContext("downstream", "", "inbound", Node(), self.clock, self.counters.count)
        self.guarded = GuardedSocket(self.port, self.files, context)
        # The lowest number that is free.
        self.free = 10
        self.patch(openfiles, "os", self)

    # -- in the place of the module os

    strerror = staticmethod(os.strerror)
    close = staticmethod(lambda number: None)

    def dup(self, number: int) -> int:
        if self.free < 0:
            raise OSError(errno.EMFILE, "none")
        return self.free

    # --

    def test_plenty(self) -> None:
        accepted, address = self.guarded.accept()
        self.assertEqual((accepted.fileno(), address), (10, ("192.0.2.1", 1)))
        self.assertEqual(self.guarded.getsockname(), "name")
        self.assertTrue(self.port.reading)

    def test_inATurn(self) -> None:
        """
        A few in a row, then others have their turn; the next is accepted in the one after that.
        """
        for _ in range(3):
            for _ in range(openfiles.ACCEPTS):
                self.guarded.accept()
            self.assertRaises(BlockingIOError, self.guarded.accept)
            self.assertTrue(self.port.reading)
        self.guarded.accept()
        self.listening.next = BlockingIOError(errno.EAGAIN, "nobody")
        self.assertRaises(BlockingIOError, self.guarded.accept)
        self.listening.next = Accepted(10)
        for _ in range(openfiles.ACCEPTS):
            self.guarded.accept()

    def test_near(self) -> None:
        """
        The last one that is accepted is the first that is near the limit; then none is, until
        there is room.
        """
        self.listening.next = Accepted(1000 - openfiles.RESERVE - 1)
        self.guarded.accept()
        self.assertTrue(self.port.reading)
        self.listening.next = Accepted(1000 - openfiles.RESERVE)
        with capturedLogs() as events:
            self.guarded.accept()
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                (
                    "inbound accepts no connections for now: few files are left, of 1000 that may be"
                    " open (ulimit -n, LimitNOFILE=)"
                )
            ],
        )
        self.assertFalse(self.port.reading)
        self.assertRaises(BlockingIOError, self.guarded.accept)
        for self.free in (990, -1, 1000 - openfiles.RESERVE):
            self.clock.advance(RETRY)
            self.assertFalse(self.port.reading)
        self.free = 1000 - openfiles.RESERVE - 1
        self.clock.advance(RETRY)
        self.assertTrue(self.port.reading)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.counters, {"listener.inbound.accept_paused": 1})
        self.listening.next = Accepted(10)
        self.guarded.accept()

    def test_none(self) -> None:
        """
        The process has no more, or the system: nothing is raised that Twisted would answer.
        """
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            self.listening.next = OSError(number, "none")
            self.assertRaises(BlockingIOError, self.guarded.accept)
            self.assertFalse(self.port.reading)
            self.clock.advance(RETRY)
            self.assertTrue(self.port.reading)

    def test_otherErrors(self) -> None:
        """
        The others are Twisted's to answer.
        """
        for error in (BlockingIOError(errno.EAGAIN, ""), OSError(errno.EPERM, "netfilter")):
            self.listening.next = error
            self.assertRaises(type(error), self.guarded.accept)
            self.assertTrue(self.port.reading)

    def test_handshakes(self) -> None:
        """
        Who has not finished his handshake will want another file; and if he stalls while there
        are none, he is the first to go.
        """
        reactor = MemoryReactor()
        transport = MemoryTransport(reactor, peer=IPv4Address("TCP", "192.0.2.1", 1))
        connection = Connection("inbound", self.clock.seconds)
        connection.opened(transport)
        self.files.handshakes.begun(connection, self.counters.count)
        self.listening.next = Accepted(1000 - openfiles.RESERVE - 1)
        self.guarded.accept()
        self.assertFalse(self.port.reading)
        self.free = 999
        self.clock.advance(STALLED - 0.01)
        self.assertEqual(len(self.files.handshakes), 1)
        self.clock.advance(2 * RETRY)
        self.assertEqual(len(self.files.handshakes), 0)
        self.assertEqual(self.counters["downstream_cx_handshake_overflow"], 1)

    def test_closed(self) -> None:
        """
        A port that is closed meanwhile is not woken.
        """
        self.listening.next = OSError(errno.EMFILE, "none")
        self.assertRaises(BlockingIOError, self.guarded.accept)
        self.port.disconnecting = True
        self.clock.advance(RETRY)
        self.assertFalse(self.port.reading)
        self.port.disconnecting = False
        self.assertRaises(BlockingIOError, self.guarded.accept)
        self.guarded.close()
        self.assertTrue(self.listening.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LimitTests(SynchronousTestCase):
    def test_share(self) -> None:
        """
        Unfinished handshakes get a quarter of the files at most.
        """
        for limit, most, wanted in ((1024, 1024, 256), (20000, 1024, 1024), (3, 5, 1)):
            self.assertEqual(OpenFiles(limit, most).handshakes.most, wanted)

    def test_raise(self) -> None:
        """
        What the system allows is taken; when it then does not, it is said.
        """
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        hard = before[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        self.assertEqual(openfiles.softLimit(), 256)
        raiseSoftLimit()
        self.assertEqual(openfiles.softLimit(), hard)

        def refuse(*arguments: object) -> None:
            raise ValueError("no")

        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        self.patch(resource, "setrlimit", refuse)
        with capturedLogs() as events:
            raiseSoftLimit()
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["the limit of open files stays at 256: no"],
        )
