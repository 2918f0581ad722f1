"""
Looks for an HTTP request: C{envoy.filters.listener.http_inspector}.

What is found is the machine's business, L{mxproxy.wire.http}; here it becomes a fact of the
connection, by which the filter chain is picked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from ..config.plan import RAW_BUFFER
from ..connection import Peer
from ..interfaces import IChainContext, IFilter
from ..layers.peek import PeekFactory
from ..wire import http
from .options import Options

#: Envoy's counters, by what was found.
COUNTERS = {"http/1.0": "http10_found", "http/1.1": "http11_found", "h2c": "http2_found"}


@implementer(IFilter)
@dataclass(frozen=True)
class HTTPInspector:
    """
    The filter's settings: none.
    """

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        """See L{IFilter.wrap}."""

        def learnt(peer: Peer, answer: http.HTTPFound | http.NotHTTP) -> str | None:
            if isinstance(answer, http.HTTPFound):
                context.count(f"http_inspector.{COUNTERS[answer.protocol]}")
                peer.application_protocols = (answer.protocol,)
                return None
            if answer.reason == "too_large":
                context.count("http_inspector.read_error")
                return f"{answer.reason}: {answer.detail}"
            context.count("http_inspector.http_not_found")
            return None

        return PeekFactory(
            inner,
            context,
            name="http_inspector",
            inspector=http.HTTPInspector,
            learnt=learnt,
            wanted=_isPlaintext,
        )


def _isPlaintext(peer: Peer) -> bool:
    """As far as is known: what a tls_inspector below has found is no HTTP to be seen."""
    return peer.transport_protocol in (None, RAW_BUFFER)


def configure(options: Mapping[str, str]) -> HTTPInspector:
    """
    @raise mxproxy.filters.options.OptionError: there are no options.
    """
    Options(options).finish()
    return HTTPInspector()
