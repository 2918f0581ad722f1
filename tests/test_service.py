"""
A plan, run and stopped.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.endpoints import clientFromString
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import DRAIN_TIME
from mxproxy.connection import Connection
from mxproxy.service import STOP_TIMEOUT, CannotStart, ProxyService
from mxproxy.testing import ApplicationFactory, MemoryReactor, Sidecars
from mxproxy.testing.sidecars import OUTBOUND, SERVER, onePlan
from mxproxy.wire.metadata import Node

from .proxies import PORT, ProxyTestCase, assertQuiet


class StartTests(SynchronousTestCase):
    def test_portInUse(self) -> None:
        """
        One line that says which listener and where.
        """
        reactor = MemoryReactor()
        ProxyService(onePlan(Node(), PORT, SERVER), reactor).privilegedStartService()
        second = ProxyService(onePlan(Node(), PORT, SERVER), reactor)
        error = self.assertRaises(CannotStart, second.privilegedStartService)
        self.assertTrue(
            str(error).startswith(f"mxproxy: listener listener: tcp:{PORT}:interface=127.0.0.1: "),
            str(error),
        )
        self.assertNotIn("\n", str(error))

    def test_nothingBeforeItIsStarted(self) -> None:
        reactor = MemoryReactor()
        ProxyService(onePlan(Node(), PORT, SERVER), reactor)
        self.assertEqual(reactor.ports, [])
        self.assertEqual(reactor.getDelayedCalls(), [])


class StopTests(ProxyTestCase):
    def test_stopped(self) -> None:
        """
        Nothing listens any more, and without any time for it what was open is dropped.
        """
        self.start(replace(onePlan(Node(), PORT, SERVER), drain_time=0.0))
        clients = [self.dial(), self.dial()]
        stopping = self.proxy.service.stopService()
        self.assertEqual([port.getHost().port for port in self.reactor.ports], [SERVER])
        self.assertNoResult(stopping)
        self.settle()
        self.successResultOf(stopping)
        self.assertEqual(self.told[-2:], ["closed: proxy: shutdown"] * 2)
        self.assertEqual([client.losses for client in clients], [["lost"]] * 2)
        self.assertQuiet(*clients)

    def test_drained(self) -> None:
        """
        Nothing listens any more; what is open has its time, and the clusters live as long.
        """
        self.start()
        client = self.dial()
        stopping = self.proxy.service.stopService()
        self.settle()
        self.assertEqual([port.getHost().port for port in self.reactor.ports], [SERVER])
        client.write(b"still here")
        self.settle()
        self.assertEqual(self.server.received, b"still here")
        self.assertNoResult(stopping)
        self.reactor.advance(DRAIN_TIME)
        self.successResultOf(stopping)
        self.assertEqual(self.told[-1], "closed: proxy: drain")
        for application in client, self.server:
            self.assertEqual(application.endings, 1)
            application.close()
        self.settle()
        self.assertQuiet(client)

    def test_idle(self) -> None:
        """
        With nothing open it is over at once.
        """
        self.start()
        stopping = self.proxy.service.stopService()
        self.settle()
        self.successResultOf(stopping)
        self.assertQuiet()

    def test_stoppedAllTheSame(self) -> None:
        """
        A connection of which nobody says that it is gone is not waited for, for ever.
        """
        self.start()
        connections = self.proxy.service.connections
        stuck = Connection("listener", self.reactor.seconds)
        connections.opened(stuck)
        stopping = self.proxy.service.stopService()
        self.settle()
        self.assertNoResult(stopping)
        with capturedLogs() as events:
            self.reactor.advance(DRAIN_TIME + STOP_TIMEOUT)
            self.settle()
        self.successResultOf(stopping)
        connections.closed(stuck)
        self.assertIn("stopping with 1 connection open", [formatEvent(event) for event in events])

    def test_stoppedWhileConnecting(self) -> None:
        # Less than connecting may take.
        self.start(replace(onePlan(Node(), PORT, SERVER), drain_time=8.0))
        self.reactor.silent.add(("127.0.0.1", SERVER))
        client = self.dial()
        stopping = self.proxy.service.stopService()
        self.reactor.advance(8.0)
        self.successResultOf(stopping)
        self.assertEqual(self.told, ["opened", "closed: proxy: drain"])
        client.close()
        self.settle()
        self.assertQuiet(client)

    def test_stoppedDuringHandshakes(self) -> None:
        """
        At every step of two sidecars' coming together.
        """
        for steps in range(0, 60, 3):
            sidecars = Sidecars(chunks=200)
            clients = ApplicationFactory()
            dialing = clientFromString(sidecars.reactor, f"tcp:127.0.0.1:{OUTBOUND}")
            # It is refused if the stop comes first.
            dialing.connect(clients).addErrback(lambda failure: None)
            for _ in range(steps):
                sidecars.reactor._turn()
            stopping = [
                proxy.service.stopService() for proxy in (sidecars.inbound, sidecars.outbound)
            ]
            sidecars.reactor.advance(DRAIN_TIME)
            for deferred in stopping:
                self.successResultOf(deferred)
            for application in [*clients.built, *sidecars.servers.built]:
                if not application.losses:
                    application.close()
            sidecars.reactor.settle()
            assertQuiet(
                self,
                sidecars.reactor,
                [sidecars.inbound, sidecars.outbound],
                [*clients.built, *sidecars.servers.built],
            )
