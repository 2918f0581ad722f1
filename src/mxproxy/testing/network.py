"""
The network of a L{MemoryReactor<mxproxy.testing.reactor.MemoryReactor>}: who listens, who
connects, and what names mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from errno import ECONNREFUSED
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet import error
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.base import BaseConnector
from twisted.internet.error import CannotListenError, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IProtocolFactory,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from .transport import Link, MemoryTransport

if TYPE_CHECKING:
    from .reactor import MemoryReactor


def ipAddress(host: str, port: int) -> IPv4Address | IPv6Address:
    """The address of either kind."""
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


def isLiteral(host: str) -> bool:
    """Whether it is an address, and no name."""
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


class Connector(BaseConnector):
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

    def __init__(self, connector: Connector) -> None:
        self._connector: Connector | None = connector
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
class Resolver:
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
        own = (hostName,) if isLiteral(hostName) else ()
        for host in self._names.get(hostName, own):
            resolutionReceiver.addressResolved(ipAddress(host, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution
