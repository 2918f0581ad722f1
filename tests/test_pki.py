"""
The throwaway authority makes what X509-SVID asks for.
"""

from __future__ import annotations

import os
import stat
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.pki import Authority

BOB = "spiffe://cluster.local/ns/default/sa/bob"


class AuthorityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.authority = Authority.create()

    def test_leaf(self) -> None:
        credential = self.authority.issue(BOB, dns=("bob",), ips=("::1",))
        leaf = x509.load_pem_x509_certificate(credential.cert_pem)
        leaf.verify_directly_issued_by(self.authority.certificate)
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
        self.assertTrue(usage.critical and usage.value.digital_signature)
        self.assertFalse(usage.value.key_cert_sign or usage.value.crl_sign)
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertFalse(constraints.value.ca)
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(
            set(purposes), {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
        )
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertTrue(names.critical)
        self.assertEqual(names.value.get_values_for_type(x509.UniformResourceIdentifier), [BOB])
        key = load_pem_private_key(credential.key_pem, None)
        self.assertIsInstance(key, ec.EllipticCurvePrivateKey)

    def test_rsa(self) -> None:
        credential = self.authority.issue(BOB, rsa_key=True)
        self.assertIsInstance(load_pem_private_key(credential.key_pem, None), rsa.RSAPrivateKey)

    def test_validity(self) -> None:
        for validity, age in ((1, 1), (-2, 1), (2, -1)):
            credential = self.authority.issue(
                BOB, validity=timedelta(hours=validity), age=timedelta(hours=age)
            )
            leaf = x509.load_pem_x509_certificate(credential.cert_pem)
            self.assertLess(leaf.not_valid_before_utc, leaf.not_valid_after_utc)

    def test_subordinate(self) -> None:
        middle = self.authority.subordinate()
        leaf, sent = x509.load_pem_x509_certificates(middle.subordinate().issue(BOB).cert_pem)[:2]
        leaf.verify_directly_issued_by(sent)
        sent.verify_directly_issued_by(middle.certificate)
        middle.certificate.verify_directly_issued_by(self.authority.certificate)

    def test_noSecretInRepr(self) -> None:
        self.assertNotIn("PRIVATE", repr(self.authority.issue(BOB)))
        self.assertNotIn("key", repr(self.authority))

    def test_write(self) -> None:
        directory = self.mktemp()
        os.mkdir(directory)
        previous = os.umask(0)
        self.addCleanup(os.umask, previous)
        credential = self.authority.issue(BOB)
        for _ in range(2):
            certificate, key = credential.write(directory, "bob")
            root = self.authority.write(directory, "ca")
        self.assertEqual(certificate.read_bytes(), credential.cert_pem)
        self.assertEqual(key.read_bytes(), credential.key_pem)
        self.assertEqual(root.read_bytes(), self.authority.cert_pem)
        self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(root.stat().st_mode), 0o644)
