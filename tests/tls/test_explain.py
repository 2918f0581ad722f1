"""
Each failure is one line of bounded ASCII that begins with a stable token.

The refusals of certificates are in L{tests.tls.test_handshake}.
"""

from __future__ import annotations

import errno
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tls.explain import explain, quote
from mxproxy.tls.verify import VerificationFailure, recordOf
from tests.tls.memory import BOB, client, receive, server


class PeersBytesTests(SynchronousTestCase):
    """
    The peer does not speak TLS, or badly.
    """

    def assertSays(self, data: bytes, line: str) -> None:
        for context in (client(), server()):
            self.assertEqual(receive(context, data).why, line)

    def test_http(self) -> None:
        for method in (b"GET", b"PUT"):
            self.assertSays(
                method + b" / HTTP/1.1\r\n\r\n", "not_tls: the peer speaks HTTP without TLS"
            )

    def test_otherMethods(self) -> None:
        """
        OpenSSL 3 does not tell these from other text.
        """
        for method, why in (
            (b"POST / HTTP/1.1\r\n\r\n", "the peer speaks HTTP without TLS"),
            (b"HEAD / HTTP/1.1\r\n\r\n", "the peer speaks HTTP without TLS"),
            (b"CONNECT a:1 HTTP/1.1\r\n\r\n", "the peer takes this for an HTTP proxy"),
        ):
            for context in CONTEXTS:
                self.assertIn(
                    receive(context, method).why,
                    (f"not_tls: {why}", "not_tls: the peer speaks another protocol without TLS"),
                )

    def test_others(self) -> None:
        for data in (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n",
            b"220 mail.example ESMTP\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            bytes(64),
            b"\xff" * 64,
        ):
            self.assertSays(data, "not_tls: the peer speaks another protocol without TLS")

    def test_badTLS(self) -> None:
        for data, why in (
            (b"\x16\x03\x01\x00\x05hello", "unexpected message"),
            (b"\x17\x03\x03\x00\x10" + b"x" * 16, "unexpected message"),
            (b"\x14\x03\x03\x00\x01\x01", "unexpected message"),
        ):
            self.assertSays(data, f"protocol_error: the peer's bytes are not valid TLS ({why})")

    def test_badTLSLater(self) -> None:
        """
        Who has shaken hands speaks TLS: what is no record then is broken, no other protocol.
        """
        one, other = client().connection(), server().connection()
        self.assertRaises(SSL.WantReadError, one.do_handshake)
        other.bio_write(one.bio_read(65536))
        self.assertRaises(SSL.WantReadError, other.do_handshake)
        # The ServerHello's record.
        flight = other.bio_read(65536)
        one.bio_write(flight[: 5 + int.from_bytes(flight[3:5], "big")])
        self.assertRaises(SSL.WantReadError, one.do_handshake)
        for connection in (one, other):
            connection.bio_write(b"GET / HTTP/1.0\r\n\r\n")
            error = self.assertRaises(SSL.Error, connection.do_handshake)
            self.assertTrue(explain(error, connection).startswith("protocol_error: "))

    def test_endOfStream(self) -> None:
        for context in (client(), server()):
            connection = context.connection()
            self.assertRaises(SSL.WantReadError, connection.do_handshake)
            connection.bio_shutdown()
            error = self.assertRaises(SSL.Error, connection.do_handshake)
            self.assertEqual(
                explain(error, connection),
                "closed: the peer ended the connection in the middle of TLS",
            )

    def test_alert(self) -> None:
        """
        A fatal handshake_failure, as a server sends it that shares nothing with us.
        """
        side = receive(client(), b"\x15\x03\x01\x00\x02\x02\x28")
        self.assertEqual(
            side.why, "alert_received: the peer refused with alert 'handshake failure'"
        )

    @settings(deadline=None)
    @given(st.binary(min_size=1, max_size=64))
    def test_anything(self, data: bytes) -> None:
        """
        Whatever the peer says, there is one line of bounded ASCII, or more is awaited.
        """
        for context in CONTEXTS:
            why = receive(context, data).why
            self.assertTrue(why.isascii())
            self.assertTrue(not why or why.isprintable())
            self.assertNotIn("tls_error: OpenSSL gives", why)


CONTEXTS = (client(), server())


class ErrorTests(SynchronousTestCase):
    """
    What no peer of a unit test can provoke.
    """

    def line(self, error: Exception) -> str:
        return explain(error, server().connection())

    def reason(self, *reasons: str) -> str:
        return self.line(SSL.Error([("SSL routines", "", reason) for reason in reasons]))

    def test_sockets(self) -> None:
        self.assertEqual(
            self.line(SSL.SysCallError(errno.ECONNRESET, "ECONNRESET")),
            "closed: the connection broke off (ECONNRESET)",
        )
        self.assertEqual(
            self.line(SSL.SysCallError(4711, None)), "closed: the connection broke off (4711)"
        )
        self.assertEqual(
            self.line(SSL.ZeroReturnError()),
            "closed: the peer ended the connection in the middle of TLS",
        )

    def test_reasons(self) -> None:
        self.assertEqual(
            self.reason("no suitable key share"),
            "no_shared_algorithm: no key exchange or signature both support "
            "(no suitable key share)",
        )
        for reasons in (("unexpected record",), ("provider signature failure", "bad signature")):
            self.assertEqual(
                self.reason(*reasons),
                f"protocol_error: the peer's bytes are not valid TLS ({', '.join(reasons)})",
            )
        self.assertEqual(self.reason("odd", "odder"), "tls_error: odd, odder")
        self.assertEqual(self.reason(), "tls_error: OpenSSL gives no reason")
        self.assertEqual(self.line(SSL.Error()), "tls_error: OpenSSL gives no reason")

    def test_alertNames(self) -> None:
        """
        OpenSSL 4 and its predecessors name alerts by different prefixes.
        """
        for prefix in ("tls", "tlsv1", "tlsv13", "sslv3", "ssl/tls"):
            self.assertEqual(
                self.reason(f"{prefix} alert bad certificate"),
                "alert_received: the peer refused with alert 'bad certificate'",
            )

    def test_others(self) -> None:
        self.assertEqual(self.line(KeyError("a\nb")), r"tls_error: KeyError: 'a\\nb'")


class FailureTests(SynchronousTestCase):
    """
    Verification failures that need a certificate nobody can make here.
    """

    def line(self, failure: VerificationFailure) -> str:
        connection = server().connection()
        recordOf(connection).failure = failure
        self.assertIn("failure=Verif", repr(recordOf(connection)))
        return explain(SSL.Error([]), connection)

    def test_numbers(self) -> None:
        codes = SSL.X509VerificationCodes
        failure = VerificationFailure(0, codes.ERR_CERT_REVOKED, names=(BOB,))
        for number, line in (
            (
                codes.ERR_CERT_REVOKED,
                f"certificate_revoked: certificate {BOB} is revoked by unnamed",
            ),
            (codes.ERR_CERT_HAS_EXPIRED, f"certificate_expired: certificate {BOB} expired"),
            (
                codes.ERR_CERT_NOT_YET_VALID,
                f"certificate_not_yet_valid: certificate {BOB} is not valid yet",
            ),
            (
                codes.ERR_CERT_CHAIN_TOO_LONG,
                f"certificate_rejected: certificate {BOB}: cert chain too long",
            ),
            (66, f"certificate_rejected: certificate {BOB}: key too small"),
            (4711, f"certificate_rejected: certificate {BOB}: X509 error 4711"),
            (
                codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
                f"unknown_ca: certificate {BOB} is signed by an unknown authority (unnamed)",
            ),
        ):
            self.assertEqual(self.line(replace(failure, number=number)), line)

    def test_authority(self) -> None:
        failure = VerificationFailure(2, 66, subject="CN=root")
        self.assertEqual(
            self.line(failure),
            "certificate_rejected: certificate of the authority CN=root: key too small",
        )


class QuoteTests(SynchronousTestCase):
    def test_plain(self) -> None:
        self.assertEqual(quote(BOB), BOB)

    def test_escaped(self) -> None:
        self.assertEqual(quote("a\r\n\x1b[31m\x7f\\é\u202e"), r"a\r\n\x1b[31m\x7f\\\xe9\u202e")

    @given(st.text(max_size=1000))
    def test_anything(self, text: str) -> None:
        """
        Printable ASCII of at most 259 characters.
        """
        quoted = quote(text)
        self.assertTrue(quoted.isascii() and (quoted.isprintable()))
        self.assertLessEqual(len(quoted), 259)
