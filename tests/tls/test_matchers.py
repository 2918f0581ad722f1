"""
Identities by Envoy's matchers, and servers that nobody verifies.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tls.identity import Identities, acceptedPattern
from mxproxy.tls.settings import ClientTLS, Comparison, NameKind, NameMatcher, TLSConfigurationError
from tests.tls.memory import ALICE, ALICES, BOB, BOBS, CA, OTHER_CA, client, pem, server, shake

DNS, URI, IP, EMAIL = NameKind.DNS, NameKind.URI, NameKind.IP_ADDRESS, NameKind.EMAIL
EXACT, PREFIX, SUFFIX, CONTAINS, REGEX = Comparison

WHO = Identities(
    uris=("spiffe://td/ns/a/sa/b",),
    dns=("www.Example.com", "*.wild.example.com"),
    ips=("10.0.0.1", "2001:db8::1"),
    emails=("Who@example.com",),
)

# as Envoy's StringMatcher and DnsExactStringSanMatcher
MATCHES: list[tuple[NameMatcher, bool]] = [
    (NameMatcher(URI, EXACT, "spiffe://td/ns/a/sa/b"), True),
    (NameMatcher(URI, EXACT, "spiffe://td/ns/a/sa/B"), False),
    (NameMatcher(URI, EXACT, "SPIFFE://TD/ns/a/sa/B", True), True),
    (NameMatcher(URI, EXACT, "spiffe://td/ns/a/sa"), False),
    (NameMatcher(URI, PREFIX, "spiffe://td/"), True),
    (NameMatcher(URI, PREFIX, "spiffe://TD/"), False),
    (NameMatcher(URI, PREFIX, "spiffe://TD/", True), True),
    (NameMatcher(URI, SUFFIX, "/sa/b"), True),
    (NameMatcher(URI, SUFFIX, "/sa/"), False),
    (NameMatcher(URI, CONTAINS, "/ns/a/"), True),
    (NameMatcher(URI, CONTAINS, "/ns/b/"), False),
    (NameMatcher(URI, REGEX, "spiffe://[^/]+/ns/a/sa/[ab]"), True),
    # All of it.
    (NameMatcher(URI, REGEX, "spiffe://[^/]+/ns/a/sa/"), False),
    (NameMatcher(URI, REGEX, "td"), False),
    (NameMatcher(URI, REGEX, "spiffe://td/ns/a/sa/b|x"), True),
    # A kind's names are no other's.
    (NameMatcher(DNS, REGEX, "spiffe.*"), False),
    (NameMatcher(EMAIL, EXACT, "www.Example.com"), False),
    (NameMatcher(EMAIL, EXACT, "Who@example.com"), True),
    (NameMatcher(EMAIL, EXACT, "who@example.com"), False),
    (NameMatcher(IP, EXACT, "10.0.0.1"), True),
    (NameMatcher(IP, EXACT, "2001:DB8:0::1"), True),
    (NameMatcher(IP, EXACT, "10.0.0.2"), False),
    (NameMatcher(IP, EXACT, "ten"), False),
    (NameMatcher(IP, PREFIX, "10."), True),
    # DNS names know no case, and a certificate's wildcard covers one label.
    (NameMatcher(DNS, EXACT, "WWW.example.COM"), True),
    (NameMatcher(DNS, EXACT, "a.wild.example.com"), True),
    (NameMatcher(DNS, EXACT, "a.b.wild.example.com"), False),
    (NameMatcher(DNS, EXACT, "wild.example.com"), False),
    (NameMatcher(DNS, EXACT, ".wild.example.com"), False),
    (NameMatcher(DNS, EXACT, "*.wild.example.com"), True),
    (NameMatcher(DNS, SUFFIX, ".Example.com"), True),
    (NameMatcher(DNS, SUFFIX, ".EXAMPLE.com"), False),
]


class MatcherTests(SynchronousTestCase):
    def test_each(self) -> None:
        found = [(one, acceptedPattern(one).matches(WHO)) for one, _ in MATCHES]
        self.assertEqual(found, MATCHES)

    def test_nobody(self) -> None:
        for one, _ in MATCHES:
            self.assertFalse(acceptedPattern(one).matches(Identities()), one)

    def test_topLevel(self) -> None:
        """
        A wildcard for a whole top-level domain covers nothing.
        """
        who = Identities(dns=("*.com",))
        self.assertFalse(acceptedPattern(NameMatcher(DNS, EXACT, "example.com")).matches(who))

    def test_noRegex(self) -> None:
        error = self.assertRaises(
            TLSConfigurationError, acceptedPattern, NameMatcher(URI, REGEX, "(")
        )
        self.assertIn("'(' is no regular expression", str(error))

    def test_words(self) -> None:
        self.assertEqual(str(NameMatcher(URI, PREFIX, "spiffe://a/")), "URI prefix spiffe://a/")
        self.assertEqual(str(NameMatcher(DNS, REGEX, "a+", True)), "DNS safe_regex a+ in any case")

    def test_emails(self) -> None:
        """
        They are told when an identity is not accepted, but are no principal.
        """
        self.assertEqual(WHO.everything[-1], "Who@example.com")
        self.assertNotIn("Who@example.com", WHO.principals)


class HandshakeTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        ours = NameMatcher(URI, PREFIX, "spiffe://cluster.local/ns/default/")
        pair = shake(client(), server(accepted=(ours,)))
        self.assertEqual((pair.client.error, pair.server.error), (None, None))

    def test_refused(self) -> None:
        """
        The matcher is named where it matters.
        """
        theirs = NameMatcher(URI, SUFFIX, "/bob")
        pair = shake(client(), server(accepted=(theirs, "db.test")))
        line = pair.server.why
        self.assertIn(ALICE, line)
        self.assertIn("URI suffix /bob", line)
        self.assertIn("db.test", line)


class UnverifiedTests(SynchronousTestCase):
    def test_anybody(self) -> None:
        """
        Whoever answers will do, and proves nothing; a warning says so.
        """
        for authority in (CA, OTHER_CA):
            bobs = authority.issue(BOB)
            open_ = client(None, None, verify=False, server_name="db.test")
            pair = shake(open_, server(bobs, require_client_certificate=False))
            self.assertEqual((pair.client.error, pair.server.error), (None, None))
            self.assertEqual(pair.client.facts.principals, ())
        self.assertEqual(open_.warnings, ("whoever answers is believed: no CA is given",))
        self.assertEqual(client(None).warnings, ())

    def test_withOwn(self) -> None:
        """
        The own certificate is shown all the same.
        """
        pair = shake(client(ALICES, None, verify=False), server(BOBS))
        self.assertEqual((pair.client.error, pair.server.error), (None, None))
        self.assertEqual(
            (pair.client.facts.principals, pair.server.facts.principals), ((), (ALICE,))
        )

    def test_contradiction(self) -> None:
        """
        Nobody can be told from others without being verified.
        """
        for accepted in (("db.test",), (NameMatcher(DNS, EXACT, "db.test"),)):
            self.assertRaises(
                TLSConfigurationError, client, None, None, verify=False, accepted=accepted
            )

    def test_nameUnproven(self) -> None:
        """
        With C{verify_name=False} the name asked for is only asked for.
        """
        for verify, works in ((True, False), (False, True)):
            pair = shake(
                client(None, server_name="db.test", verify_name=verify),
                server(BOBS, require_client_certificate=False),
            )
            self.assertIs(pair.client.error is None, works)

    def test_default(self) -> None:
        settings = ClientTLS(authorities=pem(CA.cert_pem))
        self.assertEqual((settings.verify, settings.verify_name), (True, True))
