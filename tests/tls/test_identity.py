"""
What an operator may write as an identity, and what it matches.

Invariant: a certificate matches a name only by what is in its subject alternative names.
"""

from __future__ import annotations

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tls.identity import (
    AcceptedURI,
    Identities,
    accepts,
    faultOfSVID,
    parseAccepted,
    readIdentities,
)
from mxproxy.tls.settings import TLSConfigurationError
from tests.tls.memory import BOB, CA


def read(pem: bytes) -> Identities:
    return readIdentities(x509.load_pem_x509_certificate(pem))


class IdentitiesTests(SynchronousTestCase):
    def test_all(self) -> None:
        found = read(CA.issue(BOB, dns=("b", "a"), ips=("::1", "10.0.0.1")).cert_pem)
        self.assertEqual(found, Identities((BOB,), ("b", "a"), ("::1", "10.0.0.1")))
        self.assertEqual(found.principal, BOB)
        self.assertEqual(found.principals, (BOB, "b", "a"))
        self.assertEqual(found.everything, (BOB, "b", "a", "::1", "10.0.0.1"))

    def test_dnsOnly(self) -> None:
        self.assertEqual(read(CA.issue(dns=("b", "a")).cert_pem).principal, "b")

    def test_addressIsNoPrincipal(self) -> None:
        found = read(CA.issue(ips=("10.0.0.1",)).cert_pem)
        self.assertIsNone(found.principal)

    def test_none(self) -> None:
        self.assertEqual(read(CA.issue(common_name="bob").cert_pem), Identities())


class SVIDTests(SynchronousTestCase):
    def fault(self, *uris: str, authority: bool = False) -> str:
        credential = CA.issue(uris, authority=authority)
        certificate = x509.load_pem_x509_certificate(credential.cert_pem)
        return faultOfSVID(certificate, readIdentities(certificate))

    def test_good(self) -> None:
        self.assertEqual(self.fault(BOB), "")

    def test_noSVID(self) -> None:
        """
        The rules are SPIFFE's: other certificates may have many URIs, and sign.
        """
        self.assertEqual(self.fault("https://a/", "https://b/", authority=True), "")

    def test_broken(self) -> None:
        self.assertIn("more than one URI", self.fault(BOB, "https://a/"))
        self.assertIn("more than one URI", self.fault("https://a/", BOB.upper()))
        self.assertIn("has no path", self.fault("spiffe://cluster.local"))
        self.assertIn("has no path", self.fault("spiffe://cluster.local/"))
        self.assertIn("may sign", self.fault(BOB, authority=True))


class ParseTests(SynchronousTestCase):
    def line(self, text: str) -> str:
        line = str(self.assertRaises(TLSConfigurationError, parseAccepted, text))
        self.assertEqual(line.splitlines(), [line])
        return line

    def test_good(self) -> None:
        for text in (
            BOB,
            "spiffe://a/b",
            "spiffe://a_b-c.d/" + "x" * (2048 - 17),
            "https://db.example/path?query#fragment",
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        ):
            self.assertEqual(parseAccepted(text), AcceptedURI(text))
        for text in ("localhost", "db.example", "bücher.example", "10.0.0.1", "fd00::1"):
            self.assertNotIsInstance(parseAccepted(text), AcceptedURI)

    def test_spiffe(self) -> None:
        domain = "its trust domain must be 1 to 255 of a-z, 0-9, '.', '-' and '_', without a port"
        for text, why in (
            ("SPIFFE://a/b", "write the scheme in lower case"),
            ("spiffe:///b", domain),
            ("spiffe://A/b", domain),
            ("spiffe://a:1/b", domain),
            ("spiffe://u@a/b", domain),
            ("spiffe://" + "a" * 256 + "/b", domain),
            ("spiffe://a", "it has no path after the trust domain"),
            ("spiffe://a/", "it has no path after the trust domain"),
            ("spiffe://a/" + "b" * 2048, "it is longer than 2048 bytes"),
        ):
            self.assertEqual(
                self.line(text), f"{text[:300]!r} is no SPIFFE ID of a workload: {why}"
            )
        for segment in ("", ".", "..", "b?c", "b#c", "b%20c", "b c", "b:c", "*", "é", "b\n"):
            self.assertIn(f"{segment!r} in its path", self.line(f"spiffe://a/{segment}/d"))
        self.assertIn("'' in its path", self.line("spiffe://a/b/"))
        self.assertIn("its trust domain", self.line("spiffe://a\n/b"))

    def test_notAnIdentity(self) -> None:
        for text in ("db.example:5432", "[::1]", "10.0.0.1:80", "://", "https://", "urn:"):
            self.assertIn(f"{text!r} is no identity", self.line(text))
            self.assertIn("without port", self.line(text))
        for text in ("", " ", "*.example", "a b", "a/b", "12", "*", "\u2028", "é..é"):
            self.assertIn(f"{text!r} is no identity", self.line(text))
            self.assertIn("without wildcard", self.line(text))

    @given(st.text(max_size=20) | st.from_regex(r"spiffe://\w+(/\w*)*"))
    def test_anything(self, text: str) -> None:
        """
        Any text is an identity or a one-line error.
        """
        try:
            parseAccepted(text)
        except TLSConfigurationError as error:
            self.assertEqual(len(str(error).splitlines()), 1)


class MatchTests(SynchronousTestCase):
    def matches(self, accepted: str, *, uris: str = "", dns: str = "", ips: str = "") -> bool:
        identities = Identities(tuple(uris.split()), tuple(dns.split()), tuple(ips.split()))
        return accepts([parseAccepted(accepted)], identities)

    def test_uri(self) -> None:
        self.assertTrue(self.matches(BOB, uris=BOB))
        self.assertTrue(self.matches("urn:a:b", uris="https://x/ urn:a:b"))
        for other in (BOB + "/", BOB + "x", BOB[:-1], BOB.upper(), "spiffe://cluster.local/*"):
            self.assertFalse(self.matches(BOB, uris=other), other)
        self.assertFalse(self.matches(BOB, dns=BOB))

    def test_dns(self) -> None:
        for pattern in ("a.db.test", "A.DB.test", "*.db.test", "other.test a.db.test"):
            self.assertTrue(self.matches("a.db.test", dns=pattern), pattern)
        for pattern in (
            "*",
            "*.*",
            "*.test",
            "*.a.db.test",
            "a*.db.test",
            "db.test",
            "a.db.test.b",
        ):
            self.assertFalse(self.matches("a.db.test", dns=pattern), pattern)
        self.assertFalse(self.matches("db.example", uris="https://db.example/"))
        self.assertFalse(self.matches("db.example"))

    def test_address(self) -> None:
        self.assertTrue(self.matches("10.0.0.1", ips="::1 10.0.0.1"))
        self.assertTrue(self.matches("::1", ips="::1"))
        self.assertFalse(self.matches("10.0.0.1", ips="10.0.0.2"))
        self.assertFalse(self.matches("10.0.0.1", dns="10.0.0.1"))

    def test_oddNeighbours(self) -> None:
        """
        A name that service-identity cannot parse does not spoil a good one beside it.
        """
        self.assertTrue(self.matches("db.example", uris="urn:uuid:1 x", dns="* a.*.b 1 db.example"))

    def test_nothingAccepted(self) -> None:
        self.assertFalse(accepts([], Identities((BOB,))))
