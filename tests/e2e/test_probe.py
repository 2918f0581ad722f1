"""
C{mxproxy probe} as a shell runs it, against everything that it may meet.

Keeps: each ending has its own exit status, the one that C{--help} says, and a report in which a
person finds the reason; what sidecars log of the probe is what any client's connection is.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory

from mxproxy.pki import Authority
from tests.e2e.mesh import ALPN, DB, TRUST_DOMAIN, WEB
from tests.e2e.processes import Child, program
from tests.e2e.test_envoy import _TLS, EnvoyTests

FOUND, LOCAL, USAGE, NO_EXCHANGE, EXCHANGE_FAILED, TLS_FAILED, NO_CONNECTION, TIMEOUT = range(8)


class ProbeTests(EnvoyTests):
    """
    One report each.
    """

    async def probe(self, status: int, *arguments: str | Path) -> str:
        """
        Run it to its end.

        @return: what it has printed, nothing of which was an error.
        """
        child = self.probing(*arguments)
        return await self.report(child, status)

    def probing(self, *arguments: str | Path) -> Child:
        return self.start([Path(sys.executable).parent / "mxproxy", "probe", *arguments])

    async def report(self, child: Child, status: int) -> str:
        self.assertEqual(await child.ends(), status, str(child))
        text = child.output.decode()
        if "SHOW" in os.environ:
            sys.stdout.write(f"\n$ {' '.join(child.command[1:])}\n{child.text}")
        self.assertNotIn("Traceback", child.text)
        self.assertNotIn("\33", text)
        self.assertTrue(text.endswith("\n"))
        return text

    def own(self) -> list[str | Path]:
        """
        The options of a client of the mesh.
        """
        certificate, key = self.credential(WEB)
        return ["--cert", certificate, "--key", key, "--ca", self.ca]

    def says(self, text: str, *parts: str) -> None:
        for part in parts:
            self.assertRegex(text, part)

    # -- mxproxy

    async def test_reply(self) -> None:
        """
        An inbound sidecar that replies; what it and its application see.
        """
        application, upstream = await self.application()
        sidecar = await self.inbound(upstream)
        text = await self.probe(FOUND, f"127.0.0.1:{sidecar.port}", *self.own())
        self.says(
            text,
            r"^✓ 127\.0\.0\.1:\d+ is db in namespace data, a deployment\n",
            r"\n  TLS +TLSv1\.3, TLS_AES_\w+\n",
            r"\n  ALPN +istio-peer-exchange \(offered: istio-peer-exchange, istio\)\n",
            rf"\n  trusted +{DB.principal}\n",
            r"\n  asks for +a client certificate of CN=cluster\.local throwaway CA\n",
            r"\n  opening +after it had our metadata\n",
            r"\n  took +TCP [\d.]+ ms, TLS [\d.]+ ms, metadata [\d.]+ ms\n",
            rf"\n  certificate 0\n    names +{DB.principal}\n",
            r" UTC, for another 2[34] h\n",
            r"\n    workload +db\n    namespace +data\n    type +deployment\n    name +db-1\n",
            r"\n    app +db\n    version +v1\n",
        )
        # It has said who it is, and not a byte to the application.
        server = await application.accepts()
        self.assertEqual(await server.readsRest(), b"")
        await server.close()
        line = await sidecar.close()
        self.assertEqual(line["downstream"]["peer"]["workload"], "mxproxy-probe")
        self.assertEqual(line["downstream"]["principal"], WEB.principal)
        self.assertEqual(line["downstream"]["bytes_received"], 0)

    async def test_eager(self) -> None:
        """
        One that speaks at once, told to a script.
        """
        _, upstream = await self.application()
        sidecar = await self.inbound(upstream, "--mx-server-opening", "eager")
        where = f"127.0.0.1:{sidecar.port}"
        report = json.loads(await self.probe(FOUND, where, "--json", *self.own()))
        exchange = report["exchange"]
        self.assertEqual((exchange["state"], exchange["opening"]), ("found", "first"))
        self.assertEqual(exchange["metadata"]["workload"], "db")
        self.assertEqual(exchange["prefix_bytes"], len(DB.prefix))
        self.assertEqual(report["principals"], [DB.principal])
        self.assertEqual((report["outcome"], report["exit_status"]), ("found", 0))
        self.assertEqual(set(report["timings_ms"]), {"connect", "tls", "exchange"})

    async def test_identities(self) -> None:
        """
        Who may be there, and who may not.
        """
        _, upstream = await self.application()
        sidecar = await self.inbound(upstream)
        where = f"127.0.0.1:{sidecar.port}"
        await self.probe(FOUND, where, *self.own(), "--san", DB.principal)
        text = await self.probe(TLS_FAILED, where, *self.own(), "--san", WEB.principal)
        self.says(text, r"TLS has failed\n", r"why +identity_mismatch: the peer is spiffe://")
        self.assertNotIn("workload", text)
        text = await self.probe(FOUND, where, *self.own(), "--san", WEB.principal, "--insecure")
        self.says(text, r"trusted +no: identity_mismatch: ", "workload +db")

    async def test_wrongCA(self) -> None:
        """
        Not trusted: the chain is printed all the same, and with --insecure everything.
        """
        _, upstream = await self.application()
        sidecar = await self.inbound(upstream)
        other = Authority.create("elsewhere").write(self.directory, "other")
        certificate, key = self.credential(WEB)
        own = ["--cert", certificate, "--key", key, "--ca", other]
        where = f"127.0.0.1:{sidecar.port}"
        text = await self.probe(TLS_FAILED, where, *own)
        self.says(
            text,
            r"^✗ 127\.0\.0\.1:\d+: TLS has failed\n",
            rf"why +unknown_ca: certificate {DB.principal} is signed by an unknown authority",
            r"\n +--ca FILE says whom to trust; --insecure does the exchange all the same\n",
            rf"certificate 0\n    names +{DB.principal}\n",
        )
        self.assertNotIn("workload", text)
        text = await self.probe(FOUND, where, *own, "--insecure")
        self.says(text, "^✓ ", r"trusted +no: unknown_ca: ", r"workload +db\n")

    async def test_noCertificate(self) -> None:
        """
        The other side refuses us, after our handshake is done.
        """
        _, upstream = await self.application()
        sidecar = await self.inbound(upstream)
        text = await self.probe(TLS_FAILED, f"127.0.0.1:{sidecar.port}", "--ca", self.ca)
        self.says(
            text,
            r"why +alert_received: the peer refused with alert 'certificate required'",
            r"asks for +a client certificate of CN=cluster\.local throwaway CA\n",
        )

    async def test_outbound(self) -> None:
        """
        Plaintext is no TLS.
        """
        _, upstream = await self.application()
        sidecar = await self.outbound(upstream)
        text = await self.probe(TIMEOUT, f"127.0.0.1:{sidecar.port}", "--timeout", "1", *self.own())
        self.says(text, r": timeout\n", r"why +no TLS handshake within 1 s\n")

    # -- others

    async def test_envoy(self) -> None:
        """
        The real Envoy, which has no exchange.
        """
        _, upstream = await self.application()
        context = {
            "@type": f"{_TLS}DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": self.common(DB, WEB, ["istio", "h2"]),
        }
        port, _ = await self.envoy(int(upstream.rpartition(":")[2]), context, None)
        text = await self.probe(NO_EXCHANGE, f"127.0.0.1:{port}", *self.own())
        self.says(
            text,
            r": no metadata exchange\n",
            r"why +alpn_mismatch: TLS has negotiated 'istio'\n",
            rf"trusted +{DB.principal}\n",
        )

    async def test_openssl(self) -> None:
        """
        C{openssl s_server}: without ALPN, and with, where something else comes.
        """
        server, endpoint = await self.opensslServer(self.credential(DB))
        text = await self.probe(NO_EXCHANGE, endpoint, "--ca", self.ca)
        self.says(text, r"why +alpn_mismatch: TLS has negotiated no protocol\n", r"ALPN +none ")
        await server.stop()
        (self.directory / "server").unlink(missing_ok=True)
        server, endpoint = await self.opensslServer(self.credential(DB), "-alpn", ALPN)
        child = self.probing(endpoint, "--ca", self.ca)
        server.write(b"220 mail.example ESMTP\n")
        text = await self.report(child, EXCHANGE_FAILED)
        self.says(
            text,
            r": the metadata exchange has failed\n",
            r"why +bad_magic: it is 0x32 where the magic has 0x3d \(byte 0\)\n",
            r"000000  32 32 30 20 [\w ]+ 220 mail\.example\n",
        )

    async def test_http(self) -> None:
        """
        A server of another protocol.
        """
        application, upstream = await self.application()
        child = self.probing(upstream.removeprefix("tcp:"), "--insecure")
        stream = await application.accepts()
        stream.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        text = await self.report(child, TLS_FAILED)
        self.says(text, r"why +not_tls: the first byte is 0x48, no TLS handshake\n")

    async def test_closedPort(self) -> None:
        from twisted.internet import reactor

        port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Factory())
        where = f"127.0.0.1:{port.getHost().port}"
        await port.stopListening()
        text = await self.probe(NO_CONNECTION, where, "--insecure")
        self.assertEqual(text, f"✗ {where}: no connection\n\n  why          Connection refused\n")

    async def test_silence(self) -> None:
        """
        Somebody accepts and says nothing.
        """
        _, upstream = await self.application()
        where = upstream.removeprefix("tcp:")
        report = json.loads(await self.probe(TIMEOUT, where, "--timeout", "0.5", "--json"))
        self.assertEqual((report["outcome"], report["step"]), ("timeout", "tls"))

    # -- the mirror image

    async def listening(self, *arguments: str | Path) -> tuple[Child, int]:
        certificate, key = self.credential(DB)
        child = self.probing(
            *("--listen", "tcp:0:interface=127.0.0.1", "--cert", certificate, "--key", key),
            *arguments,
        )
        said = await child.says(r"listening on 127\.0\.0\.1:(\d+), for a client sidecar\n")
        return child, int(said[1])

    async def test_listen(self) -> None:
        """
        An outbound sidecar, as a server sidecar would see it.
        """
        child, port = await self.listening("--ca", self.ca, "--count", "2")
        sidecar = await self.outbound(f"tcp:127.0.0.1:{port}", "--upstream-sni", "db.data")
        for _ in range(2):
            client = await self.connect(sidecar.port)
            await client.readsRest()
            await client.close()
        text = await self.report(child, FOUND)
        self.assertEqual(
            len(re.findall(r"^✓ client 127\.0\.0\.1:\d+ is web ", text, re.MULTILINE)), 2
        )
        self.says(
            text,
            rf"trusted +{WEB.principal}\n",
            r"opening +speaks first\n",
            r"server name +db\.data\n",
            r"took +TLS [\d.]+ ms, metadata [\d.]+ ms\n",
            r"workload +web\n",
        )
        line = (await sidecar.closed(2))[0]
        self.assertEqual(line["upstream"]["peer"]["workload"], "mxproxy-probe")

    async def test_listenUntrusted(self) -> None:
        """
        A client without a certificate, and one of another authority.
        """
        child, port = await self.listening("--ca", self.ca)
        self.opensslClient(port, None)
        text = await self.report(child, TLS_FAILED)
        self.says(text, r"why +no_certificate: the peer has shown no certificate\n")
        stranger = Authority.create(TRUST_DOMAIN + "-other").issue(WEB.principal)
        paths = stranger.write(self.directory, "stranger")
        child, port = await self.listening("--insecure", "--ca", self.ca)
        self.opensslClient(port, paths, "-alpn", "istio")
        text = await self.report(child, NO_EXCHANGE)
        self.says(text, r"trusted +no: unknown_ca: ", rf"names +{WEB.principal}\n")

    # -- our own side

    async def test_wrong(self) -> None:
        """
        One line for what is wrong here; nothing is printed.
        """
        wrongs: list[tuple[int, list[Any], str]] = [
            (USAGE, ["nowhere"], "'nowhere' is no address: write HOST:PORT"),
            (USAGE, [], "say HOST:PORT, or --listen ENDPOINT"),
            (USAGE, ["--listen", "tcp:0"], "--listen needs --cert and --key"),
            (LOCAL, ["127.0.0.1:1", "--ca", "gone.crt"], "cannot read .*'gone.crt'"),
            (LOCAL, ["127.0.0.1:1", "--node-metadata", "gone"], "cannot read .*'gone'"),
        ]
        for status, arguments, message in wrongs:
            child = self.probing(*arguments)
            self.assertEqual(await child.ends(), status, str(child))
            self.assertEqual(child.output, b"")
            *_, line = child.errors.decode().splitlines()
            self.assertRegex(line, f"^mxproxy probe: .*{message}")

    async def test_portInUse(self) -> None:
        _, upstream = await self.application()
        certificate, key = self.credential(DB)
        port = upstream.rpartition(":")[2]
        child = self.probing(
            *("--listen", f"tcp:{port}:interface=127.0.0.1", "--insecure"),
            *("--cert", certificate, "--key", key),
        )
        self.assertEqual(await child.ends(), LOCAL, str(child))
        said = r"^mxproxy probe: cannot listen on tcp:\d+.*: Address already in use: end what .*\n$"
        self.assertRegex(child.errors.decode(), said)

    def test_documented(self) -> None:
        """
        The statuses that are asserted here are those that the help lists.
        """
        from mxproxy.tools.probe.finding import EXIT

        self.assertEqual(
            sorted(EXIT.values()),
            [FOUND, NO_EXCHANGE, EXCHANGE_FAILED, TLS_FAILED, NO_CONNECTION, TIMEOUT],
        )
        self.assertEqual(program("openssl")[-7:], "openssl")
