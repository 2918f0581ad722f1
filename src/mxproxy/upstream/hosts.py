"""
A host of a cluster: where it is, and how it is doing.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    clientFromString,
    quoteStringArgument,
)
from twisted.internet.interfaces import IStreamClientEndpoint

from ..config.descriptions import split
from ..transports.dial import SocketEndpoint, onSockets
from .sockets import UpstreamSocket


class Place:
    """
    Where a host can be dialled.

    @ivar endpoint: dials it.
    @ivar description: the endpoint's, for people.
    @ivar key: what hashing balancers place it by, as Envoy writes it: C{"10.0.0.1:80"},
        C{"[::1]:80"}, a path.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, description: str, key: str) -> None:
        self.endpoint = endpoint
        self.description = description
        self.key = key


def describedPlace(reactor: Any, description: str) -> Place:
    """
    @param description: a Twisted client endpoint description.
    @raise ValueError: it is none.
    """
    kind, values, named = split(description)
    endpoint = clientFromString(reactor, description)
    if kind.lower() == "tcp":
        host, port = nameAndPort(description)
        if len(values) + len(named) == 2 and (isIPAddress(host) or isIPv6Address(host)):
            endpoint = _addressEndpoint(reactor, host, port)
        return Place(endpoint, description, _key(host, port))
    return Place(endpoint, description, ":".join(values) or description)


def addressPlace(reactor: Any, host: str, port: int) -> Place:
    """
    @param host: an IP address.
    """
    description = f"tcp:{quoteStringArgument(host)}:{port}"
    return Place(_addressEndpoint(reactor, host, port), description, _key(host, port))


def nameAndPort(description: str) -> tuple[str, int]:
    """
    @param description: C{tcp:host:port}.
    @raise ValueError: it is something else.
    """
    kind, values, named = split(description)
    try:
        host = named["host"] if "host" in named else values.pop(0)
        port = int(named["port"] if "port" in named else values.pop(0))
    except (IndexError, ValueError):
        host = ""
    if kind.lower() != "tcp" or not host:
        raise ValueError(f"{description!r} is not of the form tcp:HOST:PORT")
    return host, port


def _addressEndpoint(reactor: Any, host: str, port: int) -> IStreamClientEndpoint:
    if onSockets(reactor):
        return SocketEndpoint.tcp(reactor, host, port)
    # Without a timeout of its own: an attempt has one, which may be longer.
    kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
    return kind(reactor, host, port, timeout=None)  # type: ignore[arg-type]


def _key(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Host:
    """
    One of them.

    @ivar place: where it is; a logical host moves.
    @ivar socket: how it is spoken to.
    @ivar weight: its share, beside those of the others.
    @ivar active: how many connections it has, those that are being made among them.
    @ivar total: how many it has had.
    @ivar failures: how many of them could not be made.
    @ivar failedCheck: health checks say that it is not fit, or have not said anything yet.
    @ivar ejected: it could not be connected too often.
    @ivar unlisted: discovery knows it no more; it is used while health checks say that it
        is fit.
    """

    def __init__(self, place: Place, socket: UpstreamSocket, weight: int = 1) -> None:
        self.place = place
        self.socket = socket
        self.weight = weight
        self.active = self.total = self.failures = 0
        self.failedCheck = False
        self.ejected = False
        self.unlisted = False

    @property
    def key(self) -> str:
        """See L{Place}."""
        return self.place.key

    @property
    def healthy(self) -> bool:
        """Whether it is fit for more connections."""
        return not (self.failedCheck or self.ejected)

    def __repr__(self) -> str:
        words = [
            word
            for word, said in (
                ("failed its check", self.failedCheck),
                ("ejected", self.ejected),
                ("unlisted", self.unlisted),
            )
            if said
        ]
        return f"<Host {self.key} {', '.join(words) or 'healthy'}, {self.active} connections>"
