"""
How many connections of a chain may be open at once.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import FilterSpec
from mxproxy.filters.connection_limit import ConnectionLimit, configure
from mxproxy.filters.options import OptionError
from mxproxy.interfaces import IFilter
from mxproxy.testing import Application, Bench, Conversation, checkFilter
from mxproxy.testing.sidecars import SERVER, onePlan
from mxproxy.wire.metadata import Node
from tests.proxies import PORT, ProxyTestCase


class ConnectionLimitTests(ProxyTestCase):
    def limit(self, most: int, delay: float = 0.0) -> None:
        limit = FilterSpec("limit", settings=ConnectionLimit(most, delay))
        self.start(onePlan(Node(), PORT, SERVER, downstreamFilters=(limit,)))

    def gone(self, *clients: Application) -> list[bool]:
        self.settle()
        return [bool(client.losses or client.endings) for client in clients]

    def test_oneTooMany(self) -> None:
        self.limit(2)
        clients = [self.dial() for _ in range(3)]
        self.assertEqual(self.gone(*clients), [False, False, True])
        self.assertEqual(len(self.servers.built), 2)
        counters = self.proxy.service.counters
        self.assertEqual(counters["connection_limit.limited_connections"], 1)
        clients[2].close()
        self.settle()
        self.assertEqual(
            self.told[-1], "closed: downstream: connection_limit: 2 connections are open already"
        )

    def test_roomAgain(self) -> None:
        """
        However a connection ends, there is room for another.
        """
        self.limit(1)
        for end in ("close", "abort", "server"):
            client = self.dial()
            self.assertEqual(self.gone(client), [False])
            self.assertEqual(self.gone(self.dial()), [True])
            if end == "server":
                self.server.abort()
            else:
                getattr(client, end)()
            self.settle()
            self.server.close()
            self.settle()
        self.assertEqual(self.gone(self.dial()), [False])

    def test_delay(self) -> None:
        """
        One too many is closed after the delay, and counts for as long.
        """
        self.limit(1, 2.0)
        first = self.dial()
        second = self.dial()
        second.write(b"let me in")
        self.reactor.advance(1.9)
        self.assertEqual(self.gone(first, second), [False, False])
        first.close()
        self.settle()
        self.server.close()
        self.settle()
        # There would be room, but for the one that is kept waiting.
        third = self.dial()
        self.assertEqual(len(self.servers.built), 1)
        self.reactor.advance(0.1)
        self.assertEqual(self.gone(second, third), [True, False])
        self.assertEqual(self.servers.built[0].received, b"")
        self.reactor.advance(1.9)
        self.assertEqual(self.gone(third), [True])
        third.close()
        self.settle()
        self.assertEqual(self.gone(self.dial()), [False])
        self.assertEqual(len(self.servers.built), 2)

    def test_goneMeanwhile(self) -> None:
        """
        Nothing is left of one that breaks during its delay.
        """
        bench = Bench(ConnectionLimit(0, 5.0))
        bench.play(
            """
            wait 1
            >> lost
            << reset
            closed: connection_limit: 0 connections are open already
            """
        )
        self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_deaf(self) -> None:
        """
        During the delay nothing is read.
        """
        bench = Bench(ConnectionLimit(0, 5.0))
        bench.connect()
        bench.transport.feed(b"x" * 100)
        self.assertTrue(bench.transport.unread)
        bench.reactor.advance(5)
        self.assertTrue(bench.transport.closed)

    def test_eachChain(self) -> None:
        """
        One filter in two chains is two limits.
        """
        settings = ConnectionLimit(1)
        for bench in (Bench(settings), Bench(settings)):
            bench.connect()
            self.assertEqual(bench.application.connections, 1)


class SettingsTests(SynchronousTestCase):
    def test_contract(self) -> None:
        checkFilter(ConnectionLimit(1), conversation=Conversation(b"hello"))

    def test_downstreamOnly(self) -> None:
        error = self.assertRaises(ValueError, Bench, ConnectionLimit(1), side="upstream")
        self.assertEqual(str(error), "connection_limit is for the connections of a listener")

    def test_configure(self) -> None:
        self.assertEqual(configure({"max_connections": "5"}), ConnectionLimit(5, 0.0))
        options = {"max_connections": "5", "delay": "0.5"}
        self.assertEqual(configure(options), ConnectionLimit(5, 0.5))
        self.assertTrue(IFilter.providedBy(configure(options)))
        wrong: tuple[dict[str, Any], ...] = (
            {},
            {"max_connections": "0"},
            {"max_connections": "5", "delay": "-1"},
            {"max_connections": "5", "runtime_enabled": "true"},
        )
        for options in wrong:
            self.assertRaises(OptionError, configure, options)
