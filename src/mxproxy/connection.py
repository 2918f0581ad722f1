"""
What is known of a connection: typed facts, each written once.

L{Connection} and its two L{Peer}s hold what layers and filters have learnt, and tell
observers of the edges: opened, identified, connected, closed.  Nothing in here touches a
byte of the application, and nothing in here closes anything: layers and the terminal do.
"""

from __future__ import annotations

import time
from binascii import hexlify
from collections.abc import Callable, Sequence
from os import urandom
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from .interfaces import IConnection, IConnectionObserver, IPeer
from .wire.metadata import Absence, Metadata
from .wire.peerstate import PeerState

if TYPE_CHECKING:
    from cryptography import x509
    from OpenSSL import crypto

T = TypeVar("T")

log = Logger()


class Key(Generic[T]):
    """
    The typed name of a third party's fact on a connection.

    Keys are compared by identity, so two filters never read each other's facts by
    accident.  Two different keys of one name in one configuration are refused when it is
    loaded: their values could not be told apart in a log.

    @ivar name: how the fact is called in messages, e.g. C{"ratelimit.bucket"}.
    @ivar type: the class of its values.
    """

    def __init__(self, name: str, type: type[T]) -> None:
        self.name = name
        self.type = type

    def __repr__(self) -> str:
        return f"<Key {self.name}: {self.type.__name__}>"


#: What filters say of a connection for others to read, by the filter's namespace: Envoy's
#: dynamic metadata.
DYNAMIC_METADATA: Key[dict[str, Any]] = Key("envoy.dynamic_metadata", dict)

_DISABLED = Absence(PeerState.DISABLED)
_PENDING = Absence(PeerState.PENDING)


@implementer(IPeer)
class Peer:
    """
    One side of a connection.  Attributes are described in L{IPeer}.

    @ivar open: whether it is connected.
    @ivar transport: the lowest one, while it is open; to drop the connection from
        outside of its chain.
    @ivar close: closes this side in order, once what was written is flushed; C{None} while
        nothing is at the top of its chain that could.
    @ivar session_reused: whether its TLS handshake has taken up an earlier session.
    @ivar close_reason: why this side ended, C{"token"} or C{"token: detail"}; the first
        one said is kept.  Empty while it is open.
    """

    original_destination: IAddress | None = None
    direct_address: IAddress | None = None
    transport_protocol: str | None = None
    host: str | None = None
    tls_version: str | None = None
    tls_cipher: str | None = None
    session_reused = False
    server_name: str | None = None
    application_protocols: Sequence[str] = ()
    alpn_offered: Sequence[str] = ()
    alpn: str | None = None
    principals: Sequence[str] = ()
    metadata: Metadata | Absence = _DISABLED
    close_reason: str = ""
    _certificate: crypto.X509 | None = None
    local_certificate: x509.Certificate | None = None

    def __init__(self, side: str, whenLost: Callable[[Peer], None] | None = None) -> None:
        self.side = side
        self.address: IAddress | None = None
        self.local_address: IAddress | None = None
        self.bytes_received = 0
        self.bytes_sent = 0
        self.open = False
        self.transport: Any = None
        self.close: Callable[[], object] | None = None
        self.whenLost = whenLost

    @property
    def peer_state(self) -> PeerState:
        """Found, or why not."""
        return self.metadata.state

    @property
    def certificate(self) -> x509.Certificate | None:
        """The one that the peer has shown, if it was verified."""
        # Parsed when somebody asks: it takes 10 µs, and most connections are never asked.
        return None if self._certificate is None else self._certificate.to_cryptography()

    def keepCertificates(self, peers: crypto.X509 | None, ours: x509.Certificate | None) -> None:
        """
        TLS has come to a result.

        @param peers: C{None} if none was verified.
        """
        self._certificate, self.local_certificate = peers, ours

    def expectMetadata(self) -> None:
        """An exchange has begun: the metadata is not known yet."""
        self.metadata = _PENDING

    def closing(self, reason: str) -> None:
        """
        Say why this side is about to end; the first reason is kept.

        @param reason: C{"token"} or C{"token: detail"}, bounded and printable.
        """
        if not self.close_reason:
            self.close_reason = reason

    def __repr__(self) -> str:
        return f"<Peer {self.side} {self.address} {self.peer_state.value}>"


def _describe(reason: Failure) -> str:
    """The close reason of a transport that ended without a layer's having said why."""
    if reason.check(ConnectionDone):
        return "closed"
    if reason.check(ConnectionAborted):
        return "aborted"
    if reason.check(ConnectionLost):
        return "reset"
    return f"error: {type(reason.value).__name__}"  # A layer's own; Twisted has logged it.


def _plain(address: IAddress) -> IAddress:
    """A v4 client of a v6 socket as what it is, and as logs and matches have it."""
    if isinstance(address, IPv6Address) and address.host.startswith("::ffff:"):
        return IPv4Address("TCP", address.host.removeprefix("::ffff:"), address.port)
    return address


def _tell(call: Callable[..., None], *arguments: object) -> None:
    """
    Nobody's error keeps the others from being told, or a connection from its end.
    """
    try:
        call(*arguments)
    except Exception:  # noqa: BLE001 - third parties' code
        log.failure("{call!r} has failed", call=call)


@implementer(IConnection)
class Connection:
    """
    A downstream connection and its upstream.  Attributes are described in
    L{IConnection}.

    @ivar cluster: the name of the cluster that it goes to; empty until one is chosen.
    @ivar attempts: how many hosts were tried, the one that it is connected to among them.
    @ivar failed_attempt: why the one before the last could not be connected.
    @ivar whenArrived: is called, once, with the connection when the downstream's handshakes are
        over: its terminal is connected.
    @ivar started: when it was accepted, seconds since the epoch (for people).
    @ivar startedMonotonic: the same on C{clock} (for durations).
    """

    def __init__(
        self,
        listener: str,
        seconds: Callable[[], float],
        observers: Sequence[IConnectionObserver] = (),
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        self.id = hexlify(urandom(8)).decode("ascii")
        self.listener = listener
        self.filter_chain = ""
        self.cluster = ""
        self.attempts = 0
        self.failed_attempt = ""
        self.trail: list[str] = []
        self.close_reason = ""
        self.downstream = Peer("downstream")
        self.upstream = Peer("upstream")
        self.started = wallClock()
        self._seconds = seconds
        self._startedMonotonic = seconds()
        self._endedMonotonic: float | None = None
        self._observers = observers
        self._facts: dict[Key[Any], object] = {}
        self.whenArrived: Callable[[Connection], None] | None = None
        self._whenClosed: list[Callable[[], None]] = []
        self._joined = False
        self._announced = False

    @property
    def duration(self) -> float:
        """Seconds since it was accepted; until its end, once it has ended."""
        end = self._seconds() if self._endedMonotonic is None else self._endedMonotonic
        return end - self._startedMonotonic

    @property
    def established(self) -> bool:
        """Whether it is, or was, connected from end to end."""
        return self._joined

    # -- third parties' facts

    def get(self, key: Key[T]) -> T | None:
        """See L{IConnection.get}."""
        return cast("T | None", self._facts.get(key))

    def set(self, key: Key[T], value: T) -> None:
        """See L{IConnection.set}."""
        if not isinstance(value, key.type):
            raise TypeError(f"{key!r} does not take {value!r}")
        self._facts[key] = value

    def fact(self, name: str) -> object:
        """
        What was last L{set} under the key of that name, or C{None}: for logs, whose operators
        know names only.
        """
        return next((fact for key, fact in self._facts.items() if key.name == name), None)

    def whenClosed(self, call: Callable[[], None]) -> None:
        """See L{IConnection.whenClosed}."""
        self._whenClosed.append(call)

    def conform(self, interface: InterfaceClass) -> Connection | None:
        """Zope's C{__conform__} for every transport of this connection."""
        return self if interface is IConnection else None

    # -- edges

    def opened(self, transport: ITransport) -> None:
        """The downstream was accepted on C{transport}."""
        self.attach(self.downstream, transport)
        for observer in self._observers:
            _tell(observer.opened, self)

    def observe(self, observer: IConnectionObserver) -> None:
        """
        Tell somebody else, too: at once that it was opened, and of the edges that follow.
        """
        # First: whoever counts open connections believes, when there is none any more, that
        # everybody has been told.
        self._observers = (observer, *self._observers)
        _tell(observer.opened, self)

    def newUpstream(self, whenLost: Callable[[Peer], None]) -> Peer:
        """
        Begin another attempt at the upstream.

        @param whenLost: called with the peer when its transport is gone.
        """
        self.attempts += 1
        self.failed_attempt = self.upstream.close_reason
        self.upstream = Peer("upstream", whenLost)
        return self.upstream

    def attach(self, peer: Peer, transport: ITransport) -> None:
        """
        C{peer} is reached through C{transport}, which from now on adapts to
        L{IConnection}.
        """
        peer.open = True
        peer.transport = transport
        peer.address = _plain(transport.getPeer())
        peer.local_address = _plain(transport.getHost())
        # The documented hook of zope.interface's adaptation.  An attribute of the object
        # and no wrapper around it: a wrapper would cost a call per chunk.
        transport.__conform__ = self.conform  # type: ignore[attr-defined]

    def identify(self, peer: Peer, metadata: Metadata | Absence) -> None:
        """
        C{peer}'s metadata is found, or known to be absent.

        @raise RuntimeError: that was known already.  Only a timeout may be followed by
            another result: the prefix came late.
        """
        if peer.peer_state not in (PeerState.PENDING, PeerState.TIMEOUT):
            raise RuntimeError(f"{peer!r} is already known; not {metadata!r}")
        peer.metadata = metadata
        for observer in self._observers:
            _tell(observer.identified, self, peer)
        self._announce()

    def arrived(self) -> None:
        """The downstream's chain has come to its result."""
        whenArrived, self.whenArrived = self.whenArrived, None
        if whenArrived is not None:
            whenArrived(self)

    def joined(self) -> None:
        """The terminal has both its halves."""
        self._joined = True
        self._announce()

    def closing(self, reason: str) -> None:
        """
        Say why the connection as a whole is about to end; the first reason is kept.

        @param reason: C{"who: token"} or C{"who: token: detail"}.
        """
        if not self.close_reason:
            self.close_reason = reason

    def end(self, reason: str) -> None:
        """
        Close it in order, from outside of its chain: what was read is written.  A side of which
        the handshakes are not over is dropped, since nobody has said anything yet.

        @param reason: see L{closing}.
        """
        self.closing(reason)
        # An attempt at an upstream ends with its downstream; by itself it would try the next host.
        for peer in (self.upstream, self.downstream) if self._joined else (self.downstream,):
            if peer.close is not None:
                peer.close()
            elif peer.transport is not None:
                peer.transport.abortConnection()

    def abort(self, reason: str) -> None:
        """
        Drop it at once.

        @param reason: see L{closing}.
        """
        self.closing(reason)
        for peer in (self.upstream, self.downstream):
            if peer.transport is not None:
                peer.transport.abortConnection()

    def lost(self, peer: Peer, reason: Failure) -> None:
        """
        C{peer}'s transport is gone.  Said by the topmost connected protocol, once; when
        both sides are gone the connection is closed.
        """
        if not peer.open:
            return
        peer.open = False
        transport, peer.transport = peer.transport, None
        peer.close = None
        del transport.__conform__
        if not peer.close_reason:
            peer.closing(_describe(reason))
        if peer.peer_state is PeerState.PENDING:
            self.identify(peer, Absence(PeerState.CLOSED))
        if peer.whenLost is not None:
            whenLost, peer.whenLost = peer.whenLost, None
            whenLost(peer)
        if peer is self.downstream or self._joined:
            self.closing(f"{peer.side}: {peer.close_reason}")
        if self.downstream.open or self.upstream.open or self._endedMonotonic is not None:
            return
        self._endedMonotonic = self._seconds()
        if self.upstream.peer_state is PeerState.PENDING:
            # It was never connected; nobody will say more of it.
            self.upstream.metadata = Absence(PeerState.CLOSED)
        for observer in self._observers:
            _tell(observer.closed, self)
        whenClosed, self._whenClosed = self._whenClosed, []
        for call in whenClosed:
            _tell(call)
        # Facts are third parties' objects; with them gone no cycle outlives the connection.
        self._facts.clear()

    def _announce(self) -> None:
        if (
            self._joined
            and not self._announced
            and PeerState.PENDING not in (self.downstream.peer_state, self.upstream.peer_state)
        ):
            self._announced = True
            for observer in self._observers:
                _tell(observer.connected, self)

    def __repr__(self) -> str:
        return (
            f"<Connection {self.id} {self.downstream.address} -> {self.upstream.address}"
            f" {self.close_reason or 'open'}>"
        )


def connectionOf(transport: object) -> Connection:
    """
    C{IConnection(transport)}, for this package's own code: as the class that it is.

    @raise TypeError: the transport belongs to no connection of a proxy.
    """
    return cast(Connection, IConnection(transport))
