"""
Who gets through a handshake, with what result, and what is said to whom does not.

Invariant: nobody is described by a name that was not verified, and each refusal has one
line that begins with its own token.
"""

from __future__ import annotations

import gc
import os
import socket
import weakref
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.pki import Authority
from mxproxy.tls.context import MAX_RECORDED_ALPN, ClientContext, ServerContext, describe
from mxproxy.tls.settings import TLSVersion
from mxproxy.tls.verify import recordOf
from tests.tls.memory import (
    ALICE,
    BOB,
    CA,
    HOUR,
    OTHER_CA,
    VERSIONS,
    Pair,
    Side,
    client,
    pem,
    server,
    shake,
)

MX = "istio-peer-exchange"
ISTIO = "istio"


class MutualTests(SynchronousTestCase):
    """
    Both sides have certificates that the other's authority signed.
    """

    def test_facts(self) -> None:
        for version in VERSIONS:
            pair = shake(client(version=version, server_name="db.example."), server())
            for side, principal in ((pair.client, BOB), (pair.server, ALICE)):
                self.assertEqual(side.facts.version, version.value)
                self.assertIn("AES", side.facts.cipher)
                self.assertEqual(side.facts.server_name, "db.example")
                self.assertEqual(side.facts.principals, (principal,))
                self.assertEqual(side.facts.alpn_offered, ())
                self.assertIsNone(side.facts.alpn)

    def test_applicationBytes(self) -> None:
        pair = shake(client(), server())
        pair.client.connection.send(b"ping")
        pair.server.connection.send(b"pong")
        pair.carry()
        self.assertEqual((pair.client.received, pair.server.received), (b"pong", b"ping"))

    def test_rsaAndIntermediate(self) -> None:
        """
        An RSA key, and a CA file that holds an intermediate without its root.
        """
        root = Authority.create()
        middle = root.subordinate()
        leaf = middle.issue(BOB, rsa_key=True)
        pair = shake(client(ca=middle), server(leaf))
        self.assertEqual(pair.client.facts.principals, (BOB,))

    def test_chainIsSent(self) -> None:
        """
        A peer that trusts only the root is sent the intermediate.
        """
        root = Authority.create()
        leaf = root.subordinate().issue(BOB)
        self.assertEqual(leaf.cert_pem.count(b"BEGIN"), 2)
        pair = shake(client(ca=root), server(leaf))
        self.assertEqual(pair.client.facts.principals, (BOB,))

    def test_onlyTheFilesChainIsSent(self) -> None:
        """
        Not the root, which a peer that trusts it has; and no intermediate that is trusted, but
        not in the file.
        """
        root = Authority.create()
        middle = root.subordinate()
        leaf = middle.issue(BOB)
        alone = x509.load_pem_x509_certificates(leaf.cert_pem)[0].public_bytes(Encoding.PEM)
        for own, ca, count in ((leaf, root.cert_pem, 2), (leaf, middle.cert_pem, 2)):
            pair = shake(client(ca=root), server(own, authorities=pem(ca + CA.cert_pem)))
            chain = pair.client.connection.get_peer_cert_chain()
            assert chain is not None
            self.assertEqual(len(chain), count)
        both = middle.cert_pem + CA.cert_pem
        bare = server(leaf, certificate=pem(alone), authorities=pem(both))
        self.assertIn("unknown_ca", shake(client(ca=root), bare).client.why)

    def test_serverNameIsNotChecked(self) -> None:
        """
        In mutual TLS the name asked for selects a service, and no certificate has it.
        """
        name = "outbound_.5432_._.db.default.svc.cluster.local"
        pair = shake(client(server_name=name), server())
        self.assertEqual(pair.server.facts.server_name, name)

    def test_addressIsNotAskedFor(self) -> None:
        """
        RFC 6066 has no addresses in a ClientHello.
        """
        for address in ("10.0.0.1", "::1"):
            pair = shake(client(server_name=address), server())
            self.assertIsNone(pair.server.facts.server_name)

    def test_overSockets(self) -> None:
        """
        The same connection, made for a socket, has no memory to read from.
        """
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        for context, end in ((client(), near), (server(), far)):
            connection = context.connection(end)
            self.assertRaises(TypeError, connection.bio_read, 1)
            self.assertEqual(connection.fileno(), end.fileno())

    def test_contextIsShared(self) -> None:
        context = server()
        one, other = context.connection(), context.connection()
        self.assertIs(one.get_context(), other.get_context())
        self.assertIsNot(recordOf(one), recordOf(other))

    def test_idleConnectionsAreSmall(self) -> None:
        """
        Buffers are given back between records.
        """
        for context in (client(), server()):
            self.assertTrue(context._context.set_mode(0) & SSL.MODE_RELEASE_BUFFERS)

    def test_noCycles(self) -> None:
        """
        A finished connection is gone without the garbage collector.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        pair = shake(client(), server())
        gone = [weakref.ref(pair.client.connection), weakref.ref(pair.server.connection)]
        del pair
        self.assertEqual([reference() for reference in gone], [None, None])

    def test_foreignConnection(self) -> None:
        foreign = SSL.Connection(SSL.Context(SSL.TLS_METHOD))
        self.assertRaises(TypeError, describe, foreign)


class ALPNTests(SynchronousTestCase):
    def test_serversPreference(self) -> None:
        for version in VERSIONS:
            pair = shake(client(version=version, alpn=(ISTIO, MX)), server(alpn=(MX, ISTIO)))
            for side in (pair.client, pair.server):
                self.assertEqual(side.facts.alpn, MX)
                self.assertEqual(side.facts.alpn_offered, (ISTIO, MX))

    def test_noOverlap(self) -> None:
        """
        Neither an alert nor a protocol: the handshake goes on.
        """
        for version in VERSIONS:
            for mine in ((MX, ISTIO), ()):
                pair = shake(client(version=version, alpn=("h2",)), server(alpn=mine))
                pair.client.connection.send(b"hello")
                pair.carry()
                self.assertEqual(pair.server.received, b"hello")
                for side in (pair.client, pair.server):
                    self.assertIsNone(side.facts.alpn)
                    self.assertEqual(side.facts.alpn_offered, ("h2",))

    def test_notOffered(self) -> None:
        pair = shake(client(), server(alpn=(MX,)))
        self.assertIsNone(pair.server.facts.alpn)
        self.assertEqual(pair.server.facts.alpn_offered, ())

    def test_offerIsEscapedAndBounded(self) -> None:
        names = ("é\n", *(f"p{number}" for number in range(100)))
        pair = shake(client(alpn=names), server(alpn=("p99",)))
        self.assertEqual(pair.server.facts.alpn, "p99")
        self.assertEqual(pair.server.facts.alpn_offered[:2], ("\\xc3\\xa9\n", "p0"))
        self.assertEqual(len(pair.server.facts.alpn_offered), MAX_RECORDED_ALPN)


class RefusalTests(SynchronousTestCase):
    """
    A side refuses the other: its line, the other's, and no byte of the application.
    """

    def refused(
        self,
        clientContext: ClientContext,
        serverContext: ServerContext,
        by: str,
        why: str,
        alert: str,
    ) -> Pair:
        pair = shake(clientContext, serverContext)
        sides = {"client": pair.client, "server": pair.server}
        judge = sides.pop(by)
        (other,) = sides.values()
        self.assertFalse(judge.done)
        self.assertRegex(judge.why, f"^{why}$")
        self.assertEqual(other.why.partition(";")[0], f"alert_received: the peer refused {alert}")
        self.assertIsNone(recordOf(judge.connection).identities)
        self.assertEqual((judge.received, other.received), (b"", b""))
        return pair

    def test_noClientCertificate(self) -> None:
        for version, alert in zip(VERSIONS, ("handshake failure", "certificate required")):
            self.refused(
                client(None, version=version),
                server(),
                "server",
                "no_client_certificate: the peer sent no certificate",
                f"with alert '{alert}'",
            )

    def test_otherAuthority(self) -> None:
        line = (
            "unknown_ca: certificate {} is signed by an unknown authority "
            r"\(CN=cluster.local throwaway CA\)"
        )
        for version in VERSIONS:
            for mine, its, by, name in (
                (client(OTHER_CA.issue(ALICE), version=version), server(), "server", ALICE),
                (client(version=version), server(OTHER_CA.issue(BOB)), "client", BOB),
            ):
                self.refused(mine, its, by, line.format(name), "with alert 'unknown ca'")

    def test_otherAuthoritysRoot(self) -> None:
        """
        The unknown root is sent along: then it is the root that is refused.
        """
        root = Authority.create("other.example")
        alice = root.issue(ALICE)
        pair = shake(
            client(alice, certificate=pem(alice.cert_pem + root.cert_pem)),
            server(),
        )
        self.assertEqual(
            pair.server.why,
            "unknown_ca: certificate of the authority spiffe://other.example is signed by an "
            "unknown authority (CN=other.example throwaway CA)",
        )

    def test_expired(self) -> None:
        stale = CA.issue(ALICE, validity=-HOUR)
        ends = x509.load_pem_x509_certificate(stale.cert_pem).not_valid_after_utc
        for version in VERSIONS:
            self.refused(
                client(stale, version=version),
                server(),
                "server",
                f"certificate_expired: certificate {ALICE} expired at {ends:%Y-%m-%dT%H:%M:%SZ}",
                "with alert 'certificate expired'",
            )

    def test_notYetValid(self) -> None:
        early = CA.issue(BOB, age=-HOUR)
        begins = x509.load_pem_x509_certificate(early.cert_pem).not_valid_before_utc
        self.refused(
            client(),
            server(early),
            "client",
            f"certificate_not_yet_valid: certificate {BOB} is not valid before "
            f"{begins:%Y-%m-%dT%H:%M:%SZ}",
            "with alert 'bad certificate'",
        )

    def test_wrongPurpose(self) -> None:
        for mine, its, by, name in (
            (client(CA.issue(ALICE, client=False)), server(), "server", ALICE),
            (client(), server(CA.issue(BOB, server=False)), "client", BOB),
        ):
            self.refused(
                mine,
                its,
                by,
                f"certificate_purpose: certificate {name} is not issued for this use",
                "with alert 'unsupported certificate'",
            )

    def test_otherIdentity(self) -> None:
        """
        The server is refused before a single byte of the application is written, and
        learns it from an alert.
        """
        for version in VERSIONS:
            self.refused(
                client(version=version, accepted=(ALICE, "db.example")),
                server(),
                "client",
                f"identity_mismatch: the peer is {BOB}; accepted are {ALICE}, db.example",
                "with alert 'internal error'",
            )
            self.refused(
                client(version=version),
                server(accepted=(BOB,)),
                "server",
                f"identity_mismatch: the peer is {ALICE}; accepted are {BOB}",
                "with alert 'internal error'",
            )

    def test_alertHintsAtIdentity(self) -> None:
        pair = shake(client(accepted=(ALICE,)), server())
        self.assertEqual(
            pair.server.why,
            "alert_received: the peer refused with alert 'internal error'; it may not accept "
            "our identity",
        )

    def test_noName(self) -> None:
        """
        A common name is no identity (RFC 6125, section 6.4.4, and RFC 9525).
        """
        self.refused(
            client(accepted=("db.example",)),
            server(CA.issue(common_name="db.example")),
            "client",
            "identity_mismatch: the peer is nobody: its certificate has no name; "
            "accepted are db.example",
            "with alert 'internal error'",
        )

    def test_brokenSVIDs(self) -> None:
        for credential, name, fault in (
            (
                CA.issue((BOB, ALICE)),
                BOB,
                "it has a SPIFFE ID and more than one URI",
            ),
            (
                CA.issue("SPIFFE://cluster.local"),
                "SPIFFE://cluster.local",
                "its SPIFFE ID has no path, so it is not a workload's",
            ),
            (
                CA.issue(BOB, crl_sign=True),
                BOB,
                "it has a SPIFFE ID but may sign certificates, so it is not a workload's",
            ),
        ):
            self.refused(
                client(accepted=(ALICE, BOB)),
                server(credential),
                "client",
                f"malformed_certificate: certificate {name}: {fault}",
                "with alert 'internal error'",
            )

    def test_authorityAsServer(self) -> None:
        """
        OpenSSL itself refuses a key that only signs certificates.
        """
        pair = shake(client(version=TLSVersion.TLS13), server(CA.issue(BOB, authority=True)))
        self.assertEqual(
            pair.client.why, f"certificate_purpose: certificate {BOB} is not issued for this use"
        )

    def test_unreadableNames(self) -> None:
        """
        OpenSSL takes a URI that is no text; cryptography does not, and nobody crashes.
        """
        uri = b"spiffe://\xff\n"
        der = bytes([0x30, len(uri) + 2, 0x86, len(uri)]) + uri
        pair = self.refused(
            client(),
            server(CA.issue(common_name="x", names_der=der)),
            "client",
            "malformed_certificate: certificate without a name: it cannot be read: .+",
            "with alert 'internal error'",
        )
        self.assertTrue(pair.client.why.isascii())

    def test_peersTextIsEscapedAndBounded(self) -> None:
        names = tuple(f"n{number}.example" for number in range(7))
        evil = CA.issue(dns=("x" * 300, *names), common_name="evil\nline\u2028")
        pair = shake(client(accepted=(ALICE,)), server(evil))
        self.assertEqual(
            pair.client.why,
            f"identity_mismatch: the peer is {'x' * 256}..., n0.example, n1.example, n2.example, "
            f"n3.example and 3 more; accepted are {ALICE}",
        )
        pair = shake(client(OTHER_CA.issue(common_name="evil\nline\u2028é")), server())
        self.assertIn("certificate CN=evil\\nline\\u2028\\xe9 is signed by", pair.server.why)


class OptionalCertificateTests(SynchronousTestCase):
    """
    A server that does not insist.
    """

    def test_none(self) -> None:
        for context in (
            server(require_client_certificate=False),
            server(ca=None, require_client_certificate=False),
        ):
            pair = shake(client(None), context)
            self.assertEqual(pair.server.facts.principals, ())

    def test_good(self) -> None:
        pair = shake(client(), server(require_client_certificate=False))
        self.assertEqual(pair.server.facts.principals, (ALICE,))

    def test_bad(self) -> None:
        """
        One that is sent is verified all the same.
        """
        pair = shake(
            client(OTHER_CA.issue(ALICE), version=TLSVersion.TLS12),
            server(require_client_certificate=False),
        )
        self.assertEqual(pair.server.why.partition(":")[0], "unknown_ca")

    def test_unverifiedNamesNobody(self) -> None:
        """
        Without authorities a certificate is not asked for, and proves nothing.
        """
        pair = shake(client(), server(ca=None, require_client_certificate=False))
        self.assertEqual(pair.server.facts.principals, ())

    def test_acceptedInsists(self) -> None:
        """
        Nobody is none of the accepted.
        """
        pair = shake(client(None), server(require_client_certificate=False, accepted=(ALICE,)))
        self.assertEqual(pair.server.why.partition(":")[0], "no_client_certificate")


class SimpleTests(SynchronousTestCase):
    """
    A client without certificate: the name it asks for is the name it wants proven.
    """

    def outcome(self, name: str, dns: tuple[str, ...] = (), ips: tuple[str, ...] = ()) -> str:
        certificate = CA.issue(dns=dns, ips=ips)
        pair = shake(
            client(None, server_name=name),
            server(certificate, ca=None, require_client_certificate=False),
        )
        return pair.client.why.partition(":")[0]

    def test_serverName(self) -> None:
        self.assertEqual(self.outcome("db.example", dns=("db.example",)), "")
        self.assertEqual(self.outcome("DB.example.", dns=("db.example",)), "")
        self.assertEqual(self.outcome("a.db.example", dns=("*.db.example",)), "")
        self.assertEqual(self.outcome("10.0.0.1", ips=("10.0.0.1",)), "")
        self.assertEqual(self.outcome("db.example", dns=("no.example",)), "identity_mismatch")
        self.assertEqual(self.outcome("10.0.0.1", ips=("10.0.0.2",)), "identity_mismatch")

    def test_acceptedInstead(self) -> None:
        pair = shake(
            client(None, server_name="db.example", accepted=(BOB,)),
            server(require_client_certificate=False),
        )
        self.assertEqual(pair.client.facts.principals, (BOB,))

    def test_anyOfAuthority(self) -> None:
        pair = shake(client(None), server(require_client_certificate=False))
        self.assertEqual(pair.client.facts.principals, (BOB,))

    def test_platformsTrustStore(self) -> None:
        """
        Without authorities the platform's are trusted, and our throwaway one is not.
        """
        pair = shake(
            client(None, ca=None, server_name="db.example"),
            server(CA.issue(dns=("db.example",)), require_client_certificate=False),
        )
        self.assertEqual(pair.client.why.partition(":")[0], "unknown_ca")

    def test_platformsTrustStoreIsUsed(self) -> None:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(CA.cert_pem)
        with mock.patch.dict(os.environ, {"SSL_CERT_FILE": path}):
            context = client(None, ca=None, server_name="db.example")
        pair = shake(
            context, server(CA.issue(dns=("db.example",)), require_client_certificate=False)
        )
        self.assertEqual(pair.client.facts.principals, ("db.example",))


class AcceptedTests(SynchronousTestCase):
    """
    One accepted identity of any kind is enough.
    """

    def test_kinds(self) -> None:
        bob = CA.issue(BOB, dns=("*.db.example",), ips=("10.0.0.1", "fd00::1"))
        for accepted in (BOB, "one.db.example", "10.0.0.1", "fd00:0::1"):
            pair = shake(client(accepted=("other.example", accepted)), server(bob))
            self.assertEqual(pair.client.facts.principals, (BOB, "*.db.example"))
        for accepted in (BOB + "by", "db.example", "a.b.db.example", "10.0.0.2", BOB[:-1]):
            pair = shake(client(accepted=(accepted,)), server(bob))
            self.assertEqual(pair.client.why.partition(":")[0], "identity_mismatch", accepted)


class VersionTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        old, new = VERSIONS
        pair = shake(client(), server())
        self.assertEqual(pair.client.facts.version, new.value)
        pair = shake(client(), server(maximum=old))
        self.assertEqual(pair.client.facts.version, old.value)
        pair = shake(client(version=old), server(minimum=new))
        self.assertEqual(
            pair.server.why,
            "protocol_version: no TLS version that both sides speak (unsupported protocol)",
        )
        self.assertEqual(
            pair.client.why, "alert_received: the peer refused with alert 'protocol version'"
        )

    def test_nothingOlder(self) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
        old = client()
        old._context = context
        pair = shake(old, server())
        self.assertEqual(pair.server.why.partition(":")[0], "protocol_version")


class ResumptionTests(SynchronousTestCase):
    """
    Off: each handshake brings and verifies a certificate.
    """

    def test_everyHandshakeIsVerified(self) -> None:
        for version in VERSIONS:
            mine, its = client(version=version), server()
            first = shake(mine, its)
            session = first.client.connection.get_session()
            assert session is not None
            second = Pair(Side(mine.connection()), Side(its.connection()))
            second.client.connection.set_session(session)
            second.carry()
            self.assertEqual(second.server.facts.principals, (ALICE,))
            self.assertEqual(second.client.facts.principals, (BOB,))

    def test_renegotiation(self) -> None:
        pair = shake(client(version=TLSVersion.TLS12), server())
        self.assertRaises(SSL.Error, pair.client.connection.renegotiate)


class ClientCATests(SynchronousTestCase):
    def test_clientIsToldWhoIsTrusted(self) -> None:
        pair = shake(client(), server())
        names = pair.client.connection.get_client_ca_list()
        self.assertEqual([name.CN for name in names], ["cluster.local throwaway CA"])


class WeakTests(SynchronousTestCase):
    def test_ciphers(self) -> None:
        """
        The profile has forward secrecy and authenticated encryption only.
        """
        for name in server().connection().get_cipher_list():
            self.assertRegex(name, "^(TLS_|ECDHE-).*(GCM|POLY1305)")

    def test_noSharedCipher(self) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0")
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        other = client()
        other._context = context
        pair = shake(other, server())
        self.assertEqual(
            pair.server.why, "no_shared_cipher: no cipher suite that both sides support"
        )
