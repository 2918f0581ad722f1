"""
Listening sockets, which outlive what is done with their connections.

When the configuration is read again, an address that stays is listened on without a gap: the
socket is the same, and from one connection to the next another listener takes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from ..config.descriptions import withBacklog
from ..transports.accept import serve
from .generation import Listener


class CannotListen(ValueError):
    """
    An address cannot be listened on; the text, one line, says which, for whom and why.
    """


class AcceptFactory(Factory):
    """
    What a socket is opened for: passes its connections on to a listener.

    @ivar listener: the present one.
    """

    noisy = False

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See L{Factory.buildProtocol}."""
        return self.listener.factory.buildProtocol(addr)

    def replace(self, listener: Listener) -> None:
        """Pass on to C{listener} from now on."""
        if listener is not self.listener:
            before, self.listener = self.listener, listener
            listener.factory.doStart()  # type: ignore[no-untyped-call]
            before.factory.doStop()  # type: ignore[no-untyped-call]

    def startFactory(self) -> None:
        """The socket is open."""
        self.listener.factory.doStart()  # type: ignore[no-untyped-call]

    def stopFactory(self) -> None:
        """The socket is closed."""
        self.listener.factory.doStop()  # type: ignore[no-untyped-call]


class Listening:
    """
    One socket.

    @ivar factory: where its connections go.
    @ivar port: the socket, once it is L{open}.
    """

    port: IListeningPort

    def __init__(self, listener: Listener) -> None:
        self.factory = AcceptFactory(listener)
        self.endpoint = listener.plan.endpoint

    @property
    def listener(self) -> Listener:
        """Who takes its connections."""
        return self.factory.listener

    def open(self, reactor: Any) -> None:
        """
        @raise CannotListen: it cannot be opened.
        """
        opened: list[IListeningPort] = []
        refused: list[Failure] = []
        endpoint = serverFromString(reactor, withBacklog(self.endpoint))
        endpoint.listen(self.factory).addCallbacks(opened.append, refused.append)
        if refused:
            reason = " ".join(str(refused[0].value).split())
            name = self.listener.plan.name
            raise CannotListen(f"listener {name}: {self.endpoint}: {reason}")
        (port,) = opened
        serve(port)
        self.port = self.listener.factory.guard(port)

    def close(self) -> Deferred[Any]:
        """
        @return: fires when it is closed.
        """
        return maybeDeferred(self.port.stopListening)


def match(
    listeners: Iterable[Listener], before: Iterable[Listening]
) -> tuple[list[tuple[Listening, Listener]], list[Listener], list[Listening]]:
    """
    Which socket is whose.  C{tcp:0} is another socket for each listener, so names count first.

    @return: sockets that stay, each with its listener; listeners that need one; sockets that
        nobody needs any more.
    """
    left, stay, need = list(before), [], []
    for listener in listeners:
        same = [socket for socket in left if socket.endpoint == listener.plan.endpoint]
        named = [socket for socket in same if socket.listener.plan.name == listener.plan.name]
        if named or (same and not listener.plan.endpoint.startswith("tcp:0:")):
            socket = (named or same)[0]
            left.remove(socket)
            stay.append((socket, listener))
        else:
            need.append(listener)
    return stay, need, left
