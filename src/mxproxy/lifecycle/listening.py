"""
Listening sockets, which outlive what is done with their connections.

When the configuration is read again, an address that stays is listened on without a gap: the
socket is the same, and from one connection to the next another listener takes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory

from ..config.plan import ListenerPlan
from ..transports.accept import serve
from .adopting import adopt, openEndpoint
from .generation import Listener
from .refusal import whyNot


class CannotListen(ValueError):
    """
    An address cannot be listened on; the text, one line, says which, for whom and why.
    """

    def __init__(self, plan: ListenerPlan, why: Exception) -> None:
        super().__init__(f"listener {plan.name}: {plan.endpoint}: {whyNot(why)}")


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

    def open(self, reactor: Any, inherited: Mapping[str, int]) -> None:
        """
        @param inherited: descriptors of sockets that are open already, by L{key}.
        @raise CannotListen: it cannot be opened.
        """
        plan = self.listener.plan
        descriptor = inherited.get(key(plan))
        try:
            if descriptor is None:
                port = openEndpoint(reactor, self.endpoint, self.factory)
            else:
                port = adopt(reactor, descriptor, self.factory)
        except Exception as error:  # noqa: BLE001 - any kind of endpoint's
            raise CannotListen(plan, error) from None
        serve(port)
        self.port = self.listener.factory.guard(port)

    def close(self) -> Deferred[Any]:
        """
        @return: fires when it is closed.
        """
        return maybeDeferred(self.port.stopListening)


def key(plan: ListenerPlan) -> str:
    """
    What a listener's socket is known by, between processes.
    """
    return f"{plan.name} {plan.endpoint}"


class ISocket(Protocol):
    """
    A socket, for L{match}.
    """

    @property
    def endpoint(self) -> str:
        """What it was opened by."""

    @property
    def listener(self) -> Listener:
        """Who takes its connections."""


S = TypeVar("S", bound=ISocket)


def match(
    listeners: Iterable[Listener], before: Iterable[S]
) -> tuple[list[tuple[S, Listener]], list[Listener], list[S]]:
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
