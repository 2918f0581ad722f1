"""
Connections that are told to end: one after the other, in order, within the time.
"""

from __future__ import annotations

from dataclasses import replace as _replace
from random import Random
from typing import Any

from twisted.internet.endpoints import clientFromString
from twisted.logger import capturedLogs, formatEvent

from mxproxy.config.plan import FilterSpec
from mxproxy.lifecycle.draining import DRAIN, SHUTDOWN, SPREAD, Drain
from mxproxy.testing import Application, ApplicationFactory, Proxy, Sidecars
from mxproxy.testing.sidecars import SERVER, onePlan
from mxproxy.wire.metadata import Node
from tests.proxies import PORT, ProxyTestCase, assertQuiet

SECONDS = 20.0


class DrainTests(ProxyTestCase):
    def setUp(self) -> None:
        self._byEnd: list[Application] = []

    def start(self, *arguments: Any, **named: Any) -> Proxy:
        """
        In front of a server that ends with its clients.
        """
        proxy = super().start(*arguments, **named)
        self.servers._application = lambda: _Noting([])
        return proxy

    def dial(self, application: Application | None = None, port: int = PORT) -> Application:
        return super().dial(application or _Noting(self._byEnd), port)

    def drain(self, seconds: float = SECONDS) -> Drain:
        """
        Of all that is open.
        """
        drain = Drain([*self.proxy.service.connections], self.reactor, seconds, "test", Random(1))
        drain.start()
        self.settle()
        return drain

    def closed(self) -> list[str]:
        return [line for line in self.told if line.startswith("closed")]

    def test_none(self) -> None:
        self.start()
        with capturedLogs() as events:
            self.successResultOf(self.drain().done)
        self.assertEqual(events, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_byThemselves(self) -> None:
        """
        Who ends soon is not disturbed, and not waited for any longer.
        """
        self.start()
        client = self.dial()
        drain = self.drain()
        self.assertNoResult(drain.done)
        client.close()
        self.settle()
        self.successResultOf(drain.done)
        self.assertEqual(self.closed(), ["closed: downstream: closed"])
        self.assertQuiet(client)

    def test_spread(self) -> None:
        """
        Closes are spread over the time, each in its part of it, not in the order of their age.
        """
        count = 10
        self.start()
        clients = [self.dial() for _ in range(count)]
        drain = self.drain()
        part = SECONDS * SPREAD / count
        for turn in range(1, count + 1):
            self.reactor.advance(part)
            self.assertEqual(len(self.closed()), turn)
        self.successResultOf(drain.done)
        self.assertEqual(set(self.closed()), {f"closed: {DRAIN}"})
        ended = [clients.index(client) for client in self._byEnd]
        self.assertEqual(sorted(ended), list(range(count)))
        self.assertNotEqual(ended, sorted(ended))
        self.assertQuiet(*clients)

    def test_inOrder(self) -> None:
        """
        Whatever was read is written, however slowly it is read, and then each side ends.
        """
        self.start(capacity=1000)
        client = self.dial()
        client.pause()
        self.server.write(b"x" * 5000)
        self.settle()
        drain = self.drain()
        self.reactor.advance(SECONDS * SPREAD)
        self.assertNoResult(drain.done)
        client.resume()
        self.settle()
        self.successResultOf(drain.done)
        self.assertEqual(len(client.received), 5000)
        self.assertEqual((client.endings, self.server.endings), (1, 1))
        self.assertQuiet(client)

    def test_tooLate(self) -> None:
        """
        Who does not read is dropped at the end of the time.
        """
        self.start(capacity=1000)
        client = self.dial()
        client.pause()
        self.server.write(b"x" * 5000)
        self.settle()
        with capturedLogs() as events:
            drain = self.drain()
            self.reactor.advance(SECONDS - 0.01)
            self.assertNoResult(drain.done)
            self.reactor.advance(0.01)
        self.successResultOf(drain.done)
        self.assertEqual(self.closed(), [f"closed: {DRAIN}"])
        self.assertEqual(
            [text for event in events if (text := formatEvent(event)).startswith("test: ")],
            [
                "test: draining 1 connection, for at most 20 s",
                *(f"test: 1 of 1 connection left, {left} s to go" for left in (15, 10, 5)),
                "test: 1 of 1 connection dropped",
                "test: 1 connection closed, none is left",
            ],
        )
        client.resume()
        self.settle()
        self.assertQuiet(client)

    def test_hurry(self) -> None:
        self.start()
        clients = [self.dial() for _ in range(3)]
        drain = self.drain()
        self.reactor.advance(SECONDS * SPREAD / 3)
        drain.hurry()
        self.settle()
        self.successResultOf(drain.done)
        self.assertEqual(self.closed(), [f"closed: {DRAIN}"] + [f"closed: {SHUTDOWN}"] * 2)
        self.assertQuiet(*clients)

    def test_atOnce(self) -> None:
        self.start()
        client = self.dial()
        self.successResultOf(self.drain(0.0).done)
        self.assertEqual(self.closed(), [f"closed: {SHUTDOWN}"])
        self.assertQuiet(client)

    def test_connecting(self) -> None:
        """
        One that waits for its upstream is closed; the attempt is given up.
        """
        self.start()
        self.reactor.silent.add(("127.0.0.1", SERVER))
        client = self.dial()
        # Connecting has a bound of its own, which would come first.
        drain = self.drain(8.0)
        self.reactor.advance(8.0)
        self.successResultOf(drain.done)
        self.assertEqual(self.closed(), [f"closed: {DRAIN}"])
        self.assertQuiet(client)

    def test_terminal(self) -> None:
        """
        One that has no upstream.
        """
        plan = onePlan(Node(), PORT, SERVER)
        (listener,) = plan.listeners
        (chain,) = listener.chains
        echo = _replace(chain, filters=(FilterSpec("envoy.filters.network.echo"),))
        self.start(_replace(plan, listeners=(_replace(listener, chains=(echo,)),)))
        client = self.dial()
        client.write(b"hello")
        drain = self.drain()
        self.reactor.advance(SECONDS * SPREAD)
        self.successResultOf(drain.done)
        self.assertEqual((client.received, client.endings), (b"hello", 1))
        self.assertEqual(self.closed(), [f"closed: {DRAIN}"])

    def test_handshakes(self) -> None:
        """
        At every step of two sidecars' coming together: nothing is left, and established TLS is
        closed with a close_notify.
        """
        for steps in range(0, 60, 3):
            sidecars = Sidecars(chunks=200)
            clients = ApplicationFactory()
            dialing = clientFromString(sidecars.reactor, "tcp:127.0.0.1:15001")
            dialing.connect(clients)
            for _ in range(steps):
                sidecars.reactor._turn()
            connections = [*sidecars.inbound.service.connections]
            drain = Drain(connections, sidecars.reactor, 1.0, "test")
            drain.start()
            sidecars.reactor.advance(1.0)
            self.successResultOf(drain.done)
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


class _Noting(Application):
    """
    Ends when the other end does, and notes it.
    """

    def __init__(self, ended: list[Application]) -> None:
        super().__init__()
        self._ended = ended

    def readConnectionLost(self) -> None:
        super().readConnectionLost()
        self._ended.append(self)
        self.close()
