"""
Who is not in the mesh: clients at a strict inbound port, servers that are not who an outbound
sidecar wants to talk to.

Keeps: they are refused, told so by an alert where TLS has one, and both logs name the reason;
not a connection and not a byte reaches the application behind, nor metadata a stranger.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from mxproxy.pki import Authority
from tests.e2e.mesh import ALPN, DB, TRUST_DOMAIN, WEB, EndToEnd, Sidecar, Workload
from tests.e2e.processes import Child
from tests.e2e.streams import Application

#: What an outsider would like the application to see.
REQUEST = b"GET / HTTP/1.1\r\nHost: db\r\n\r\n"

#: Somebody else in the same mesh.
CART = Workload("cart", "shop")


class OutsiderTests(EndToEnd):
    async def refused(self, sidecar: Sidecar, side: str, reason: str) -> None:
        """
        Check that the sidecar's one connection was refused for C{reason}, and that both of its
        logs say so.
        """
        line = await sidecar.close()
        self.assertRegex(line["close_reason"], f"^{side}: {reason}")
        found = await sidecar.child.says(f"FaultLog#warn.*{re.escape(line['close_reason'])}")
        self.assertIn(line["connection"], found[0])
        self.assertEqual(sidecar.lines("connected"), [])
        for peer in line["downstream"], line["upstream"]:
            self.assertIsNone(peer["peer"])
            self.assertIsNone(peer["principal"])
            self.assertEqual((peer["bytes_received"], peer["bytes_sent"]), (0, 0))

    def stranger(
        self, authority: Authority, workload: Workload, validity: timedelta = timedelta(days=1)
    ) -> tuple[Path, Path]:
        """
        The files of a certificate that the mesh does not know of, and its key.
        """
        credential = authority.issue(workload.principal, validity=validity)
        return credential.write(self.directory, "stranger")


class ClientTests(OutsiderTests):
    """
    At an inbound port, which is strict by default.
    """

    async def strict(self, *options: str) -> tuple[Application, Sidecar]:
        """
        An application and the sidecar before it.
        """
        application, upstream = await self.application()
        return application, await self.inbound(upstream, *options)

    async def check(
        self, reason: str, alert: str, credential: tuple[Path, Path] | None, *options: str
    ) -> None:
        """
        A TLS client is refused.
        """
        application, sidecar = await self.strict()
        client = self.opensslClient(sidecar.port, credential, "-alpn", ALPN, *options)
        client.write(REQUEST)
        await self.refused(sidecar, "downstream", reason)
        await client.says(alert)
        self.assertNotEqual(await client.ends(), 0)
        self.assertEqual(client.output, b"")
        self.assertEqual(application.streams, [])

    async def test_noCertificate(self) -> None:
        """
        Plain TLS, as any client speaks it.
        """
        reason = "no_client_certificate: the peer sent no certificate$"
        await self.check(reason, "alert certificate required", None)

    async def test_noCertificate12(self) -> None:
        """
        The same in TLS 1.2, where it is part of the handshake for both.
        """
        reason = "no_client_certificate: the peer sent no certificate$"
        await self.check(reason, "alert handshake failure", None, "-tls1_2")

    async def test_otherAuthority(self) -> None:
        """
        The right name, signed by another mesh's authority of the same name.
        """
        credential = self.stranger(Authority.create(TRUST_DOMAIN), WEB)
        reason = f"unknown_ca: certificate {WEB.principal} is signed by an unknown authority"
        await self.check(reason, "alert unknown ca", credential)

    async def test_expired(self) -> None:
        """
        Ours, but of yesterday.
        """
        credential = self.stranger(self.authority, WEB, timedelta(seconds=-10))
        reason = f"certificate_expired: certificate {WEB.principal} expired at 20"
        await self.check(reason, "alert certificate expired", credential)

    async def test_oldTLS(self) -> None:
        """
        TLS 1.1, which is forbidden (RFC 8996).
        """
        old = ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        credential = self.credential(WEB)
        await self.check("protocol_version: ", "alert protocol version", credential, *old)

    async def test_plaintext(self) -> None:
        """
        No TLS at all.
        """
        application, sidecar = await self.strict()
        client = await self.connect(sidecar.port)
        client.write(REQUEST)
        await client.readsRest()
        self.assertNotIn(b"HTTP", client.received)
        await client.close()
        await self.refused(sidecar, "downstream", "not_tls: ")
        self.assertEqual(application.streams, [])

    async def test_silence(self) -> None:
        """
        A connection that says nothing does not stay.
        """
        application, sidecar = await self.strict("--tls-handshake-timeout", "0.3")
        client = await self.connect(sidecar.port)
        await client.readsRest()
        await self.refused(sidecar, "downstream", "handshake_timeout: ")
        self.assertEqual(application.streams, [])

    async def test_insidersGoOn(self) -> None:
        """
        After all that, a client of the mesh is served on the same port.
        """
        application, sidecar = await self.strict()
        for credential in None, self.stranger(Authority.create(TRUST_DOMAIN), WEB):
            client = self.opensslClient(sidecar.port, credential)
            await client.says("alert")
        outbound = await self.outbound(f"tcp:127.0.0.1:{sidecar.port}")
        insider = await self.connect(outbound.port)
        insider.write(REQUEST)
        server = await application.accepts()
        self.assertEqual(await server.reads(len(REQUEST)), REQUEST)
        await insider.close()
        await server.close()
        lines = await sidecar.closed(3)
        WEB.logged(lines[-1], "downstream")
        self.assertEqual(len(application.streams), 1)


class ServerTests(OutsiderTests):
    """
    Behind an outbound sidecar that is told to talk to L{DB}.
    """

    async def check(self, server: Child, upstream: str, reason: str, alert: str) -> None:
        """
        A TLS server is refused before it has been sent a byte of metadata or application data.
        """
        sidecar = await self.outbound(upstream)
        client = await self.connect(sidecar.port)
        client.write(REQUEST)
        self.assertEqual(await client.readsRest(), b"")
        await client.close()
        await self.refused(sidecar, "upstream", reason)
        await server.says(alert)
        self.assertEqual(server.output, b"")

    async def test_wrongIdentity(self) -> None:
        """
        Somebody of our mesh, but not DB.
        """
        server, upstream = await self.opensslServer(self.credential(CART), "-alpn", ALPN)
        reason = f"identity_mismatch: the peer is {CART.principal}; accepted are {DB.principal}"
        await self.check(server, upstream, reason, "alert internal error")

    async def test_wrongIdentityBehindSidecar(self) -> None:
        """
        The same between two sidecars: the other one says whose refusal it was.
        """
        application, upstream = await self.application()
        inbound = await self.sidecar("inbound", CART, upstream)
        outbound = await self.outbound(f"tcp:127.0.0.1:{inbound.port}")
        client = await self.connect(outbound.port)
        client.write(REQUEST)
        self.assertEqual(await client.readsRest(), b"")
        await client.close()
        await self.refused(outbound, "upstream", f"identity_mismatch: the peer is {CART.principal}")
        line = await inbound.close()
        self.assertRegex(line["close_reason"], "downstream: alert_received: .*not accept")
        self.assertEqual(application.streams, [])

    async def test_otherAuthority(self) -> None:
        """
        DB's name, signed by another authority.
        """
        credential = self.stranger(Authority.create(TRUST_DOMAIN), DB)
        server, upstream = await self.opensslServer(credential, "-alpn", ALPN)
        reason = f"unknown_ca: certificate {DB.principal} is signed by an unknown authority"
        await self.check(server, upstream, reason, "alert unknown ca")

    async def test_expired(self) -> None:
        """
        DB's certificate of yesterday.
        """
        credential = self.stranger(self.authority, DB, timedelta(seconds=-10))
        server, upstream = await self.opensslServer(credential, "-alpn", ALPN)
        reason = f"certificate_expired: certificate {DB.principal} expired at 20"
        await self.check(server, upstream, reason, "alert certificate expired")

    async def test_plaintext(self) -> None:
        """
        A server without a sidecar that speaks first, without TLS.
        """
        application, upstream = await self.application()
        sidecar = await self.outbound(upstream)
        client = await self.connect(sidecar.port)
        client.write(REQUEST)
        server = await application.accepts()
        server.write(b"220 mail.test\r\n")
        self.assertEqual(await client.readsRest(), b"")
        await client.close()
        await self.refused(sidecar, "upstream", "not_tls: ")
        self.assertNotIn(b"HTTP", server.received)
        self.assertNotIn(WEB.prefix[:4], server.received)
        await server.close()
