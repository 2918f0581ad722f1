"""
What a chain offers and what is wrong with it is known when it is built.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.chain import ChainError, alpnProtocols
from mxproxy.config.plan import METADATA_EXCHANGE, FilterSpec
from mxproxy.filters.metadata_exchange import configure
from mxproxy.plugins import LazyFilter, UnknownFilter, findFilter, installedFilters
from mxproxy.service import ProxyService
from mxproxy.testing import MemoryReactor, Proxy, Sidecars
from mxproxy.testing.sidecars import INBOUND, SERVER, clientTLS, onePlan, serverTLS
from mxproxy.wire.metadata import Node


class ALPNTests(SynchronousTestCase):
    def test_derived(self) -> None:
        """
        The filters' own first, in the chain's order; each once.
        """
        exchange, other = configure({}), configure({"protocol": "mx"})
        for configured, filters, expected in (
            ((), (), ()),
            (("istio",), (), ("istio",)),
            (("istio",), (exchange,), ("istio-peer-exchange", "istio")),
            (("istio", "istio-peer-exchange"), (exchange,), ("istio-peer-exchange", "istio")),
            ((), (exchange, other), ("istio-peer-exchange", "mx")),
        ):
            self.assertEqual(alpnProtocols(configured, filters), expected)

    def test_liveChain(self) -> None:
        """
        A side whose chain lacks the filter neither offers nor selects the exchange, whatever
        its peer does.
        """
        for options, negotiated, states in (
            ({}, "istio-peer-exchange", ("found", "found")),
            ({"inboundExchange": {"protocol": "other"}}, "istio", ("alpn_mismatch",) * 2),
            ({"outboundExchange": {"protocol": "other"}}, "istio", ("alpn_mismatch",) * 2),
        ):
            sidecars = Sidecars(**options)  # type: ignore[arg-type]
            client = sidecars.dial()
            client.write(b"hello")
            sidecars.reactor.settle()
            upstream = sidecars.outbound.connection.upstream
            downstream = sidecars.inbound.connection.downstream
            self.assertEqual((upstream.alpn, downstream.alpn), (negotiated, negotiated))
            self.assertEqual((str(upstream.peer_state), str(downstream.peer_state)), states)
            self.assertEqual(sidecars.server.received, b"hello")

    def test_noFilter(self) -> None:
        """
        Without the filter nothing of it is offered, and the peer is C{disabled}.
        """
        sidecars = Sidecars()
        Proxy(onePlan(Node(), 1, INBOUND, upstream=clientTLS()), sidecars.reactor)
        client = sidecars.dial(port=1)
        client.write(b"hello")
        sidecars.reactor.settle()
        self.assertEqual(sidecars.inbound.connection.downstream.alpn_offered, ("istio",))
        self.assertEqual(sidecars.server.received, b"hello")


class RefusedTests(SynchronousTestCase):
    def refused(self, **more: Any) -> str:
        error = self.assertRaises(
            ChainError,
            ProxyService,
            onePlan(Node(), 1, SERVER, downstream=serverTLS(), **more),
            MemoryReactor(),
        )
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_unknown(self) -> None:
        self.assertTrue(
            self.refused(downstreamFilters=(FilterSpec("no.such", where="--filter 2"),)).startswith(
                "--filter 2: no filter 'no.such' is installed; there is: "
            )
        )

    def test_options(self) -> None:
        self.assertEqual(
            self.refused(upstreamFilters=(FilterSpec(METADATA_EXCHANGE, {"timeout": "never"}),)),
            f"{METADATA_EXCHANGE}: timeout='never' has to be a number above 0",
        )


class PluginTests(SynchronousTestCase):
    def test_found(self) -> None:
        for name in (METADATA_EXCHANGE, "istio.metadata_exchange"):
            plugin = findFilter(name)
            self.assertEqual(plugin.name, name)
            self.assertEqual(plugin.configure({}), configure({}))
            self.assertIn(name, repr(plugin))

    def test_unknown(self) -> None:
        """
        Those that are there are named.
        """
        error = self.assertRaises(UnknownFilter, findFilter, "no.such")
        self.assertIn("no filter 'no.such' is installed", str(error))
        for plugin in installedFilters():
            self.assertIn(plugin.name, str(error))
            self.assertNotIn("\n", plugin.description)

    def test_importedLate(self) -> None:
        """
        A plugin's module is imported when it is configured, and not before.
        """
        plugin = LazyFilter("late", "for a test", "no.such.module")
        self.assertEqual(repr(plugin), "<LazyFilter late>")
        self.assertRaises(ModuleNotFoundError, plugin.configure, {})
