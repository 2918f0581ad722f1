"""
What is behind the proxy: servers that say their name, so that a client can tell which one it
was, and that note what each connection brought.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.protocol import Factory

from tests.sidebyside import headers
from tests.sidebyside.peer import ALERTS, Peer, Tls


@dataclass(frozen=True)
class Backend:
    """
    What a server does.

    Every one says its name and a colon before its first byte, and gives back what it receives;
    at the end of that it says a full stop and closes.

    @ivar greets: its name comes at once, before the client has said anything.
    @ivar replies: what it does at the first data: C{"echo"}; C{"close"}: says its name and
        closes; C{"reset"}: resets; C{"nothing"}.
    @ivar tls: it speaks TLS.
    """

    greets: bool = False
    replies: str = "echo"
    tls: Tls | None = None


@dataclass(frozen=True)
class Hole:
    """
    An address that never answers: its queue of connections that wait to be accepted is full.
    """


class Server(Factory):
    """
    A backend that listens.

    @ivar peers: its connections, in order.
    """

    noisy = False

    def __init__(self, name: str, backend: Backend) -> None:
        self.name = name
        self.backend = backend
        self.peers: list[Peer] = []
        self._named: set[Peer] = set()

    def buildProtocol(self, addr: object) -> Peer:
        peer = Peer(self.backend.tls, server=True)
        peer.onReady = lambda: self._ready(peer)
        peer.onData = lambda data: self._data(peer, data)
        peer.onEnd = lambda: self._end(peer)
        self.peers.append(peer)
        return peer

    def _ready(self, peer: Peer) -> None:
        if self.backend.greets:
            self._name(peer)

    def _name(self, peer: Peer) -> None:
        if peer not in self._named:
            self._named.add(peer)
            peer.say(f"{self.name}:".encode())

    def _data(self, peer: Peer, data: bytes) -> None:
        replies = self.backend.replies
        if replies == "reset":
            peer.reset()
        elif replies == "close" and peer not in self._named:
            self._name(peer)
            peer.close()
        elif replies == "echo":
            # What is behind a PROXY header is what a client waits for.
            rest = headers.split(bytes(peer.received), {})[1]
            if rest and not headers.begins(rest):
                self._name(peer)
                peer.say(rest[-len(data) :] if len(rest) > len(data) else rest)

    def _end(self, peer: Peer) -> None:
        if self.backend.replies in ("echo", "close") and not peer.finished:
            peer.say(b".")
            peer.close()

    def listen(self, where: int | str) -> Any:
        """
        Listen on a port of 127.0.0.1, or on a unix socket.
        """
        from twisted.internet import reactor

        network: Any = reactor
        if isinstance(where, str):
            return network.listenUNIX(where, self)
        return network.listenTCP(where, self, interface="127.0.0.1")


def dig(port: int) -> list[socket.socket]:
    """
    Make C{port} a L{Hole}.

    @return: what to close in the end.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(0)
    sockets = [listener]
    for _ in range(3):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        sockets.append(one)
    return sockets


def observe(
    server: Server, peers: list[Peer], names: Mapping[int, str], hello: bytes
) -> dict[str, Any]:
    """
    What a backend's new connections brought, as flat data.

    @param names: what ports are called in a header.
    @param hello: the client's ClientHello, which differs from run to run.
    """
    observed: dict[str, Any] = {}
    for number, peer in enumerate(peers, 1):
        key = server.name if number == 1 else f"{server.name}#{number}"
        header, data = headers.split(bytes(peer.received), names)
        if header:
            observed[f"{key}.header"] = header
        for fact, value in sorted(peer.facts.items()):
            observed[f"{key}.{fact}"] = value
        same = hello and data == hello
        observed[f"{key}.received"] = "the ClientHello, untouched" if same else brief(data)
        observed[f"{key}.ended"] = peer.ending() or ("itself" if peer.lost else "open")
    return observed


def brief(data: bytes) -> str:
    """
    Bytes as they go into an observation: as they are, or their number and what they add up to;
    of TLS, which is never twice the same, what it is.
    """
    if data[:2] == b"\x15\x03" and len(data) == 7:
        return f"alert {ALERTS.get(data[6], data[6])}"
    if data[:2] == b"\x16\x03" and len(data) > 50:
        return "a flight of a TLS handshake"
    if len(data) <= 200:
        return repr(data)[1:]
    return f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()[:12]}"
