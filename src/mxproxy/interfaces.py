"""
Every interface of mxproxy, in one place.

Read this file and you know what the parts may ask of each other.  It imports nothing but
zope.interface and Twisted's interface declarations, because Twisted's plugin cache loads
it whenever C{twistd --help} runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    ITransport,
)
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from .connection import Connection, Key, Peer
    from .wire.handshake import Outcome

T = TypeVar("T")

__all__ = [
    "IChainContext",
    "IConnection",
    "IConnectionObserver",
    "IFilter",
    "IFilterPlugin",
    "IHandshake",
    "IInspector",
    "ILayer",
    "IPeer",
    "ITerminal",
    "IUpstream",
]


# -- facts ---------------------------------------------------------------------------------


class IPeer(Interface):
    """
    What is known of one side of a connection: L{mxproxy.connection.Peer}.
    """

    address = Attribute("C{IAddress} of the other end, or C{None} before it is connected.")
    local_address = Attribute("C{IAddress} of our end, or C{None} before it is connected.")
    direct_address = Attribute(
        "C{IAddress} of the socket's other end where a PROXY header named another, or C{None}."
    )
    original_destination = Attribute("C{IAddress} before redirection, or C{None}.")
    transport_protocol = Attribute("C{'tls'}, C{'raw_buffer'}, or C{None}: not looked at.")
    host = Attribute("str: which host of a cluster this is, C{ip:port} or a path, or C{None}.")
    tls_version = Attribute("C{'TLSv1.2'}, C{'TLSv1.3'}, or C{None} without TLS.")
    tls_cipher = Attribute("The cipher suite, by OpenSSL's name, or C{None} without TLS.")
    certificate = Attribute("C{x509.Certificate} that the peer has proven, or C{None}.")
    local_certificate = Attribute("C{x509.Certificate} that is ours, shown or not, or C{None}.")
    server_name = Attribute("The server name (SNI) that the TLS client asked for, or C{None}.")
    application_protocols = Attribute(
        "tuple of str: what was found in the first bytes: ALPN offered, or an HTTP version."
    )
    alpn_offered = Attribute("tuple of str: the protocols that the TLS client offered.")
    alpn = Attribute("The protocol that was negotiated, or C{None}.")
    principals = Attribute("tuple of str: identities that the peer's certificate proves.")
    metadata = Attribute(
        "L{mxproxy.wire.metadata.Metadata}, or an absence (false) that says why in C{reason}; "
        "both have WIRE field names (C{workload}, C{namespace}, ...) as attributes."
    )
    peer_state = Attribute("L{mxproxy.wire.peerstate.PeerState}: found, or why not.")
    bytes_received = Attribute("int: the application's bytes read from this peer.")
    bytes_sent = Attribute("int: the application's bytes written to this peer.")
    close_reason = Attribute("str: why this side ended; empty while nobody has said so.")

    def closing(reason: str) -> None:
        """
        Say why you are about to close this side; the first reason said is kept.

        @param reason: C{"token"} or C{"token: detail"}, one bounded, printable line.
        """


class IConnection(Interface):
    """
    What is known of a proxied connection: L{mxproxy.connection.Connection}.

    Every transport that a layer or a filter is handed adapts to it:
    C{IConnection(self.transport)}.
    """

    id = Attribute("str: unique in this process's lifetime.")
    listener = Attribute("str: the listener's name.")
    filter_chain = Attribute("str: the filter chain's name, empty until one is chosen.")
    cluster = Attribute("str: the name of the cluster it goes to, empty until one is chosen.")
    downstream = Attribute("L{IPeer}: who connected to us.")
    upstream = Attribute("L{IPeer}: whom we connect to.")
    trail = Attribute("list of str: the layers that have finished, in that order.")
    close_reason = Attribute("str: who ended it, and why; empty while it is open.")

    def get(key: Key[T]) -> T | None:
        """
        @param key: a L{mxproxy.connection.Key}.
        @return: what was last L{set} under the key, or C{None}.
        """

    def set(key: Key[T], value: T) -> None:
        """
        Keep a filter's own fact under its typed key.

        @raise TypeError: the value is not of the key's type.
        """

    def observe(observer: IConnectionObserver) -> None:
        """
        Tell somebody else, too: at once that it was opened, and of the edges that follow.
        """

    def whenClosed(call: Callable[[], None]) -> None:
        """
        Have something called when both sides are gone: how a layer that has left gives
        back what it has taken.
        """


class IConnectionObserver(Interface):
    """
    Is told of a connection's edges.  Never called per chunk.
    """

    def opened(connection: Connection) -> None:
        """A downstream connection was accepted."""

    def identified(connection: Connection, peer: Peer) -> None:
        """C{peer}'s metadata is found, or known to be absent."""

    def connected(connection: Connection) -> None:
        """The upstream is connected and both peers are known: bytes may flow."""

    def closed(connection: Connection) -> None:
        """Both sides are gone.  The last call for this connection."""


# -- pure machines -------------------------------------------------------------------------


class IHandshake(Interface):
    """
    A handshake as a pure machine: bytes in, values out; no transport, no clock.

    A L{mxproxy.layers.handshake.HandshakeLayer} runs it on a connection.
    """

    def opening() -> bytes:
        """
        @return: C{bytes} that are sent at once when the connection is made; may be empty.
        """

    def feed(data: bytes) -> Outcome | None:
        """
        @param data: the next C{bytes} of the peer.
        @return: an L{mxproxy.wire.handshake.Outcome}, or C{None} to wait for more.
        """

    def eof() -> Outcome:
        """
        The peer has ended its stream.

        @return: the L{mxproxy.wire.handshake.Outcome} of that.
        """

    def timeout() -> Outcome:
        """
        The hold has lasted long enough.

        @return: an L{mxproxy.wire.handshake.Outcome}; with C{final=False} the machine
            goes on to be fed.
        """


class IInspector(Interface):
    """
    A pure machine that looks at a stream's first bytes and consumes none of them.
    """

    def feed(data: bytes) -> object:
        """
        @param data: the next C{bytes}, never the same ones twice.
        @return: what was recognised (any value but C{None}), or C{None} to see more.
            It has to decide within a bounded number of bytes.
        """

    def eof() -> object:
        """@return: what is made of the bytes so far when the stream ends."""

    def timeout() -> object:
        """@return: what is made of the bytes so far when the peer stays silent."""


# -- the chain -----------------------------------------------------------------------------


class ILayer(IProtocol, IHalfCloseableProtocol, ITransport, IConsumer, IPushProducer):
    """
    A step in the chain: a protocol to what is below, a transport to what is above.
    """

    name = Attribute("str: how the connection's trail calls it.")
    protocol = Attribute("L{IProtocol}: what is above; assigning to it splices.")
    transport = Attribute("L{ITransport}: what is below; assigning to it splices.")

    def loseWriteConnection() -> None:
        """End the writing direction once what was written is flushed."""

    def abortConnection() -> None:
        """Drop the connection at once, in both directions."""


class IChainContext(Interface):
    """
    What a filter may know of the chain that it is wrapped into.
    """

    side = Attribute("C{'downstream'} or C{'upstream'}: which half of the connection.")
    name = Attribute("str: the filter chain's name (downstream) or the cluster's (upstream).")
    listener = Attribute("str: the listener's name; empty for an upstream chain.")
    node = Attribute("L{mxproxy.wire.metadata.Node}: who we are.")
    clock = Attribute("L{IReactorTime}: the only clock that a filter may use.")
    listener_filters_timeout = Attribute(
        "float: seconds that all listener filters of a connection have together; 0: for ever."
    )
    continue_on_listener_filters_timeout = Attribute(
        "bool: go on with what is known when that time is up, instead of closing."
    )

    def count(name: str) -> None:
        """
        Something has happened once more.

        @param name: the counter, e.g. C{"metadata_exchange.alpn_protocol_found"}.
        """

    def upstream(name: str) -> IUpstream:
        """
        @param name: a cluster's.
        @raise ValueError: there is no such cluster.
        """


class IFilter(Interface):
    """
    A configured network filter.

    Some attributes are optional: C{alpn_protocols} (tuple of str), the protocols that a
    TLS layer below has to offer because this filter is in the chain; C{keys} (tuple of
    L{mxproxy.connection.Key}), the facts that it keeps on a connection; and
    C{exchanges_metadata} (bool), that it is this filter who learns the peer's metadata.
    """

    def wrap(inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        """
        Called once a chain, when the configuration is loaded.

        @type inner: L{IProtocolFactory}
        @type context: L{IChainContext}
        @return: an L{IProtocolFactory} whose protocols wrap those of C{inner}: a
            L{mxproxy.layers.base.LayerFactory}, or any stock
            L{twisted.protocols.policies.WrappingFactory}.
        @raise ValueError: the filter cannot be used in this chain; the message, one line,
            says why.
        """


class ITerminal(Interface):
    """
    A configured network filter that is the last of its chain.

    C{keys} is optional, as in L{IFilter}.
    """

    def terminal(context: IChainContext) -> IProtocolFactory:
        """
        Called once a chain, when the configuration is loaded.

        @return: the factory of the chain's topmost protocols.
        @raise ValueError: it cannot be used in this chain; the message, one line, says
            why.
        """


class IFilterPlugin(Interface):
    """
    What a third party registers in C{twisted/plugins}, beside
    L{twisted.plugin.IPlugin}.
    """

    name = Attribute("str: what C{--filter} and the configuration file call it.")
    description = Attribute("str: one line.")

    def configure(options: Mapping[str, str]) -> IFilter | ITerminal:
        """
        @param options: C{Mapping[str, str]}, from C{--filter NAME:key=value:...}.
        @return: L{IFilter}, or L{ITerminal} for one that ends a chain.
        @raise ValueError: an option is unknown or wrong; the message, one line, says
            which and what would be right.
        """


class IUpstream(Interface):
    """
    Where a terminal finds its other half: L{mxproxy.upstream.Cluster}.
    """

    name = Attribute("str: the cluster's name.")

    def connect(connection: Connection, attempts: int | None = None) -> Deferred[Any]:
        """
        Connect an upstream for C{connection} and bring it through the cluster's chain.

        @param attempts: how many hosts to try; C{None}: each of them once.
        @return: a L{Deferred} that fires with the connected upstream half (a
            L{mxproxy.tcp.Half}) or fails with L{mxproxy.upstream.ConnectFailed};
            cancelling it drops the attempt.
        """
