"""
What is wrong with TLS settings is told in one line, with the file's name and a remedy.
"""

from __future__ import annotations

import os
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tls.context import ClientContext, ServerContext
from mxproxy.tls.settings import PEM, ClientTLS, ServerTLS, TLSConfigurationError, TLSVersion
from tests.tls.memory import ALICE, ALICES, BOB, BOBS, CA, HOUR, client, pem, shake

GOOD = ServerTLS(pem(BOBS.cert_pem), pem(BOBS.key_pem), pem(CA.cert_pem))
NAMELESS = ClientTLS(authorities=pem(CA.cert_pem))


class SettingsTests(SynchronousTestCase):
    def test_noSecretInRepr(self) -> None:
        self.assertNotIn("PRIVATE", repr(GOOD))

    def test_comparable(self) -> None:
        """
        Equal settings are equal keys: a context is found again by what it was built from.
        """
        self.assertEqual(len({GOOD, replace(GOOD), replace(GOOD, alpn=("istio",))}), 2)

    def test_pathOrText(self) -> None:
        self.assertRaises(TLSConfigurationError, PEM)


class FileTests(SynchronousTestCase):
    """
    The PEM texts are in files, as on the command line.
    """

    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)

    def file(self, name: str, text: bytes) -> PEM:
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(text)
        return PEM(path)

    def line(self, settings: ServerTLS, file: PEM) -> str:
        """
        The error, with the file's name replaced.
        """
        error = self.assertRaises(TLSConfigurationError, ServerContext, settings)
        line = str(error)
        self.assertEqual(line.splitlines(), [line])
        self.assertIn(file.origin, line)
        return line.replace(file.origin, "FILE")

    def test_good(self) -> None:
        certificate, key = BOBS.write(self.directory, "bob")
        authority = CA.write(self.directory, "ca")
        settings = ServerTLS(PEM(str(certificate)), PEM(str(key)), PEM(str(authority)))
        context = ServerContext(settings)
        self.assertEqual(context.warnings, ())
        self.assertEqual(shake(client(), context).client.facts.principals, (BOB,))

    def test_keyBesideCertificate(self) -> None:
        """
        One file may hold both.
        """
        both = self.file("both", BOBS.cert_pem + BOBS.key_pem)
        ServerContext(replace(GOOD, certificate=both, key=both))

    def test_missing(self) -> None:
        for field, what in (
            ("certificate", "certificate"),
            ("key", "key"),
            ("authorities", "CA certificate"),
        ):
            file = PEM(os.path.join(self.directory, "absent"))
            self.assertEqual(
                self.line(replace(GOOD, **{field: file}), file),
                f"cannot read the {what} file FILE: No such file or directory",
            )

    def test_directory(self) -> None:
        file = PEM(self.directory)
        self.assertEqual(
            self.line(replace(GOOD, key=file), file),
            "cannot read the key file FILE: Is a directory",
        )

    def test_noCertificate(self) -> None:
        for field, what in (("certificate", "certificate"), ("authorities", "CA certificate")):
            for text in (b"", b"\xff\n", BOBS.key_pem):
                file = self.file("file", text)
                self.assertEqual(
                    self.line(replace(GOOD, **{field: file}), file),
                    f"no PEM {what} in FILE: it needs a block that begins with "
                    "'-----BEGIN CERTIFICATE-----'",
                )

    def test_damagedCertificate(self) -> None:
        for text in (BOBS.cert_pem[:200], BOBS.cert_pem.replace(b"M", b"?", 1)):
            file = self.file("file", text)
            line = self.line(replace(GOOD, certificate=file), file)
            self.assertRegex(line, "^a damaged certificate in FILE: .+: write the file anew$")

    def test_noKey(self) -> None:
        for text in (b"", BOBS.cert_pem, BOBS.key_pem[:60]):
            file = self.file("file", text)
            self.assertEqual(
                self.line(replace(GOOD, key=file), file),
                "no usable PEM private key in FILE: it needs a block that begins with "
                "'-----BEGIN PRIVATE KEY-----'",
            )

    def test_encryptedKey(self) -> None:
        key = load_pem_private_key(BOBS.key_pem, None)
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            text = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
            file = self.file("file", text)
            self.assertEqual(
                self.line(replace(GOOD, key=file), file),
                "the key in FILE is encrypted: decrypt it first, for instance with "
                "'openssl pkey -in OLD -out NEW'",
            )

    def test_otherKey(self) -> None:
        file = self.file("file", ALICES.key_pem)
        self.assertEqual(
            self.line(replace(GOOD, key=file), file),
            "the key in FILE does not match the first certificate in the inline PEM: "
            "give the pair that was issued together",
        )

    def test_uselessKey(self) -> None:
        text = x25519.X25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        file = self.file("file", text)
        self.assertEqual(
            self.line(replace(GOOD, key=file), file),
            "the key in FILE cannot sign a TLS handshake: use an EC or RSA key",
        )

    def test_uselessCertificate(self) -> None:
        """
        A certificate for a kind of key that is not known matches no key.
        """
        template = x509.load_pem_x509_certificate(BOBS.cert_pem)
        text = (
            x509.CertificateBuilder(
                issuer_name=template.issuer,
                subject_name=template.subject,
                serial_number=1,
                not_valid_before=template.not_valid_before_utc,
                not_valid_after=template.not_valid_after_utc,
            )
            .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
            .sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
            .public_bytes(Encoding.DER)
        )
        # id-ecPublicKey, 1.2.840.10045.2.1, becomes 1.2.840.10045.2.127.
        known, unknown = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f")
        odd = x509.load_der_x509_certificate(text.replace(known, unknown, 1))
        file = self.file("file", odd.public_bytes(Encoding.PEM))
        self.assertIn("does not match", self.line(replace(GOOD, certificate=file), file))

    def test_weakKey(self) -> None:
        """
        OpenSSL's own refusal is passed on.
        """
        key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        template = x509.load_pem_x509_certificate(BOBS.cert_pem)
        certificate = (
            x509.CertificateBuilder(
                issuer_name=template.issuer,
                subject_name=template.subject,
                serial_number=1,
                not_valid_before=template.not_valid_before_utc,
                not_valid_after=template.not_valid_after_utc,
            )
            .public_key(key.public_key())
            .sign(key, SHA256())
        )
        file = self.file("file", certificate.public_bytes(Encoding.PEM))
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.assertEqual(
            self.line(replace(GOOD, certificate=file, key=pem(secret)), file),
            "OpenSSL refuses the certificate in FILE: ee key too small: have it issued anew",
        )


class WarningTests(SynchronousTestCase):
    """
    An own certificate that is of no use today may be renewed tomorrow.
    """

    def test_notYetValid(self) -> None:
        (line,) = client(CA.issue(ALICE, age=-HOUR)).warnings
        self.assertRegex(
            line,
            r"^the certificate in the inline PEM is not valid before \S+Z: peers will refuse it$",
        )


class CombinationTests(SynchronousTestCase):
    """
    Each setting is good, together they are not.
    """

    def refused(self, settings: ServerTLS | ClientTLS) -> str:
        context = ServerContext if isinstance(settings, ServerTLS) else ClientContext
        return str(self.assertRaises(TLSConfigurationError, context, settings))

    def test_halves(self) -> None:
        self.assertEqual(
            self.refused(replace(GOOD, key=None)),
            "the certificate in the inline PEM comes without its key: give both",
        )
        self.assertEqual(
            self.refused(replace(NAMELESS, key=pem(BOBS.key_pem))),
            "the key in the inline PEM comes without its certificate: give both",
        )
        self.assertEqual(self.refused(ServerTLS()), "a TLS server needs a certificate and its key")

    def test_serverWithoutAuthorities(self) -> None:
        self.assertEqual(
            self.refused(replace(GOOD, authorities=None)),
            "requiring a client certificate needs the CA certificates to verify it with",
        )
        self.assertEqual(
            self.refused(
                replace(GOOD, authorities=None, accepted=(ALICE,), require_client_certificate=False)
            ),
            "accepting named identities needs the CA certificates to verify them with",
        )

    def test_clientWithoutAuthorities(self) -> None:
        self.assertEqual(
            self.refused(ClientTLS(pem(ALICES.cert_pem), pem(ALICES.key_pem))),
            "mutual TLS needs the CA certificates to verify the server with",
        )
        self.assertEqual(
            self.refused(ClientTLS()),
            "any server with a public certificate would do: say which server name or identity "
            "to accept, or give the CA certificates to trust",
        )

    def test_versions(self) -> None:
        self.assertEqual(
            self.refused(replace(GOOD, minimum=TLSVersion.TLS13, maximum=TLSVersion.TLS12)),
            "the oldest TLS version to speak, TLSv1.3, is newer than the newest, TLSv1.2: "
            "swap them",
        )

    def test_alpn(self) -> None:
        for name in ("", "x" * 256):
            for settings in (replace(GOOD, alpn=(name,)), replace(NAMELESS, alpn=(name,))):
                self.assertEqual(
                    self.refused(settings), f"{name!r} is no ALPN name: it has 1 to 255 bytes"
                )

    def test_serverName(self) -> None:
        for name in ("", ".", "db.example:5432", "*.example", BOB, "ü" * 70):
            self.assertEqual(
                self.refused(replace(NAMELESS, server_name=name)),
                f"{name!r} cannot be asked for as a server name: write a DNS name or an IP "
                "address, without port",
            )

    def test_accepted(self) -> None:
        for settings in (replace(GOOD, accepted=("a b",)), replace(NAMELESS, accepted=("a b",))):
            self.assertIn("'a b' is no identity", self.refused(settings))
