"""
A reactor for real sockets whose time is a Clock's, and that turns when a test says so.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mxproxy.testing import Application
from mxproxy.transports.accept import socketAddress
from mxproxy.transports.socket import SocketTransport

#: Seconds of real time that a test may wait for the kernel, which needs none.
PATIENCE = 10


class Poller(Clock):
    """
    What a transport needs of a reactor, by poll(2).

    @ivar errors: what was raised by whom it has served.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.errors: list[BaseException] = []

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)

    def removeAll(self) -> list[Any]:
        everything = [*self.readers, *self.writers]
        self.readers.clear()
        self.writers.clear()
        return everything

    def settle(self, wait: float = 0) -> bool:
        """
        Serve what is ready, until nothing is.

        @param wait: seconds to wait for the first.
        @return: whether anything was.
        """
        any_ = False
        while self._turn(0 if any_ else wait):
            any_ = True
        return any_

    def until(self, condition: Callable[[], bool]) -> None:
        """
        Serve until C{condition} holds: what goes through the kernel's TCP takes its time.
        """
        self.settle()
        for _ in range(100):
            if condition():
                return
            self.settle(PATIENCE / 100)
        raise AssertionError(f"it has not come to pass: {self.readers} {self.writers}")

    def _turn(self, wait: float) -> bool:
        due = any(call.getTime() <= self.rightNow for call in self.calls)
        if due:
            self.advance(0)
        poll = select.poll()
        for selectable in self.readers | self.writers:
            events = select.POLLIN * (selectable in self.readers)
            poll.register(selectable, events | select.POLLOUT * (selectable in self.writers))
        byNumber = {selectable.fileno(): selectable for selectable in self.readers | self.writers}
        ready = poll.poll(0 if due else wait * 1000)
        for number, event in ready:
            selectable = byNumber[number]
            if selectable in self.readers | self.writers:
                self._serve(selectable, event)
        return due or bool(ready)

    def _serve(self, selectable: Any, event: int) -> None:
        """As twisted.internet.posixbase does."""
        why: Any = None
        reading = False
        try:
            if event & (select.POLLHUP | select.POLLERR) and not event & select.POLLIN:
                reading = selectable in self.readers
                why = ConnectionDone() if reading else _lost()
            else:
                if event & select.POLLIN and selectable in self.readers:
                    why, reading = selectable.doRead(), True
                if not why and event & select.POLLOUT and selectable in self.writers:
                    why, reading = selectable.doWrite(), False
        except Exception as error:  # noqa: BLE001
            self.errors.append(error)
            why = error
        if not why:
            return
        self.removeReader(selectable)
        if (
            reading
            and isinstance(why, ConnectionDone)
            and IHalfCloseableDescriptor.providedBy(selectable)
        ):
            selectable.readConnectionLost(Failure(why))
        else:
            self.removeWriter(selectable)
            selectable.connectionLost(Failure(why))


def _lost() -> Exception:
    from twisted.internet.error import ConnectionLost

    return ConnectionLost()


def tcpPair() -> tuple[socket.socket, socket.socket]:
    """
    The two ends of a connection over loopback.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        one = socket.socket()
        one.connect(listening.getsockname())
        other, _ = listening.accept()
    for end in (one, other):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return one, other


def segments(end: socket.socket) -> int:
    """
    How many packets were sent: C{tcpi_segs_out} of linux/tcp.h, since Linux 4.2.
    """
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 140)
    return int.from_bytes(info[136:140], sys.byteorder)


def transport(
    reactor: Any, end: socket.socket, application: Any = None
) -> tuple[SocketTransport, Any]:
    """
    A transport on C{end}, connected to an application.
    """
    application = application or Application()
    made = SocketTransport(
        end,
        application,
        socketAddress(end.family, end.getsockname()),
        socketAddress(end.family, end.getpeername()),
        reactor,
    )
    made.startReading()
    application.makeConnection(made)
    return made, application
