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

import os
from collections.abc import Iterable, Sequence
from errno import ECONNREFUSED
from itertools import count
from typing import Any, ClassVar

from twisted.internet import error
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.base import BaseConnector
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IProtocolFactory,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from .sockets import Chunks
from .transport import Link, MemoryTransport

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
        self.nameResolver: IHostnameResolver = _Resolver(self)

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
            MemoryPort(self, _ip(interface or "0.0.0.0", port or next(self._freePorts)), factory)
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
        own = _ip("::1" if ":" in host else "127.0.0.1", next(self._freePorts))
        connector = _Connector(self, own, _ip(host, port), factory, timeout)
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
        connector = _Connector(self, UNIXAddress(None), UNIXAddress(address), factory, timeout)
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
        if host is None or _isLiteral(host):
            return address
        if not self.names.get(host):
            raise error.DNSLookupError(f"address {host!r} not found")
        return _ip(self.names[host][0], address.port)

    def __repr__(self) -> str:
        return (
            f"<MemoryReactor at {self.rightNow:g} s: {len(self._readers)} reading,"
            f" {len(self._writers)} writing, {len(self.calls)} timers>"
        )


def _ip(host: str, port: int) -> IPv4Address | IPv6Address:
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


def _isLiteral(host: str) -> bool:
    return isIPAddress(host) or isIPv6Address(host)


@implementer(IListeningPort)
class MemoryPort:
    """
    Something that listens.

    @ivar address: where.
    @ivar factory: what builds the protocols of accepted connections.
    """

    def __init__(self, reactor: MemoryReactor, address: Any, factory: IProtocolFactory) -> None:
        self.address = address
        self.factory = factory
        self._reactor = reactor

    def takes(self, address: Any) -> bool:
        """Whether a connect to C{address} comes here."""
        own = self.address
        if isinstance(own, UNIXAddress) or isinstance(address, UNIXAddress):
            return bool(own == address)
        return own.port == address.port and own.host in ("0.0.0.0", "::", address.host)

    def accept(self, transport: MemoryTransport) -> None:
        """A connection has come."""
        protocol = self.factory.buildProtocol(transport.getPeer())
        if protocol is None:
            transport.socket.close()
        else:
            transport.connect(protocol)

    def startListening(self) -> None:
        """See L{IListeningPort}."""
        if self._reactor.portAt(self.address) is not None:
            raise CannotListenError(
                str(self.address), getattr(self.address, "port", 0), OSError("Address in use")
            )
        self._reactor.ports.append(self)
        self.factory.doStart()

    def stopListening(self) -> None:
        """See L{IListeningPort}."""
        self._reactor.ports.remove(self)
        self.factory.doStop()

    def getHost(self) -> Any:
        """See L{IListeningPort}."""
        return self.address

    def __repr__(self) -> str:
        return f"<MemoryPort {self.address}>"


class _Connector(BaseConnector):
    """
    A connect that is under way.
    """

    # Assigned by BaseConnector, there declared as the transport of a real socket.
    transport: Any

    def __init__(
        self,
        reactor: MemoryReactor,
        own: IAddress,
        destination: Any,
        factory: ClientFactory[Any],
        timeout: float,
    ) -> None:
        super().__init__(factory, timeout, reactor)  # type: ignore[arg-type]
        self.own = own
        self.destination = destination

    def _makeTransport(self) -> Any:
        return _Dialing(self)

    def getDestination(self) -> IAddress:
        """See L{IConnector}."""
        return self.destination  # type: ignore[no-any-return]


class _Dialing:
    """
    A connector's transport, until there is one.
    """

    def __init__(self, connector: _Connector) -> None:
        self._connector: _Connector | None = connector
        reactor: Any = connector.reactor
        host = getattr(connector.destination, "host", None)
        self._call = None
        if (host, getattr(connector.destination, "port", None)) not in reactor.silent:
            # Never at once: a real reactor's connect is seen by its next turn, or later.
            self._call = reactor.callLater(0, self._arrive)

    def _arrive(self) -> None:
        self._call = None
        connector, self._connector = self._connector, None
        assert connector is not None
        reactor: Any = connector.reactor
        try:
            port = reactor.portAt(reactor.resolved(connector.destination))
        except error.DNSLookupError:
            connector.connectionFailed(Failure())
            return
        if port is None:
            connector.connectionFailed(
                Failure(error.getConnectError((ECONNREFUSED, os.strerror(ECONNREFUSED))))
            )
            return
        link = Link(reactor, client=connector.own, server=connector.destination)
        near = link.client
        near.connector = connector
        connector.transport = near
        protocol = connector.buildProtocol(connector.destination)
        if protocol is None:
            near.connect(Protocol())
            near.loseConnection()  # type: ignore[no-untyped-call]
        else:
            near.connect(protocol)
        port.accept(link.server)

    def failIfNotConnected(self, reason: Exception) -> None:
        """See C{twisted.internet.tcp.BaseClient}."""
        connector, self._connector = self._connector, None
        if connector is None:
            return
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        connector.connectionFailed(Failure(reason))

    def loseConnection(self) -> None:
        """Give up."""
        self.failIfNotConnected(ConnectionLost())


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """It is over before anyone can."""


@implementer(IHostnameResolver)
class _Resolver:
    """
    Answers from L{MemoryReactor.names}; an address is its own answer.
    """

    addressTypes: ClassVar[tuple[type, ...]] = (IPv4Address, IPv6Address)

    def __init__(self, reactor: MemoryReactor) -> None:
        self._names = reactor.names

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Iterable[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See L{IHostnameResolver}."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        own = (hostName,) if _isLiteral(hostName) else ()
        for host in self._names.get(hostName, own):
            resolutionReceiver.addressResolved(_ip(host, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution
