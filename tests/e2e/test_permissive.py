"""
One permissive port: clients with a sidecar, with TLS only and without either, during a migration.

Keeps: each client gets the chain that fits it, told apart by the first bytes alone; no byte that
was looked at is lost; a plaintext client that waits for the server to speak waits no longer than
the inspection's timeout.
"""

from __future__ import annotations

from tests.e2e.mesh import WEB, EndToEnd, Line, Sidecar
from tests.e2e.recorded import REPLY, REQUEST


class PermissiveTests(EndToEnd):
    async def last(self, sidecar: Sidecar, count: int) -> Line:
        """
        The line of the connection that was closed as the C{count}th.
        """
        return (await sidecar.closed(count))[-1]

    async def test_onePort(self) -> None:
        """
        All kinds of clients, one after the other.
        """
        application, upstream = await self.application()
        inbound = await self.inbound(
            upstream, *("--downstream-tls", "permissive", "--inspection-timeout", "0.3")
        )
        outbound = await self.outbound(f"tcp:127.0.0.1:{inbound.port}")

        with self.subTest("mutual TLS with the exchange"):
            client = await self.connect(outbound.port)
            client.write(REQUEST)
            server = await application.accepts()
            self.assertTrue(await server.reads(len(REQUEST)) == REQUEST)
            server.write(REPLY)
            self.assertTrue(await client.reads(len(REPLY)) == REPLY)
            await client.close()
            await server.close()
            line = await self.last(inbound, 1)
            self.assertEqual(line["filter_chain"], "tls")
            WEB.logged(line, "downstream")

        with self.subTest("mutual TLS without the exchange"):
            openssl = self.opensslClient(inbound.port, self.credential(WEB), "-alpn", "istio")
            openssl.write(REQUEST)
            server = await application.accepts()
            self.assertTrue(await server.reads(len(REQUEST)) == REQUEST)
            server.write(REPLY)
            server.finish()
            self.assertEqual(await openssl.ends(), 0)
            self.assertTrue(openssl.output == REPLY)
            await server.close()
            line = await self.last(inbound, 2)
            self.assertEqual(line["filter_chain"], "tls")
            self.assertEqual(line["downstream"]["peer_state"], "alpn_mismatch")
            self.assertEqual(line["downstream"]["principal"], WEB.principal)

        with self.subTest("plaintext"):
            client = await self.connect(inbound.port)
            client.write(REQUEST)
            server = await application.accepts()
            self.assertTrue(await server.reads(len(REQUEST)) == REQUEST)
            server.write(REPLY)
            self.assertTrue(await client.reads(len(REPLY)) == REPLY)
            await client.close()
            await server.close()
            self.assertPlain(await self.last(inbound, 3), len(REQUEST), len(REPLY))

        with self.subTest("plaintext, the first byte that of TLS"):
            client = await self.connect(inbound.port)
            client.write(b"\x16")
            client.write(b"\x02 no TLS has this version")
            server = await application.accepts()
            self.assertEqual(await server.reads(26), b"\x16\x02 no TLS has this version")
            await client.close()
            await server.close()
            self.assertPlain(await self.last(inbound, 4), 26, 0)

        with self.subTest("plaintext, the server speaks first"):
            client = await self.connect(inbound.port)
            server = await application.accepts()
            server.write(b"220 mail.test\r\n")
            self.assertEqual(await client.reads(15), b"220 mail.test\r\n")
            client.write(b"QUIT\r\n")
            self.assertEqual(await server.reads(6), b"QUIT\r\n")
            await server.close()
            self.assertEqual(await client.readsRest(), b"")
            await client.close()
            line = await self.last(inbound, 5)
            self.assertPlain(line, 6, 15)
            self.assertGreaterEqual(line["duration_ms"], 300)

        with self.subTest("TLS of the mesh, but without a certificate"):
            openssl = self.opensslClient(inbound.port, None, "-alpn", "istio")
            openssl.write(REQUEST)
            await openssl.says("alert certificate required")
            line = await self.last(inbound, 6)
            self.assertRegex(line["close_reason"], "^downstream: no_client_certificate: ")
            self.assertEqual(line["filter_chain"], "tls")
            self.assertEqual(len(application.streams), 5)

        with self.subTest("the application's own TLS, untouched"):
            self.opensslClient(inbound.port, None)
            server = await application.accepts()
            # Its ClientHello, from the first byte on.
            self.assertEqual((await server.reads(3))[:2], b"\x16\x03")
            await server.close()
            line = await self.last(inbound, 7)
            self.assertEqual(line["filter_chain"], "tls_passthrough")
            self.assertIsNone(line["downstream"]["tls_version"])
            self.assertEqual(line["downstream"]["bytes_sent"], 0)

    def assertPlain(self, line: Line, received: int, sent: int) -> None:
        """
        Check the line of a plaintext connection.
        """
        peer = line["downstream"]
        self.assertEqual(line["filter_chain"], "raw_buffer")
        self.assertEqual(peer["transport_protocol"], "raw_buffer")
        self.assertEqual(peer["peer_state"], "alpn_mismatch")
        self.assertIsNone(peer["principal"])
        self.assertIsNone(peer["tls_version"])
        self.assertEqual((peer["bytes_received"], peer["bytes_sent"]), (received, sent))
        self.assertIn(line["close_reason"], ("downstream: closed", "upstream: closed"))
