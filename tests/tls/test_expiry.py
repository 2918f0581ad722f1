"""
When it is said that something is good for not much longer, and how.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.pki import Authority
from mxproxy.tls.contents import contentsOf
from mxproxy.tls.expiry import EXPIRED, Lifetime, inWords
from mxproxy.tls.settings import PEM, ClientTLS
from tests.tls.memory import ALICES, CA

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class LifetimeTests(SynchronousTestCase):
    def stages(self, whole: timedelta, *left: timedelta) -> list[int]:
        return [Lifetime("it", NOW - whole, NOW, "").stage(NOW - one) for one in left]

    def test_short(self) -> None:
        """
        Of a day: 4 h 48 min and 1 h 12 min.
        """
        left = (5 * HOUR, 4.8 * HOUR, 2 * HOUR, 1.2 * HOUR, HOUR, timedelta(), -HOUR)
        self.assertEqual(self.stages(DAY, *left), [0, 1, 1, 2, 2, EXPIRED, EXPIRED])

    def test_long(self) -> None:
        """
        Of ten years: a month and a week.
        """
        left = (31 * DAY, 30 * DAY, 8 * DAY, 7 * DAY, -DAY)
        self.assertEqual(self.stages(3650 * DAY, *left), [0, 1, 1, 2, EXPIRED])

    def test_lines(self) -> None:
        one = Lifetime("the cake", NOW - DAY, NOW, "no cake")
        self.assertEqual(
            one.line(NOW - HOUR),
            "the cake expires in 1 h, at 2026-01-01T00:00:00Z, and is not renewed yet; from then "
            "on: no cake",
        )
        self.assertEqual(one.line(NOW), "the cake expired at 2026-01-01T00:00:00Z: no cake")

    def test_words(self) -> None:
        for length, words in (
            (30 * DAY + 5 * HOUR, "30 d 5 h"),
            (30 * DAY + timedelta(minutes=5), "30 d"),
            (HOUR + timedelta(minutes=59, seconds=59), "1 h 59 min"),
            (timedelta(minutes=1, seconds=1), "1 min 1 s"),
            (timedelta(seconds=59), "59 s"),
            (timedelta(milliseconds=1), "0 s"),
        ):
            self.assertEqual(inWords(length), words)


class ContentsTests(SynchronousTestCase):
    def whats(self, **pems: bytes) -> list[str]:
        found = contentsOf(ClientTLS(**{name: PEM("F", text) for name, text in pems.items()}))  # type: ignore[arg-type]
        return [one.what for one in found.lifetimes]

    def test_watched(self) -> None:
        """
        Of several authorities the last one counts: the others may be on their way out.
        """
        self.assertEqual(
            self.whats(certificate=ALICES.cert_pem, authorities=CA.cert_pem, crl=CA.revoke() * 2),
            [
                "the certificate in 'F'",
                "the CA certificate in 'F'",
                *["the CRL of CN=cluster.local throwaway CA in 'F'"] * 2,
            ],
        )
        old = Authority.create(validity=-HOUR)
        both = contentsOf(ClientTLS(authorities=PEM("F", old.cert_pem + CA.cert_pem)))
        (one,) = both.lifetimes
        self.assertEqual(one.what, "the last CA certificate in 'F'")
        self.assertEqual(one.ends, CA.certificate.not_valid_after_utc)

    def test_words(self) -> None:
        """
        What is new, and what was before.
        """

        bare = contentsOf(ClientTLS(authorities=PEM("F", CA.cert_pem)))
        lists = contentsOf(
            ClientTLS(authorities=PEM("F", CA.cert_pem), crl=PEM("L", CA.revoke(ALICES)))
        )
        self.assertRegex(
            lists.insteadOf(bare),
            r"^the CRL of CN=cluster.local throwaway CA, 1 revoked, until \S+Z in 'L'$",
        )
        self.assertEqual(bare.insteadOf(lists), "no CRL in 'F'")
        self.assertRegex(bare.inUse(), r"^the CA certificate of CN=\S+ throwaway CA until \S+Z$")
        self.assertEqual(contentsOf(ClientTLS()).inUse(), "the old ones")
        self.assertEqual(bare.insteadOf(bare), "the same certificates, found elsewhere")
