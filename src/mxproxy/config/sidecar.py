"""
From the command line's values to the plan: one listener, one cluster, a sidecar's half.

Names, as logs show them: the listener is called like the mode (C{inbound}, C{outbound}), a
filter chain like what it carries (C{tls}, C{tls_passthrough}, C{raw_buffer}), the cluster
C{upstream}.

Where the exchange is: on the downstream side unless its TLS is disabled, and on the
upstream side when its TLS is mutual.  The plaintext chain of a permissive listener has it
too, so that such a connection is logged as C{alpn_mismatch}, not as C{disabled}: the
listener does exchange, this client does not.

What the values are and how they are written is L{mxproxy.config.options}; here they are
already checked one by one, and what is refused is their combination.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from twisted.python.usage import UsageError

from ..filters.tcp_proxy import TCPProxy
from ..socketoptions import SocketOption
from ..timeouts import Timeouts
from ..tls.context import ClientContext, ServerContext
from ..tls.settings import PEM, ClientTLS, ServerTLS, TLSConfigurationError, TLSProfile
from ..wire.metadata import Node
from .errors import ConfigurationError
from .plan import (
    METADATA_EXCHANGE,
    RAW_BUFFER,
    TCP_PROXY,
    TLS,
    TLS_INSPECTOR,
    ClusterPlan,
    FilterChainMatch,
    FilterChainPlan,
    FilterSpec,
    HostPlan,
    Limits,
    ListenerPlan,
    Plan,
    ServicePlan,
)

INBOUND = "inbound"
OUTBOUND = "outbound"

DISABLE = "disable"
PERMISSIVE = "permissive"
STRICT = "strict"
SIMPLE = "simple"
MUTUAL = "mutual"

#: The name of the only cluster.
UPSTREAM = "upstream"

# Istio's older files call it by the second.
_EXCHANGE_NAMES = (METADATA_EXCHANGE, "istio.metadata_exchange")

#: What follows the exchange's own protocol in the ALPN of a sidecar (docs/wire.md).
#: The chain's filters put theirs in front.
SIDECAR_ALPN = ("istio",)

#: What a client's sidecar offers beside the exchange's own protocol, for TCP and for HTTP.  On a
#: permissive port, TLS that offers none of it is the application's own business (Istio's
#: inbound filter chains match the same names).
MESH_ALPN = ("istio-peer-exchange", "istio", "istio-http/1.0", "istio-http/1.1", "istio-h2")

#: The chain of a permissive listener for the application's own TLS.
PASSTHROUGH = "tls_passthrough"


@dataclass(frozen=True)
class Sidecar:
    """
    What the command line says, all values checked one by one and all defaults filled in.

    Attributes are called like the options; L{mxproxy.config.options} describes them.

    @ivar exchange: the exchange's filter with the C{--mx-...} options.
    @ivar timeouts: of connections that are made.
    @ivar socket_options: of both sides' sockets.
    @ivar limits: how many connections there may be.
    """

    mode: str
    listen: str
    upstream: tuple[str, ...]
    downstream_tls: str
    upstream_tls: str
    node: Node
    exchange: FilterSpec
    filters: tuple[FilterSpec, ...]
    tls_cert: str | None
    tls_key: str | None
    tls_ca: str | None
    tls_crl: str | None
    tls_profile: TLSProfile
    upstream_sni: str | None
    upstream_san: tuple[str, ...]
    connect_timeout: float
    tls_handshake_timeout: float
    inspection_timeout: float
    service: str | None
    timeouts: Timeouts
    socket_options: tuple[SocketOption, ...]
    limits: Limits
    tls_keylog: str | None


def makePlan(sidecar: Sidecar) -> Plan:
    """
    @raise UsageError: options that do not go together.
    @raise ConfigurationError: a certificate, key or CA file that cannot be used.
    """
    _checkCombination(sidecar)
    chains = _chains(sidecar)
    cluster = ClusterPlan(
        name=UPSTREAM,
        hosts=tuple(HostPlan(endpoint) for endpoint in sidecar.upstream),
        tls=_upstreamTLS(sidecar),
        filters=(sidecar.exchange,) if sidecar.upstream_tls == MUTUAL else (),
        connect_timeout=sidecar.connect_timeout,
        tls_handshake_timeout=sidecar.tls_handshake_timeout,
        socket_options=sidecar.socket_options,
        service=_service(sidecar.service),
    )
    for chain in chains:
        if chain.tls is not None:
            _tryTLS(ServerContext, chain.tls)
    if cluster.tls is not None:
        _tryTLS(ClientContext, cluster.tls)
    listener = ListenerPlan(
        name=sidecar.mode,
        endpoint=sidecar.listen,
        chains=chains,
        listener_filters=_listenerFilters(sidecar),
        listener_filters_timeout=sidecar.inspection_timeout,
        continue_on_listener_filters_timeout=True,
        traffic_direction=sidecar.mode.upper(),
        socket_options=sidecar.socket_options,
        limits=sidecar.limits,
    )
    return Plan(
        node=sidecar.node,
        listeners=(listener,),
        clusters=(cluster,),
    )


def _service(host: str | None) -> ServicePlan | None:
    """
    Kubernetes' names begin with the service's name and its namespace.
    """
    if host is None:
        return None
    name, _, rest = host.partition(".")
    return ServicePlan(host, name, rest.partition(".")[0])


def _chains(sidecar: Sidecar) -> tuple[FilterChainPlan, ...]:
    terminal = FilterSpec(TCP_PROXY, settings=TCPProxy(UPSTREAM, timeouts=sidecar.timeouts))
    encrypted = FilterChainPlan(
        name=TLS,
        tls=_downstreamTLS(sidecar),
        filters=(sidecar.exchange, *sidecar.filters, terminal),
        tls_handshake_timeout=sidecar.tls_handshake_timeout,
    )
    plain = replace(encrypted, name=RAW_BUFFER, tls=None)
    if sidecar.downstream_tls == STRICT:
        # It matches whatever comes: TLS then says why it refuses what is not TLS, and no
        # connection waits for an inspection.
        return (encrypted,)
    if sidecar.downstream_tls == PERMISSIVE:
        protocol = sidecar.exchange.options["protocol"]
        mesh = tuple(dict.fromkeys((protocol, *MESH_ALPN)))
        return (
            replace(
                encrypted,
                match=FilterChainMatch(transport_protocol=TLS, application_protocols=mesh),
            ),
            replace(plain, name=PASSTHROUGH, match=FilterChainMatch(transport_protocol=TLS)),
            replace(plain, match=FilterChainMatch(transport_protocol=RAW_BUFFER)),
        )
    return (replace(plain, filters=(*sidecar.filters, terminal)),)


def _listenerFilters(sidecar: Sidecar) -> tuple[FilterSpec, ...]:
    if sidecar.downstream_tls == PERMISSIVE:
        return (FilterSpec(TLS_INSPECTOR),)
    return ()


def _downstreamTLS(sidecar: Sidecar) -> ServerTLS:
    return ServerTLS(
        certificate=_pem(sidecar.tls_cert),
        key=_pem(sidecar.tls_key),
        authorities=_pem(sidecar.tls_ca),
        crl=_pem(sidecar.tls_crl),
        profile=sidecar.tls_profile,
        alpn=SIDECAR_ALPN,
        key_log=sidecar.tls_keylog,
    )


def _upstreamTLS(sidecar: Sidecar) -> ClientTLS | None:
    if sidecar.upstream_tls == DISABLE:
        return None
    # An external upstream (simple) gets neither our certificate nor an ALPN of the mesh.
    simple = ClientTLS(
        authorities=_pem(sidecar.tls_ca),
        crl=_pem(sidecar.tls_crl),
        profile=sidecar.tls_profile,
        accepted=sidecar.upstream_san,
        server_name=sidecar.upstream_sni,
        key_log=sidecar.tls_keylog,
    )
    if sidecar.upstream_tls == SIMPLE:
        return simple
    return replace(
        simple,
        certificate=_pem(sidecar.tls_cert),
        key=_pem(sidecar.tls_key),
        alpn=SIDECAR_ALPN,
    )


def _pem(path: str | None) -> PEM | None:
    return None if path is None else PEM(path=path)


def _tryTLS(
    build: Callable[[ServerTLS], object] | Callable[[ClientTLS], object], tls: object
) -> None:
    """
    Build a context only to see that it can be built.
    """
    try:
        build(tls)  # type: ignore[arg-type]
    except TLSConfigurationError as error:
        raise ConfigurationError(str(error)) from error


def _checkCombination(sidecar: Sidecar) -> None:
    """
    Name the options that do not go together, before TLS says it in its own words.
    """
    files = {"--tls-cert": sidecar.tls_cert, "--tls-key": sidecar.tls_key}
    given = [name for name, path in files.items() if path is not None]
    if len(given) == 1:
        (missing,) = set(files) - set(given)
        raise UsageError(f"{given[0]} without {missing}: give both")
    if sidecar.tls_crl is not None and sidecar.tls_ca is None:
        raise UsageError("--tls-crl without --tls-ca: give the CAs whose lists these are")
    if sidecar.downstream_tls != DISABLE:
        _need(sidecar, f"--downstream-tls {sidecar.downstream_tls}")
    if sidecar.upstream_tls == MUTUAL:
        _need(sidecar, "--upstream-tls mutual")
    if sidecar.upstream_tls == SIMPLE and not (
        sidecar.tls_ca or sidecar.upstream_sni or sidecar.upstream_san
    ):
        raise UsageError(
            "--upstream-tls simple needs --upstream-sni, --upstream-san or --tls-ca: every "
            "public web server would do"
        )
    if sidecar.upstream_tls == DISABLE:
        named: Mapping[str, Sequence[str] | None] = {
            "--upstream-sni": sidecar.upstream_sni,
            "--upstream-san": sidecar.upstream_san,
        }
        for name, value in named.items():
            if value:
                raise UsageError(
                    f"{name} without TLS to the upstream: add --upstream-tls mutual or simple"
                )
    for spec in sidecar.filters:
        if spec.name in _EXCHANGE_NAMES and sidecar.downstream_tls != DISABLE:
            raise UsageError(f"{spec.where}: the exchange is in the chain already; use --mx-...")


def _need(sidecar: Sidecar, what: str) -> None:
    """
    Mutual TLS needs all three files.
    """
    files = {
        "--tls-cert": sidecar.tls_cert,
        "--tls-key": sidecar.tls_key,
        "--tls-ca": sidecar.tls_ca,
    }
    missing = [name for name, path in files.items() if path is None]
    if missing:
        raise UsageError(f"{what} needs {' and '.join(missing)}")
