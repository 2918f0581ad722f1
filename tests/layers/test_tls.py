"""
Two TLS layers joined by transports in memory, and one whose peer is the test.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.chain import ChainContext
from mxproxy.connection import Connection, Peer
from mxproxy.layers.tls import LINGER, TLSFactory
from mxproxy.pki import Authority
from mxproxy.testing import Application, ApplicationFactory, Link, MemoryReactor, MemoryTransport
from mxproxy.testing.sidecars import (
    CLIENT_ID,
    SERVER_ID,
    Edges,
    authority,
    clientTLS,
    credential,
    serverTLS,
)
from mxproxy.tls.context import ClientContext, ServerContext
from mxproxy.tls.settings import PEM, ClientTLS, ServerTLS, TLSVersion
from mxproxy.tls.verify import Verifier
from mxproxy.wire.metadata import Node

VERSIONS = (TLSVersion.TLS12, TLSVersion.TLS13)

OTHER = Authority.create()


class Side:
    """
    One side of TLS.

    @ivar applications: what is connected above: one, or none.
    """

    def __init__(self, transport: MemoryTransport, side: str, tls: Any, timeout: float) -> None:
        reactor = transport.reactor
        self.transport = transport
        self.edges = Edges()
        self.connection = Connection("listener", reactor.seconds, [self.edges])
        self.peer: Peer = self.connection.downstream
        if side == "downstream":
            self.connection.opened(transport)
        else:
            self.peer = self.connection.newUpstream(lambda peer: None)
            self.connection.attach(self.peer, transport)
        self.applications = ApplicationFactory(lambda: Topmost(self.connection, self.peer))
        context = ChainContext(side, "chain", "listener", Node(), reactor, lambda name: None)
        self._factory = TLSFactory(self.applications, context, tls, timeout)

    def connect(self) -> None:
        self.transport.connect(self._factory.buildProtocol(None))

    @property
    def connected(self) -> bool:
        return bool(self.applications.built)

    @property
    def application(self) -> Application:
        (application,) = self.applications.built
        return application

    @property
    def reason(self) -> str:
        return self.peer.close_reason


class Topmost(Application):
    """
    Says that the connection is lost, as whoever is on top has to.
    """

    def __init__(self, connection: Connection, peer: Peer) -> None:
        super().__init__()
        self._lost = lambda reason: connection.lost(peer, reason)

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        self._lost(reason)


class Pair:
    """
    Both sides, joined.
    """

    def __init__(
        self,
        client: ClientTLS | None = None,
        server: ServerTLS | None = None,
        *,
        version: TLSVersion = TLSVersion.TLS13,
        chunks: Any = None,
        capacity: int | None = None,
        connect: bool = True,
    ) -> None:
        self.reactor = MemoryReactor(chunks, capacity)
        self.link = Link(self.reactor)
        client = client or clientTLS()
        client = ClientTLS(**{**vars(client), "minimum": version, "maximum": version})
        self.client = Side(self.link.client, "upstream", ClientContext(client), 10)
        self.server = Side(self.link.server, "downstream", ServerContext(server or serverTLS()), 10)
        if connect:
            self.server.connect()
            self.client.connect()
            self.settle()

    def settle(self) -> None:
        self.reactor.settle()

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.client, self.server


class TLSTestCase(SynchronousTestCase):
    def assertGone(self, pair: Pair) -> None:
        """
        Both ends are closed, and nothing is left of either.
        """
        self.assertEqual(pair.reactor.getDelayedCalls(), [])
        self.assertEqual(pair.reactor.removeAll(), [])
        for side in pair.sides:
            self.assertTrue(side.transport.closed)
            self.assertFalse(side.peer.open)
            self.assertLessEqual(len(side.edges.told), 2)
            for application in side.applications.built:
                self.assertEqual(application.unexpected, [])
                self.assertEqual(len(application.losses), 1)


class Scenarios:
    """
    What is asked of TLS whatever carries its records; with TLS 1.3, and once more with 1.2.
    """

    version = TLSVersion.TLS13

    def test_facts(self) -> None:
        pair = self.pair(
            clientTLS(server_name="db.example", alpn=("mx", "istio")), serverTLS(alpn=("istio",))
        )
        server, client = pair.server.peer, pair.client.peer
        for peer in (server, client):
            self.assertEqual(peer.transport_protocol, "tls")
            self.assertEqual(peer.tls_version, self.version.value)
            self.assertEqual(peer.alpn, "istio")
        self.assertEqual(server.server_name, "db.example")
        self.assertEqual(server.alpn_offered, ("mx", "istio"))
        self.assertEqual((server.principals, client.principals), ((CLIENT_ID,), (SERVER_ID,)))
        self.assertEqual(pair.server.connection.trail, ["downstream/tls"])
        self.assertEqual(pair.client.connection.trail, ["upstream/tls"])

    def test_noOverlap(self) -> None:
        """
        The handshake goes on without ALPN, and without an alert.
        """
        pair = self.pair(clientTLS(alpn=("h2",)), serverTLS(alpn=("istio",)))
        pair.client.application.write(b"hello")
        pair.settle()
        self.assertEqual(pair.server.application.received, b"hello")
        self.assertEqual([side.peer.alpn for side in pair.sides], [None, None])

    def test_resumed(self) -> None:
        """
        A session is taken up by the next connection.
        """
        self.resumes("server")

    def test_resumedWithoutAnswer(self) -> None:
        """
        With TLS 1.3 it comes behind the handshake, whether the server says anything or not.
        """
        self.resumes("client")

    def resumes(self, speaks: str) -> None:
        again: list[object] = []
        judge = Verifier.again

        def judged(verifier: Verifier, connection: SSL.Connection) -> bool:
            again.append(connection)
            return judge(verifier, connection)

        self.patch(Verifier, "again", judged)
        settings = {**vars(clientTLS()), "minimum": self.version, "maximum": self.version}
        mine, its = ClientContext(ClientTLS(**settings), True), ServerContext(serverTLS(), True)
        # A session whose connection was dropped is none; so they stay.
        pairs = []
        for number in range(3):
            pair = self.pair(connect=False)
            pairs.append(pair)
            pair.client._factory.tls, pair.server._factory.tls = mine, its
            pair.server.connect()
            pair.client.connect()
            pair.settle()
            getattr(pair, speaks).application.write(b"hello")
            pair.settle()
            received = [side.application.received for side in pair.sides]
            self.assertEqual(sorted(received), [b"", b"hello"])
            self.assertEqual(len(again), 2 * number)
            self.assertEqual(pair.client.peer.principals, (SERVER_ID,))

    def test_clientEndsFirst(self) -> None:
        self.halfClose("client", "server")

    def test_serverEndsFirst(self) -> None:
        self.halfClose("server", "client")

    def halfClose(self, firstName: str, secondName: str) -> None:
        """
        After one's end the other writes on to its last byte.
        """
        pair = self.pair()
        first, second = getattr(pair, firstName), getattr(pair, secondName)
        first.application.write(b"question")
        first.application.end()
        pair.settle()
        self.assertEqual(
            (second.application.received, second.application.endings), (b"question", 1)
        )
        self.assertFalse(second.transport.closed)
        first.application.write(b"too late")
        for _ in range(3):
            second.application.write(b"x" * 100_000)
            pair.settle()
        self.assertEqual(len(first.application.received), 300_000)
        second.application.end()
        pair.settle()
        self.assertEqual(first.application.endings, 1)
        self.assertEqual([side.reason for side in pair.sides], ["", ""])
        first.application.close()
        second.application.close()
        pair.settle()
        self.assertEqual([side.reason for side in pair.sides], ["closed", "closed"])
        self.assertEqual(second.application.received, b"question")
        self.assertGone(pair)

    def test_close(self) -> None:
        """
        What was written first; and the peer's alert is not waited for.
        """
        pair = self.pair()
        pair.client.application.write(b"x" * 100_000)
        pair.client.application.close()
        pair.settle()
        self.assertEqual(len(pair.server.application.received), 100_000)
        self.assertEqual(pair.server.application.endings, 1)
        self.assertTrue(pair.client.transport.closed)
        self.assertFalse(pair.server.transport.closed)
        self.assertEqual(pair.server.reason, "", "not truncated")
        pair.server.application.close()
        pair.settle()
        self.assertGone(pair)

    def test_truncated(self) -> None:
        """
        An end of the transport without a close_notify is an end of the stream, and noted.
        """
        pair = self.pair()
        pair.client.application.write(b"hello")
        self.truncate(pair.client)
        pair.settle()
        self.assertEqual(pair.server.application.received, b"hello")
        self.assertEqual(pair.server.application.endings, 1)
        self.assertEqual(pair.server.reason, "truncated: the stream ended without a close_notify")
        pair.server.application.write(b"still")
        pair.settle()
        self.assertEqual(pair.client.application.received, b"still")
        pair.server.application.close()
        pair.client.application.close()
        pair.settle()
        self.assertGone(pair)

    def test_pauseAndResumeFromWithin(self) -> None:
        pair = self.pair()
        server = pair.server.application

        depth, deepest = 0, 0

        def both(data: bytes) -> None:
            nonlocal depth, deepest
            depth += 1
            deepest = max(depth, deepest)
            server.pause()
            server.resume()
            depth -= 1

        server.onData = both
        for letter in b"abcd":
            pair.client.application.write(bytes([letter]))
        pair.client.application.end()
        pair.settle()
        self.assertEqual((server.received, server.endings), (b"abcd", 1))
        self.assertEqual(deepest, 1, "delivered from within a resume")
        self.assertEqual(server.unexpected, [])

    def test_endWhilePaused(self) -> None:
        """
        Bytes and an end that came during a pause wait for it to be over.
        """
        for truncated in (False, True):
            pair = self.pair()
            server = pair.server.application
            server.pause()
            pair.client.application.write(b"hello")
            if truncated:
                self.truncate(pair.client)
            else:
                pair.client.application.close()
            pair.settle()
            self.assertEqual((server.received, server.endings), (b"", 0))
            server.resume()
            pair.settle()
            self.assertEqual((server.received, server.endings), (b"hello", 1))
            self.assertEqual(pair.server.reason.partition(":")[0], "truncated" * truncated)
            self.assertEqual(server.unexpected, [])

    def test_writeFromWithin(self) -> None:
        pair = self.pair()
        pair.server.application.onData = pair.server.application.write
        pair.client.application.write(b"x" * 50_000)
        pair.settle()
        self.assertEqual(pair.client.application.received, b"x" * 50_000)

    def refused(self, client: ClientTLS, server: ServerTLS, why: str, clientsWhy: str) -> Pair:
        """
        The server refuses the client.
        """
        pair = self.pair(client, server)
        self.assertFalse(pair.server.connected)
        self.assertTrue(pair.server.reason.startswith(why), pair.server.reason)
        self.assertTrue(pair.client.reason.startswith(clientsWhy), pair.client.reason)
        pair.reactor.advance(LINGER)
        self.assertGone(pair)
        return pair

    def test_noCertificate(self) -> None:
        self.refused(
            ClientTLS(authorities=PEM(text=authority().cert_pem), accepted=(SERVER_ID,)),
            serverTLS(),
            "no_client_certificate: the peer sent no certificate",
            "alert_received: the peer refused with alert '",
        )

    def test_otherAuthority(self) -> None:
        other = OTHER.issue(CLIENT_ID)
        self.refused(
            clientTLS(certificate=PEM(text=other.cert_pem), key=PEM(text=other.key_pem)),
            serverTLS(),
            f"unknown_ca: certificate {CLIENT_ID} is signed by an unknown authority",
            "alert_received: the peer refused with alert 'unknown ca'",
        )

    def test_otherIdentity(self) -> None:
        self.refused(
            clientTLS(),
            serverTLS(accepted=("spiffe://cluster.local/ns/default/sa/nobody",)),
            f"identity_mismatch: the peer is {CLIENT_ID}; accepted are spiffe:",
            "alert_received: the peer refused with alert 'internal error'",
        )

    def test_refusedServer(self) -> None:
        """
        The client refuses the server: nothing was connected above it, so nothing was written.
        """
        for client, why in (
            (clientTLS(authorities=PEM(text=OTHER.cert_pem)), "unknown_ca"),
            (clientTLS(accepted=("spiffe://cluster.local/ns/other/sa/x",)), "identity_mismatch"),
        ):
            pair = self.pair(client)
            self.assertFalse(pair.client.connected)
            self.assertEqual(pair.client.reason.partition(":")[0], why)
            self.assertEqual(pair.server.reason.partition(":")[0], "alert_received")
            pair.reactor.advance(LINGER)
            self.assertGone(pair)


class BothVersions(Scenarios, TLSTestCase):
    """
    The same, and what can be asked of it in memory alone.
    """

    def pair(self, *args: Any, **kwargs: Any) -> Pair:
        return Pair(*args, version=self.version, **kwargs)

    def truncate(self, side: Side) -> None:
        """End its stream below TLS."""
        side.transport.loseWriteConnection()

    def test_oddChunks(self) -> None:
        """
        A megabyte each way at once, in chunks that fit no record.
        """
        there, back = b"0123456789abcdef" * 65536, b"fedcba9876543210" * 65536
        for chunks in ([1, 7, 4096], [16384 + 5], [65536, 3, 1448]):
            pair = self.pair(chunks=chunks, capacity=100_000)
            pair.client.application.write(there)
            pair.server.application.write(back)
            pair.client.application.end()
            pair.server.application.end()
            pair.settle()
            self.assertEqual(pair.server.application.received, there)
            self.assertEqual(pair.client.application.received, back)
            for side in pair.sides:
                self.assertEqual(side.application.endings, 1)
                side.application.close()
            pair.settle()
            self.assertGone(pair)

    def test_smallChunks(self) -> None:
        """
        Byte by byte, the handshake included.
        """
        pair = self.pair(chunks=1)
        pair.client.application.write(b"x" * 5000)
        pair.settle()
        self.assertEqual(pair.server.application.received, b"x" * 5000)

    def test_abort(self) -> None:
        """
        Without a close_notify.
        """
        pair = self.pair()
        pair.client.application.abort()
        pair.client.application.write(b"too late")
        pair.settle()
        self.assertEqual(pair.client.application.losses, ["aborted"])
        self.assertEqual(pair.server.application.losses, ["lost"])
        self.assertEqual((pair.client.reason, pair.server.reason), ("aborted", "reset"))
        self.assertEqual(pair.server.application.received, b"")
        self.assertGone(pair)

    def test_pauseWithRecordsWaiting(self) -> None:
        """
        Records that came together: after a pause none of those behind it is delivered.
        """
        pair = self.pair()
        server = pair.server.application
        server.onData = lambda data: server.pause()
        for letter in b"abcd":
            pair.client.application.write(bytes([letter]))
        pair.client.application.end()
        pair.settle()
        for expected in (b"a", b"ab", b"abc", b"abcd"):
            self.assertEqual(server.received, expected)
            self.assertEqual(server.endings, 0)
            server.resume()
            pair.settle()
        self.assertEqual(server.endings, 1)
        self.assertEqual(server.unexpected, [])

    def test_lostWhilePaused(self) -> None:
        """
        What was read before the connection was lost is not lost with it (stock Twisted's TLS
        does the same).
        """
        pair = self.pair()
        server = pair.server.application
        # Not pause(): it would complain of what comes at the end.
        server.onData = lambda data: server.transport.pauseProducing()
        for letter in b"abcd":
            pair.client.application.write(bytes([letter]))
        pair.settle()
        self.assertEqual(server.received, b"a")
        pair.client.application.abort()
        pair.settle()
        server.write(b"who is there?")
        pair.settle()
        self.assertEqual(server.received, b"abcd")
        self.assertEqual((server.endings, len(server.losses)), (0, 1))
        self.assertGone(pair)

    def test_abortWhilePaused(self) -> None:
        """
        Who has dropped the connection itself wants nothing more of it.
        """
        pair = self.pair()
        server = pair.server.application
        server.onData = lambda data: server.pause()
        for letter in b"abcd":
            pair.client.application.write(bytes([letter]))
        pair.settle()
        server.abort()
        pair.settle()
        self.assertEqual(server.received, b"a")
        self.assertGone(pair)

    def test_endBehindRecordsThatWait(self) -> None:
        """
        The transport has ended already when the pause begins: what TLS still holds comes first.
        """
        for truncated in (False, True):
            pair = self.pair()
            server = pair.server.application
            server.onData = lambda data, server=server: server.pause()
            for letter in b"ab":
                pair.client.application.write(bytes([letter]))
            if truncated:
                pair.client.transport.loseConnection()
            else:
                pair.client.application.close()
            pair.settle()
            self.assertEqual((server.received, server.endings), (b"a", 0))
            server.resume()
            pair.settle()
            self.assertEqual((server.received, server.endings), (b"ab", 0))
            server.resume()
            pair.settle()
            self.assertEqual(server.endings, 1)
            self.assertEqual(server.unexpected, [])

    def test_closeFromWithin(self) -> None:
        """
        Nothing more is delivered, though there is more.
        """
        pair = self.pair()
        server = pair.server.application
        server.onData = lambda data: server.close()
        for letter in b"abcd":
            pair.client.application.write(bytes([letter]))
        pair.settle()
        self.assertEqual(server.received, b"a")
        self.assertEqual(server.unexpected, [])

    def test_backPressure(self) -> None:
        """
        A paused reader takes nothing more from the network, and a producer waits for it.
        """
        pair = self.pair(capacity=10_000)
        client, server = pair.client.application, pair.server.application
        server.pause()
        client.produce()
        for _ in range(20):
            client.write(b"x" * 16384)
            pair.settle()
            if client.held:
                break
        self.assertTrue(client.held)
        self.assertLess(pair.client.transport.buffered, 100_000)
        self.assertEqual(server.received, b"")
        server.resume()
        pair.settle()
        self.assertFalse(client.held)

    def test_emptyWrite(self) -> None:
        pair = self.pair()
        before = pair.client.transport.outgoing.total
        pair.client.application.write(b"")
        pair.settle()
        self.assertEqual(pair.client.transport.outgoing.total, before)

    def test_corrupted(self) -> None:
        """
        A record that is none: the connection ends on both sides, and both know why.
        """
        pair = self.pair()
        pair.client.transport.write(b"\x17\x03\x03\x00\x20" + b"?" * 32)
        pair.settle()
        self.assertEqual(pair.server.reason.partition(":")[0], "protocol_error")
        self.assertEqual(pair.client.reason.partition(":")[0], "alert_received")
        self.assertEqual(len(pair.server.application.losses), 1)
        pair.reactor.advance(LINGER)
        self.assertGone(pair)

    def test_corruptedAndUnread(self) -> None:
        """
        The alert is not lost to what the peer is still sending.
        """
        pair = self.pair()
        pair.client.transport.write(b"\x17\x03\x03\x00\x20" + b"?" * 32)
        pair.client.application.write(b"x" * 1_000_000)
        pair.settle()
        self.assertEqual(pair.client.reason.partition(":")[0], "alert_received")
        pair.reactor.advance(LINGER)
        self.assertGone(pair)

    def test_noCycle(self) -> None:
        """
        When a connection is over, what it was made of goes without the collector's help.
        """
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for end in ("close", "abort", "refused", "timeout"):
            client = clientTLS(accepted=("spiffe://x/y",)) if end == "refused" else clientTLS()
            pair = self.pair(client, connect=end != "timeout")
            if end == "timeout":
                pair.server.connect()
                pair.reactor.advance(10)
                pair.client.connect()
            elif end == "refused":
                pair.reactor.advance(LINGER)
            else:
                for side in pair.sides:
                    getattr(side.application, end)()
            pair.settle()
            for side in pair.sides:
                side.transport.lose()
            left = [weakref.ref(side.transport) for side in pair.sides]
            left += [weakref.ref(side.connection) for side in pair.sides]
            left += [weakref.ref(a) for side in pair.sides for a in side.applications.built]
            for side in pair.sides:
                # This rig's own cycles.
                side.applications.built.clear()
                side.edges.all.clear()
                side.__dict__.clear()
            del pair, side
            self.assertEqual([ref() for ref in left if ref() is not None], [], end)


class BothVersions12(BothVersions):
    version = TLSVersion.TLS12


class ServerAlone(TLSTestCase):
    """
    A server whose peer is the test.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.transport = MemoryTransport(self.reactor)
        self.server = Side(self.transport, "downstream", ServerContext(serverTLS()), 10)
        self.server.connect()

    def assertOver(self, reason: str) -> None:
        self.assertEqual(self.server.reason, reason)
        self.assertTrue(self.transport.closed)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertFalse(self.server.connected)
        self.assertEqual(self.server.edges.told[-1].partition(":")[0], "closed")

    def test_silence(self) -> None:
        self.reactor.advance(9.9)
        self.assertFalse(self.transport.closed)
        self.reactor.advance(0.1)
        self.assertOver("handshake_timeout: no TLS handshake within 10 s")
        self.assertTrue(self.transport.aborted)

    def test_slowHello(self) -> None:
        """
        A byte now and then makes no difference.
        """
        tls = ClientContext(clientTLS()).connection()
        self.assertRaises(SSL.WantReadError, tls.do_handshake)
        for byte in tls.bio_read(65536)[:9]:
            self.transport.feed(bytes([byte]))
            self.reactor.advance(1)
        self.assertFalse(self.transport.closed)
        self.reactor.advance(1)
        self.assertOver("handshake_timeout: no TLS handshake within 10 s")

    def test_plaintext(self) -> None:
        """
        Known at the first byte; whoever goes at once is let go at once.
        """
        self.transport.feed(b"G")
        self.assertTrue(self.transport.eofWritten)
        self.assertFalse(self.transport.closed)
        self.transport.feed(b"ET / HTTP/1.0\r\n\r\n")
        self.transport.feedEOF()
        self.assertOver("not_tls: the first byte is 0x47, no TLS handshake")
        self.assertFalse(self.transport.aborted)

    def test_plaintextThatStays(self) -> None:
        self.transport.feed(b"GET / HTTP/1.0\r\n\r\n")
        self.reactor.advance(LINGER)
        self.assertOver("not_tls: the first byte is 0x47, no TLS handshake")

    def test_refusedAndTalking(self) -> None:
        """
        Once refused, what it goes on to say is not looked at, and buys it no time.
        """
        self.transport.feed(b"\x16\x03\x01\x00\x05hello")
        for _ in range(4):
            self.reactor.advance(LINGER / 5)
            self.transport.feed(b"\x16\x03\x01\x00\x05hello")
        self.assertFalse(self.transport.closed)
        self.reactor.advance(LINGER / 5)
        self.assertTrue(self.transport.closed)
        self.assertEqual(self.server.reason.partition(":")[0], "protocol_error")

    def test_alertFirst(self) -> None:
        """
        Only a client is told one before anything else.
        """
        self.transport.feed(b"\x15\x03\x03\x00\x02\x02\x28")
        self.reactor.advance(LINGER)
        self.assertOver("not_tls: the first byte is 0x15, no TLS handshake")

    def test_garbage(self) -> None:
        """
        The alert is sent, then the end.
        """
        self.transport.feed(b"\x16\x03\x01\x00\x05hello")
        self.assertEqual(self.transport.take()[:1], b"\x15")
        self.assertTrue(self.transport.eofWritten)
        self.reactor.advance(LINGER)
        self.assertEqual(self.server.reason.partition(":")[0], "protocol_error")

    def test_endBeforeAnything(self) -> None:
        self.transport.feedEOF()
        self.assertOver("closed: the stream ended during the TLS handshake")

    def test_lossBeforeAnything(self) -> None:
        self.transport.lose()
        self.assertOver("reset: the connection was lost during the TLS handshake")

    def test_applicationDeclines(self) -> None:
        """
        What is above takes no connection.
        """
        link = Link(self.reactor)
        server = Side(link.server, "downstream", ServerContext(serverTLS()), 10)
        server.applications.buildProtocol = lambda addr: None  # type: ignore[method-assign, assignment, return-value]
        client = Side(link.client, "upstream", ClientContext(clientTLS()), 10)
        server.connect()
        client.connect()
        self.reactor.settle()
        self.assertEqual(server.reason, "refused: ApplicationFactory took no connection")
        self.assertTrue(server.transport.closed)


class ClientAlone(TLSTestCase):
    """
    A client whose peer is the test.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.transport = MemoryTransport(self.reactor)
        self.client = Side(self.transport, "upstream", ClientContext(clientTLS()), 10)
        self.client.connect()

    def test_speaksFirst(self) -> None:
        self.assertEqual(self.transport.take()[:1], b"\x16")

    def test_alertFirst(self) -> None:
        """
        A server may refuse at once.
        """
        self.transport.feed(b"\x15\x03\x03\x00\x02\x02\x28")
        self.assertEqual(
            self.client.reason, "alert_received: the peer refused with alert 'handshake failure'"
        )

    def test_plaintext(self) -> None:
        self.transport.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertEqual(self.client.reason, "not_tls: the first byte is 0x48, no TLS handshake")

    def test_silence(self) -> None:
        self.reactor.advance(10)
        self.assertEqual(self.client.reason, "handshake_timeout: no TLS handshake within 10 s")
        self.assertTrue(self.transport.closed)


class FixturesTests(SynchronousTestCase):
    def test_madeOnce(self) -> None:
        """
        Certificates are made once for all tests of a process: a handshake costs a millisecond,
        a key many.
        """
        self.assertIs(credential(CLIENT_ID), credential(CLIENT_ID))
