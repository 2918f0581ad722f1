"""
Twisted's endpoints run on the reactor in memory as they are.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.endpoints import HostnameEndpoint, clientFromString, serverFromString
from twisted.internet.error import (
    CannotListenError,
    ConnectingCancelledError,
    DNSLookupError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.testing import Application, ApplicationFactory, MemoryReactor


class Declining(Factory):
    noisy = False

    def buildProtocol(self, addr: object) -> None:
        return None


class EndpointTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.servers = ApplicationFactory()
        self.clients = ApplicationFactory()

    def listen(self, description: str, factory: Any = None) -> Any:
        endpoint = serverFromString(self.reactor, description)
        return self.successResultOf(endpoint.listen(factory or self.servers))

    def dial(self, description: str) -> Any:
        dialing = clientFromString(self.reactor, description).connect(self.clients)
        self.reactor.settle()
        return dialing

    def test_connected(self) -> None:
        for listening, connecting in (
            ("tcp:80", "tcp:10.0.0.1:80"),
            ("tcp:81:interface=127.0.0.1", "tcp:127.0.0.1:81"),
            ("tcp6:82:interface=\\:\\:1", "tcp:\\:\\:1:82"),
            ("unix:/run/mxproxy.sock", "unix:/run/mxproxy.sock"),
        ):
            self.listen(listening)
            client = self.successResultOf(self.dial(connecting))
            server = self.servers.built[-1]
            client.write(b"ping")
            self.reactor.settle()
            self.assertEqual(server.received, b"ping", listening)
            self.assertEqual(server.transport.getPeer(), client.transport.getHost())
            server.close()
            client.close()
            self.reactor.settle()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.removeAll(), [])

    def test_names(self) -> None:
        self.listen("tcp:80")
        self.reactor.names["db.example"] = ["10.0.0.7", "::1"]
        self.successResultOf(self.dial("tcp:db.example:80"))
        self.failureResultOf(self.dial("tcp:no.example:80"), DNSLookupError)

    def test_resolver(self) -> None:
        """
        Endpoints that look names up themselves.
        """
        self.listen("tcp:80")
        self.reactor.names["db.example"] = ["10.0.0.7", "::1"]
        for name in ("db.example", "10.0.0.1"):
            dialing = HostnameEndpoint(self.reactor, name, 80).connect(self.clients)
            self.reactor.settle()
            self.successResultOf(dialing)
        dialing = HostnameEndpoint(self.reactor, "no.example", 80).connect(self.clients)
        self.failureResultOf(dialing, DNSLookupError)

    def test_refused(self) -> None:
        self.listen("tcp:80:interface=127.0.0.1")
        self.failureResultOf(self.dial("tcp:127.0.0.1:81"), error.ConnectionRefusedError)
        self.failureResultOf(self.dial("tcp:127.0.0.2:80"), error.ConnectionRefusedError)

    def test_silent(self) -> None:
        """
        Nobody answers: only time or a cancel ends it.
        """
        self.reactor.silent.add(("10.0.0.1", 80))
        dialing = self.dial("tcp:10.0.0.1:80:timeout=7")
        self.reactor.advance(6.9)
        self.assertNoResult(dialing)
        self.reactor.advance(0.2)
        self.failureResultOf(dialing, ConnectTimeout)
        dialing = self.dial("tcp:10.0.0.1:80")
        dialing.cancel()
        self.failureResultOf(dialing, ConnectingCancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancelledBeforeItArrives(self) -> None:
        self.listen("tcp:80")
        dialing = clientFromString(self.reactor, "tcp:10.0.0.1:80").connect(self.clients)
        dialing.cancel()
        self.reactor.settle()
        self.failureResultOf(dialing, ConnectingCancelledError)
        self.assertEqual(self.servers.built, [])

    def test_declined(self) -> None:
        """
        A factory that builds no protocol closes.
        """
        self.listen("tcp:80", Declining())
        client = self.successResultOf(self.dial("tcp:10.0.0.1:80"))
        self.assertEqual(client.endings, 1)
        self.clients = Declining()  # type: ignore[assignment]
        self.listen("tcp:81")
        self.failureResultOf(self.dial("tcp:10.0.0.1:81"))
        self.assertEqual(self.servers.built[0].endings, 1)

    def test_portInUse(self) -> None:
        port = self.listen("tcp:80")
        endpoint = serverFromString(self.reactor, "tcp:80")
        self.failureResultOf(endpoint.listen(self.servers), CannotListenError)
        port.stopListening()
        self.listen("tcp:80")

    def test_freePorts(self) -> None:
        self.assertNotEqual(
            self.listen("tcp:0").getHost().port, self.listen("tcp:0").getHost().port
        )


class TimeTests(SynchronousTestCase):
    def test_networkBetweenTimers(self) -> None:
        """
        Between two timers what the first has set in motion comes to rest.
        """
        reactor = MemoryReactor()
        reactor.listenTCP(80, ApplicationFactory())
        told: list[str] = []
        client = Application(lambda what, value: told.append(f"{what} at {reactor.seconds():g}"))
        factory = ApplicationFactory(lambda: client)

        def dial() -> None:
            clientFromString(reactor, "tcp:10.0.0.1:80").connect(factory)

        reactor.callLater(1, dial)
        reactor.callLater(2, client.abort)
        reactor.advance(10)
        self.assertEqual(told, ["connected at 1", "closed at 2"])
        self.assertEqual(reactor.seconds(), 10)
