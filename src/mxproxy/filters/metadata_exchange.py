"""
The metadata exchange, as a network filter: C{envoy.filters.network.metadata_exchange}.

The protocol is L{mxproxy.wire.exchange}; how a handshake is run on a connection is
L{mxproxy.layers.handshake}.  Here the two meet: when the exchange happens (TLS has
negotiated its ALPN), with which options, and where its result is kept.

A byte's path: below is TLS, already up.  ALPN another than ours: the layer leaves at once
and the bytes never come through here.  Ours: the client's side writes its prefix, the peer's
prefix is read and taken out, the result is written on the connection, the layer leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from ..interfaces import IChainContext, IFilter, IHandshake
from ..layers.handshake import HandshakeFactory, HandshakeLayer
from ..wire.exchange import ALPN, DEFAULT_MAX_SIZE, Absence, Exchange, Hold, PeerState, alpnAgrees
from ..wire.metadata import Metadata, MetadataDecoder
from .options import OptionError, Options

#: Seconds that an application waits for its peer's metadata, at most.
DEFAULT_TIMEOUT = 5.0

#: C{--mx-server-opening}: when a server's side sends its prefix.
REPLY = "reply"
EAGER = "eager"


class MetadataExchangeLayer(HandshakeLayer):
    """
    Runs the exchange on one side of a connection.
    """

    name = "metadata_exchange"
    factory: MetadataExchangeFactory
    _exchange: Exchange | None = None

    def begin(self) -> IHandshake | None:
        """Only where TLS has negotiated it."""
        self.peer.expectMetadata()
        if not alpnAgrees(self.peer.alpn or "", self.factory.settings.protocol):
            self._count("alpn_protocol_not_found")
            self.connection.identify(self.peer, Absence(PeerState.ALPN_MISMATCH))
            return None
        self._count("alpn_protocol_found")
        self._exchange = exchange = self.factory.machine()
        machine: IHandshake = exchange
        return machine

    def connectionMade(self) -> None:
        """Our prefix is out, if we speak first: counted even if the peer never answers."""
        super().connectionMade()
        self._countNew()

    def isOptimistic(self) -> bool:
        """See C{--mx-hold}."""
        return self.factory.settings.hold is Hold.READ

    def learnt(self, result: object) -> None:
        """Keep the peer's metadata, or why there is none."""
        assert isinstance(result, (Metadata, Absence))
        self._countNew()
        # A stream that goes on without a prefix after the timeout is no news.
        if result.state is not self.peer.peer_state:
            self.connection.identify(self.peer, result)

    def _countNew(self) -> None:
        if self._exchange is not None:
            for name in self._exchange.takeCounted():
                self._count(name)

    def _count(self, name: str) -> None:
        self.context.count(f"metadata_exchange.{name}")


class MetadataExchangeFactory(HandshakeFactory):
    """
    Makes the layers of one chain; they share the own prefix and the decoder's cache.
    """

    layer = MetadataExchangeLayer

    def __init__(
        self, inner: IProtocolFactory, context: IChainContext, settings: MetadataExchange
    ) -> None:
        labels = settings.additional_labels
        self.settings = settings
        prefix = context.node.prefix(labels)
        decode = MetadataDecoder(labels).decode
        speaksFirst = context.side == "upstream" or settings.opening == EAGER
        machine: Callable[[], Exchange] = lambda: Exchange(  # noqa: E731
            prefix, decode, speaksFirst=speaksFirst, hold=settings.hold, maxSize=settings.max_size
        )
        super().__init__(inner, context, machine, settings.timeout)


@implementer(IFilter)
@dataclass(frozen=True)
class MetadataExchange:
    """
    The filter's settings.

    @ivar protocol: the ALPN that stands for the exchange.
    @ivar timeout: seconds that the connection is held, at most.
    @ivar max_size: the longest payload that is accepted, in bytes.
    @ivar opening: L{REPLY} or L{EAGER}; what a server's side does.
    @ivar hold: which directions wait for the peer's prefix.
    @ivar additional_labels: labels that travel beside the known ones.
    """

    protocol: str = ALPN
    timeout: float = DEFAULT_TIMEOUT
    max_size: int = DEFAULT_MAX_SIZE
    opening: str = REPLY
    hold: Hold = Hold.BOTH
    additional_labels: tuple[str, ...] = ()

    #: See L{IFilter}.
    exchanges_metadata = True

    @property
    def alpn_protocols(self) -> tuple[str, ...]:
        """What TLS has to offer because this filter is in the chain."""
        return (self.protocol,) if self.protocol else ()

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        """See L{IFilter.wrap}."""
        return MetadataExchangeFactory(inner, context, self)


def configure(options: Mapping[str, str]) -> MetadataExchange:
    """
    @param options: names and texts of L{MetadataExchange}'s attributes;
        C{additional_labels} are separated by commas.
    @raise OptionError: one of them is unknown or wrong.
    """
    read = Options(options)
    settings = MetadataExchange(
        protocol=read.text("protocol", ALPN),
        timeout=read.number("timeout", DEFAULT_TIMEOUT, above=0),
        max_size=int(read.number("max_size", DEFAULT_MAX_SIZE, above=0)),
        opening=read.choice("opening", (REPLY, EAGER)),
        hold=Hold(read.choice("hold", tuple(hold.value for hold in Hold))),
        additional_labels=read.list("additional_labels"),
    )
    read.finish()
    return settings


__all__ = ["MetadataExchange", "OptionError", "configure"]
