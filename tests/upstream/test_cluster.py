"""
Whole clusters: who is connected, how often it is tried, how many there may be, and what is
given back.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import fail
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mxproxy.config.plan import (
    LEAST_REQUEST,
    LOGICAL_DNS,
    MAGLEV,
    METADATA_EXCHANGE,
    ORIGINAL_DST,
    RING_HASH,
    STRICT_DNS,
    ClusterPlan,
    FilterSpec,
    HealthCheckPlan,
    HostPlan,
    OutlierDetectionPlan,
    TransportSocketMatch,
)
from mxproxy.connection import Peer
from mxproxy.interfaces import IUpstream
from mxproxy.testing import Application, ApplicationFactory, MemoryReactor, MemoryTransport
from mxproxy.testing.sidecars import INBOUND, SERVER_NODE, Proxy, clientTLS, onePlan, serverTLS
from mxproxy.upstream import attempt as attemptModule
from mxproxy.upstream.proxyheader import proxyHeader
from mxproxy.wire.clienthello import ClientHelloInspector
from mxproxy.wire.proxyprotocol import ProxyProtocolDecoder

from ..proxies import PORT, CollectorOff, assertNoCycles
from .helpers import ClusterTestCase, downstream, hostPlans, weighted

ONE, TWO, THREE = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"


class PickTests(ClusterTestCase):
    def test_interface(self) -> None:
        verifyObject(IUpstream, self.run_(*hostPlans(ONE)))
        self.finish()

    def test_weights(self) -> None:
        self.run_(*weighted(3, 1), listen=[ONE, TWO])
        clients = [self.dial() for _ in range(8)]
        self.assertEqual(self.taken(), {ONE: 6, TWO: 2})
        self.finish(*clients)

    def test_leastRequest(self) -> None:
        """
        What is open counts, and what is closed does not.
        """
        self.run_(*hostPlans(ONE, TWO), lb_policy=LEAST_REQUEST, listen=[ONE, TWO])
        clients = [self.dial() for _ in range(40)]
        first, second = self.cluster.hosts
        self.assertLess(abs(first.active - second.active), 10)
        for client in clients:
            client.close()
        self.settle()
        for one in (*self.applications(ONE), *self.applications(TWO)):
            one.close()
        self.settle()
        self.assertEqual((first.active, second.active), (0, 0))
        self.finish(*clients)

    def test_bySource(self) -> None:
        """
        The same address goes to the same host, whatever its port; others to others.
        """
        for policy in (RING_HASH, MAGLEV):
            cluster = self.run_(*weighted(1, 1, 1), lb_policy=policy)
            found: Counter[str] = Counter()
            for n in range(100):
                address = f"192.0.2.{n}"
                hosts = {cluster.pick(downstream(address, port)) for port in (1, 2, 3)}
                self.assertEqual(len(hosts), 1)
                found[hosts.pop().key] += 1  # type: ignore[union-attr]
            self.assertEqual(set(found), {ONE, TWO, THREE})
            self.finish()

    def test_noSource(self) -> None:
        """
        Who has no IP address goes anywhere.
        """
        cluster = self.run_(*weighted(1, 1, 1), lb_policy=RING_HASH)
        connection = downstream()
        connection.downstream.address = UNIXAddress(None)
        self.assertEqual(len({cluster.pick(connection) for _ in range(100)}), 3)
        self.finish()

    def test_wrongPlans(self) -> None:
        for settings, why in (
            ({"lb_policy": "BEST"}, "there is no lb_policy 'BEST'"),
            ({"hosts": (HostPlan("tcp:10.0.0.1:80", 0),)}, "a host's weight is at least 1"),
        ):
            hosts = settings.pop("hosts", ())
            error: Any = self.assertRaises(ValueError, self.run_, *hosts, **settings)
            self.assertTrue(str(error).startswith(f"cluster cluster: {why}"), error)

    def test_wrongOriginals(self) -> None:
        for settings in (
            {"health_checks": (HealthCheckPlan(1, 1, 1, 1),)},
            {"outlier_detection": OutlierDetectionPlan()},
        ):
            error: Any = self.assertRaises(ValueError, self.run_, type=ORIGINAL_DST, **settings)
            self.assertIn("none to check or to eject", str(error))


class AttemptsTests(ClusterTestCase):
    """
    Exactly so many picks, as tcp_proxy's C{max_connect_attempts} says.
    """

    def test_one(self) -> None:
        self.run_(*hostPlans(ONE, TWO), listen=[TWO])
        self.assertEqual(
            self.refused(), f"upstream: connect_failed: Connection refused (tcp:{ONE})"
        )
        self.finish()

    def test_anotherPick(self) -> None:
        """
        Each is the balancer's next: with three hosts, and three attempts of which the last
        succeeds, the turn is at the first host again.
        """
        self.run_(*hostPlans(ONE, TWO, THREE), attempts=3, listen=[THREE])
        clients = [self.dial(), self.dial()]
        self.assertEqual(self.taken(), {THREE: 2})
        self.assertEqual(self.counted("upstream_cx_total"), 6)
        self.finish(*clients)

    def test_moreThanHosts(self) -> None:
        self.run_(*hostPlans(ONE, TWO), attempts=5)
        reasons = self.refused().removeprefix("upstream: ").split("; ")
        self.assertEqual([reason[-5] for reason in reasons], list("12121"))
        self.finish()

    def test_sameHost(self) -> None:
        """
        A hash goes to the same host each time, as in Envoy.
        """
        self.run_(*hostPlans(ONE, TWO, THREE), attempts=4, lb_policy=RING_HASH)
        reasons = self.refused().removeprefix("upstream: ").split("; ")
        self.assertEqual((len(reasons), len(set(reasons))), (4, 1))
        self.finish()

    def test_eachOnce(self) -> None:
        """
        Without a number: each host once, beginning with the pick.
        """
        for policy in (LEAST_REQUEST, RING_HASH):
            self.run_(*hostPlans(ONE, TWO, THREE), attempts=None, lb_policy=policy)
            for _ in range(5):
                reasons = self.refused().removeprefix("upstream: ").split("; ")
                self.assertIn("".join(reason[-5] for reason in reasons), ("123", "231", "312"))
            self.finish()

    def test_eachHealthyOnce(self) -> None:
        self.run_(*hostPlans(ONE, TWO, THREE), attempts=None)
        self.cluster.hosts[1].ejected = True
        self.cluster._refresh()
        reasons = self.refused().removeprefix("upstream: ").split("; ")
        self.assertEqual("".join(reason[-5] for reason in reasons), "13")
        self.finish()

    def test_noHosts(self) -> None:
        for attempts in (None, 1, 3):
            self.run_(attempts=attempts)
            self.assertEqual(
                self.refused(), "upstream: no_healthy_upstream: cluster cluster has no hosts"
            )
            self.assertEqual(self.counted("upstream_cx_none_healthy"), 1)
            self.finish()

    def test_counters(self) -> None:
        self.run_(*hostPlans(ONE, TWO), attempts=2, connect_timeout=3.0)
        self.reactor.silent.add(("10.0.0.2", 80))
        client = self.dial()
        self.reactor.advance(3)
        for name, expected in (
            ("upstream_cx_total", 2),
            ("upstream_cx_connect_fail", 1),
            ("upstream_cx_connect_timeout", 1),
        ):
            self.assertEqual(self.counted(name), expected, name)
        self.finish(client)

    def test_countersOfTLS(self) -> None:
        """
        A host that accepts and does not shake hands has not connected in time, either.
        """
        self.run_(*hostPlans(ONE), tls=clientTLS(), tls_handshake_timeout=3.0, listen=[ONE])
        client = self.dial()
        self.reactor.advance(3)
        self.assertEqual(client.endings, 1)
        for name, expected in (("upstream_cx_connect_fail", 0), ("upstream_cx_connect_timeout", 1)):
            self.assertEqual(self.counted(name), expected, name)
        self.finish(client)

    def test_whoGoes(self) -> None:
        """
        The client goes while an attempt is under way: all is given back at once.
        """
        self.run_(*hostPlans(ONE))
        self.reactor.silent.add(("10.0.0.1", 80))
        client = self.dial()
        self.assertEqual(self.cluster.active, 1)
        self.proxy.connection.downstream.transport.lose()
        self.assertEqual(self.cluster.active, 0)
        client.close()
        self.settle()
        self.finish(client)

    def test_errors(self) -> None:
        """
        Whatever is wrong, it is said in a few words, of the upstream and of the connection.
        """
        for error, why in (
            (ConnectError(OSError(113, "x")), "No route to host"),
            (ConnectError(113), "No route to host"),
            (ConnectError("a\n word"), "a word"),
            (
                ConnectError(string="not\n there"),
                "An error occurred while connecting: not there.",
            ),
            (ValueError("two\nlines"), "two lines"),
            (ValueError(), "ValueError"),
        ):
            self.run_(*hostPlans(ONE))
            self.cluster.hosts[0].place.endpoint = Failing(error)
            reason = f"connect_failed: {why}"
            self.assertEqual(self.refused(), f"upstream: {reason} (tcp:{ONE})")
            self.assertEqual(self.proxy.connection.upstream.close_reason, reason)
            self.finish()

    def test_whoGoesDuringTLS(self) -> None:
        """
        What is open is dropped at once.
        """
        self.run_(*hostPlans(ONE), tls=clientTLS(), listen=[ONE])
        client = self.dial()
        (server,) = self.applications(ONE)
        self.proxy.connection.downstream.transport.lose()
        self.assertEqual(server.losses, ["lost"])
        client.close()
        self.settle()
        self.finish(client)

    def test_whom(self) -> None:
        """
        Whom it was tried to connect is known, although it is not connected; and what is
        connected has no delay of its own.
        """
        self.run_(*hostPlans(ONE, TWO), attempts=1, listen=[ONE])
        client = self.dial()
        transport = self.proxy.connection.upstream.transport
        self.assertEqual(transport.getTcpNoDelay(), 1)
        self.refused()
        self.assertEqual(self.proxy.connection.upstream.host, TWO)
        self.finish(client)

    def test_unix(self) -> None:
        """
        A host may be a socket of another kind.
        """
        self.run_(HostPlan("unix:/run/x"))
        servers = ApplicationFactory()
        self.reactor.listenUNIX("/run/x", servers)
        client = self.dial()
        self.assertEqual(len(servers.built), 1)
        self.assertEqual(self.proxy.connection.upstream.host, "/run/x")
        client.close()
        self.settle()
        servers.built[0].close()
        self.settle()
        self.finish(client)

    def test_chainThatRefuses(self) -> None:
        """
        A chain that takes no connection is a failure like any other.
        """
        self.run_(*hostPlans(ONE, TWO), attempts=2, listen=[ONE, TWO])
        factory = self.cluster.hosts[0].socket.chain.factory
        build = factory.buildProtocol
        answers: list[Any] = [lambda addr: None, build]

        def refuseOnce(addr: object) -> Any:
            return answers.pop(0)(addr)

        self.patch(factory, "buildProtocol", refuseOnce)
        client = self.dial()
        self.assertEqual(self.proxy.edges.told[-1], "connected")
        self.assertEqual(self.taken(), {ONE: 1, TWO: 1})
        self.assertEqual(self.applications(ONE)[0].endings, 1)
        self.assertEqual(self.cluster.active, 1)
        self.finish(client)


@implementer(IStreamClientEndpoint)
class Failing:
    """
    Cannot connect.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error

    def connect(self, protocolFactory: Any) -> Any:
        return fail(self.error)


class MaxConnectionsTests(ClusterTestCase):
    def test_refused(self) -> None:
        """
        One more than so many is refused at once; when one is over there is room again.
        """
        self.run_(*hostPlans(ONE), max_connections=2, listen=[ONE])
        clients = [self.dial(), self.dial()]
        self.assertEqual(
            self.refused(), "upstream: overflow: cluster cluster is at its max_connections, 2"
        )
        self.assertEqual(self.counted("upstream_cx_overflow"), 1)
        self.assertEqual(self.taken(), {ONE: 2})
        clients[0].close()
        self.settle()
        self.applications(ONE)[0].close()
        self.settle()
        clients.append(self.dial())
        self.assertEqual(self.taken(), {ONE: 3})
        self.finish(*clients)

    def test_atOnce(self) -> None:
        """
        The slot is given back with the upstream, though its other side is still flushed.
        """
        self.run_(*hostPlans(ONE), max_connections=1, listen=[ONE])
        self.reactor.capacity = 10
        client = Application()
        client.onConnect = client.pause  # type: ignore[assignment]
        self.dial(client)
        server = self.applications(ONE)[0]
        server.write(b"x" * 100)
        self.settle()
        self.assertEqual(self.cluster.active, 1)
        server.abort()
        self.settle()
        self.assertEqual(client.losses, [])
        self.assertEqual(self.cluster.active, 0)
        client.resume()
        self.settle()
        self.finish(client)

    def test_beingMade(self) -> None:
        """
        Attempts count, too.
        """
        self.run_(*hostPlans(ONE), max_connections=1)
        self.reactor.silent.add(("10.0.0.1", 80))
        client = self.dial()
        self.assertIn("overflow", self.refused())
        client.close()
        self.reactor.advance(10)
        self.finish(client)

    def test_none(self) -> None:
        """
        Nought is a limit.
        """
        self.run_(*hostPlans(ONE), max_connections=0, listen=[ONE])
        self.assertIn("overflow", self.refused())
        self.finish()

    def test_afterFailures(self) -> None:
        """
        The reasons before it are kept.
        """
        self.run_(*hostPlans(ONE, TWO), attempts=2, max_connections=1, listen=[TWO])
        self.reactor.silent.add(("10.0.0.1", 80))
        first = self.dial()
        self.reactor.silent.clear()
        self.reactor.advance(10)
        self.assertEqual(self.proxy.edges.told[-1], "connected")
        self.finish(first)


class Header:
    """
    What a PROXY header says.
    """

    def __init__(self, data: bytes) -> None:
        outcome = ProxyProtocolDecoder().feed(data)
        assert outcome is not None and not outcome.abort, data
        header: Any = outcome.result
        self.said = (header.version, header.command.name, header.source, header.destination)
        self.rest = outcome.forward


class ProxyHeaderTests(SynchronousTestCase):
    def header(
        self, version: str, source: Any, destination: Any, original: Any = None
    ) -> tuple[Any, ...]:
        peer = Peer("downstream")
        peer.address, peer.local_address = source, destination
        peer.original_destination = original
        transport = MemoryTransport(
            MemoryReactor(),
            host=IPv4Address("TCP", "10.1.0.1", 1),
            peer=IPv4Address("TCP", "10.1.0.2", 2),
        )
        return Header(proxyHeader(version, peer, transport)).said

    def test_addresses(self) -> None:
        four, other = (IPv4Address("TCP", f"192.0.2.{n}", n) for n in (1, 2))
        six, seven = (IPv6Address("TCP", f"2001:db8::{n}", n) for n in (6, 7))
        for number, version in ((1, "V1"), (2, "V2")):
            for case, said in (
                ((four, other), ("PROXY", ("192.0.2.1", 1), ("192.0.2.2", 2))),
                ((six, seven), ("PROXY", ("2001:db8::6", 6), ("2001:db8::7", 7))),
                ((four, six, other), ("PROXY", ("192.0.2.1", 1), ("192.0.2.2", 2))),
            ):
                self.assertEqual(self.header(version, *case), (number, *said))

    def test_nothingToSay(self) -> None:
        """
        Of no pair of addresses of one family.
        """
        four, six = IPv4Address("TCP", "192.0.2.1", 1), IPv6Address("TCP", "::1", 1)
        for case in (
            (four, six),
            (UNIXAddress(None), UNIXAddress("/x")),
            (four, UNIXAddress("/x")),
        ):
            self.assertEqual(self.header("V2", *case), (2, "LOCAL", None, None))
            self.assertEqual(self.header("V1", *case)[2:], (None, None))

    def test_check(self) -> None:
        """
        A health check has no downstream.
        """
        self.assertEqual(self.header("V2", None, None), (2, "LOCAL", None, None))
        self.assertEqual(
            self.header("V1", None, None), (1, "PROXY", ("10.1.0.1", 1), ("10.1.0.2", 2))
        )


class ProxyProtocolTests(ClusterTestCase):
    def test_first(self) -> None:
        """
        It comes first, with the client's addresses.
        """
        for number, version in ((1, "V1"), (2, "V2")):
            self.run_(*hostPlans(ONE), proxy_protocol=version, listen=[ONE])
            client = self.dial()
            client.write(b"hello")
            self.settle()
            header = Header(self.applications(ONE)[0].received)
            peer: Any = self.proxy.connection.downstream
            source, destination = ((a.host, a.port) for a in (peer.address, peer.local_address))
            self.assertEqual(header.said, (number, "PROXY", source, destination))
            self.assertEqual(destination, ("127.0.0.1", PORT))
            self.assertEqual(header.rest, b"hello")
            self.assertEqual(self.proxy.connection.upstream.bytes_sent, 5)
            self.finish(client)

    def test_belowTLS(self) -> None:
        self.run_(
            *hostPlans(ONE),
            proxy_protocol="V2",
            tls=clientTLS(),
            tls_handshake_timeout=1.0,
            listen=[ONE],
        )
        client = self.dial()
        header = Header(self.applications(ONE)[0].received)
        self.assertEqual(header.said[:2], (2, "PROXY"))
        self.assertIsNotNone(ClientHelloInspector().feed(header.rest))
        self.reactor.advance(1)
        self.finish(client)

    def test_check(self) -> None:
        self.run_(
            *hostPlans(ONE),
            proxy_protocol="V2",
            health_checks=(HealthCheckPlan(1, 1, 1, 1, send=b"PING"),),
            listen=[ONE],
        )
        header = Header(self.applications(ONE)[0].received)
        self.assertEqual((header.said[1], header.rest), ("LOCAL", b"PING"))
        self.finish()


class TransportSocketTests(ClusterTestCase):
    """
    C{transport_socket_matches} as Istio writes them: mutual TLS and the exchange where there is
    a sidecar, plain TCP where there is none.
    """

    def test_perHost(self) -> None:
        sidecar = HostPlan(f"tcp:127.0.0.1:{INBOUND}", metadata={"tlsMode": "istio"})
        self.run_(
            sidecar,
            *hostPlans(ONE),
            filters=(FilterSpec(METADATA_EXCHANGE),),
            transport_socket_matches=(
                TransportSocketMatch("istio", {"tlsMode": "istio"}, clientTLS()),
            ),
            listen=[ONE, "127.0.0.1:9000"],
        )
        inbound = Proxy(
            onePlan(
                SERVER_NODE,
                INBOUND,
                9000,
                downstream=serverTLS(),
                downstreamFilters=(FilterSpec(METADATA_EXCHANGE),),
            ),
            self.reactor,
        )
        clients = [self.dial(), self.dial()]
        for client in clients:
            client.write(b"hello")
        self.settle()
        first, second = (connection.upstream for connection in self.proxy.edges.all)
        self.assertEqual((first.alpn, first.metadata.workload), ("istio-peer-exchange", "httpbin"))
        self.assertEqual(str(first.peer_state), "found")
        self.assertEqual((second.alpn, str(second.peer_state)), (None, "alpn_mismatch"))
        self.assertEqual(self.applications(ONE)[0].received, b"hello")
        self.assertEqual(self.applications("127.0.0.1:9000")[0].received, b"hello")
        self.finish(*clients)
        self.assertEqual(len(inbound.service.connections), 0)

    def test_proxyProtocolOfOne(self) -> None:
        self.run_(
            HostPlan(f"tcp:{ONE}", metadata={"a": True}),
            *hostPlans(TWO),
            transport_socket_matches=(TransportSocketMatch("a", {"a": True}, None, "V1"),),
            listen=[ONE, TWO],
        )
        clients = [self.dial(), self.dial()]
        self.assertTrue(self.applications(ONE)[0].received.startswith(b"PROXY TCP4 "))
        self.assertEqual(self.applications(TWO)[0].received, b"")
        self.finish(*clients)


class ExternalTests(ClusterTestCase):
    def test_tellsNothing(self) -> None:
        """
        Neither an ALPN of the mesh nor a prefix, whatever is configured.
        """
        for external, alpn, state in (
            (True, ("h2",), "disabled"),
            (False, ("istio-peer-exchange", "istio", "h2", "istio-http/1.1"), "pending"),
        ):
            self.run_(
                *hostPlans(ONE),
                external=external,
                filters=(FilterSpec(METADATA_EXCHANGE),),
                tls=clientTLS(alpn=("istio", "h2", "istio-http/1.1")),
                tls_handshake_timeout=1.0,
                listen=[ONE],
            )
            client = self.dial()
            hello: Any = ClientHelloInspector().feed(self.applications(ONE)[0].received)
            self.assertEqual(tuple(hello.alpn), alpn)
            self.assertEqual(str(self.proxy.connection.upstream.peer_state), state)
            self.reactor.advance(1)
            self.finish(client)

    def test_plain(self) -> None:
        self.run_(*hostPlans(ONE), external=True, listen=[ONE])
        client = self.dial()
        self.finish(client)


class LeakTests(ClusterTestCase):
    """
    Nothing needs the collector.
    """

    def test_attempts(self) -> None:
        """
        Failed, timed out, cancelled, succeeded.
        """
        with CollectorOff():
            self.run_(*hostPlans(ONE, TWO, THREE), attempts=3, listen=[THREE])
            self.reactor.silent.add(("10.0.0.2", 80))
            made: list[weakref.ref[Any]] = []
            start = attemptModule.Attempt.start

            def remember(attempt: Any) -> None:
                made.append(weakref.ref(attempt))
                start(attempt)

            self.patch(attemptModule.Attempt, "start", remember)
            clients = [self.dial(), self.dial(), self.dial()]
            self.reactor.advance(10)
            clients.append(self.dial())
            self.proxy.edges.all[-1].downstream.transport.lose()
            self.finish(*clients)
            del clients
            self.assertGreater(len(made), 6)
            assertNoCycles(self, self.reactor, [self.proxy])
            self.assertEqual([kept for kept in (one() for one in made) if kept is not None], [])

    def test_checks(self) -> None:
        """
        A check that has passed, one that has not, one that is dropped.
        """
        with CollectorOff():
            self.run_(
                *hostPlans(ONE, TWO, THREE),
                health_checks=(HealthCheckPlan(1, 1, 1, 1, b"x", (b"y",), no_traffic_interval=1),),
                listen=[ONE],
            )
            self.reactor.silent.add(("10.0.0.3", 80))
            self.reactor.advance(5.5)
            self.finish()
            cluster = weakref.ref(self.cluster)
            self.assertIsNotNone(cluster())
            left = [
                thing
                for thing in gc.get_objects()
                if isinstance(thing, attemptModule.Attempt)
                or type(thing).__name__ in ("_Ear", "_Dialed")
            ]
            self.assertEqual(left, [])

    def test_stopped(self) -> None:
        """
        Whatever is under way, the end of a cluster leaves no timer; and it can begin again.
        """
        for plan in (
            ClusterPlan("", hostPlans("a.example:80"), type=STRICT_DNS),
            ClusterPlan("", hostPlans("a.example:80"), type=LOGICAL_DNS),
            ClusterPlan(
                "",
                hostPlans(ONE, TWO),
                health_checks=(HealthCheckPlan(1, 1, 1, 1),),
                outlier_detection=OutlierDetectionPlan(),
            ),
            ClusterPlan("", type=ORIGINAL_DST, hosts=()),
        ):
            settings = {
                name: getattr(plan, name) for name in ("type", "health_checks", "outlier_detection")
            }
            self.run_(*plan.hosts, names={"a.example": ["10.0.0.1"]}, listen=[ONE], **settings)
            for seconds in (0, 0.5, 20):
                self.reactor.advance(seconds)
                self.cluster.stop()
                self.assertEqual(self.reactor.getDelayedCalls(), [])
                self.cluster.start()
            client = None if plan.type == ORIGINAL_DST else self.dial()
            self.finish(*([] if client is None else [client]))


class ServiceTests(ClusterTestCase):
    def test_withTheService(self) -> None:
        """
        Discovery and checks begin with the service, and end with it.
        """
        self.run_(
            *hostPlans("db.example:80"),
            type=STRICT_DNS,
            names={"db.example": ["10.0.0.1"]},
            health_checks=(HealthCheckPlan(1, 1, 1, 1),),
            outlier_detection=OutlierDetectionPlan(),
            listen=[ONE],
            start=False,
        )
        self.assertEqual(self.cluster.hosts, [])
        self.proxy.service.startService()
        self.settle()
        self.assertEqual([host.key for host in self.cluster.hosts if host.healthy], [ONE])
        client = self.dial()
        stopped = self.proxy.service.stopService()
        self.reactor.advance(self.proxy.service.plan.drain_time)
        self.successResultOf(stopped)
        for application in (client, *self.applications(ONE)):
            if not application.losses:
                application.close()
        self.settle()
        self.assertQuiet(client, *self.applications(ONE))
