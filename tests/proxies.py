"""
What the tests of whole proxies in memory share.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import Plan
from mxproxy.testing import (
    Application,
    ApplicationFactory,
    MemoryReactor,
    Proxy,
    Sidecars,
    findCycle,
)
from mxproxy.testing.sidecars import SERVER, dial, onePlan
from mxproxy.wire.metadata import Node

#: Where the proxy of a L{ProxyTestCase} listens.
PORT = 1000


class ProxyTestCase(SynchronousTestCase):
    """
    One proxy in front of one server, unless a test plans something else.
    """

    def start(
        self,
        plan: Plan | None = None,
        *,
        chunks: Any = None,
        capacity: int | None = None,
        listen: bool = True,
    ) -> Proxy:
        """
        @param listen: whether there is a server.
        """
        self.reactor = MemoryReactor(chunks, capacity)
        self.servers = ApplicationFactory()
        if listen:
            self.reactor.listenTCP(SERVER, self.servers)
        self.proxy = Proxy(plan or onePlan(Node(), PORT, SERVER), self.reactor)
        return self.proxy

    def dial(self, application: Application | None = None, port: int = PORT) -> Application:
        return dial(self.reactor, port, application)

    @property
    def server(self) -> Application:
        return self.servers.built[-1]

    def settle(self) -> None:
        self.reactor.settle()

    @property
    def told(self) -> list[str]:
        """The edges."""
        return self.proxy.edges.told

    def assertQuiet(self, *applications: Application) -> None:
        """
        Every connection is over, nothing is left of any, and nothing was wrong with them.
        """
        assertQuiet(self, self.reactor, [self.proxy], [*applications, *self.servers.built])


def assertQuiet(
    test: SynchronousTestCase,
    reactor: MemoryReactor,
    proxies: list[Proxy],
    applications: list[Application],
) -> None:
    """
    Every connection is over: no timer, no socket, no open connection; one closing edge for each.
    """
    test.assertEqual(list(reactor.getDelayedCalls()), [])
    test.assertEqual(reactor.removeAll(), [])
    for proxy in proxies:
        test.assertEqual(len(proxy.service.connections), 0)
        closed = [line for line in proxy.edges.told if line.startswith("closed")]
        test.assertEqual(len(closed), len(proxy.edges.all))
    for application in applications:
        test.assertEqual(application.unexpected, [])
        test.assertEqual(len(application.losses), application.connections)


def assertNoCycles(test: SynchronousTestCase, reactor: MemoryReactor, proxies: list[Proxy]) -> None:
    """
    The connections, and the protocols of each, go without the collector's help.

    To be called with the collector off since before there was a connection.
    """
    left = []
    for proxy in proxies:
        connections, proxy.edges.all = proxy.edges.all, []
        left += [weakref.ref(connection) for connection in connections]
        left += [weakref.ref(c.downstream) for c in connections]
        left += [weakref.ref(c.upstream) for c in connections]
        del connections
    found = [reference() for reference in left]
    for thing in found:
        if thing is not None:
            test.fail(f"a reference cycle keeps {thing!r}: {' → '.join(findCycle(thing))}")


class CollectorOff:
    """
    With the collector off: what is left then is in a cycle.
    """

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        gc.enable()


def closeAll(sidecars: Sidecars, *applications: Application) -> None:
    """
    Every application closes, unless it is closed already.
    """
    for application in applications:
        if application.connections and not application.losses:
            application.close()
            sidecars.reactor.settle()
