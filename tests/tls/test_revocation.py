"""
A peer that its CA has revoked is refused, and so is one that cannot be looked up; as in Envoy.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.pki import Authority
from mxproxy.tls.context import ClientContext, ServerContext
from mxproxy.tls.pem import serialInHex
from mxproxy.tls.settings import TLSConfigurationError
from tests.tls.memory import (
    ALICE,
    ALICES,
    BOB,
    BOBS,
    CA,
    HOUR,
    OTHER_CA,
    VERSIONS,
    client,
    pem,
    server,
    shake,
)

NAME = "CN=cluster.local throwaway CA"
NONE = CA.revoke()

ROOT = Authority.create()
MIDDLE = ROOT.subordinate()
LEAF = MIDDLE.issue(ALICE)


def serial(text: bytes) -> str:
    return serialInHex(x509.load_pem_x509_certificate(text).serial_number)


class LookUpTests(SynchronousTestCase):
    def refused(self, why: str, crl: bytes, **more: Any) -> None:
        """
        Alice is refused by a server with these lists, and told by an alert.
        """
        context = server(crl=pem(crl), **more)
        pair = shake(client(), context)
        self.assertEqual(pair.server.why, why)
        self.assertTrue(pair.client.why.startswith("alert_received: "), pair.client.why)

    def test_revoked(self) -> None:
        """
        Who it is is named, and by whom it was revoked; others get in.
        """
        number = serial(ALICES.cert_pem)
        why = f"certificate_revoked: certificate {ALICE} (serial {number}) is revoked by {NAME}"
        crl = CA.revoke(ALICES)
        self.refused(why, crl)
        for version in VERSIONS:
            pair = shake(client(version=version), server(crl=pem(crl)))
            self.assertEqual(pair.server.why, why)
            alert = "alert_received: the peer refused with alert 'certificate revoked'"
            self.assertEqual(pair.client.why, alert)
            pair = shake(client(CA.issue(ALICE), version=version), server(crl=pem(crl)))
            self.assertEqual(pair.server.facts.principals, (ALICE,))

    def test_byTheClient(self) -> None:
        pair = shake(client(crl=pem(CA.revoke(BOBS))), server())
        self.assertIn(f"certificate_revoked: certificate {BOB} (serial ", pair.client.why)

    def test_nobody(self) -> None:
        pair = shake(client(crl=pem(NONE)), server(crl=pem(NONE)))
        self.assertEqual(pair.client.facts.principals, (BOB,))
        self.assertEqual(pair.server.facts.principals, (ALICE,))

    def test_expired(self) -> None:
        self.refused(
            f"crl: certificate {ALICE} cannot be looked up: there is no newer CRL than the expired "
            f"one of {NAME}",
            CA.revoke(validity=-HOUR),
        )

    def test_notYet(self) -> None:
        self.refused(
            f"crl: certificate {ALICE} cannot be looked up: it is too early for the CRL of {NAME}",
            CA.revoke(age=-HOUR),
        )

    def test_otherAuthoritys(self) -> None:
        """
        A list of a CA that is called otherwise, and of one that is called the same.
        """
        self.refused(
            f"crl: certificate {ALICE} cannot be looked up: there is no CRL of {NAME}",
            Authority.create("other.example").revoke(),
        )
        pair = shake(client(), server(crl=pem(OTHER_CA.revoke())))
        self.assertTrue(
            pair.server.why.startswith(f"crl: certificate {ALICE} cannot be looked up: "),
            pair.server.why,
        )

    def test_severalInOneFile(self) -> None:
        """
        Of several CAs, of the same CA the newest, with something between them.
        """
        newest = CA.revoke(ALICES, age=timedelta())
        text = b"a comment\n" + OTHER_CA.revoke() + BOBS.cert_pem + CA.revoke() + newest
        pair = shake(client(), server(crl=pem(text)))
        self.assertIn("certificate_revoked: ", pair.server.why)

    def test_besideTheAuthorities(self) -> None:
        """
        Envoy takes lists between the CA certificates for what they are.
        """
        text = CA.cert_pem + CA.revoke(ALICES)
        pair = shake(client(), server(authorities=pem(text)))
        self.assertIn("certificate_revoked: ", pair.server.why)


class ChainTests(SynchronousTestCase):
    """
    There is an intermediate between the peer and the CA that is trusted.
    """

    def why(self, crl: bytes, **more: Any) -> str:
        context = server(authorities=pem(ROOT.cert_pem), crl=pem(crl), **more)
        return shake(client(LEAF), context).server.why

    def test_all(self) -> None:
        """
        Each CA of the chain has to have a list.
        """
        self.assertEqual(self.why(ROOT.revoke() + MIDDLE.revoke()), "")
        self.assertIn("cannot be looked up: there is no CRL of ", self.why(ROOT.revoke()))
        self.assertIn("cannot be looked up: there is no CRL of ", self.why(MIDDLE.revoke()))

    def test_onlyLeaf(self) -> None:
        self.assertEqual(self.why(MIDDLE.revoke(), only_verify_leaf_cert_crl=True), "")
        why = self.why(MIDDLE.revoke(LEAF), only_verify_leaf_cert_crl=True)
        self.assertIn("certificate_revoked: ", why)

    def test_intermediate(self) -> None:
        """
        An authority that was revoked takes everybody with it.
        """
        crl = ROOT.revoke(MIDDLE) + MIDDLE.revoke()
        why = self.why(crl)
        self.assertIn("certificate_revoked: certificate of the authority ", why)
        self.assertEqual(self.why(crl, only_verify_leaf_cert_crl=True), "")


class SettingsTests(SynchronousTestCase):
    def refused(self, crl: bytes, **more: Any) -> str:
        return str(self.assertRaises(TLSConfigurationError, server, crl=pem(crl), **more))

    def test_none(self) -> None:
        self.assertEqual(
            self.refused(CA.cert_pem),
            "no PEM CRL in the inline PEM: it needs a block that begins with "
            "'-----BEGIN X509 CRL-----'",
        )

    def test_damaged(self) -> None:
        for text in (NONE[:-40], NONE.replace(b"M", b"?", 1), NONE + NONE[:100]):
            self.assertRegex(
                self.refused(text), "^a damaged CRL in the inline PEM: .+: write the file anew$"
            )

    def test_withoutAuthorities(self) -> None:
        self.assertEqual(
            self.refused(NONE, authorities=None, require_client_certificate=False),
            "the CRL in the inline PEM comes without the CA certificates whose it is",
        )

    def test_warnings(self) -> None:
        line = (
            f"there is no CRL of {NAME} in the inline PEM: every certificate of that CA is refused"
        )
        for crl, authorities, warnings in (
            (NONE, CA.cert_pem, 0),
            (NONE + OTHER_CA.revoke(), CA.cert_pem, 0),
            (OTHER_CA.revoke(), CA.cert_pem, 1),
            (NONE, CA.cert_pem + OTHER_CA.cert_pem, 1),
        ):
            for context in (
                server(crl=pem(crl), authorities=pem(authorities)),
                client(crl=pem(crl), authorities=pem(authorities)),
            ):
                assert isinstance(context, (ServerContext, ClientContext))
                self.assertEqual(context.warnings, (line,) * warnings)
