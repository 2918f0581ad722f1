"""
Who is let in: so many, so many of one address, so many that have not finished their handshakes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.chain import ChainContext
from mxproxy.config.plan import (
    METADATA_EXCHANGE,
    FilterSpec,
    Limits,
    Plan,
)
from mxproxy.connection import Connection
from mxproxy.limits import Admission, Handshakes, source
from mxproxy.observe.counters import Counters
from mxproxy.testing import Application, MemoryReactor, MemoryTransport, Proxy
from mxproxy.testing.sidecars import (
    CLIENT_NODE,
    SERVER,
    SERVER_NODE,
    clientTLS,
    onePlan,
    serverTLS,
)
from mxproxy.wire.metadata import Node

from .proxies import PORT, CollectorOff, ProxyTestCase, assertNoCycles


def limited(plan: Plan, limits: Limits, **more: Any) -> Plan:
    (listener,) = plan.listeners
    return replace(plan, listeners=(replace(listener, limits=limits),), **more)


class SourceTests(SynchronousTestCase):
    def test_source(self) -> None:
        """
        Who has one IPv6 address has 2**64 of them.
        """
        for address, wanted in (
            (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1"),
            (IPv6Address("TCP", "2001:db8::1", 1), "2001:db8::/64"),
            (IPv6Address("TCP", "2001:db8::ffff:ffff:ffff:ffff", 2), "2001:db8::/64"),
            (IPv6Address("TCP", "2001:db8:0:1::1", 1), "2001:db8:0:1::/64"),
            (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::/64"),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1"),
            (UNIXAddress("/run/x"), ""),
            (None, ""),
        ):
            self.assertEqual(source(address), wanted)


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.counters = Counters()

    def admission(self, limits: Limits) -> Admission:
        context = ChainContext(
            "downstream", "", "inbound", Node(), self.reactor, self.counters.count
        )
        return Admission(limits, context, Handshakes())

    def open(self, admission: Admission, address: Any) -> Connection:
        connection = Connection("inbound", self.reactor.seconds, [admission])
        connection.opened(MemoryTransport(self.reactor, peer=address))
        return connection

    def close(self, connection: Connection) -> None:
        connection.lost(connection.downstream, Failure(ConnectionDone()))

    def test_perAddress(self) -> None:
        """
        Each address has its own number, until it has none open; nothing is kept of it then.
        """
        admission = self.admission(Limits(None, 2))
        one, other = (IPv4Address("TCP", f"192.0.2.{last}", 1) for last in (1, 2))
        first = self.open(admission, one)
        self.assertTrue(admission.admits(one))
        second = self.open(admission, one)
        self.assertFalse(admission.admits(one))
        self.assertTrue(admission.admits(other))
        third = self.open(admission, other)
        self.assertEqual(self.counters, {"listener.inbound.downstream_cx_per_address_overflow": 1})
        self.close(first)
        self.assertTrue(admission.admits(one))
        self.close(second)
        self.close(third)
        self.assertEqual(admission._of, {})

    def test_perSocket(self) -> None:
        """
        It is the socket's peer that counts, also at its end, whatever a PROXY header has said.
        """
        admission = self.admission(Limits(None, 1))
        one = IPv4Address("TCP", "192.0.2.1", 1)
        connection = self.open(admission, one)
        peer = connection.downstream
        peer.direct_address, peer.address = one, IPv4Address("TCP", "198.51.100.1", 1)
        self.assertFalse(admission.admits(one))
        self.assertTrue(admission.admits(peer.address))
        self.close(connection)
        self.assertTrue(admission.admits(one))
        self.assertEqual(admission._of, {})

    def test_said(self) -> None:
        """
        Who, where and why; and in a flood not for everybody.
        """
        admission = self.admission(Limits(1))
        self.open(admission, IPv4Address("TCP", "192.0.2.1", 1))
        with capturedLogs() as events:
            for _ in range(1000):
                self.assertFalse(admission.admits(IPv4Address("TCP", "192.0.2.2", 1)))
            self.assertFalse(admission.admits(UNIXAddress("/run/x")))
            self.reactor.advance(10)
            self.assertFalse(admission.admits(UNIXAddress("/run/x")))
        lines = [formatEvent(event) for event in events]
        self.assertEqual(
            lines[0],
            "connection from 192.0.2.2 on inbound refused: 1 connection is open already",
        )
        self.assertEqual(len(lines), 11)
        self.assertEqual(
            lines[-1],
            "connection from a UNIX socket on inbound refused: 1 connection is open already"
            " (and 991 more like it before)",
        )
        self.assertEqual(self.counters, {"listener.inbound.downstream_cx_overflow": 1002})


class ConnectionsTests(ProxyTestCase):
    def test_tooMany(self) -> None:
        """
        One too many is closed at once, nobody hears of it, and the others notice nothing; when
        one has gone, there is room for another.
        """
        self.start(limited(onePlan(Node(), PORT, SERVER), Limits(2)))
        first, second, third = (self.dial() for _ in range(3))
        self.assertEqual((third.endings or len(third.losses), len(self.servers.built)), (1, 2))
        self.assertEqual(self.told.count("opened"), 2)
        for client, server in zip((first, second), list(self.servers.built), strict=True):
            client.write(b"still here")
            self.settle()
            self.assertEqual(server.received, b"still here")
        first.close()
        self.settle()
        self.servers.built[0].close()
        self.settle()
        fourth = self.dial()
        fourth.write(b"and me")
        self.settle()
        self.assertEqual(self.server.received, b"and me")
        counters = self.proxy.service.counters
        self.assertEqual(counters["listener.listener.downstream_cx_overflow"], 1)


class HandshakeTests(ProxyTestCase):
    """
    Two may be in their handshakes at once.
    """

    OVERFLOW = (
        "closed: downstream: handshake_overflow: the oldest of too many unfinished handshakes"
        " made room"
    )

    def setUp(self) -> None:
        plan = onePlan(
            SERVER_NODE,
            PORT,
            SERVER,
            downstream=serverTLS(),
            downstreamFilters=(FilterSpec(METADATA_EXCHANGE),),
        )
        self.start(replace(plan, max_handshakes=2))

    def startOutbound(self) -> None:
        """
        Who dials its port is an honest client.
        """
        exchange = (FilterSpec(METADATA_EXCHANGE),)
        Proxy(
            onePlan(CLIENT_NODE, PORT + 1, PORT, upstream=clientTLS(), upstreamFilters=exchange),
            self.reactor,
        )

    def dropped(self) -> int:
        return self.proxy.service.counters["listener.listener.downstream_cx_handshake_overflow"]

    def gone(self, client: Application) -> bool:
        return bool(client.losses or client.endings)

    def test_theOldest(self) -> None:
        """
        When a third one comes, the first has to go: not the one that has just come.
        """
        first, second = self.dial(), self.dial()
        second.write(b"\x16\x03\x01")
        self.settle()
        self.assertEqual(self.dropped(), 0)
        third = self.dial()
        self.settle()
        self.assertEqual([self.gone(one) for one in (first, second, third)], [True, False, False])
        self.assertEqual(self.told[-1], self.OVERFLOW)
        self.assertEqual(self.dropped(), 1)

    def test_theLoudest(self) -> None:
        """
        Of the source that has most: whoever is alone stays, however long he takes.
        """
        reactor = MemoryReactor()
        handshakes, dropped = Handshakes(4), Counters()

        def open_(last: int) -> Connection:
            connection = Connection("inbound", reactor.seconds)
            address = IPv4Address("TCP", f"192.0.2.{last}", 1)
            connection.opened(MemoryTransport(reactor, peer=address))
            handshakes.begun(connection, dropped.count)
            return connection

        def isDropped(connection: Connection) -> bool:
            return connection.downstream.close_reason.startswith("handshake_overflow")

        alone = open_(1)
        loud = [open_(2) for _ in range(3)]
        for _ in range(20):
            loud.append(open_(2))
            self.assertEqual(len(handshakes), 4)
        other = open_(3)
        self.assertEqual([isDropped(each) for each in loud], [True] * 21 + [False] * 2)
        self.assertFalse(isDropped(alone) or isDropped(other))
        for each in (alone, other, *loud):
            handshakes.over(each)
        self.assertEqual((len(handshakes), handshakes._of), (0, {}))
        handshakes.makeRoom()
        self.assertEqual(dropped, {"downstream_cx_handshake_overflow": 21})

    def test_finished(self) -> None:
        """
        Who has finished is not counted any more; who has gone by himself neither.
        """
        self.startOutbound()
        honest = [self.dial(port=PORT + 1) for _ in range(5)]
        self.assertEqual(len(self.servers.built), 5)
        for number, client in enumerate(honest):
            client.write(b"%d" % number)
        for _ in range(3):
            stalled = self.dial()
            stalled.abort()
            self.settle()
        self.dial()
        self.assertEqual(self.dropped(), 0)
        self.assertEqual(
            [server.received for server in self.servers.built], [b"0", b"1", b"2", b"3", b"4"]
        )

    def test_flood(self) -> None:
        """
        Honest clients are served while a hundred half-open connections come for each of them.
        """
        self.startOutbound()
        flood = []
        for number in range(5):
            flood += [self.dial() for _ in range(100)]
            client = self.dial(port=PORT + 1)
            client.write(b"hello")
            self.settle()
            self.assertEqual(self.server.received, b"hello")
            self.assertEqual(len(self.servers.built), number + 1)
            self.assertLessEqual(len(self.proxy.service.connections), 2 + number + 1)
        # All of the flood, but the last one.
        self.assertEqual(self.dropped(), 499)

    def test_noCycles(self) -> None:
        with CollectorOff():
            for _ in range(4):
                self.dial()
            self.reactor.advance(10)
            self.assertEqual(len(self.proxy.service.connections), 0)
            assertNoCycles(self, self.reactor, [self.proxy])

    def test_plaintext(self) -> None:
        """
        Where there is nothing to wait for, nobody is in a handshake.
        """
        self.start(replace(onePlan(Node(), PORT, SERVER), max_handshakes=1))
        clients = [self.dial() for _ in range(5)]
        self.assertEqual([self.gone(client) for client in clients], [False] * 5)
        self.assertEqual(self.dropped(), 0)
