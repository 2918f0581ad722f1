"""
A connection's way through a cluster's hosts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.protocol import ClientFactory
from twisted.protocols.policies import ThrottlingFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mxproxy.config.plan import METADATA_EXCHANGE, FilterSpec, HostPlan
from mxproxy.connection import Connection, Peer
from mxproxy.interfaces import IFilter
from mxproxy.testing import Application, ApplicationFactory, Proxy, Sidecars
from mxproxy.testing.sidecars import (
    CLIENT_NODE,
    INBOUND,
    OUTBOUND,
    SERVER,
    SERVER_ID,
    SERVER_NODE,
    authority,
    clientTLS,
    dial,
    onePlan,
    serverTLS,
)
from mxproxy.tls.settings import PEM
from mxproxy.wire.metadata import Node

from ..proxies import PORT, CollectorOff, ProxyTestCase, assertNoCycles, assertQuiet


class PlainTests(ProxyTestCase):
    """
    Without TLS: only the TCP connection can fail.
    """

    def test_inTurn(self) -> None:
        """
        Each connection begins with the next one.
        """
        self.start(onePlan(Node(), PORT, SERVER, SERVER + 1, SERVER + 2))
        others = [ApplicationFactory(), ApplicationFactory()]
        for number, factory in enumerate(others, 1):
            self.reactor.listenTCP(SERVER + number, factory)
        for _ in range(7):
            self.dial()
        self.assertEqual([len(f.built) for f in [self.servers, *others]], [3, 2, 2])

    def test_next(self) -> None:
        """
        One that refuses is passed over.
        """
        self.start(onePlan(Node(), PORT, 1, 2, SERVER))
        client = self.dial()
        client.write(b"hello")
        self.settle()
        self.assertEqual(self.server.received, b"hello")
        client.close()
        self.settle()
        self.server.close()
        self.settle()
        self.assertQuiet(client)

    def test_none(self) -> None:
        """
        All have failed: the client is closed, and each reason is kept.
        """
        self.start(onePlan(Node(), PORT, 1, 2))
        client = self.dial()
        self.assertEqual(client.endings, 1)
        client.close()
        self.settle()
        self.assertEqual(
            self.proxy.connection.close_reason,
            "upstream: connect_failed: Connection refused (tcp:127.0.0.1:1);"
            " connect_failed: Connection refused (tcp:127.0.0.1:2)",
        )
        self.assertQuiet(client)

    def test_timeout(self) -> None:
        """
        One that does not answer is given up after the connect timeout, for the next.
        """
        self.start(onePlan(Node(), PORT, 1, SERVER))
        self.reactor.silent.add(("127.0.0.1", 1))
        client = self.dial()
        client.write(b"hello")
        self.reactor.advance(9.9)
        self.assertEqual(self.servers.built, [])
        self.reactor.advance(0.1)
        self.assertEqual(self.server.received, b"hello")

    def test_timeoutOfTheLast(self) -> None:
        self.start(onePlan(Node(), PORT, SERVER))
        self.reactor.silent.add(("127.0.0.1", SERVER))
        client = self.dial()
        self.reactor.advance(10)
        self.assertEqual(client.endings, 1)
        client.close()
        self.settle()
        self.assertEqual(
            self.told[-1],
            f"closed: upstream: connect_timeout: no connection within 10 s (tcp:127.0.0.1:{SERVER})",
        )
        self.assertQuiet(client)

    def test_chainDeclines(self) -> None:
        """
        A filter of the cluster's that takes no connection is a failed attempt.
        """

        @implementer(IFilter)
        class Full:
            def wrap(self, inner: Any, context: Any) -> Any:
                return ThrottlingFactory(inner, 0)

        spec = FilterSpec("full", settings=Full())
        self.start(onePlan(Node(), PORT, SERVER, upstreamFilters=(spec,)))
        client = self.dial()
        client.close()
        self.settle()
        for server in self.servers.built:
            server.close()
        self.settle()
        self.assertEqual(
            self.told[-1],
            f"closed: upstream: refused: AdoptFactory took no connection (tcp:127.0.0.1:{SERVER})",
        )
        self.assertQuiet(client)

    def test_unixSocket(self) -> None:
        """
        To and from a socket without IP addresses.
        """
        plan = onePlan(Node(), PORT)
        (listener,), (cluster,) = plan.listeners, plan.clusters
        plan = replace(
            plan,
            listeners=(replace(listener, endpoint="unix:/run/in"),),
            clusters=(replace(cluster, hosts=(HostPlan("unix:/run/out"),)),),
        )
        self.start(plan)
        self.reactor.listenUNIX("/run/out", self.servers)
        clients = ApplicationFactory()
        self.reactor.connectUNIX("/run/in", Dials(clients))
        self.settle()
        clients.built[0].write(b"hello")
        self.settle()
        self.assertEqual(self.server.received, b"hello")

    def test_clientGoesFirst(self) -> None:
        """
        The attempt is dropped with the client that it was for.
        """
        self.start(onePlan(Node(), PORT, SERVER))
        self.reactor.silent.add(("127.0.0.1", SERVER))
        client = self.dial()
        self.proxy.connection.downstream.transport.lose()
        self.assertEqual(self.told, ["opened", "closed: downstream: reset"])
        self.assertEqual(
            self.proxy.connection.upstream.close_reason,
            "cancelled: the downstream closed before the upstream was connected",
        )
        client.close()
        self.settle()
        self.assertQuiet(client)

    def test_whoGoesAtOnce(self) -> None:
        """
        A server that takes the connection and closes it is connected all the same.
        """
        self.start()
        self.servers._application = Closing
        client = self.dial()
        self.assertEqual(client.endings, 1)
        client.close()
        self.settle()
        self.assertEqual(self.told[1], "connected")
        self.assertQuiet(client)

    def test_noCycles(self) -> None:
        with CollectorOff():
            self.start(onePlan(Node(), PORT, 1, 2))
            self.dial().close()
            self.settle()
            self.reactor.silent.update({("127.0.0.1", 1), ("127.0.0.1", 2)})
            client = self.dial()
            self.proxy.connection.downstream.transport.lose()
            client.close()
            self.reactor.settle()
            client = self.dial()
            self.reactor.advance(20)
            client.close()
            self.settle()
            self.assertQuiet(client)
            assertNoCycles(self, self.reactor, [self.proxy])


class Dials(ClientFactory[Any]):
    """
    What connectUNIX wants.
    """

    noisy = False

    def __init__(self, factory: ApplicationFactory) -> None:
        self.buildProtocol = factory.buildProtocol  # type: ignore[method-assign]


class Closing(Application):
    def connectionMade(self) -> None:
        super().connectionMade()
        self.close()


class ThroughTLSTests(SynchronousTestCase):
    """
    An attempt has succeeded when TLS and the exchange have.
    """

    def pair(self, server: Any, client: Any = None, **exchange: str) -> Sidecars:
        """
        A good inbound sidecar, and in front of it one whose TLS is C{server}.
        """
        sidecars = Sidecars(client=client)
        self.bad = Proxy(
            onePlan(
                SERVER_NODE,
                INBOUND + 1,
                SERVER,
                downstream=server,
                downstreamFilters=(FilterSpec(METADATA_EXCHANGE, exchange),),
            ),
            sidecars.reactor,
        )
        self.both = Proxy(
            onePlan(
                CLIENT_NODE,
                OUTBOUND + 1,
                INBOUND + 1,
                INBOUND,
                upstream=client or clientTLS(),
                upstreamFilters=(FilterSpec(METADATA_EXCHANGE),),
            ),
            sidecars.reactor,
        )
        return sidecars

    def works(self, sidecars: Sidecars, wait: float = 1.0) -> str:
        """
        The next host is taken, and nothing of the application has been sent to the first.

        @return: why the first was not.
        """
        peers: list[Peer] = []
        newUpstream = Connection.newUpstream

        def remember(connection: Connection, whenLost: Any) -> Peer:
            peers.append(newUpstream(connection, whenLost))
            return peers[-1]

        self.patch(Connection, "newUpstream", remember)
        client = Application()
        dial(sidecars.reactor, OUTBOUND + 1, client)
        client.write(b"secret")
        first = peers[0]
        sidecars.reactor.advance(wait)
        self.assertEqual(sidecars.server.received, b"secret")
        self.assertEqual(len(sidecars.servers.built), 1)
        self.assertEqual((first.bytes_received, first.bytes_sent), (0, 0))
        client.close()
        sidecars.server.close()
        sidecars.reactor.settle()
        assertQuiet(
            self,
            sidecars.reactor,
            [self.both, self.bad, sidecars.inbound],
            [client, *sidecars.servers.built],
        )
        return first.close_reason

    def test_otherIdentity(self) -> None:
        """
        The first host proves an identity that is not accepted.
        """
        other = authority().issue("spiffe://cluster.local/ns/evil/sa/mallory")
        sidecars = self.pair(
            serverTLS(certificate=PEM(text=other.cert_pem), key=PEM(text=other.key_pem)),
            clientTLS(accepted=(SERVER_ID,)),
        )
        reason = self.works(sidecars)
        self.assertEqual(reason.partition(":")[0], "identity_mismatch")
        self.assertEqual(
            self.bad.connection.downstream.close_reason,
            "alert_received: the peer refused with alert 'internal error';"
            " it may not accept our identity",
        )

    def test_refusesUs(self) -> None:
        """
        The first host does not accept our identity.
        """
        sidecars = self.pair(serverTLS(accepted=("spiffe://cluster.local/ns/x/sa/other",)))
        reason = self.works(sidecars)
        self.assertEqual(reason.partition(":")[0], "alert_received")

    def test_silentInTLS(self) -> None:
        """
        The first host accepts the connection, and says nothing.
        """
        sidecars = self.pair(serverTLS())
        silent = ApplicationFactory()
        self.bad.service.ports[0].stopListening()
        sidecars.reactor.listenTCP(INBOUND + 1, silent)
        self.assertEqual(
            self.works(sidecars, 10), "handshake_timeout: no TLS handshake within 10 s"
        )

    def test_overTheCap(self) -> None:
        """
        The first host's prefix is too large: nothing of the application was sent to it.
        """
        sidecars = Sidecars(outboundExchange={"max_size": "10"})
        client = sidecars.dial()
        sidecars.reactor.settle()
        self.assertEqual(sidecars.servers.built[0].received if sidecars.servers.built else b"", b"")
        self.assertEqual(client.endings, 1)
        self.assertIn("too_large: announced length", sidecars.outbound.connection.close_reason)
        client.close()
        sidecars.reactor.settle()
        for server in sidecars.servers.built:
            server.close()
        sidecars.reactor.settle()
        assertQuiet(self, sidecars.reactor, [sidecars.outbound, sidecars.inbound], [client])

    def test_clientGoesDuringTLS(self) -> None:
        for steps in range(40):
            sidecars = Sidecars(chunks=100)
            client = sidecars.dial(DialOnly())
            for _ in range(steps):
                sidecars.reactor._turn()
            client.transport.lose()
            sidecars.reactor.settle()
            for server in sidecars.servers.built:
                server.close()
            sidecars.reactor.settle()
            sidecars.reactor.advance(60)
            assertQuiet(self, sidecars.reactor, [sidecars.outbound, sidecars.inbound], [client])


class DialOnly(Application):
    """
    Says nothing.
    """
