"""
OpenSSL's own client and server as the other side of TLS, in both roles, with each result of ALPN.

Keeps: the exchange happens if, and only if, C{istio-peer-exchange} was negotiated.  Otherwise
bytes pass untouched in both directions, even those that look like a prefix.
"""

from __future__ import annotations

from typing import Any

from tests.e2e.mesh import ALPN, DB, WEB, EndToEnd
from tests.e2e.processes import Child
from tests.e2e.recorded import CLIENT, REPLY, REQUEST, SERVER

TLS12 = ("-tls1_2", "TLSv1.2")
TLS13 = ("-tls1_3", "TLSv1.3")


class ClientTests(EndToEnd):
    """
    C{openssl s_client} to an inbound sidecar.
    """

    async def check(self, version: tuple[str, str], offered: str, negotiated: str | None) -> None:
        """
        A request and a reply, each behind a prefix, or behind bytes that look like one.
        """
        application, upstream = await self.application()
        sidecar = await self.inbound(upstream)
        client = self.opensslClient(
            sidecar.port,
            self.credential(WEB),
            *(version[0], *(["-alpn", offered] if offered else [])),
        )
        client.write(CLIENT.prefix + REQUEST)
        server = await application.accepts()
        exchanged = negotiated == ALPN
        request = REQUEST if exchanged else CLIENT.prefix + REQUEST
        self.assertTrue(await server.reads(len(request)) == request)
        server.write(SERVER.prefix + REPLY)
        server.finish()
        self.assertEqual(await client.ends(), 0, str(client))
        sent = SERVER.prefix + REPLY
        self.assertTrue(client.output == (DB.prefix + sent if exchanged else sent))
        self.assertEqual(await server.readsRest(), b"")
        await server.close()

        line = await sidecar.close()
        peer = line["downstream"]
        self.assertEqual(peer["alpn"], negotiated)
        self.assertEqual(peer["tls_version"], version[1])
        self.assertEqual(peer["principal"], WEB.principal)
        self.assertEqual(peer["bytes_received"], len(request))
        self.assertEqual(peer["bytes_sent"], len(sent))
        if exchanged:
            CLIENT.logged(line, "downstream")
        else:
            self.assertEqual((peer["peer_state"], peer["peer"]), ("alpn_mismatch", None))

    def test_exchange12(self) -> Any:
        return self.check(TLS12, f"{ALPN},istio", ALPN)

    def test_exchange13(self) -> Any:
        return self.check(TLS13, f"{ALPN},istio", ALPN)

    def test_istio12(self) -> Any:
        return self.check(TLS12, "istio", "istio")

    def test_istio13(self) -> Any:
        return self.check(TLS13, "istio", "istio")

    def test_none12(self) -> Any:
        return self.check(TLS12, "", None)

    def test_none13(self) -> Any:
        return self.check(TLS13, "", None)

    def test_foreign(self) -> Any:
        """
        Nothing in common is no reason for an alert.
        """
        return self.check(TLS13, "h2,http/1.1", None)


class ServerTests(EndToEnd):
    """
    An outbound sidecar to C{openssl s_server}.
    """

    async def server(self, *options: str) -> tuple[Child, str]:
        """
        A server for DB that wants a certificate of its client.
        """
        verify = ["-CAfile", str(self.ca), "-Verify", "1", "-verify_return_error"]
        return await self.opensslServer(self.credential(DB), *verify, *options)

    async def check(self, version: tuple[str, str], chosen: str, negotiated: str | None) -> None:
        """
        A request and a reply, each behind a prefix, or behind bytes that look like one.
        """
        server, upstream = await self.server(version[0], *(["-alpn", chosen] if chosen else []))
        sidecar = await self.outbound(upstream)
        client = await self.connect(sidecar.port)
        exchanged = negotiated == ALPN
        client.write(CLIENT.prefix + REQUEST)
        sent = CLIENT.prefix + REQUEST
        request = WEB.prefix + sent if exchanged else sent
        if exchanged:
            # The application's bytes wait for the peer's prefix.
            self.assertEqual(await server.prints(len(WEB.prefix)), WEB.prefix)
        else:
            self.assertTrue(await server.prints(len(request)) == request)
        server.write(SERVER.prefix + REPLY)
        reply = REPLY if exchanged else SERVER.prefix + REPLY
        self.assertTrue(await client.reads(len(reply)) == reply)
        self.assertTrue(await server.prints(len(request)) == request)
        client.finish()
        self.assertEqual(await client.readsRest(), b"")
        await client.close()

        line = await sidecar.close()
        peer = line["upstream"]
        self.assertEqual(peer["alpn"], negotiated)
        self.assertEqual(peer["tls_version"], version[1])
        self.assertEqual(peer["principal"], DB.principal)
        self.assertEqual(peer["bytes_sent"], len(sent))
        self.assertEqual(peer["bytes_received"], len(reply))
        if exchanged:
            SERVER.logged(line, "upstream")
        else:
            self.assertEqual((peer["peer_state"], peer["peer"]), ("alpn_mismatch", None))

    def test_exchange12(self) -> Any:
        return self.check(TLS12, f"{ALPN},istio", ALPN)

    def test_exchange13(self) -> Any:
        return self.check(TLS13, ALPN, ALPN)

    def test_istio12(self) -> Any:
        return self.check(TLS12, "istio", "istio")

    def test_istio13(self) -> Any:
        return self.check(TLS13, "istio", "istio")

    def test_none12(self) -> Any:
        return self.check(TLS12, "", None)

    def test_none13(self) -> Any:
        return self.check(TLS13, "", None)

    def test_serverPrefersIstio(self) -> Any:
        """
        It is the server's order that counts.
        """
        return self.check(TLS13, f"istio,{ALPN}", "istio")
