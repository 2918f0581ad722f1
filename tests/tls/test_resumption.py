"""
A session that is taken up again proves no less than a handshake.

Invariant: nobody gets in by a session who would not get in without, and who gets in is known by
the same names.
"""

from __future__ import annotations

import gc
import socket
import weakref
from datetime import datetime, timedelta, timezone
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tls import resumption, verify
from mxproxy.tls.context import ClientContext, ServerContext
from mxproxy.tls.resumption import (
    LIFETIME,
    MAX_SESSIONS,
    ResumableConnection,
    SessionRefused,
    Sessions,
)
from mxproxy.tls.settings import ClientTLS, ServerTLS, TLSVersion
from mxproxy.tls.verify import recordOf
from tests.tls.memory import (
    ALICE,
    ALICES,
    BOB,
    CA,
    HOUR,
    VERSIONS,
    Pair,
    client,
    pem,
    server,
    shake,
)


def resuming(context: ServerContext | ClientContext, **more: Any) -> Any:
    """
    The same, with sessions.
    """
    from dataclasses import replace

    settings = replace(context.settings, **more)
    if isinstance(settings, ServerTLS):
        return ServerContext(settings, True)
    assert isinstance(settings, ClientTLS)
    return ClientContext(settings, True)


class ResumptionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.pairs: list[Pair] = []
        #: How often a certificate was judged anew.
        self.again = 0
        real = verify.Verifier.again

        def again(verifier: verify.Verifier, connection: SSL.Connection) -> bool:
            self.again += 1
            return real(verifier, connection)

        self.patch(verify.Verifier, "again", again)

    def open(self, mine: ClientContext, its: ServerContext) -> Pair:
        """
        A connection that is used: with TLS 1.3 a session comes behind the handshake.

        It stays open: OpenSSL takes up no session of a connection that was dropped without a
        close_notify.
        """
        pair = shake(mine, its)
        self.pairs.append(pair)
        if pair.server.done and pair.server.error is None:
            pair.server.connection.send(b"x")
            pair.carry()
        return pair

    def resumed(self, pair: Pair) -> bool:
        """
        Whether no certificate was sent: the verification callback was not called, and both
        sides have judged again.
        """
        again, self.again = self.again, 0
        self.assertIn(again, (0, 2))
        return again == 2

    def at(self, moment: datetime) -> None:
        """
        What is judged again is judged by this time.
        """

        class Later(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return moment

        self.patch(verify, "datetime", Later)


class ResumedTests(ResumptionCase):
    def test_factsAreTheSame(self) -> None:
        for version in VERSIONS:
            mine = resuming(client(version=version, alpn=("istio",), server_name="db.test"))
            its = resuming(server(alpn=("istio",)))
            facts = []
            for resumed in (False, True, True):
                pair = self.open(mine, its)
                self.assertEqual(self.resumed(pair), resumed, version)
                self.assertEqual((pair.client.why, pair.server.why), ("", ""))
                self.assertEqual(pair.client.received, b"x")
                for side, name in ((pair.client, BOB), (pair.server, ALICE)):
                    self.assertEqual(side.facts.principals, (name,))
                    self.assertIsNotNone(side.facts.certificate)
                    self.assertEqual(side.facts.alpn, "istio")
                    self.assertIs(side.facts.session_reused, resumed)
                facts.append(
                    [
                        (side.facts.version, side.facts.cipher, side.facts.server_name)
                        for side in (pair.client, pair.server)
                    ]
                )
            self.assertEqual(facts[0], facts[1])

    def test_unknown(self) -> None:
        """
        Without pyOpenSSL's binding nobody knows.
        """
        for binding in (None, lambda: 1):
            self.patch(resumption, "_session_reused", binding)
            mine, its = resuming(client()), resuming(server())
            for _ in range(2):
                pair = self.open(mine, its)
            self.assertTrue(self.again)
            self.assertFalse(pair.client.facts.session_reused)
            self.again = 0

    def test_off(self) -> None:
        """
        If one side does not want it, there is none.
        """
        for version in VERSIONS:
            for mine, its in (
                (client(version=version), resuming(server())),
                (resuming(client(version=version)), server()),
                (resuming(client(version=version), resumable=False), resuming(server())),
                (resuming(client(version=version)), resuming(server(), resumable=False)),
            ):
                for _ in range(2):
                    pair = self.open(mine, its)
                    self.assertFalse(self.resumed(pair))
                    self.assertEqual(pair.server.facts.principals, (ALICE,))

    def test_otherContext(self) -> None:
        """
        Another chain, and the same one after a renewal, know nothing of it: whoever comes with
        a session of the one is asked for a certificate by the other.
        """
        for version in VERSIONS:
            mine, first = resuming(client(version=version)), resuming(server())
            self.open(mine, first)
            for its in (resuming(server()), resuming(server(accepted=(ALICE,)))):
                pair = self.open(mine, its)
                self.assertFalse(self.resumed(pair))
                self.assertEqual(pair.server.facts.principals, (ALICE,))
            stricter = resuming(server(accepted=(BOB,)))
            self.assertIn("identity_mismatch", self.open(mine, stricter).server.why)

    def test_withoutClientCertificate(self) -> None:
        """
        A session of nobody's is nobody's.
        """
        for version in VERSIONS:
            mine = resuming(client(None, version=version, accepted=(BOB,)))
            its = resuming(server(require_client_certificate=False))
            for resumed in (False, True):
                self.again = 0
                pair = self.open(mine, its)
                self.assertEqual(pair.server.facts.principals, ())
                self.assertIsNone(pair.server.facts.certificate)
                self.assertEqual(pair.client.facts.principals, (BOB,))
                # The server asks in a full handshake, too: it cannot tell them apart.
                self.assertEqual(self.again, 1 + resumed)


class AgainTests(ResumptionCase):
    """
    Between the handshake and the resumption something has happened.
    """

    def refused(self, side: str, why: str, mine: ClientContext, its: ServerContext) -> None:
        pair = self.open(mine, its)
        judge = {"client": pair.client, "server": pair.server}[side]
        self.assertIsInstance(judge.error, SessionRefused)
        self.assertTrue(judge.why.startswith(why), judge.why)
        self.assertFalse(judge.done)
        self.assertIsNone(recordOf(judge.connection).identities)

    def pair(self, version: TLSVersion, **more: Any) -> tuple[ClientContext, ServerContext]:
        mine, its = resuming(client(version=version)), resuming(server(**more))
        self.open(mine, its)
        return mine, its

    def test_expired(self) -> None:
        for version in VERSIONS:
            mine, its = self.pair(version)
            self.at(datetime.now(timezone.utc) + timedelta(days=30))
            line = f"certificate_expired: certificate {BOB} expired at "
            if version is TLSVersion.TLS12:
                # The server has the first word: it ends its handshake first.
                line = f"certificate_expired: certificate {ALICE} expired at "
                pair = self.open(mine, its)
                whys = [pair.client.why, pair.server.why]
                self.assertTrue(any(why.startswith("certificate_expired: ") for why in whys), whys)
            else:
                self.refused("client", line, mine, its)

    def test_listExpired(self) -> None:
        for version in VERSIONS:
            mine, its = self.pair(version, crl=pem(CA.revoke(validity=HOUR)))
            self.at(datetime.now(timezone.utc) + 2 * HOUR)
            self.refused("server", f"crl: certificate {ALICE} cannot be looked up", mine, its)

    def test_identity(self) -> None:
        """
        What is accepted never changes in a context; but it is looked at.
        """
        for version in VERSIONS:
            mine, its = self.pair(version, accepted=(ALICE,))
            its._verifier = verify.Verifier((BOB,))
            self.refused("server", "identity_mismatch: ", mine, its)

    def test_revoked(self) -> None:
        """
        Nor do the lists.
        """
        for version in VERSIONS:
            mine, its = self.pair(version, crl=pem(CA.revoke()))
            later = server(crl=pem(CA.revoke(ALICES)))
            its._verifier = later._verifier
            self.refused("server", f"certificate_revoked: certificate {ALICE} ", mine, its)
            its._verifier = verify.Verifier((), later._verifier._lists[:0])

    def test_nobodys(self) -> None:
        mine = resuming(client(None, accepted=(BOB,)))
        its = resuming(server(require_client_certificate=False))
        self.open(mine, its)
        its._verifier = verify.Verifier(())
        self.refused("server", "malformed_certificate: ", mine, its)

    def test_refusedSessionIsForgotten(self) -> None:
        """
        The next handshake is a full one.
        """
        mine, its = self.pair(TLSVersion.TLS13)
        assert mine._sessions is not None
        self.assertEqual(len(mine._sessions), 1)
        real = mine._verifier
        mine._verifier = verify.Verifier((ALICE,))
        self.refused("client", "identity_mismatch: ", mine, its)
        self.assertEqual(len(mine._sessions), 0)
        mine._verifier = real
        self.again = 0
        pair = self.open(mine, its)
        self.assertFalse(self.resumed(pair))


class SessionsTests(ResumptionCase):
    def test_lifetime(self) -> None:
        """
        OpenSSL's clock cannot be turned: what it was told.
        """
        self.assertEqual(resuming(server())._context.get_timeout(), LIFETIME)

    def test_afterTheEnd(self) -> None:
        """
        Of a connection that was ended in order, the session is good; of one that was dropped,
        it is not.
        """
        for version in VERSIONS:
            for ordered in (True, False):
                mine, its = resuming(client(version=version)), resuming(server())
                pair = self.open(mine, its)
                if ordered:
                    pair.client.connection.shutdown()
                self.pairs.clear()
                del pair
                self.assertEqual(self.resumed(self.open(mine, its)), ordered)

    def test_bounded(self) -> None:
        sessions = Sessions()
        for number in range(MAX_SESSIONS + 10):
            sessions.keep(number, SSL.Session())
        self.assertEqual(len(sessions), MAX_SESSIONS)
        self.assertIsNone(sessions.of(9))
        self.assertIsNotNone(sessions.of(10))

    def test_byHost(self) -> None:
        """
        A session with one host is not shown to another.
        """
        mine = resuming(client())
        ports = []
        for _ in range(2):
            listening = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(listening.close)
            near = socket.socket()
            self.addCleanup(near.close)
            near.connect(listening.getsockname())
            ports.append(mine.connection(near).peer)
        self.assertEqual(len(set(ports)), 2)
        self.assertIsNone(mine.connection(socket.socket()).peer)
        self.assertIsNone(mine.connection().peer)

    def test_noCycles(self) -> None:
        """
        Connections and contexts are gone without the garbage collector.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        mine, its = resuming(client()), resuming(server())
        for _ in range(2):
            pair = self.open(mine, its)
        self.pairs.clear()
        self.assertIsInstance(pair.client.connection, ResumableConnection)
        things = [pair.client.connection, pair.server.connection, mine, its, mine._context]
        gone = [weakref.ref(thing) for thing in things]
        del pair, mine, its, things
        self.assertEqual([reference() for reference in gone], [None] * 5)
