"""
From a cluster's plan to a cluster: its chains are built here, one for each way to speak to a
host, and everything that can be wrong with them is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..chain import (
    ChainError,
    Claims,
    configureFilters,
    exchangesMetadata,
    wrapFilters,
    wrapTLS,
)
from ..config.plan import ClusterPlan, FilterSpec, TransportSocketMatch
from ..interfaces import IChainContext, IFilter
from ..tcp import UpstreamFactory
from ..tls.reload import CertificateReloader
from .cluster import Cluster
from .health import CheckFactory
from .sockets import UpstreamChain, UpstreamSocket

#: What ALPN names of the mesh begin with.
_MESH = "istio"


def buildCluster(
    plan: ClusterPlan,
    claims: Claims,
    context: IChainContext,
    certificates: CertificateReloader,
) -> Cluster:
    """
    @param claims: see L{mxproxy.chain.configure}.
    @param context: the cluster's.
    @param certificates: looks after the files of TLS.
    @raise ChainError: it cannot be built.
    @raise mxproxy.tls.settings.TLSConfigurationError: TLS settings cannot be used.
    """
    filters = [
        (spec, filter)
        for spec, filter in zip(plan.filters, configureFilters(plan.filters, claims))
        # Whoever is outside of the mesh is told nothing of it.
        if not (plan.external and exchangesMetadata([filter]))
    ]
    kinds = (
        *plan.transport_socket_matches,
        TransportSocketMatch("", {}, plan.tls, plan.proxy_protocol),
    )
    sockets = [_socket(plan, kind, filters, context, certificates) for kind in kinds]
    try:
        return Cluster(context.clock, plan, sockets, context.count)
    except ValueError as error:
        raise ChainError(f"cluster {plan.name}: {error}") from error


def _socket(
    plan: ClusterPlan,
    kind: TransportSocketMatch,
    configured: Sequence[tuple[FilterSpec, IFilter]],
    context: IChainContext,
    certificates: CertificateReloader,
) -> UpstreamSocket:
    specs = [spec for spec, _ in configured]
    filters = [filter for _, filter in configured]
    tls = kind.tls
    if tls is not None and plan.external:
        tls = replace(tls, alpn=tuple(name for name in tls.alpn if not name.startswith(_MESH)))

    inner = wrapFilters(UpstreamFactory(context), specs, filters, context)
    timeout = plan.tls_handshake_timeout
    chain = wrapTLS(inner, tls, filters, context, timeout, certificates)
    check = None
    if plan.health_checks:
        # None of the filters: a check has no application, and nobody to tell of a peer.
        check = wrapTLS(CheckFactory(), tls, (), context, timeout, certificates)
    return UpstreamSocket(
        UpstreamChain(chain, exchangesMetadata(filters)),
        None if check is None else UpstreamChain(check, False),
        kind.match,
        kind.proxy_protocol,
        plan.socket_options,
    )
