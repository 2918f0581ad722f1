"""
Two whole sidecars in memory, between two applications.

::

    client ─plain─► outbound sidecar ═mTLS + prefix═► inbound sidecar ─plain─► server

Each is a L{ProxyService<mxproxy.service.ProxyService>} with a plan, as C{twistd mxproxy} runs
it, on a L{MemoryReactor}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from twisted.internet.endpoints import clientFromString
from zope.interface import implementer

from ..config.plan import (
    METADATA_EXCHANGE,
    TCP_PROXY,
    ClusterPlan,
    FilterChainPlan,
    FilterSpec,
    HostPlan,
    ListenerPlan,
    Plan,
)
from ..connection import Connection, Peer
from ..filters import metadata_exchange
from ..filters.tcp_proxy import TCPProxy
from ..interfaces import IConnectionObserver
from ..pki import Authority, Credential
from ..service import ProxyService
from ..tls.settings import PEM, ClientTLS, ServerTLS
from ..wire.metadata import Node
from .application import Application, ApplicationFactory
from .reactor import MemoryReactor
from .sockets import Chunks
from .transport import MemoryTransport

#: Where everybody listens.
OUTBOUND, INBOUND, SERVER = 15001, 15006, 9000

CLIENT_NODE = Node("client~id", {"WORKLOAD_NAME": "sleep", "NAMESPACE": "default"})
SERVER_NODE = Node("server~id", {"WORKLOAD_NAME": "httpbin", "NAMESPACE": "default"})

CLIENT_ID = "spiffe://cluster.local/ns/default/sa/sleep"
SERVER_ID = "spiffe://cluster.local/ns/default/sa/httpbin"


@cache
def authority() -> Authority:
    """
    The one that both trust; made once, for all tests of a process.
    """
    return Authority.create()


@cache
def credential(identity: str) -> Credential:
    """
    A certificate of L{authority}'s.
    """
    return authority().issue(identity)


def pems(identity: str) -> dict[str, PEM]:
    """
    @return: C{certificate}, C{key} and C{authorities} for TLS settings.
    """
    own = credential(identity)
    return {
        "certificate": PEM(text=own.cert_pem),
        "key": PEM(text=own.key_pem),
        "authorities": PEM(text=authority().cert_pem),
    }


def serverTLS(**settings: Any) -> ServerTLS:
    """
    What the inbound sidecar is told of TLS, unless C{settings} say otherwise.
    """
    return ServerTLS(**{**pems(SERVER_ID), "alpn": ("istio",), **settings})


def clientTLS(**settings: Any) -> ClientTLS:
    """
    What the outbound sidecar is told of TLS, unless C{settings} say otherwise.
    """
    return ClientTLS(**{**pems(CLIENT_ID), "alpn": ("istio",), **settings})


@implementer(IConnectionObserver)
class Edges:
    """
    Keeps the connections of a proxy, and what was told of them.

    @ivar all: every connection, the oldest first.
    @ivar told: what happened, in order: C{opened}, C{identified downstream: found} ...
    """

    def __init__(self) -> None:
        self.all: list[Connection] = []
        self.told: list[str] = []

    def opened(self, connection: Connection) -> None:
        """See L{IConnectionObserver}."""
        self.all.append(connection)
        self.told.append("opened")

    def identified(self, connection: Connection, peer: Peer) -> None:
        """See L{IConnectionObserver}."""
        self.told.append(f"identified {peer.side}: {peer.peer_state}")

    def connected(self, connection: Connection) -> None:
        """See L{IConnectionObserver}."""
        self.told.append("connected")

    def closed(self, connection: Connection) -> None:
        """See L{IConnectionObserver}."""
        self.told.append(f"closed: {connection.close_reason}")


class Proxy:
    """
    A plan, running in memory: listening, without signals and without a log.

    @ivar service: what runs.
    @ivar edges: what became of its connections.
    """

    def __init__(self, plan: Plan, reactor: MemoryReactor) -> None:
        self.edges = Edges()
        self.service = ProxyService(plan, reactor, [self.edges])
        self.service.privilegedStartService()

    @property
    def connection(self) -> Connection:
        """The last one."""
        return self.edges.all[-1]


class Sidecars:
    """
    The two sidecars, and the applications.

    @ivar reactor: their time and network.
    @ivar outbound: the client's L{Proxy}.
    @ivar inbound: the server's.
    @ivar servers: the applications that the inbound sidecar has connected to.
    """

    def __init__(
        self,
        *,
        tls: bool = True,
        server: ServerTLS | None = None,
        client: ClientTLS | None = None,
        clientNode: Node = CLIENT_NODE,
        serverNode: Node = SERVER_NODE,
        outboundExchange: Mapping[str, str] | None = None,
        inboundExchange: Mapping[str, str] | None = None,
        outboundFilters: Sequence[FilterSpec] = (),
        inboundFilters: Sequence[FilterSpec] = (),
        chunks: Chunks = None,
        capacity: int | None = None,
    ) -> None:
        """
        @param tls: C{False} leaves TLS out, and has the exchange all the same; a hundred
            times as many connections can then be tried in the same time.
        @param server: instead of L{serverTLS}.
        @param client: instead of L{clientTLS}.
        @param outboundExchange: options of the exchange on the client's side.
        @param inboundExchange: on the server's.
        @param outboundFilters: filters between the exchange and the terminal, client's side.
        @param inboundFilters: on the server's.
        @param chunks: see L{MemoryReactor}.
        @param capacity: see L{MemoryReactor}.
        """
        self.reactor = MemoryReactor(chunks, capacity)
        # Without TLS there is no ALPN; the empty name stands for that.
        always = {} if tls else {"protocol": ""}

        def exchange(options: Mapping[str, str] | None) -> FilterSpec:
            # Configured here: to look a plugin up takes as long as a handshake.
            settings = metadata_exchange.configure({**always, **(options or {})})
            return FilterSpec(METADATA_EXCHANGE, settings=settings)

        self.inbound = Proxy(
            onePlan(
                serverNode,
                INBOUND,
                SERVER,
                downstream=(server or serverTLS()) if tls else None,
                downstreamFilters=(exchange(inboundExchange), *inboundFilters),
            ),
            self.reactor,
        )
        self.outbound = Proxy(
            onePlan(
                clientNode,
                OUTBOUND,
                INBOUND,
                upstream=(client or clientTLS()) if tls else None,
                downstreamFilters=outboundFilters,
                upstreamFilters=(exchange(outboundExchange),),
            ),
            self.reactor,
        )
        self.servers = ApplicationFactory()
        self.reactor.listenTCP(SERVER, self.servers)

    def dial(self, application: Application | None = None, port: int = OUTBOUND) -> Application:
        """
        Connect a client.

        @param port: whom to; C{INBOUND} leaves the client's sidecar out.
        """
        return dial(self.reactor, port, application)

    @property
    def server(self) -> Application:
        """The server's application, of the last connection."""
        return self.servers.built[-1]

    @property
    def transports(self) -> list[MemoryTransport]:
        """What is open."""
        return [
            peer.transport
            for proxy in (self.outbound, self.inbound)
            for connection in proxy.service.connections
            for peer in (connection.downstream, connection.upstream)
            if peer.transport is not None
        ]


def dial(reactor: MemoryReactor, port: int, application: Application | None = None) -> Application:
    """
    Connect an application to C{port}, and settle.
    """
    application = application or Application()
    factory = ApplicationFactory(lambda: application)
    clientFromString(reactor, f"tcp:127.0.0.1:{port}").connect(factory)
    reactor.settle()
    return application


def onePlan(
    node: Node,
    listen: int,
    *upstreamPorts: int,
    downstream: ServerTLS | None = None,
    upstream: ClientTLS | None = None,
    downstreamFilters: Sequence[FilterSpec] = (),
    upstreamFilters: Sequence[FilterSpec] = (),
) -> Plan:
    """
    A plan with one listener, one chain and one cluster.

    @param node: who it is.
    @param listen: a port.
    @param upstreamPorts: ports.
    """
    chain = FilterChainPlan(
        "chain",
        (*downstreamFilters, FilterSpec(TCP_PROXY, settings=TCPProxy("cluster"))),
        tls=downstream,
    )
    cluster = ClusterPlan(
        "cluster",
        tuple(HostPlan(f"tcp:127.0.0.1:{port}") for port in upstreamPorts),
        tls=upstream,
        filters=tuple(upstreamFilters),
    )
    listener = ListenerPlan("listener", f"tcp:{listen}:interface=127.0.0.1", (chain,))
    return Plan(node, (listener,), (cluster,))
