"""
How a finding looks: to an eye, and to a terminal that somebody wants to play tricks on.
"""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tools.page import Page
from mxproxy.tools.probe.finding import CertificateSeen, Finding, Outcome, TLSSeen
from mxproxy.tools.probe.show import show
from mxproxy.tools.verdict import judge
from mxproxy.wire.metadata import Node

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)
TLS = TLSSeen("TLSv1.3", "TLS_AES_256_GCM_SHA384", "istio-peer-exchange", ("istio",), None)
EVIL = "\x1b[2J\u202e\nevil" + "x" * 300


def certificate(**changes: Any) -> CertificateSeen:
    values: dict[str, Any] = {
        "names": ("spiffe://a/b",),
        "issuer": "CN=ca",
        "not_before": NOW - timedelta(days=1),
        "not_after": NOW + timedelta(days=1),
        "key": "EC secp256r1",
    }
    return CertificateSeen(**{**values, **changes})


def found(prefix: bytes, behind: bytes = b"") -> Finding:
    finding = Finding(
        "server", "h:1", Outcome.FOUND, tls=TLS, trusted=True, principals=("spiffe://a/b",)
    )
    finding.head = prefix + behind
    finding.received = len(finding.head)
    finding.verdict = judge(finding.head)
    return finding


class ShowTests(SynchronousTestCase):
    def shown(self, finding: Finding) -> str:
        data = io.BytesIO()
        stream = io.TextIOWrapper(data, "utf-8")
        show(finding, Page(stream, {}), NOW)
        text = data.getvalue().decode("utf-8")
        for line in text.splitlines():
            self.assertTrue(line.isprintable(), line)
            self.assertLess(len(line), 2000)
            self.assertEqual(line, line.rstrip())
        return text

    def test_found(self) -> None:
        """
        To the letter.
        """
        node = Node("n1", {"WORKLOAD_NAME": "db", "NAMESPACE": "data", "LABELS": {"tier": "gold"}})
        finding = found(node.prefix(["tier"]), b"220 mail\r\n")
        finding.chain = (certificate(),)
        finding.address, finding.local_address = "h:1", "h:2"
        finding.speaksFirst = False
        finding.seconds = {"connect": 0.001, "tls": 0.0025, "exchange": 0.5}
        self.assertEqual(
            self.shown(finding),
            """\
✓ h:1 is db in namespace data

  address      h:1, seen from h:2
  TLS          TLSv1.3, TLS_AES_256_GCM_SHA384
  ALPN         istio-peer-exchange (offered: istio)
  trusted      spiffe://a/b
  opening      after it had our metadata
  took         TCP 1.0 ms, TLS 2.5 ms, metadata 500.0 ms

  metadata (192 bytes)
    workload     db
    namespace    data
    id           n1
  other labels
    tier         gold

  Behind it came 10 bytes of the application:
    000000  32 32 30 20 6d 61 69 6c 0d 0a                    220 mail..

  certificate 0
    names        spiffe://a/b
    issuer       CN=ca
    valid        2026-01-01 03:04 to 2026-01-03 03:04 UTC, for another 24 h
    key          EC secp256r1
""",
        )

    def test_dates(self) -> None:
        """
        Those that are the reason for trouble are told apart.
        """
        finding = Finding("server", "h:1", Outcome.TLS_FAILED)
        finding.chain = (
            certificate(not_after=NOW - timedelta(minutes=3)),
            certificate(not_before=NOW + timedelta(days=4)),
            certificate(fault="ValueError: \x1b"),
        )
        text = self.shown(finding)
        self.assertIn("03:01 UTC: expired 3 min ago\n", text)
        self.assertIn(": not before 4 days have passed\n", text)
        self.assertIn("    unreadable   ValueError: \\x1b\n", text)

    def test_hostile(self) -> None:
        """
        Whatever a peer says, it is a line of bounded length.
        """
        labels = {f"{EVIL}{number}": EVIL for number in range(70)}
        node = Node(EVIL, {"NAME": EVIL, "WORKLOAD_NAME": EVIL, "LABELS": labels})
        finding = found(node.prefix(list(labels)))
        finding.principals = (EVIL,) * 20
        finding.wanted = (EVIL,) * 20
        finding.chain = (certificate(names=(EVIL,) * 300, subject=EVIL, issuer=EVIL),)
        text = self.shown(finding)
        self.assertIn("and 12 more", text)
        self.assertLess(len(text), 100_000)

    def test_others(self) -> None:
        """
        What no sidecar looks at is shown as well.
        """
        from mxproxy.wire.metadata import TYPE_URL, AnyMessage
        from mxproxy.wire.prefix import encodePrefix
        from mxproxy.wire.structwire import Struct

        struct = Struct()
        inner = struct.fields.add(key="x-envoy-peer-metadata").value.struct_value
        inner.fields.add(key="MESH_ID").value.string_value = "m"
        inner.fields.add(key="PORTS").value.list_value.values.add().number_value = 80
        struct.fields.add(key="flag").value.bool_value = True
        payload = AnyMessage(type_url=TYPE_URL, value=struct.SerializeToString())
        text = self.shown(found(encodePrefix(payload.SerializeToString())))
        self.assertIn(
            """\
  other fields
    x-envoy-peer-metadata.MESH_ID m
    x-envoy-peer-metadata.PORTS   [80]
    flag                          true
""",
            text,
        )

    def test_instead(self) -> None:
        """
        A prefix that goes wrong is shown field by field, to the byte; anything else as it is.
        """
        finding = found(Node("n1", {"NAME": "x"}).prefix()[:60])
        finding.outcome = Outcome.EXCHANGE_FAILED
        text = self.shown(finding)
        self.assertIn("Instead of metadata came 60 bytes:\n    000000  3d 23 04 67", text)
        self.assertIn("length 136, but only 52 bytes follow", text)
        finding = found(b"\x1b[2J" + bytes(400))
        finding.outcome = Outcome.EXCHANGE_FAILED
        text = self.shown(finding)
        self.assertIn("000000  1b 5b 32 4a 00", text)
        self.assertTrue(text.endswith("\n    …\n"))

    def test_hints(self) -> None:
        finding = Finding("server", "h:1", Outcome.TLS_FAILED, "unknown_ca: x", tls=TLS)
        finding.trusted, finding.distrust = False, "unknown_ca: x"
        hint = "\n               --ca FILE says whom to trust; --insecure does the exchange all the same\n"
        self.assertIn(hint, self.shown(finding))
        finding.reason = finding.distrust = "expired: x"
        self.assertIn("\n               --insecure does the exchange", self.shown(finding))
        finding = Finding("server", "h:1", Outcome.TLS_FAILED, "alert 'certificate required'")
        self.assertIn("\n               give it one: --cert and --key\n", self.shown(finding))

    def test_client(self) -> None:
        finding = Finding("client", "tcp:1", Outcome.NO_EXCHANGE, address="h:9")
        self.assertTrue(self.shown(finding).startswith("✗ client h:9: no metadata exchange\n"))
