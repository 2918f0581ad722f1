"""
Builds chains: a terminal, wrapped by filters, wrapped by TLS.

Everything that can be wrong with a chain is found here, when the configuration is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from .config.plan import TCP_PROXY, FilterSpec
from .connection import Key
from .interfaces import IChainContext, IFilter, ITerminal, IUpstream
from .layers.adopt import adopt
from .layers.tls import TLSFactory
from .plugins import UnknownFilter, findFilter
from .tls.reload import CertificateReloader
from .tls.settings import ClientTLS, ServerTLS
from .wire.metadata import Node

log = Logger()


class ChainError(ValueError):
    """
    A chain cannot be built; the text, one line, says where, what and what to do.
    """


def _noUpstream(name: str) -> IUpstream:
    raise ChainError(f"there is no cluster {name!r}; there is none at all")


@implementer(IChainContext)
@dataclass(frozen=True)
class ChainContext:
    """
    See L{IChainContext}.
    """

    side: str
    name: str
    listener: str
    node: Node
    clock: Any
    count: Callable[[str], None]
    upstream: Callable[[str], IUpstream] = _noUpstream
    listener_filters_timeout: float = 0.0
    continue_on_listener_filters_timeout: bool = False


#: The facts that filters keep, by name, and who was the first to say so.
Claims = dict[str, tuple[Key[Any], str]]


def configure(spec: FilterSpec, claims: Claims) -> object:
    """
    Find a filter and give it its options.

    @param claims: of the whole configuration: a listener's filters and a cluster's keep their
        facts on the same connections.
    @return: an L{IFilter} or an L{ITerminal}.
    @raise ChainError: it is unknown, refuses its options, or keeps a fact under a name that
        another one uses.
    """
    where = _where(spec)
    filter: object = spec.settings
    if filter is None:
        try:
            filter = findFilter(spec.name).configure(spec.options)
        except UnknownFilter as error:
            raise ChainError(f"{where}: {error}") from None
        except ValueError as error:
            raise ChainError(f"{where}: {error}") from error
    for key in getattr(filter, "keys", ()):
        other, whose = claims.setdefault(key.name, (key, where))
        if other is not key:
            raise ChainError(
                f"{where}: keeps a fact named {key.name!r} on connections, and so does"
                f" {whose}; only one of the two can be used"
            )
    return filter


def configureFilters(specs: Sequence[FilterSpec], claims: Claims) -> list[IFilter]:
    """
    L{configure} filters that have something above them.

    @raise ChainError: one cannot be used, or ends a chain.
    """
    filters: list[IFilter] = []
    for spec in specs:
        filter = configure(spec, claims)
        if ITerminal.providedBy(filter):
            raise ChainError(
                f"{_where(spec)}: {spec.name} ends a chain; it has to be the last filter of a"
                " filter chain"
            )
        if not IFilter.providedBy(filter):
            raise ChainError(
                f"{_where(spec)}: its configure() has returned {filter!r}, which is no IFilter"
            )
        filters.append(filter)
    return filters


def buildTerminal(
    specs: Sequence[FilterSpec], claims: Claims, context: IChainContext
) -> IProtocolFactory:
    """
    The top of a listener's chain.

    @param specs: all filters of the chain; the last is the terminal.
    @raise ChainError: it is no terminal, or cannot be used.
    """
    if not specs:
        raise ChainError(f"{context.name}: a filter chain needs at least a terminal filter")
    filter = configure(specs[-1], claims)
    if not ITerminal.providedBy(filter):
        raise ChainError(
            f"{_where(specs[-1])}: {specs[-1].name} cannot end a filter chain; the last filter has"
            f" to be a terminal one, such as {TCP_PROXY}"
        )
    try:
        return filter.terminal(context)
    except ValueError as error:
        raise ChainError(f"{_where(specs[-1])}: {error}") from error


def exchangesMetadata(filters: Sequence[IFilter]) -> bool:
    """
    Whether one of them learns the peer's metadata.
    """
    return any(getattr(filter, "exchanges_metadata", False) for filter in filters)


def alpnProtocols(configured: Sequence[str], filters: Sequence[IFilter]) -> tuple[str, ...]:
    """
    The protocols to offer, in order: what the live filters want, then what is configured.
    """
    wanted = [name for filter in filters for name in getattr(filter, "alpn_protocols", ())]
    return tuple(dict.fromkeys([*wanted, *configured]))


def wrapFilters(
    terminal: IProtocolFactory,
    specs: Sequence[FilterSpec],
    filters: Sequence[IFilter],
    context: IChainContext,
) -> IProtocolFactory:
    """
    @param specs: from the network's side to the terminal's.
    @param filters: what L{configureFilters} has made of them.
    @raise ChainError: one cannot be used in this chain.
    """
    factory = terminal
    for spec, filter in reversed(list(zip(specs, filters, strict=True))):
        try:
            wrapped = filter.wrap(factory, context)
        except ValueError as error:
            raise ChainError(f"{_where(spec)}: {error}") from error
        if not IProtocolFactory.providedBy(wrapped):
            raise ChainError(
                f"{_where(spec)}: its wrap() has returned {wrapped!r}, which is no IProtocolFactory"
            )
        factory = adopt(wrapped, context)
    return factory


def _where(spec: FilterSpec) -> str:
    return spec.where or spec.name


def wrapTLS(
    inner: IProtocolFactory,
    settings: ServerTLS | ClientTLS | None,
    filters: Sequence[IFilter],
    context: IChainContext,
    timeout: float,
    certificates: CertificateReloader,
) -> IProtocolFactory:
    """
    @param filters: the filters above, which say what ALPN has to offer.
    @param timeout: seconds for a handshake.
    @param certificates: looks after the files that the settings name.
    @raise mxproxy.tls.settings.TLSConfigurationError: the settings cannot be used.
    """
    if settings is None:
        return inner
    live = replace(settings, alpn=alpnProtocols(settings.alpn, filters))
    where = f"listener.{context.listener}" if context.listener else f"cluster.{context.name}"

    def counted(name: str) -> None:
        context.count(f"{where}.{name}")

    tls = certificates.contexts(live, context.name, counted)
    for warning in tls.context.warnings:
        log.warn("{name}: {warning}", name=context.name, warning=warning)  # noqa: G010
    return TLSFactory(inner, context, tls, timeout)
