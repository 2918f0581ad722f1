"""
What the tests of clusters share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.address import IPv4Address

from mxproxy.config.plan import (
    TCP_PROXY,
    ClusterPlan,
    FilterChainPlan,
    FilterSpec,
    HostPlan,
    ListenerPlan,
    Plan,
)
from mxproxy.connection import Connection
from mxproxy.filters.tcp_proxy import TCPProxy
from mxproxy.testing import Application, ApplicationFactory
from mxproxy.testing.reactor import MemoryPort
from mxproxy.upstream import Cluster
from mxproxy.wire.metadata import Node

from ..proxies import PORT, ProxyTestCase
from ..wire import helpers  # noqa: F401 - it sets hypothesis' profile


@dataclass(eq=False)
class Spot:
    """
    What a balancer looks at.
    """

    key: str
    weight: int = 1
    active: int = 0
    healthy: bool = True


def hostPlans(*addresses: str, **settings: Any) -> tuple[HostPlan, ...]:
    """
    @param addresses: C{10.0.0.1:80}.
    """
    return tuple(HostPlan(f"tcp:{address}", **settings) for address in addresses)


def plan(cluster: ClusterPlan, attempts: int | None) -> Plan:
    """
    A listener in front of a cluster.
    """
    terminal = FilterSpec(TCP_PROXY, settings=TCPProxy(cluster.name, attempts))
    chain = FilterChainPlan("chain", (terminal,))
    listener = ListenerPlan("listener", f"tcp:{PORT}:interface=127.0.0.1", (chain,))
    return Plan(Node(), (listener,), (cluster,))


class ClusterTestCase(ProxyTestCase):
    """
    A proxy in front of a cluster; hosts that are listening, or not.

    @ivar cluster: it, started.
    @ivar listening: what listens, by address.
    """

    cluster: Cluster

    def run_(
        self,
        *hosts: HostPlan,
        attempts: int | None = 1,
        names: dict[str, list[str]] | None = None,
        listen: Iterable[str] = (),
        start: bool = True,
        **settings: Any,
    ) -> Cluster:
        """
        @param names: what the resolver knows.
        @param listen: addresses.
        @param settings: the cluster's.
        """
        self.start(plan(ClusterPlan("cluster", hosts, **settings), attempts), listen=False)
        self.reactor.names.update(names or {})
        self.listening: dict[str, tuple[MemoryPort, ApplicationFactory]] = {}
        self.factories: list[ApplicationFactory] = []
        for address in listen:
            self.listen(address)
        self.cluster = self.proxy.service.clusters["cluster"]
        if start:
            self.cluster.start()
            self.settle()
        return self.cluster

    def listen(self, address: str) -> ApplicationFactory:
        """
        A host's application begins to listen.
        """
        host, _, port = address.rpartition(":")
        factory = ApplicationFactory()
        port_ = self.reactor.listenTCP(int(port), factory, interface=host.strip("[]"))
        self.listening[address] = port_, factory
        self.factories.append(factory)
        return factory

    def silence(self, address: str) -> None:
        """
        It does not listen any more.
        """
        self.listening.pop(address)[0].stopListening()

    def applications(self, address: str) -> list[Application]:
        """
        What was connected there.
        """
        return self.listening[address][1].built

    def taken(self) -> dict[str, int]:
        """
        How many connections each has had.
        """
        return {address: len(factory.built) for address, (_, factory) in self.listening.items()}

    def why(self) -> str:
        """
        The last connection's end.
        """
        return self.proxy.connection.close_reason

    def counted(self, name: str) -> int:
        return self.proxy.service.counters[f"cluster.cluster.{name}"]

    def refused(self) -> str:
        """
        Dial, and be refused.

        @return: why.
        """
        client = self.dial()
        self.assertEqual(client.endings, 1)
        client.close()
        self.settle()
        return self.why()

    def finish(self, *clients: Application) -> None:
        """
        Stop the cluster, end everything, and see that nothing is left.
        """
        self.cluster.stop()
        servers = [one for factory in self.factories for one in factory.built]
        for application in (*clients, *servers):
            if application.connections and not application.losses:
                application.close()
                self.settle()
        self.assertEqual(self.cluster.active, 0, repr(self.cluster))
        self.assertEqual([host.active for host in self.cluster.hosts if host.active], [])
        self.assertQuiet(*clients, *servers)


def downstream(address: str = "192.0.2.1", port: int = 40000) -> Connection:
    """
    A connection that only has an address.
    """
    connection = Connection("listener", lambda: 0.0)
    connection.downstream.address = IPv4Address("TCP", address, port)
    return connection


def weighted(*weights: int) -> tuple[HostPlan, ...]:
    """
    Hosts 10.0.0.1:80, 10.0.0.2:80, ...
    """
    hosts = hostPlans(*(f"10.0.0.{n}:80" for n in range(1, 1 + len(weights))))
    return tuple(replace(host, weight=weight) for host, weight in zip(hosts, weights))
