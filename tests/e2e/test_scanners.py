"""
What two scanners find at an inbound port: sslscan and testssl.sh, both as Debian has them.

Keeps: no finding above LOW but those that are explained below.  They send to 127.0.0.1 only;
testssl.sh is told to look no name up, and asks nobody outside unless it is told to.
"""

from __future__ import annotations

import json
from datetime import timedelta
from xml.etree import ElementTree

from tests.e2e.mesh import DB, EndToEnd
from tests.e2e.processes import program

#: Seconds for a whole scan; some twenty on an idle machine.
SCAN = 1500.0

#: testssl.sh's findings that are accepted, and why.
ACCEPTED = {
    "cipher_order": "The client's order decides, as Mozilla's guideline has it: all suites that "
    "are offered are good, and the client knows whether it has AES in hardware.",
    "cert_revocation": "The certificates of a mesh live for hours and name no CRL and no OCSP "
    "responder; lists come by --tls-crl.",
    "cert_chain_of_trust": "The mesh's own CA is in nobody's trust store.",
}

#: What testssl.sh cannot find out, and who does.
UNTESTED = {
    "engine_problem": "It is about its own OpenSSL.",
    "secure_client_renego": "Where a client certificate is required it cannot ask for a "
    "renegotiation; sslscan does, with a certificate, and so does tests/test_hostile.py.",
    "BREACH": "It is about HTTP.",
    "sessionresumption_ticket": "It connects once more with openssl s_client, which on a busy machine "
    "it gives up on; tests/tls say that there are no tickets.",
}

#: testssl.sh's words for what is no cause for worry.
HARMLESS = ("OK", "INFO", "LOW", "DEBUG")

SUITES = {
    "1.2": {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    },
    "1.3": {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    },
}

#: No client certificate is asked for.
OPEN = """
static_resources:
  listeners:
  - name: open
    address: {socket_address: {address: "127.0.0.1", port_value: 0}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {filename: db.crt}
              private_key: {filename: db.key}
      filters:
      - name: echo
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}
"""


class ScannerTests(EndToEnd):
    timeout = SCAN + 60

    def setUp(self) -> None:
        super().setUp()
        # A certificate of a mesh lives for hours; scanners are used to the Web's.
        own = self.authority.issue(
            DB.principal, ("localhost",), ("127.0.0.1",), validity=timedelta(days=90)
        )
        own.write(self.directory, DB.name)

    async def open(self) -> int:
        """
        A port that asks for no certificate.
        """
        (self.directory / "open.yaml").write_text(OPEN)
        child = self.twistd("--config", str(self.directory / "open.yaml"))
        return int((await child.says(r"listening on 127\.0\.0\.1:(\d+)\s"))[1])

    async def strict(self, *options: str) -> int:
        """
        A port that requires one.
        """
        _, upstream = await self.application()
        return (await self.inbound(upstream, *options)).port

    # -- sslscan

    async def sslscan(self, port: int, *options: str, versions: set[str]) -> None:
        report = self.directory / "sslscan.xml"
        command = [program("sslscan"), "--no-colour", f"--xml={report}", *options]
        await self.run_([*command, f"127.0.0.1:{port}"], seconds=SCAN)
        (found,) = ElementTree.parse(report).getroot().iter("ssltest")
        spoken = {
            protocol.get("version")
            for protocol in found.iter("protocol")
            if protocol.get("enabled") == "1"
        }
        self.assertEqual(spoken, versions)
        suites = {
            version: {
                cipher.get("cipher")
                for cipher in found.iter("cipher")
                if cipher.get("sslversion") == f"TLSv{version}"
            }
            for version in versions
        }
        self.assertEqual(suites, {version: SUITES[version] for version in versions})
        for renegotiation in found.iter("renegotiation"):
            self.assertEqual(renegotiation.get("supported"), "0")
        for compression in found.iter("compression"):
            self.assertEqual(compression.get("supported"), "0")
        for heartbleed in found.iter("heartbleed"):
            self.assertEqual(heartbleed.get("vulnerable"), "0")
        self.assertEqual(
            [algorithm.text for algorithm in found.iter("signature-algorithm")],
            ["ecdsa-with-SHA256"],
        )

    async def test_sslscanOpen(self) -> None:
        await self.sslscan(await self.open(), versions={"1.2", "1.3"})

    async def test_sslscanStrict(self) -> None:
        certificate, key = self.credential(DB)
        await self.sslscan(
            await self.strict(), f"--certs={certificate}", f"--pk={key}", versions={"1.2", "1.3"}
        )

    async def test_sslscanModern(self) -> None:
        certificate, key = self.credential(DB)
        port = await self.strict("--tls-profile", "modern")
        await self.sslscan(port, f"--certs={certificate}", f"--pk={key}", versions={"1.3"})

    # -- testssl.sh

    async def scan(self, port: int) -> None:
        report = self.directory / "testssl.json"
        child = self.start(
            [
                *(program("testssl"), "--quiet", "--color", "0", "--warnings", "off"),
                *("--nodns", "none", "--ip", "127.0.0.1", "--jsonfile", str(report)),
                *("--openssl-timeout", "60", "--connect-timeout", "60"),
                # Versions, suites by kind, the server's order, forward secrecy, the certificate,
                # and all vulnerabilities; not 370 suites one by one, nor what browsers would do.
                *("-p", "-s", "-P", "-f", "-S", "-U", f"127.0.0.1:{port}"),
            ]
        )
        await child.ends(SCAN)
        findings = {one["id"]: one for one in json.loads(report.read_text())}
        self.assertEqual(findings["TLS1_2"]["severity"], "OK", str(child))
        self.assertEqual(findings["TLS1_3"]["severity"], "OK", str(child))
        self.assertIn("heartbleed", findings)
        unexplained = [
            f"{one['severity']} {name}: {one['finding']}"
            for name, one in findings.items()
            if one["severity"] not in HARMLESS
            and name not in (UNTESTED if one["severity"] == "WARN" else ACCEPTED)
        ]
        self.assertEqual(unexplained, [], str(child))

    async def test_testsslOpen(self) -> None:
        await self.scan(await self.open())

    async def test_testsslStrict(self) -> None:
        await self.scan(await self.strict())
