"""
What a context remembers of certificates: what it accepted, and no more than that.
"""

from __future__ import annotations

from unittest import mock

from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tls import verify
from mxproxy.tls.verify import Record, Verifier
from tests.tls.memory import ALICE, ALICES, BOB, BOBS, CA, client, server, shake

EXPIRED = SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED


def judged(verifier: Verifier, certificate: crypto.X509, number: int = 0) -> Record:
    """
    @return: what is recorded when OpenSSL asks about a peer's own certificate.
    """
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD))
    record = Record()
    connection.set_app_data(record)
    accepted = verifier(connection, certificate, number, 0, int(not number))
    assert accepted == (record.failure is None), record
    return record


class KnownTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.alice = crypto.load_certificate(crypto.FILETYPE_PEM, ALICES.cert_pem)
        self.bob = crypto.load_certificate(crypto.FILETYPE_PEM, BOBS.cert_pem)
        self.patch(verify, "readIdentities", mock.Mock(wraps=verify.readIdentities))

    @property
    def reads(self) -> int:
        return verify.readIdentities.call_count  # type: ignore[attr-defined, no-any-return]

    def test_readOnce(self) -> None:
        """
        A certificate is parsed for the first of its connections, and all know whose they are.
        """
        mine, its = client(), server()
        for _ in range(3):
            pair = shake(mine, its)
            self.assertEqual(pair.server.facts.principals, (ALICE,))
            self.assertEqual(pair.client.facts.principals, (BOB,))
        self.assertEqual(self.reads, 2)

    def test_ofOneContext(self) -> None:
        """
        Another context has other rules.
        """
        anybody, onlyBob = Verifier(()), Verifier((BOB,))
        self.assertIsNone(judged(anybody, self.alice).failure)
        self.assertIsNotNone(judged(onlyBob, self.alice).failure)
        self.assertIsNone(judged(onlyBob, self.bob).failure)

    def test_again(self) -> None:
        """
        Of a session that is taken up, too.
        """
        verifier = Verifier(())
        judged(verifier, self.alice)
        record = Record()
        connection = mock.Mock(get_peer_certificate=lambda: self.alice, get_app_data=lambda: record)
        self.patch(crypto.X509, "to_cryptography", mock.Mock(side_effect=AssertionError))
        self.assertTrue(verifier.again(connection))
        assert record.identities is not None
        self.assertEqual(record.identities.principals, (ALICE,))

    def test_whatOpenSSLSaysCounts(self) -> None:
        """
        One that was good and is not any longer is refused.
        """
        verifier = Verifier(())
        for _ in range(2):
            self.assertIsNotNone(judged(verifier, self.alice).identities)
        record = judged(verifier, self.alice, EXPIRED)
        assert record.failure is not None
        self.assertEqual(record.failure.number, EXPIRED)
        self.assertIsNone(record.identities)

    def test_refusedIsNotRemembered(self) -> None:
        """
        So that nobody who is not of the mesh takes room.
        """
        verifier = Verifier((BOB,))
        for _ in range(2):
            self.assertIsNotNone(judged(verifier, self.alice).failure)
        self.assertEqual(self.reads, 2)

    def test_bounded(self) -> None:
        """
        The oldest is forgotten.
        """
        self.patch(verify, "KNOWN", 2)
        verifier = Verifier(())
        third = crypto.load_certificate(crypto.FILETYPE_PEM, CA.issue(ALICE).cert_pem)
        for certificate in (self.alice, self.bob, third, third, self.bob):
            judged(verifier, certificate)
        self.assertEqual(self.reads, 3)
        judged(verifier, self.alice)
        self.assertEqual(self.reads, 4)
        self.assertEqual(len(verifier._known), 2)
