"""
The plan: what a running proxy is made of, as frozen values.

It is the one input of L{mxproxy.service}.  The command line (L{mxproxy.config.options})
makes one; a configuration file makes one.  Nothing in here opens a file, resolves a name
or imports a reactor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..tls.settings import ClientTLS, ServerTLS
from ..wire.metadata import Node

#: Envoy's names for the two things that can be below a filter chain.
TLS = "tls"
RAW_BUFFER = "raw_buffer"

#: The name of the exchange's filter, as in Envoy's and Istio's files.
METADATA_EXCHANGE = "envoy.filters.network.metadata_exchange"


@dataclass(frozen=True)
class FilterSpec:
    """
    A network filter by name.

    @ivar options: what L{mxproxy.interfaces.IFilterPlugin.configure} is given.
    @ivar where: where it was asked for, for error messages.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class FilterChainMatch:
    """
    Which connections a filter chain takes: Envoy's C{FilterChainMatch}, field by field.

    What is empty matches everything.  L{mxproxy.matching} says which chain wins.

    @ivar prefix_ranges: networks (C{"10.0.0.0/8"}) that the destination has to be in.
    @ivar server_names: SNI, exact or as C{"*.example.com"}.
    @ivar transport_protocol: L{TLS} or L{RAW_BUFFER}.
    @ivar application_protocols: ALPN as the client offers it, or what an HTTP inspector
        has found; any of them.
    @ivar direct_source_prefix_ranges: of the socket's peer, whatever a PROXY header says.
    @ivar source_type: C{"SAME_IP_OR_LOOPBACK"}, C{"EXTERNAL"}, or empty.
    @ivar source_prefix_ranges: of the downstream's address.
    """

    destination_port: int | None = None
    prefix_ranges: tuple[str, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    direct_source_prefix_ranges: tuple[str, ...] = ()
    source_type: str = ""
    source_prefix_ranges: tuple[str, ...] = ()
    source_ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class FilterChainPlan:
    """
    One way through a listener.

    @ivar transport_protocol: C{"tls"}, C{"raw_buffer"}, or empty: whatever comes.
    @ivar tls: terminate TLS first, with these settings.
    @ivar filters: from the network's side to the terminal's.
    @ivar tls_handshake_timeout: seconds from the accepted connection to the finished
        handshake.
    @ivar cluster: the name of the cluster that the terminal connects to.
    """

    name: str
    cluster: str
    transport_protocol: str = ""
    tls: ServerTLS | None = None
    filters: tuple[FilterSpec, ...] = ()
    tls_handshake_timeout: float = 10.0


@dataclass(frozen=True)
class ListenerPlan:
    """
    A listening socket.

    @ivar endpoint: a Twisted server endpoint description.
    @ivar chains: the first whose match fits is taken.
    @ivar inspection_timeout: seconds to wait for the first bytes where chains have to be
        told apart by them; a silent client then counts as C{raw_buffer}.
    """

    name: str
    endpoint: str
    chains: tuple[FilterChainPlan, ...]
    inspection_timeout: float = 1.0


@dataclass(frozen=True)
class ClusterPlan:
    """
    Where connections go.

    @ivar endpoints: Twisted client endpoint descriptions, taken in turn.
    @ivar tls: originate TLS with these settings.
    @ivar filters: from the network's side to the terminal's.
    @ivar connect_timeout: seconds for one endpoint's TCP connection.
    @ivar tls_handshake_timeout: seconds from there to the finished handshake.
    """

    name: str
    endpoints: tuple[str, ...]
    tls: ClientTLS | None = None
    filters: tuple[FilterSpec, ...] = ()
    connect_timeout: float = 10.0
    tls_handshake_timeout: float = 10.0


@dataclass(frozen=True)
class Plan:
    """
    Everything.

    @ivar access_log: a file's path, C{"-"} for standard output, or empty for none.
    """

    node: Node
    listeners: tuple[ListenerPlan, ...]
    clusters: tuple[ClusterPlan, ...]
    access_log: str = ""
