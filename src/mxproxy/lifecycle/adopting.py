"""
Listening sockets that somebody else has opened: systemd, or a parent process.

Twisted adopts them (L{IReactorSocket<twisted.internet.interfaces.IReactorSocket>}), but treats a
UNIX socket as if it had made it: it gives everybody access to it (mode 666), and removes its name
when it stops.  Whoever has opened it has decided who may connect, and goes on using the name.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure

from ..config.descriptions import withBacklog


class AdoptedUNIXPort(unix.Port):
    """
    A UNIX socket that stays somebody else's.
    """

    def __init__(self, own: socket.socket, factory: IProtocolFactory, reactor: Any) -> None:
        """
        @param own: listening.
        """
        super().__init__(own.getsockname(), factory, reactor=reactor)
        self._own = own

    def startListening(self) -> None:
        """Accept."""
        self.factory.doStart()  # type: ignore[union-attr]
        self.socket = self._own
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        # Others accept from it.
        self._shouldShutdown = False
        self.connected = True
        self.numberAccepts = 100
        self.startReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        """Accept no more."""
        tcp.Port.connectionLost(self, reason)


def adopt(reactor: Any, descriptor: int, factory: IProtocolFactory) -> IListeningPort:
    """
    Accept from a socket.

    @param descriptor: stays the caller's.
    """
    own = socket.socket(fileno=os.dup(descriptor))
    own.setblocking(False)
    if own.family == socket.AF_UNIX:
        port = AdoptedUNIXPort(own, factory, reactor)
        port.startListening()
        return port
    try:
        adopted: IListeningPort = reactor.adoptStreamPort(own.fileno(), own.family, factory)
        return adopted
    finally:
        own.close()


def openEndpoint(reactor: Any, description: str, factory: IProtocolFactory) -> IListeningPort:
    """
    Listen.

    @param description: a Twisted server endpoint's.
    @raise Exception: it cannot be listened on.
    """
    endpoint: Any = serverFromString(reactor, withBacklog(description))
    if isinstance(endpoint, AdoptedStreamServerEndpoint) and (
        endpoint.addressFamily == socket.AF_UNIX
    ):
        port = adopt(reactor, endpoint.fileno, factory)
        os.close(endpoint.fileno)
        return port
    opened: list[IListeningPort] = []
    refused: list[Failure] = []
    endpoint.listen(factory).addCallbacks(opened.append, refused.append)
    if refused:
        refused[0].raiseException()
    return opened[0]
