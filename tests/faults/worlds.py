"""
Where a case is played: in memory, or over real sockets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater

from mxproxy import transports
from mxproxy.testing import MemoryReactor
from mxproxy.transports import flows, socket

HOST = "127.0.0.1"

#: TLS on the socket itself, from the second byte on in C where that was built; the same without C;
#: and over memory BIOs on Twisted's transports.
PATHS = (transports.DIRECT, transports.PYTHON, transports.LAYERED)


class World:
    """
    A reactor, and how time passes in it.

    @ivar reactor: its.
    @ivar waits: whether waiting takes time.
    @ivar lossless: whether what was sent before a reset is delivered for certain.
    """

    reactor: Any
    waits = False
    lossless = True

    def listen(self, factory: Factory) -> Any:
        """
        @return: the port, listening.
        """
        return self.reactor.listenTCP(0, factory, interface=HOST)

    def dial(self, factory: Factory, port: int) -> Deferred[Any]:
        """Connect."""
        return TCP4ClientEndpoint(self.reactor, HOST, port).connect(factory)  # type: ignore[no-any-return]

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """
        Let things happen until C{condition} is true.

        @return: whether it is, within C{seconds}.
        """
        raise NotImplementedError

    def timers(self) -> set[Any]:
        """What waits for its time."""
        return set(self.reactor.getDelayedCalls())

    def descriptors(self) -> set[str]:
        """What is open."""
        raise NotImplementedError


class Memory(World):
    """
    No socket, and no second of waiting.
    """

    def __init__(self) -> None:
        # A peer that does not read is soon felt.
        self.reactor = MemoryReactor(capacity=10_000)

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        reactor = self.reactor
        end = reactor.seconds() + seconds
        reactor.settle()
        while not condition():
            due = min((call.getTime() for call in reactor.calls), default=end)
            if due > end or not reactor.calls:
                return False
            reactor.advance(due - reactor.seconds())
        return True

    def descriptors(self) -> set[str]:
        return {repr(one) for one in [*self.reactor.getReaders(), *self.reactor.getWriters()]}


class Sockets(World):
    """
    This process's reactor, and 127.0.0.1; see L{overSockets}.
    """

    waits = True
    # A kernel may drop what it has not sent when it is told to reset.
    lossless = False

    def __init__(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        if flows.AVAILABLE:
            # Its descriptor is the process's, and was there before any case.
            flows.flowsOf(reactor)

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        end = self.reactor.seconds() + seconds
        while not condition():
            if self.reactor.seconds() > end:
                return False
            await deferLater(self.reactor, 0.0005)
        return True

    def descriptors(self) -> set[str]:
        found = set()
        for name in os.listdir("/proc/self/fd"):
            try:
                found.add(f"{name}: {os.readlink(f'/proc/self/fd/{name}')}")
            except OSError:
                pass  # The one of the directory itself.
        return found


@contextmanager
def overSockets(path: str) -> Iterator[Sockets]:
    """
    @param path: how the proxy's transports are made, one of L{PATHS}; the peers' are Twisted's.
    """
    reads = socket.READS
    transports.use(path)
    # Most of what a case says is short.
    socket.READS = 1
    try:
        yield Sockets()
    finally:
        transports.use(transports.DIRECT)
        socket.READS = reads


def closePort(port: Any) -> Deferred[Any]:
    """Listen no more."""
    return port.stopListening() or succeed(None)
