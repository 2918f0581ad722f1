"""
Takes a PROXY header off a connection: C{envoy.filters.listener.proxy_protocol}.

The header is the machine's business, L{mxproxy.wire.proxyprotocol}; here its addresses take
the place of the socket's.  It proves nothing: a listener with this filter has to be out of
reach of everybody but the proxies that it trusts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IProtocolFactory
from zope.interface import implementer

from ..connection import Key, Peer
from ..interfaces import IChainContext, IFilter
from ..layers.base import LayerFactory
from ..layers.deadline import ListenerFilterLayer
from ..wire.proxyprotocol import Address, ProxyHeader, ProxyProtocolDecoder
from .options import OptionError, Options

#: The header that a connection came with, its TLVs included.
HEADER: Key[ProxyHeader] = Key("envoy.filters.listener.proxy_protocol", ProxyHeader)


class ProxyProtocolLayer(ListenerFilterLayer):
    """
    Reads the header, and leaves.
    """

    name = "proxy_protocol"
    factory: ProxyProtocolFactory

    def begin(self) -> bool:
        """The header is in front of everything."""
        settings = self.factory.settings
        self._decoder = ProxyProtocolDecoder(
            allowRequestsWithoutProxyProtocol=settings.allow_requests_without_proxy_protocol,
            disallowedVersions=settings.disallowed_versions,
        )
        return True

    def look(self, data: bytes) -> None:
        """Ask the decoder."""
        outcome = self._decoder.feed(data)
        if outcome is None:
            return
        if outcome.abort:
            self.context.count("downstream_cx_proxy_proto_error")
            self.refuse(f"{self.name}: {outcome.abort}")
            return
        header = outcome.result
        if isinstance(header, ProxyHeader):
            self.context.count(f"proxy_proto.versions.v{header.version}.found")
            self.connection.set(HEADER, header)
            _believe(self.peer, header)
        else:
            self.context.count("proxy_proto.not_found_allowed")
        self.goOn(outcome.forward)


def _believe(peer: Peer, header: ProxyHeader) -> None:
    """
    Envoy calls the header's addresses the connection's, and the socket's the direct ones.
    """
    if header.source is None or header.destination is None:
        return  # The sender speaks for itself, or does not know: the socket's are right.
    peer.direct_address, peer.address = peer.address, _address(header.source)
    destination = _address(header.destination)
    if destination != peer.local_address:
        # With the same one, a cluster that goes to the original destination would come here.
        peer.original_destination = destination


def _address(address: Address) -> IAddress:
    if isinstance(address, bytes):
        return UNIXAddress(address)
    host, port = address
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


class ProxyProtocolFactory(LayerFactory):
    """
    Makes L{ProxyProtocolLayer}s.
    """

    layer = ProxyProtocolLayer

    def __init__(
        self, inner: IProtocolFactory, context: IChainContext, settings: ProxyProtocol
    ) -> None:
        super().__init__(inner, context)
        self.settings = settings


@implementer(IFilter)
@dataclass(frozen=True)
class ProxyProtocol:
    """
    The filter's settings.

    @ivar allow_requests_without_proxy_protocol: connections without a header pass as they
        are.  Whoever can connect then chooses the address that he is taken for.
    @ivar disallowed_versions: of 1 and 2, those whose headers are refused.
    """

    allow_requests_without_proxy_protocol: bool = False
    disallowed_versions: tuple[int, ...] = ()

    keys = (HEADER,)

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        """See L{IFilter.wrap}."""
        if not {1, 2} - set(self.disallowed_versions):
            raise ValueError("disallowed_versions leaves neither version 1 nor 2")
        return ProxyProtocolFactory(inner, context, self)


def configure(options: Mapping[str, str]) -> ProxyProtocol:
    """
    @param options: C{allow_requests_without_proxy_protocol}, C{true} or C{false};
        C{disallowed_versions}, C{1} or C{2}.
    @raise OptionError: one of them is unknown or wrong.
    """
    read = Options(options)
    allow = read.choice("allow_requests_without_proxy_protocol", ("false", "true")) == "true"
    versions = read.list("disallowed_versions")
    for version in versions:
        if version not in ("1", "2"):
            raise OptionError(f"disallowed_versions={version!r} has to be 1 or 2")
    read.finish()
    return ProxyProtocol(allow, tuple(int(version) for version in versions))


__all__ = ["HEADER", "OptionError", "ProxyProtocol", "configure"]
