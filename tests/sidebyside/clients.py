"""
What a client does, as data, and what it saw, as data.

A client connects, says its C{before}, does its TLS, then its steps, then waits for the end;
where the proxy leaves the connection open, C{stays} says for how long that is looked at.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater

from tests.sidebyside.backends import brief
from tests.sidebyside.peer import Peer, Tls

#: Seconds for what happens at once, on a machine that has much else to do.
PATIENCE = 10.0

#: Seconds for a second end behind the first: the FIN behind a close_notify.
_AFTERWARDS = 1.0


@dataclass(frozen=True)
class Send:
    """Write bytes, C{piece} of them at a time."""

    data: bytes
    piece: int = 0


@dataclass(frozen=True)
class Read:
    """Wait until these bytes, or so many, or the end, have come."""

    data: bytes | int


@dataclass(frozen=True)
class Finish:
    """Half-close: by a close_notify, or a FIN where there is no TLS."""

    tcp: bool = False


@dataclass(frozen=True)
class Reset:
    """End it by a RST."""


@dataclass(frozen=True)
class Wait:
    """Do nothing for so many seconds, unless the connection ends."""

    seconds: float


#: Longer than what an inspector wants to see before it says that something is not TLS.
WORD = b"hello, world"

Step = Send | Read | Finish | Reset | Wait


def talk(name: str) -> tuple[Step, ...]:
    """
    A word, the answer of the backend of that name, and a half-close, which it answers.
    """
    return Send(WORD), Read(f"{name}:".encode() + WORD), Finish()


#: A word to whatever backend it is, and a half-close.
TALK: tuple[Step, ...] = (Send(WORD), Read(6), Finish())


@dataclass(frozen=True)
class Client:
    """
    @ivar name: unique in its scenario.
    @ivar steps: what it does once connected, and through the TLS handshake.
    @ivar sees: a part of what it has to see through Envoy, so that no test passes for nothing.
    @ivar port: the name of the port it connects to; with a slash in it, of a unix socket.
    @ivar source: the address it connects from.
    @ivar sourcePort: the name of the port it connects from.
    @ivar before: what it says before TLS; C{${NAME}} is the port of that name.
    @ivar wait: seconds before it connects.
    @ivar after: seconds of the timeout that is expected to strike.
    @ivar stays: look for so many seconds whether the connection stays open.
    @ivar abrupt: it says something that the proxy closes on: whether there is still a FIN before
        the RST is a race.
    @ivar keep: leave the connection open behind the last step, until it is released.
    @ivar releases: kept connections to close first.
    """

    name: str
    steps: tuple[Step, ...] = TALK
    sees: Mapping[str, Any] = field(default_factory=dict)
    port: str = "port"
    host: str = "127.0.0.1"
    source: str = ""
    sourcePort: str = ""
    before: bytes | str = b""
    tls: Tls | None = None
    wait: float = 0.0
    after: float = 0.0
    stays: float = 0.0
    abrupt: bool = False
    keep: bool = False
    releases: tuple[str, ...] = ()

    def endpoint(self, placeholders: Mapping[str, str], sourcePort: int) -> Any:
        """
        Where it connects to.
        """
        from twisted.internet import reactor

        where = string.Template(self.port).substitute(placeholders)
        if "/" in where:
            return UNIXClientEndpoint(reactor, where)
        source = (self.source, sourcePort) if self.source or sourcePort else None
        kind: Any = TCP6ClientEndpoint if ":" in self.host else TCP4ClientEndpoint
        return kind(reactor, self.host, int(placeholders[where]), PATIENCE, source)

    def opening(self, placeholders: Mapping[str, str]) -> bytes:
        """
        What it says before TLS.
        """
        if isinstance(self.before, bytes):
            return self.before
        return string.Template(self.before).substitute(placeholders).encode()


async def converse(
    client: Client, placeholders: Mapping[str, str], sourcePort: int = 0
) -> Peer | None:
    """
    Connect, and take all steps.

    @return: the connection, or C{None} if there is none.
    """
    from twisted.internet import reactor

    await deferLater(reactor, client.wait)  # type: ignore[arg-type]
    peer = Peer(client.tls, before=client.opening(placeholders))
    try:
        await connectProtocol(client.endpoint(placeholders, sourcePort), peer)
    except ConnectError:
        return None
    if client.tls is not None:
        await peer.until(lambda: peer.ready or peer.over, PATIENCE)
        if not peer.ready:
            return peer
    for step in client.steps:
        await _take(step, peer)
    return peer


async def _take(step: Step, peer: Peer) -> None:
    if isinstance(step, Send):
        await peer.write(step.data, step.piece)
    elif isinstance(step, Read):
        size = step.data if isinstance(step.data, int) else len(step.data)
        await peer.until(lambda: len(peer.received) >= size or peer.over, PATIENCE)
    elif isinstance(step, Finish):
        peer.finish(step.tcp)
    elif isinstance(step, Reset):
        peer.reset()
    else:
        await peer.until(lambda: peer.over, step.seconds)


async def hangUp(client: Client, peer: Peer) -> None:
    """
    Wait for the end, or see that there is none, and close.
    """
    if not await peer.until(lambda: peer.over, client.stays or PATIENCE):
        peer.stayed = True
        peer.close()
        return
    if not peer.ends:
        # It has itself had enough.
        peer.close()
        return
    # It has heard the end: it closes, too, and listens for what comes behind.
    if not peer.lost:
        if not peer.finished:
            peer.finish()
        await peer.until(lambda: peer.lost or peer.ends[-1] in ("fin", "reset"), _AFTERWARDS)
    peer.close()
    await peer.until(lambda: peer.lost, _AFTERWARDS)


def observe(client: Client, peer: Peer | None) -> dict[str, Any]:
    """
    What a client saw, as flat data.
    """
    if peer is None:
        return {"connected": False}
    observed: dict[str, Any] = {"connected": True, **dict(sorted(peer.facts.items()))}
    observed["received"] = brief(bytes(peer.received))
    if peer.stayed or not (peer.ends or peer.lost):
        observed["ended"] = "open"
    elif peer.aborted or not peer.ends:
        observed["ended"] = "itself"
    else:
        observed["ended"] = peer.ending(client.abrupt)
        assert peer.ended is not None
        observed["when"] = moment(peer.ended - peer.since, client.after)
    if client.after and peer.first is not None:
        observed["first byte"] = moment(peer.first - peer.made, client.after)
    return observed


def moment(elapsed: float, timeout: float) -> str:
    """
    A time in words, for two machines at work never take the same.

    @param timeout: what has been configured, or 0.
    """
    if not timeout:
        return "at once" if elapsed < PATIENCE / 2 else "late"
    if elapsed < timeout * 0.6:
        return "at once"
    # Our clock may have started a little late.
    if elapsed < timeout * 0.85:
        return f"before the {timeout:g} s"
    return f"after {timeout:g} s" if elapsed < timeout * 2 + 1 else f"long after {timeout:g} s"
