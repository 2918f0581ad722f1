"""
A reactor whose time and network are memory.

What happens next, and when, belongs here: which socket is served, which timer runs, who is
listening where.  Nothing happens by itself: a test lets it happen by L{MemoryReactor.settle}
and L{MemoryReactor.advance}, always in the same order.

It knows the two things that code asks a reactor for: time (it is a
L{Clock<twisted.internet.task.Clock>}) and connections, by C{connectTCP}, C{listenTCP}, their
C{UNIX} likes and name resolution; so Twisted's endpoints, and whole services, run on it as
they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from twisted.internet import error
from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IProtocolFactory,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
)
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from .network import Connector, MemoryPort, Resolver, ipAddress, isLiteral
from .sockets import Chunks
from .transport import MemoryTransport

#: Turns after which a test is taken to go on for ever.
MAX_TURNS = 1_000_000


class Restless(AssertionError):
    """
    Something always happens next: two ends that answer each other without an end.
    """


@implementer(IReactorTime, IReactorFDSet, IReactorTCP, IReactorUNIX, IReactorPluggableNameResolver)
class MemoryReactor(Clock):
    """
    Time and a network, in memory.

    @ivar chunks: how the bytes of connections made from now on are cut into reads: a
        number, numbers taken in turn, or C{None} to leave them as they come.
    @ivar capacity: how many bytes the network holds in each direction of a connection made
        from now on, or C{None} for any number.
    @ivar names: host names and their addresses, for the name resolver.
    @ivar silent: addresses, as C{(host, port)}, where nobody answers a connect at all.
    @ivar ports: what is listening.
    """

    def __init__(self, chunks: Chunks = None, capacity: int | None = None) -> None:
        super().__init__()
        self.chunks = chunks
        self.capacity = capacity
        self.names: dict[str, Sequence[str]] = {}
        self.silent: set[tuple[str, int]] = set()
        self.ports: list[MemoryPort] = []
        # In the order of registration: what comes first is served first.
        self._readers: dict[Any, None] = {}
        self._writers: dict[Any, None] = {}
        self._settling = False
        self._freePorts = count(49152)
        self.nameResolver: IHostnameResolver = Resolver(self)

    # -- letting things happen

    def settle(self) -> None:
        """
        Let everything happen that needs no time to pass.

        @raise Restless: it does not come to rest.
        @raise Exception: whatever a protocol has raised; its connection is lost by then, as
            it would be under a real reactor, which would have logged the exception.
        """
        if self._settling:
            return  # Called from within: what is to happen will, in its turn.
        self._settling = True
        try:
            for _ in range(MAX_TURNS):
                if not self._turn():
                    return
        finally:
            self._settling = False
        raise Restless(f"after {MAX_TURNS} turns there is still something to do: {self!r}")

    def advance(self, amount: float) -> None:
        """
        Let time pass, and settle: before, after, and after each timer that is due.

        @param amount: seconds.
        """
        end = self.rightNow + amount
        self.settle()
        while self.calls:
            due = min(call.getTime() for call in self.calls)
            if due > end:
                break
            self.rightNow = max(due, self.rightNow)
            super().advance(0)
            self.settle()
        self.rightNow = end

    def _turn(self) -> bool:
        busy = False
        if any(call.getTime() <= self.rightNow for call in self.calls):
            super().advance(0)
            busy = True
        for transport in list(self._readers):
            if transport in self._readers and transport.socket.readable:
                self._serve(transport, transport.doRead, reading=True)
                busy = True
        for transport in list(self._writers):
            if transport in self._writers and transport.socket.writable:
                self._serve(transport, transport.doWrite, reading=False)
                busy = True
        return busy

    def _serve(self, transport: MemoryTransport, act: Any, reading: bool) -> None:
        """What twisted.internet.posixbase does with a descriptor that is ready."""
        try:
            why = act()
        except BaseException:
            self.removeReader(transport)
            self.removeWriter(transport)
            transport.connectionLost(Failure())
            raise
        if why is None:
            return
        # doRead and doWrite answer with an exception, not with a failure.
        self.removeReader(transport)
        if reading and isinstance(why, ConnectionDone):
            transport.readConnectionLost(Failure(why))
        else:
            self.removeWriter(transport)
            transport.connectionLost(Failure(why))

    # -- IReactorFDSet

    def addReader(self, reader: Any) -> None:
        """See L{IReactorFDSet}."""
        self._readers[reader] = None

    def addWriter(self, writer: Any) -> None:
        """See L{IReactorFDSet}."""
        self._writers[writer] = None

    def removeReader(self, reader: Any) -> None:
        """See L{IReactorFDSet}."""
        self._readers.pop(reader, None)

    def removeWriter(self, writer: Any) -> None:
        """See L{IReactorFDSet}."""
        self._writers.pop(writer, None)

    def removeAll(self) -> list[Any]:
        """See L{IReactorFDSet}."""
        everything = list(self._readers | self._writers)
        self._readers.clear()
        self._writers.clear()
        return everything

    def getReaders(self) -> list[Any]:
        """See L{IReactorFDSet}."""
        return list(self._readers)

    def getWriters(self) -> list[Any]:
        """See L{IReactorFDSet}."""
        return list(self._writers)

    # -- IReactorTCP, IReactorUNIX

    def listenTCP(
        self,
        port: int,
        factory: IProtocolFactory,
        backlog: int = 50,
        interface: str = "",
    ) -> MemoryPort:
        """See L{IReactorTCP.listenTCP}; port 0 is a free one."""
        return self._listen(
            MemoryPort(
                self, ipAddress(interface or "0.0.0.0", port or next(self._freePorts)), factory
            )
        )

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30,
        bindAddress: object = None,
    ) -> IConnector:
        """See L{IReactorTCP.connectTCP}."""
        own = ipAddress("::1" if ":" in host else "127.0.0.1", next(self._freePorts))
        connector = Connector(self, own, ipAddress(host, port), factory, timeout)
        connector.connect()
        return connector

    def listenUNIX(
        self,
        address: str | bytes,
        factory: IProtocolFactory,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,
    ) -> MemoryPort:
        """See L{IReactorUNIX.listenUNIX}."""
        return self._listen(MemoryPort(self, UNIXAddress(address), factory))

    def connectUNIX(
        self,
        address: str | bytes,
        factory: ClientFactory[Any],
        timeout: float = 30,
        checkPID: bool = False,
    ) -> IConnector:
        """See L{IReactorUNIX.connectUNIX}."""
        connector = Connector(self, UNIXAddress(None), UNIXAddress(address), factory, timeout)
        connector.connect()
        return connector

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """See L{IReactorPluggableNameResolver}."""
        before, self.nameResolver = self.nameResolver, resolver
        return before

    def _listen(self, port: MemoryPort) -> MemoryPort:
        port.startListening()
        return port

    def portAt(self, address: Any) -> MemoryPort | None:
        """
        @return: what listens where somebody connects to C{address}, or C{None}.
        """
        for port in self.ports:
            if port.takes(address):
                return port
        return None

    def resolved(self, address: Any) -> Any:
        """
        @return: C{address} with its name, if it has one, looked up in C{names}.
        @raise DNSLookupError: it is not there.
        """
        host = getattr(address, "host", None)
        if host is None or isLiteral(host):
            return address
        if not self.names.get(host):
            raise error.DNSLookupError(f"address {host!r} not found")
        return ipAddress(self.names[host][0], address.port)

    def __repr__(self) -> str:
        return (
            f"<MemoryReactor at {self.rightNow:g} s: {len(self._readers)} reading,"
            f" {len(self._writers)} writing, {len(self.calls)} timers>"
        )
