"""
Looks for a TLS ClientHello: C{envoy.filters.listener.tls_inspector}.

What is found is the machine's business, L{mxproxy.wire.clienthello}; here it becomes facts
of the connection, by which the filter chain is picked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from ..config.plan import TLS
from ..connection import Peer
from ..interfaces import IChainContext, IFilter
from ..layers.peek import PeekFactory
from ..wire.clienthello import ClientHello, ClientHelloInspector, NotTLS
from .options import Options

#: What is no TLS and no plaintext either: the connection is closed, as by Envoy.
REFUSED = ("too_large", "invalid_version")


@implementer(IFilter)
@dataclass(frozen=True)
class TLSInspector:
    """
    The filter's settings: none.
    """

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        """See L{IFilter.wrap}."""

        def learnt(peer: Peer, answer: ClientHello | NotTLS) -> str | None:
            if isinstance(answer, ClientHello):
                context.count("tls_inspector.tls_found")
                peer.transport_protocol = TLS
                peer.server_name = answer.server_name
                peer.alpn_offered = peer.application_protocols = answer.alpn
                return None
            context.count("tls_inspector.tls_not_found")
            return f"{answer.reason}: {answer.detail}" if answer.reason in REFUSED else None

        return PeekFactory(
            inner, context, name="tls_inspector", inspector=ClientHelloInspector, learnt=learnt
        )


def configure(options: Mapping[str, str]) -> TLSInspector:
    """
    @raise mxproxy.filters.options.OptionError: there are no options.
    """
    Options(options).finish()
    return TLSInspector()
