"""
What is known of a connection: each fact once, and its edges in order.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.connection import Connection, Key, Peer
from mxproxy.interfaces import IConnection
from mxproxy.testing import MemoryReactor, MemoryTransport
from mxproxy.testing.sidecars import Edges
from mxproxy.wire.metadata import Absence, Metadata
from mxproxy.wire.peerstate import PeerState

DONE = Failure(ConnectionDone())


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.edges = Edges()
        self.connection = Connection(
            "listener", self.clock.seconds, [self.edges], wallClock=lambda: 1_700_000_000.0
        )
        self.reactor = MemoryReactor()

    def open(self) -> Peer:
        self.connection.opened(MemoryTransport(self.reactor))
        return self.connection.downstream

    def upstream(self, lost: Any = None) -> Peer:
        peer = self.connection.newUpstream(lost or (lambda peer: None))
        self.connection.attach(peer, MemoryTransport(self.reactor))
        return peer

    def test_ids(self) -> None:
        other = Connection("listener", self.clock.seconds)
        self.assertNotEqual(self.connection.id, other.id)
        self.assertRegex(other.id, "^[0-9a-f]{16}$")

    def test_transportAdapts(self) -> None:
        """
        While it is open, its transport adapts to it; never to anything else.
        """
        transport = MemoryTransport(self.reactor)
        self.assertIsNone(IConnection(transport, None))
        self.connection.opened(transport)
        self.assertIs(IConnection(transport), self.connection)
        self.connection.lost(self.connection.downstream, DONE)
        self.assertIsNone(IConnection(transport, None))

    def test_addresses(self) -> None:
        peer = self.open()
        self.assertEqual(str(peer.address.host), "192.0.2.1")  # type: ignore[union-attr]
        self.assertEqual(str(peer.local_address.host), "127.0.0.1")  # type: ignore[union-attr]

    def test_mappedAddresses(self) -> None:
        """
        A v4 client of a v6 socket is a v4 client; any other v6 address stays as it is.
        """
        for host, expected in (
            ("::ffff:192.0.2.1", IPv4Address("TCP", "192.0.2.1", 7)),
            ("2001:db8::1", IPv6Address("TCP", "2001:db8::1", 7)),
        ):
            address = IPv6Address("TCP", host, 7)
            peer = self.connection.newUpstream(lambda peer: None)
            self.connection.attach(peer, MemoryTransport(self.reactor, host=address, peer=address))
            self.assertEqual((peer.address, peer.local_address), (expected, expected))

    def test_edges(self) -> None:
        """
        Connected is told when both are known and joined; closed when both are gone.
        """
        downstream = self.open()
        upstream = self.upstream()
        downstream.expectMetadata()
        upstream.expectMetadata()
        self.connection.joined()
        self.connection.identify(upstream, Metadata(name="x"))
        self.connection.identify(downstream, Absence(PeerState.BAD_MAGIC))
        self.connection.lost(downstream, DONE)
        self.clock.advance(1.5)
        self.connection.lost(upstream, DONE)
        self.clock.advance(1)
        self.assertEqual(
            self.edges.told,
            [
                "opened",
                "identified upstream: found",
                "identified downstream: bad_magic",
                "connected",
                "closed: downstream: closed",
            ],
        )
        self.assertEqual(self.connection.duration, 1.5)

    def test_lostOnce(self) -> None:
        downstream = self.open()
        self.connection.lost(downstream, DONE)
        self.connection.lost(downstream, DONE)
        self.assertEqual(self.edges.told, ["opened", "closed: downstream: closed"])

    def test_pendingIsClosed(self) -> None:
        """
        Whatever was pending when it is lost is known to be absent.
        """
        downstream = self.open()
        downstream.expectMetadata()
        self.connection.lost(downstream, DONE)
        self.assertIs(downstream.peer_state, PeerState.CLOSED)
        self.assertIn("identified downstream: closed", self.edges.told)

    def test_knownOnce(self) -> None:
        """
        Only a timeout may be followed by another result.
        """
        downstream = self.open()
        self.assertRaises(RuntimeError, self.connection.identify, downstream, Metadata())
        downstream.expectMetadata()
        self.connection.identify(downstream, Absence(PeerState.TIMEOUT))
        self.connection.identify(downstream, Metadata(name="late"))
        for result in (Metadata(), Absence(PeerState.CLOSED)):
            self.assertRaises(RuntimeError, self.connection.identify, downstream, result)
        self.assertEqual(downstream.metadata.name, "late")

    def test_firstReasonIsKept(self) -> None:
        downstream = self.open()
        downstream.closing("refused: not today")
        downstream.closing("closed")
        self.connection.lost(downstream, DONE)
        self.assertEqual(self.connection.close_reason, "downstream: refused: not today")
        self.connection.closing("proxy: shutdown")
        self.assertEqual(self.connection.close_reason, "downstream: refused: not today")

    def test_reasons(self) -> None:
        """
        Of a transport that ended without a layer's having said why.
        """
        for error, reason in (
            (ConnectionDone(), "closed"),
            (ConnectionAborted(), "aborted"),
            (ConnectionLost(), "reset"),
            (ZeroDivisionError("x"), "error: ZeroDivisionError"),
        ):
            peer = self.upstream()
            self.connection.lost(peer, Failure(error))
            self.assertEqual(peer.close_reason, reason)

    def test_attempts(self) -> None:
        """
        A failed attempt is its own peer's; who asked for it is told once.
        """
        told: list[Peer] = []
        self.open()
        first = self.upstream(told.append)
        self.connection.lost(first, DONE)
        second = self.upstream(told.append)
        self.assertEqual(told, [first])
        self.assertIs(self.connection.upstream, second)
        self.assertEqual(self.edges.told, ["opened"])

    def test_neverConnected(self) -> None:
        """
        An upstream that was never connected is not pending for ever.
        """
        downstream = self.open()
        self.connection.newUpstream(lambda peer: None).expectMetadata()
        self.connection.lost(downstream, DONE)
        self.assertIs(self.connection.upstream.peer_state, PeerState.CLOSED)

    def test_facts(self) -> None:
        """
        Third parties' facts, by keys that nobody else has.
        """
        count: Key[int] = Key("count", int)
        other: Key[int] = Key("count", int)
        self.assertIsNone(self.connection.get(count))
        self.connection.set(count, 3)
        self.assertEqual((self.connection.get(count), self.connection.get(other)), (3, None))
        self.assertRaises(TypeError, self.connection.set, count, "three")
        self.assertEqual(repr(count), "<Key count: int>")
        self.connection.lost(self.open(), DONE)
        self.assertIsNone(self.connection.get(count))

    def test_whenClosed(self) -> None:
        """
        Filters are told of the end after the observers, once, with their facts still there.
        """
        told: list[object] = []
        key: Key[int] = Key("count", int)
        peer = self.open()
        self.connection.set(key, 3)
        self.connection.whenClosed(
            lambda: told.append((self.edges.told[-1], self.connection.get(key)))
        )
        self.connection.lost(peer, DONE)
        self.connection.lost(peer, DONE)
        self.assertEqual(told, [("closed: downstream: closed", 3)])

    def test_observersThatRaise(self) -> None:
        """
        Everybody else is told, and the connection ends.
        """
        told: list[str] = []
        peer = self.open()
        for edge in ("opened", "identified", "connected", "closed"):
            faulty = Edges()
            setattr(faulty, edge, lambda *edge: 1 // 0)
            self.connection.observe(faulty)
        self.connection.whenClosed(lambda: told.append(str(1 // 0)))
        self.connection.whenClosed(lambda: told.append("second"))
        peer.expectMetadata()
        self.connection.identify(peer, Metadata())
        upstream = self.upstream()
        self.connection.joined()
        self.connection.lost(upstream, DONE)
        self.connection.lost(peer, DONE)
        self.assertEqual(
            self.edges.told,
            ["opened", "identified downstream: found", "connected", "closed: upstream: closed"],
        )
        self.assertEqual(told, ["second"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)

    def test_repr(self) -> None:
        peer = self.open()
        self.assertIn("192.0.2.1", repr(peer))
        self.assertIn("disabled", repr(peer))
        self.assertTrue(repr(self.connection).endswith(" open>"))
        self.connection.lost(peer, DONE)
        self.assertTrue(repr(self.connection).endswith(" downstream: closed>"))
