"""
Where connections go, and when they are given up.

How bytes flow is the business of tests.test_tcp.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import (
    TCP_PROXY,
    ClusterPlan,
    FilterChainPlan,
    FilterSpec,
    HostPlan,
    ListenerPlan,
    Plan,
)
from mxproxy.filters import tcp_proxy
from mxproxy.filters.options import OptionError
from mxproxy.filters.sni_cluster import SNICluster
from mxproxy.filters.tcp_proxy import TCPProxy, configure
from mxproxy.filters.tls_inspector import TLSInspector
from mxproxy.interfaces import ITerminal
from mxproxy.testing import Application, ApplicationFactory
from mxproxy.timeouts import Timeouts
from mxproxy.wire.metadata import Node
from tests.proxies import PORT, ProxyTestCase
from tests.wire.test_clienthello import hello, records, serverName


class PlacesTestCase(ProxyTestCase):
    """
    Clusters C{a.example}, C{b.example} and C{c.example}, with a server each.
    """

    PLACES = {"a.example": 2001, "b.example": 2002, "c.example": 2003}

    def place(self, settings: TCPProxy, *, sni: bool = False) -> None:
        below = (FilterSpec("sni_cluster", settings=SNICluster()),) if sni else ()
        chain = FilterChainPlan("chain", (*below, FilterSpec(TCP_PROXY, settings=settings)))
        listener = ListenerPlan(
            "listener",
            f"tcp:{PORT}",
            (chain,),
            listener_filters=(FilterSpec("tls", settings=TLSInspector()),) if sni else (),
        )
        clusters = tuple(
            ClusterPlan(name, (HostPlan(f"tcp:127.0.0.1:{port}"),))
            for name, port in self.PLACES.items()
        )
        self.start(Plan(Node(), (listener,), clusters), listen=False)
        self.places = {name: ApplicationFactory() for name in self.PLACES}
        for name, port in self.PLACES.items():
            self.reactor.listenTCP(port, self.places[name])

    @property
    def reached(self) -> dict[str, int]:
        return {name: len(place.built) for name, place in self.places.items() if place.built}


class ClusterTests(PlacesTestCase):
    def test_one(self) -> None:
        self.place(TCPProxy("b.example"))
        self.dial()
        self.assertEqual(self.reached, {"b.example": 1})

    def test_shares(self) -> None:
        """
        Of many connections each cluster gets its share.
        """
        weighted = (("a.example", 1), ("b.example", 3), ("c.example", 6))
        self.patch(tcp_proxy.random, "choices", tcp_proxy.random.Random(7).choices)
        self.place(TCPProxy(weighted_clusters=weighted))
        for _ in range(1000):
            self.dial()
        for name, weight in weighted:
            self.assertLess(abs(self.reached[name] - 100 * weight), 50, name)

    def test_unknown(self) -> None:
        for settings in (
            TCPProxy("nowhere"),
            TCPProxy(weighted_clusters=(("a.example", 1), ("nowhere", 1))),
        ):
            error = self.assertRaises(ValueError, self.place, settings)
            self.assertIn("there is no cluster 'nowhere'", str(error))

    def named(self, name: bytes) -> tuple[Application, bytes]:
        client = self.dial()
        said = records(hello(serverName(name))) + b"more"
        client.write(said)
        self.settle()
        return client, said

    def test_chosenBelow(self) -> None:
        """
        Which cluster it is, a filter may say; the bytes that it was told by go there, too.
        """
        self.place(TCPProxy("a.example"), sni=True)
        _, said = self.named(b"B.example")
        self.assertEqual(self.reached, {"b.example": 1})
        self.assertEqual(self.places["b.example"].built[0].received, said)
        client = self.dial()
        client.write(b"no name at all")
        self.settle()
        self.assertEqual(self.reached, {"a.example": 1, "b.example": 1})

    def test_chosenBelowUnknown(self) -> None:
        self.place(TCPProxy("a.example"), sni=True)
        client, _ = self.named(b"elsewhere.example")
        client.close()
        self.settle()
        self.assertEqual(self.reached, {})
        self.assertTrue(
            self.told[-1].startswith(
                "closed: upstream: no_cluster: there is no cluster 'elsewhere.example'"
            ),
            self.told,
        )
        self.assertQuiet(client)

    def test_sharesAreNotChosenBelow(self) -> None:
        """
        As in Envoy: with shares nobody asks for a choice.
        """
        self.place(TCPProxy(weighted_clusters=(("a.example", 1),)), sni=True)
        self.named(b"b.example")
        self.assertEqual(self.reached, {"a.example": 1})


class GivenUpTests(ProxyTestCase):
    def proxy_(self, settings: TCPProxy, **more: Any) -> None:
        chain = FilterChainPlan("chain", (FilterSpec(TCP_PROXY, settings=settings),))
        cluster = ClusterPlan(
            "cluster", tuple(HostPlan(f"tcp:10.0.0.{host}:9000") for host in (1, 2, 3))
        )
        self.start(
            Plan(Node(), (ListenerPlan("listener", f"tcp:{PORT}", (chain,)),), (cluster,)), **more
        )

    def test_cancelled(self) -> None:
        """
        A client that goes while nobody answers takes the attempt with it.
        """
        for end in ("abort", "close"):
            self.proxy_(TCPProxy("cluster"))
            self.reactor.silent.update((f"10.0.0.{host}", 9000) for host in (1, 2, 3))
            client = self.dial()
            self.reactor.advance(1)
            getattr(client, end)()
            # Paused, it is not seen to have gone until its next turn comes.
            self.reactor.advance(40)
            self.assertTrue(self.told[-1].startswith("closed: "), self.told)
            self.assertQuiet(client)

    def test_attempts(self) -> None:
        for attempts, count in ((1, 1), (2, 2), (5, 5), (None, 3)):
            self.proxy_(TCPProxy("cluster", attempts), listen=False)
            client = self.dial()
            client.close()
            self.reactor.advance(60)
            self.assertEqual(self.told[-1].count("Connection refused"), count, self.told)
            self.assertQuiet(client)


class IdleTests(ProxyTestCase):
    def idle(
        self, timeout: float, half: float = 0, duration: float = 0, **more: Any
    ) -> Application:
        timeouts = Timeouts(timeout, half, duration)
        terminal = FilterSpec(TCP_PROXY, settings=TCPProxy("cluster", timeouts=timeouts))
        chain = FilterChainPlan("chain", (terminal,))
        cluster = ClusterPlan("cluster", (HostPlan("tcp:127.0.0.1:9000"),))
        self.start(
            Plan(Node(), (ListenerPlan("listener", f"tcp:{PORT}", (chain,)),), (cluster,)), **more
        )
        return self.dial()

    def isOver(self) -> bool:
        self.settle()
        return len(self.proxy.service.connections) == 0

    def finish(self, client: Application) -> None:
        for one in (client, self.server):
            if not one.losses:
                one.close()
        self.settle()
        self.assertQuiet(client)

    def test_silence(self) -> None:
        client = self.idle(8.0)
        self.reactor.advance(7.9)
        self.assertEqual((client.endings, self.server.endings), (0, 0))
        self.reactor.advance(1.1)
        self.assertEqual((client.endings, self.server.endings), (1, 1))
        self.finish(client)
        self.assertEqual(self.proxy.service.counters["tcp.idle_timeout"], 1)
        self.assertEqual(self.told[-1], "closed: proxy: idle_timeout: no byte in 8 s")

    def test_eitherDirection(self) -> None:
        client = self.idle(8.0)
        for one in (client, self.server) * 3:
            self.reactor.advance(7)
            one.write(b"x")
            self.settle()
        self.reactor.advance(7.9)
        self.assertFalse(self.isOver())
        self.reactor.advance(1.2)
        self.finish(client)
        self.assertEqual(self.told[-1], "closed: proxy: idle_timeout: no byte in 8 s")

    def test_halfClosed(self) -> None:
        """
        The half that is still open may be silent for as long, and no longer.
        """
        client = self.idle(8.0)
        client.end()
        self.reactor.advance(7)
        self.server.write(b"x")
        self.reactor.advance(7)
        self.assertFalse(self.isOver())
        self.reactor.advance(2.1)
        self.assertEqual(client.received, b"x")
        self.finish(client)
        self.assertIn("idle_timeout", self.told[-1])

    def test_halfClosedSooner(self) -> None:
        """
        It has a timeout of its own, which begins when either side has ended its stream.
        """
        for first in (0, 1):
            client = self.idle(100.0, 8.0)
            one, other = (client, self.server)[:: 1 - 2 * first]
            self.reactor.advance(50)
            one.end()
            self.settle()
            self.reactor.advance(7)
            other.write(b"x")
            self.reactor.advance(7)
            self.assertFalse(self.isOver())
            self.reactor.advance(2.1)
            self.assertEqual(one.received, b"x")
            self.finish(client)
            self.assertEqual(self.told[-1], "closed: proxy: half_closed_timeout: no byte in 8 s")
            self.assertEqual(self.proxy.service.counters["tcp.half_closed_timeout"], 1)

    def test_duration(self) -> None:
        """
        Whatever moves; and the seconds before the upstream was connected count.
        """
        client = self.idle(8.0, duration=20.0)
        for _ in range(4):
            self.reactor.advance(4.9)
            client.write(b"x")
            self.server.write(b"y")
            self.settle()
        self.assertFalse(self.isOver())
        self.reactor.advance(0.5)
        self.finish(client)
        self.assertEqual(self.told[-1], "closed: proxy: max_connection_duration: open for 20 s")
        self.assertEqual(self.proxy.service.counters["tcp.max_downstream_connection_duration"], 1)

    def test_durationBeforeItIsJoined(self) -> None:
        """
        An upstream that does not answer does not make it longer.
        """
        for timeouts in (Timeouts(duration=4), Timeouts(1, 1, 4)):
            self.start(
                Plan(
                    Node(),
                    (
                        ListenerPlan(
                            "listener",
                            f"tcp:{PORT}",
                            (
                                FilterChainPlan(
                                    "chain",
                                    (
                                        FilterSpec(
                                            TCP_PROXY,
                                            settings=TCPProxy("cluster", timeouts=timeouts),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                    ),
                    (ClusterPlan("cluster", (HostPlan("tcp:10.0.0.1:1"),)),),
                )
            )
            self.reactor.silent.add(("10.0.0.1", 1))
            client = self.dial()
            self.reactor.advance(3.9)
            self.assertFalse(self.isOver())
            self.reactor.advance(0.2)
            client.close()
            self.settle()
            self.assertEqual(self.told[-1], "closed: proxy: max_connection_duration: open for 4 s")
            self.assertQuiet(client)

    def test_forEver(self) -> None:
        client = self.idle(0.0)
        self.reactor.advance(1e6)
        self.assertFalse(self.isOver())
        self.finish(client)

    def test_endsBefore(self) -> None:
        """
        Nobody watches what is over.
        """
        client = self.idle(8.0)
        self.finish(client)

    def test_slowReader(self) -> None:
        """
        Who reads a little now and then is not idle, though nothing new is read for it meanwhile.
        """
        client = self.idle(8.0, capacity=5_000)
        client.pause()
        self.server.write(b"x" * 60_000)
        self.settle()
        sent = self.proxy.connection.downstream.bytes_sent
        for _ in range(5):
            self.reactor.advance(7)
            # Five thousand bytes leave the proxy's buffer.
            client.transport.incoming.get(5_000)
            self.settle()
        self.assertEqual(self.proxy.connection.downstream.bytes_sent, sent)
        self.assertEqual((client.endings, self.server.endings), (0, 0))
        self.reactor.advance(9.1)
        self.assertEqual(self.server.endings, 1)


class ConfigureTests(SynchronousTestCase):
    def test_configure(self) -> None:
        self.assertEqual(configure({"cluster": "a"}), TCPProxy("a"))
        settings = configure(
            {
                "cluster": "a",
                "idle_timeout": "3",
                "half_closed_timeout": "2",
                "max_connection_duration": "1",
            }
        )
        self.assertEqual(settings, TCPProxy("a", timeouts=Timeouts(3, 2, 1)))
        self.assertTrue(ITerminal.providedBy(settings))
        for wrong in ({}, {"cluster": "a", "idle_timeout": "-1"}, {"cluster": "a", "x": "y"}):
            self.assertRaises(OptionError, configure, wrong)
