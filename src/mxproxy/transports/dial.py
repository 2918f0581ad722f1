"""
Connects to an address, without what Twisted's clients do beside it.

One system call, one wait for the answer: no connector, no cycle of objects for the garbage
collector, and a L{SocketTransport<mxproxy.transports.socket.SocketTransport>} at the end.  What has
a name to be resolved is dialled by Twisted's endpoints; L{takeOver} then takes their socket.
"""

from __future__ import annotations

import errno
import os
import socket as sockets
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError, UserError, getConnectError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IWriteDescriptor,
)
from twisted.internet.posixbase import PosixReactorBase
from twisted.python.failure import Failure
from zope.interface import implementer

from . import isDirect
from .accept import socketAddress
from .socket import SocketTransport


def onSockets(reactor: Any) -> bool:
    """
    Whether connections that are dialled on C{reactor} get a L{SocketTransport}: it has to wait
    for descriptors of the system.
    """
    return isDirect() and isinstance(reactor, PosixReactorBase)


@implementer(IStreamClientEndpoint)
class SocketEndpoint:
    """
    An address to connect to.
    """

    def __init__(self, reactor: Any, family: int, name: Any) -> None:
        """
        @param reactor: one that is L{onSockets}.
        @param family: C{AF_INET}, C{AF_INET6} or C{AF_UNIX}.
        @param name: the address as the socket module has it.
        """
        self._reactor = reactor
        self._family = family
        self._name = name

    @classmethod
    def tcp(cls, reactor: Any, host: str, port: int) -> SocketEndpoint:
        """
        @param host: an IPv4 or IPv6 address.
        """
        if ":" not in host:
            return cls(reactor, sockets.AF_INET, (host, port))
        # Of an address this is no question to anybody; a zone becomes its number.
        [(_, _, _, _, name), *_] = sockets.getaddrinfo(  # noqa: TID251
            host, port, sockets.AF_INET6, sockets.SOCK_STREAM, 0, sockets.AI_NUMERICHOST
        )
        return cls(reactor, sockets.AF_INET6, name)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See L{IStreamClientEndpoint}; there is no timeout, but a C{cancel}."""
        dialing = _Dialing(self._reactor, self._family, self._name, protocolFactory)
        dialing.start()
        return dialing.result


@implementer(IWriteDescriptor)
class _Dialing:
    """
    A connect under way; what the reactor waits with.
    """

    _socket: sockets.socket | None = None

    def __init__(
        self, reactor: Any, family: int, name: Any, protocolFactory: IProtocolFactory
    ) -> None:
        self.result: Deferred[IProtocol] = Deferred(self._cancelled)
        self._reactor = reactor
        self._family = family
        self._name = name
        self._factory = protocolFactory

    def start(self) -> None:
        """Connect."""
        try:
            socket = sockets.socket(self._family, sockets.SOCK_STREAM)
        except OSError as error:
            self._failed(error.errno or 0)
            return
        self._socket = socket
        socket.setblocking(False)
        number = socket.connect_ex(self._name)
        if number not in (0, errno.EINPROGRESS):
            self._failed(number)
        else:
            # Also a unix socket that is connected at once: nobody is called back from within.
            self._reactor.addWriter(self)

    def fileno(self) -> int:
        """See L{IWriteDescriptor}."""
        return -1 if self._socket is None else self._socket.fileno()

    def doWrite(self) -> None:
        """There is an answer."""
        socket = self._socket
        assert socket is not None
        self._reactor.removeWriter(self)
        number = socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_ERROR)
        own = None if number else socket.getsockname()
        if own == self._name and self._family != sockets.AF_UNIX:
            # Nobody listens, and the port that the kernel gave us to call from is the one that
            # we call: it has connected us to ourselves.
            number = errno.ECONNREFUSED
        if number:
            self._failed(number)
            return
        self._socket = None
        peer = socketAddress(self._family, self._name)
        protocol = self._factory.buildProtocol(peer)
        if protocol is None:
            socket.close()
            self.result.errback(Failure(UserError("the factory took no connection")))
            return
        host = socketAddress(self._family, own)
        transport = SocketTransport(socket, protocol, host, peer, self._reactor)
        transport.startReading()
        protocol.makeConnection(transport)
        self.result.callback(protocol)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has seen an error before we have looked."""
        socket = self._socket
        if socket is not None:
            number = socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_ERROR)
            self._failed(number or errno.ECONNREFUSED)

    def logPrefix(self) -> str:
        """See L{IWriteDescriptor}."""
        return "mxproxy"

    def _close(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            self._reactor.removeWriter(self)
            socket.close()

    def _failed(self, number: int) -> None:
        self._close()
        self.result.errback(Failure(getConnectError((number, os.strerror(number)))))

    def _cancelled(self, result: Deferred[IProtocol]) -> None:
        self._close()
        result.errback(Failure(ConnectingCancelledError(socketAddress(self._family, self._name))))


def takeOver(transport: Any) -> Any:
    """
    Take the socket of a connection that Twisted has just made.

    @param transport: its client's transport, to which nothing has been written yet.
    @return: a L{SocketTransport} in its place; or C{transport}, if it is of another kind.
    """
    if type(transport) not in (tcp.Client, unix.Client) or not onSockets(transport.reactor):
        return transport
    transport.stopReading()
    ours = SocketTransport(
        transport.socket,
        transport.protocol,
        transport.getHost(),
        transport.getPeer(),
        transport.reactor,
    )
    # The two refer to each other, and nobody else to them.
    transport.connector = None
    ours.startReading()
    return ours
