"""
Certificates of a whole pair of sidecars are renewed under open connections: these go on as if
nothing had happened, and those that come have what is new.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.pki import Authority
from mxproxy.testing import Application, MemoryReactor, Proxy, Sidecars
from mxproxy.testing.application import ApplicationFactory
from mxproxy.testing.sidecars import (
    CLIENT_ID,
    INBOUND,
    OUTBOUND,
    SERVER,
    SERVER_ID,
    dial,
    onePlan,
)
from mxproxy.tls.verify import Verifier
from mxproxy.wire.metadata import Node
from tests.tls.directory import Directory, texts

# Longer than a look and a second's rest.
SOON = 7.0


class RotationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ca = Authority.create()
        self.files = {"client": Directory(self.mktemp()), "server": Directory(self.mktemp())}
        self.renew()
        self.sidecars = Sidecars(
            server=self.files["server"].server(alpn=("istio",)),
            client=self.files["client"].client(alpn=("istio",)),
        )
        for proxy in (self.sidecars.inbound, self.sidecars.outbound):
            proxy.service.certificates.start()
            self.addCleanup(proxy.service.certificates.stop)

    def renew(self, *sides: str, ca: Authority | None = None) -> None:
        """
        New certificates for both, or for one side.
        """
        trusted = ca or self.ca
        for side, identity in (("client", CLIENT_ID), ("server", SERVER_ID)):
            if not sides or side in sides:
                self.files[side].rename(texts(trusted.issue(identity), trusted))

    def open(self) -> tuple[int, int] | None:
        """
        A new connection through the pair, tried with a byte each way.

        @return: the serial numbers of the client's certificate and of the server's, as the
            other one has seen them; C{None} if it was refused.
        """
        client = self.sidecars.dial()
        client.write(b"?")
        # A side that refuses gives the other a second to read why.
        self.sidecars.reactor.advance(2.0)
        if client.endings:
            return None
        self.sidecars.server.write(b"!")
        self.sidecars.reactor.settle()
        self.assertEqual(client.received, b"!")
        self.opened.append((client, self.sidecars.server))
        shown = (
            self.sidecars.inbound.connection.downstream.certificate,
            self.sidecars.outbound.connection.upstream.certificate,
        )
        one, other = (certificate.serial_number for certificate in shown if certificate)
        return one, other

    opened: list[tuple[Application, Application]]

    def check(self) -> None:
        """
        Everything that was opened still works, both ways.
        """
        for client, server in self.opened:
            for one, other in ((client, server), (server, client)):
                before = len(other.received)
                one.write(b"still here")
                self.sidecars.reactor.settle()
                self.assertEqual(bytes(other.received[before:]), b"still here")

    def test_rotate(self) -> None:
        self.opened = []
        seen = [self.open()]
        for _ in range(5):
            self.renew()
            self.sidecars.reactor.advance(SOON)
            self.check()
            seen.append(self.open())
        self.assertNotIn(None, seen)
        self.assertEqual(len({serial for pair in seen for serial in pair or ()}), 12)
        self.assertEqual(
            self.sidecars.inbound.service.counters[
                "listener.listener.server_ssl_socket_factory.ssl_context_update_by_sds"
            ],
            5,
        )
        self.assertEqual(
            self.sidecars.outbound.service.counters[
                "cluster.cluster.client_ssl_socket_factory.ssl_context_update_by_sds"
            ],
            5,
        )

    def test_badSet(self) -> None:
        self.opened = []
        before = self.open()
        key = {"tls.key": self.ca.issue(SERVER_ID).key_pem}
        self.files["server"].rename(key)
        self.sidecars.reactor.advance(SOON)
        self.assertEqual(self.open(), before)
        self.check()
        counters = self.sidecars.inbound.service.counters
        self.assertEqual(counters["listener.listener.ssl.key_rotation_failed"], 1)

    def test_authoritySwap(self) -> None:
        """
        The server is of another CA from now on, and trusts no other.  Clients trust both, as
        they do while a mesh changes its CA: one that has a certificate of the old CA is
        refused, one whose connection is open is not, and one that is renewed, too, gets in.
        """
        self.opened = []
        new = Authority.create("other.example")
        self.files["client"].rename({"ca.crt": self.ca.cert_pem + new.cert_pem})
        self.sidecars.reactor.advance(SOON)
        self.assertIsNotNone(self.open())
        self.renew("server", ca=new)
        self.sidecars.reactor.advance(SOON)
        self.assertIsNone(self.open())
        why = self.sidecars.inbound.connection.close_reason
        self.assertTrue(why.startswith("downstream: unknown_ca: "), why)
        self.assertIn("(CN=cluster.local throwaway CA)", why)
        self.renew("client", ca=new)
        self.sidecars.reactor.advance(SOON)
        self.assertIsNotNone(self.open())
        self.check()


class SessionTests(SynchronousTestCase):
    """
    A pair that resumes sessions: who is who in the log is the same, and a renewal ends them.
    """

    def setUp(self) -> None:
        self.again = 0
        real = Verifier.again

        def again(verifier: Verifier, connection: Any) -> bool:
            self.again += 1
            return real(verifier, connection)

        self.patch(Verifier, "again", again)
        self.ca = Authority.create()
        self.files = Directory(self.mktemp())
        self.files.write(texts(self.ca.issue(SERVER_ID), self.ca))
        client = Directory(self.mktemp())
        client.write(texts(self.ca.issue(CLIENT_ID), self.ca))
        self.reactor = MemoryReactor()
        self.servers = ApplicationFactory()
        self.reactor.listenTCP(SERVER, self.servers)
        self.inbound, self.outbound = (
            Proxy(replace(plan, tls_session_resumption=True), self.reactor)
            for plan in (
                onePlan(Node(), INBOUND, SERVER, downstream=self.files.server()),
                onePlan(Node(), OUTBOUND, INBOUND, upstream=client.client(accepted=(SERVER_ID,))),
            )
        )

    def open(self) -> bool:
        """
        A connection through both.

        @return: whether its session was resumed.
        """
        before = self.again
        application = dial(self.reactor, OUTBOUND)
        application.write(b"?")
        self.reactor.settle()
        self.servers.built[-1].write(b"!")
        self.reactor.settle()
        self.assertEqual(application.received, b"!")
        client = self.inbound.connection.downstream
        server = self.outbound.connection.upstream
        self.assertEqual((client.principals, server.principals), ((CLIENT_ID,), (SERVER_ID,)))
        for peer in (client, server):
            self.assertIsNotNone(peer.certificate)
        application.close()
        self.reactor.settle()
        self.assertIn(self.again - before, (0, 2))
        return self.again > before

    def test_pair(self) -> None:
        self.assertEqual([self.open() for _ in range(3)], [False, True, True])
        self.files.rename(texts(self.ca.issue(SERVER_ID), self.ca))
        self.inbound.service.certificates.reloadNow()
        self.assertEqual([self.open() for _ in range(3)], [False, True, True])

    def test_authoritySwap(self) -> None:
        """
        The server trusts another CA from now on: a session of before is none.
        """
        self.assertEqual([self.open() for _ in range(2)], [False, True])
        self.files.rename({"ca.crt": Authority.create("other.example").cert_pem})
        self.inbound.service.certificates.reloadNow()
        application = dial(self.reactor, OUTBOUND)
        application.write(b"?")
        self.reactor.advance(2.0)
        self.assertIn("unknown_ca", self.inbound.connection.close_reason)
        self.assertEqual(application.received, b"")
