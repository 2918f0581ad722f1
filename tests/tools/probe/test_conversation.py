"""
Probes in memory: of whole sidecars, and of peers that say anything.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.chain import ChainContext
from mxproxy.connection import Connection
from mxproxy.layers.tls import TLSFactory
from mxproxy.pki import Authority
from mxproxy.testing import Application, ApplicationFactory, MemoryReactor
from mxproxy.testing.sidecars import (
    CLIENT_ID,
    CLIENT_NODE,
    INBOUND,
    OUTBOUND,
    SERVER_ID,
    Sidecars,
    clientTLS,
    pems,
    serverTLS,
)
from mxproxy.tls.context import ClientContext, ServerContext
from mxproxy.tls.settings import PEM
from mxproxy.tools.probe.command import Request
from mxproxy.tools.probe.finding import Finding, Outcome
from mxproxy.tools.probe.run import Probe
from mxproxy.wire.exchange import ALPN
from mxproxy.wire.metadata import Node
from mxproxy.wire.prefix import encodePrefix

PREFIX = CLIENT_NODE.prefix()
MANY = 10_000


def request(target: str = f"127.0.0.1:{INBOUND}", **changes: Any) -> Request:
    """
    A request of the mesh's client, or with a server's context of its server.
    """
    context = changes.pop("context", None)
    alpn = changes.pop("alpn", (ALPN, "istio"))
    if context is None:
        context = ClientContext(clientTLS(alpn=alpn, verify=False))
    values: dict[str, Any] = {
        "target": target,
        "context": context,
        "accepted": (),
        "node": Node("probe"),
        "protocol": ALPN,
        "insecure": False,
        "timeout": 10.0,
        "count": 1,
        "json": True,
    }
    return Request(**{**values, **changes})


class Run:
    """
    One probe.
    """

    def __init__(self, reactor: MemoryReactor, request: Request) -> None:
        self.reactor = reactor
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        self.probe = Probe(request, self.stdout, self.stderr)
        self.ended = Deferred.fromCoroutine(self.probe.main(reactor))
        reactor.settle()

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.stdout.getvalue())
        return report

    def over(self, seconds: float = 3.0) -> dict[str, Any]:
        """
        Let it come to its end, with nothing left behind.
        """
        self.reactor.advance(seconds)
        if self.probe.fault is not None:
            raise self.probe.fault
        assert self.ended.called and self.probe.finished, self.stdout.getvalue()
        assert self.probe.status == self.report["exit_status"]
        return self.report


class SidecarTests(SynchronousTestCase):
    """
    What they are for each other, they are for a probe.
    """

    def test_replies(self) -> None:
        """
        However the bytes come.
        """
        for chunks in (None, 1, 7):
            sidecars = Sidecars(chunks=chunks)
            report = Run(sidecars.reactor, request()).over()
            self.assertEqual(report["outcome"], "found")
            self.assertEqual(report["exchange"]["opening"], "after_ours")
            self.assertEqual(report["exchange"]["metadata"]["workload"], "httpbin")
            self.assertEqual(report["principals"], [SERVER_ID])
            self.assertIs(report["trusted"], True)
            peer = sidecars.inbound.connection.downstream
            self.assertEqual((peer.metadata.id, peer.principals), ("probe", (CLIENT_ID,)))
            self.assertEqual(sidecars.server.received, b"")
            sidecars.server.close()
            sidecars.reactor.settle()
            self.assertEqual(list(sidecars.inbound.service.connections), [])
            self.assertEqual(sidecars.reactor.getDelayedCalls(), [])

    def test_eager(self) -> None:
        sidecars = Sidecars(inboundExchange={"opening": "eager"})
        report = Run(sidecars.reactor, request()).over()
        self.assertEqual(report["outcome"], "found")
        self.assertEqual(report["exchange"]["opening"], "first")

    def test_noALPN(self) -> None:
        report = Run(Sidecars().reactor, request(alpn=("h2",))).over()
        self.assertEqual((report["outcome"], report["exit_status"]), ("no_exchange", 3))
        self.assertEqual(report["exchange"]["state"], "alpn_mismatch")
        self.assertEqual(report["reason"], "alpn_mismatch: TLS has negotiated no protocol")

    def test_notTrusted(self) -> None:
        """
        It is not told who we are, unless it may be anybody.
        """
        sidecars = Sidecars()
        report = Run(sidecars.reactor, request(accepted=("spiffe://other/x",))).over()
        self.assertEqual((report["outcome"], report["exit_status"]), ("tls_failed", 5))
        self.assertTrue(report["reason"].startswith("identity_mismatch: "), report["reason"])
        self.assertEqual(report["certificates"][0]["names"], [SERVER_ID])
        self.assertEqual(report["principals"], [])
        self.assertFalse(sidecars.inbound.connection.downstream.metadata)
        report = Run(
            sidecars.reactor, request(accepted=("spiffe://other/x",), insecure=True)
        ).over()
        self.assertEqual((report["outcome"], report["trusted"]), ("found", False))
        self.assertEqual(report["principals"], [])

    def test_firstFault(self) -> None:
        """
        Of several things that are wrong with a chain, the first is said.
        """
        other = PEM(text=Authority.create("elsewhere").cert_pem)
        context = ClientContext(clientTLS(alpn=(ALPN,), verify=False, authorities=other))
        report = Run(
            Sidecars().reactor, request(context=context, accepted=("spiffe://other/x",))
        ).over()
        self.assertTrue(report["reason"].startswith("unknown_ca: "), report["reason"])

    def test_weAreNotTrusted(self) -> None:
        """
        With TLS 1.3 that comes after the handshake, and is none of the exchange's faults.
        """
        stranger = Authority.create("elsewhere").issue(CLIENT_ID)
        context = ClientContext(
            clientTLS(
                alpn=(ALPN,),
                verify=False,
                certificate=PEM(text=stranger.cert_pem),
                key=PEM(text=stranger.key_pem),
            )
        )
        report = Run(Sidecars().reactor, request(context=context)).over()
        self.assertEqual((report["outcome"], report["tls"]["alpn"]), ("tls_failed", ALPN))
        self.assertTrue(report["reason"].startswith("alert_received: "), report["reason"])

    def test_nobody(self) -> None:
        report = Run(MemoryReactor(), request()).over()
        self.assertEqual((report["outcome"], report["step"]), ("connect_failed", "connect"))
        self.assertEqual(report["reason"], "Connection refused")

    def test_neverConnected(self) -> None:
        reactor = MemoryReactor()
        reactor.silent.add(("127.0.0.1", INBOUND))
        run = Run(reactor, request(timeout=4.0))
        reactor.advance(3.9)
        self.assertFalse(run.ended.called)
        report = run.over(0.2)
        self.assertEqual((report["outcome"], report["step"]), ("timeout", "connect"))
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_plaintext(self) -> None:
        """
        A sidecar's port for applications speaks no TLS.
        """
        sidecars = Sidecars()
        run = Run(sidecars.reactor, request(f"127.0.0.1:{OUTBOUND}", timeout=2.0))
        self.assertEqual(run.over(4.0)["outcome"], "timeout")


class Odd(Protocol):
    """
    The bottom of a peer that has TLS as sidecars do, and on top of it C{act}.
    """

    def __init__(self, side: str, tls: Any, reactor: MemoryReactor, act: Callable[[Any], object]):
        self.application = Application()
        self.application.onConnect = lambda: act(self.application)
        self.connection = Connection("odd", reactor.seconds)
        context = ChainContext(side, "odd", "odd", Node(), reactor, lambda name: None)
        self.factory = TLSFactory(ApplicationFactory(lambda: self.application), context, tls, 10.0)

    def makeConnection(self, transport: Any) -> None:
        side = self.factory.context.side
        peer = (
            self.connection.downstream
            if side == "downstream"
            else self.connection.newUpstream(lambda peer: None)
        )
        self.connection.attach(peer, transport)
        layer = self.factory.buildProtocol(None)
        transport.protocol = layer
        layer.makeConnection(transport)


class OneFactory(Factory):
    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self.buildProtocol = lambda addr: protocol  # type: ignore[method-assign]


class OddServerTests(SynchronousTestCase):
    """
    A server that has negotiated the exchange, and then says something else.
    """

    def serve(self, act: Callable[[Application], object], **changes: Any) -> dict[str, Any]:
        reactor = MemoryReactor()
        odd = Odd("downstream", ServerContext(serverTLS(alpn=(ALPN,))), reactor, act)
        reactor.listenTCP(INBOUND, OneFactory(odd))
        return Run(reactor, request(**changes)).over(12.0)

    def test_states(self) -> None:
        """
        Each has its byte.
        """
        for data, state, fault in [
            (b"HTTP/1.1 400\r\n", "bad_magic", 0),
            (PREFIX[:3] + b"!", "bad_magic", 3),
            (PREFIX[:4] + b"\xff\xff\xff\xff", "too_large", 4),
            (encodePrefix(b""), "malformed", 8),
            (encodePrefix(b"\x0a\x01\xff"), "malformed", 10),
            (encodePrefix(b"\x0a\x05ab"), "malformed", 10),
        ]:
            report = self.serve(lambda application, data=data: application.write(data))
            exchange = report["exchange"]
            self.assertEqual((report["outcome"], exchange["state"]), ("exchange_failed", state))
            self.assertEqual(exchange["fault_at_byte"], fault)
            self.assertEqual(report["exit_status"], 4)
            self.assertIn(f"(byte {fault})", report["reason"])
            self.assertEqual(bytes.fromhex(exchange["head"]), data)

    def test_cutOff(self) -> None:
        for data, fault in [(b"", 0), (PREFIX[:3], 3), (PREFIX[:4], 4), (PREFIX[:20], 20)]:

            def act(application: Application, data: bytes = data) -> None:
                application.write(data)
                application.end()

            report = self.serve(act)
            self.assertEqual(report["exchange"]["state"], "closed")
            self.assertEqual(report["exchange"]["fault_at_byte"], fault)

    def test_dropped(self) -> None:
        """
        No close_notify, no end of stream: still the exchange's failure.
        """
        report = self.serve(lambda application: application.abort())
        self.assertEqual((report["outcome"], report["exit_status"]), ("exchange_failed", 4))

    def test_silence(self) -> None:
        report = self.serve(lambda application: application.write(PREFIX[:9]), timeout=5.0)
        self.assertEqual((report["outcome"], report["exit_status"]), ("timeout", 7))
        self.assertEqual(report["exchange"]["state"], "timeout")
        self.assertEqual(report["exchange"]["received_bytes"], 9)

    def test_flood(self) -> None:
        """
        What is kept of it is bounded.
        """
        report = self.serve(lambda application: application.write(PREFIX + b"x" * 200_000))
        self.assertEqual(report["outcome"], "found")
        self.assertEqual(len(report["exchange"]["head"]), 2 * 256)

    def test_everythingSaid(self) -> None:
        """
        Also what a sidecar passes over.
        """
        node = Node("n", {"NAME": "x", "LABELS": {"app": "a", "tier": "gold"}})
        data = node.prefix(["tier"])
        report = self.serve(lambda application: application.write(data))
        metadata = report["exchange"]["metadata"]
        self.assertEqual((metadata["app"], metadata["labels"]), ("a", {"tier": "gold"}))


class ListenTests(SynchronousTestCase):
    """
    The mirror image: who is this client sidecar?
    """

    def run_(self, sidecars: Sidecars, **changes: Any) -> Run:
        server = {**pems(SERVER_ID), "alpn": (ALPN, "istio"), "require_client_certificate": False}
        target = f"tcp:{INBOUND}:interface=127.0.0.1"
        context = ServerContext(serverTLS(**server))
        sidecars.inbound.service.stopService()
        sidecars.reactor.settle()
        return Run(sidecars.reactor, request(target, context=context, **changes))

    def test_client(self) -> None:
        sidecars = Sidecars()
        run = self.run_(sidecars)
        self.assertEqual(
            run.stderr.getvalue(), f"listening on 127.0.0.1:{INBOUND}, for a client sidecar\n"
        )
        sidecars.dial()
        report = run.over()
        self.assertEqual((report["outcome"], report["peer"]), ("found", "client"))
        self.assertEqual(report["exchange"]["metadata"]["workload"], "sleep")
        self.assertEqual(report["exchange"]["opening"], "first")
        self.assertEqual(report["principals"], [CLIENT_ID])
        self.assertEqual(set(report["timings_ms"]), {"tls", "exchange"})
        # It has hung up, and does not listen any more.
        self.assertIsNone(sidecars.reactor.portAt(sidecars.reactor.resolved(_address())))

    def test_waitsForUs(self) -> None:
        """
        A client that stays silent until the server speaks, as Istio's.
        """
        sidecars = Sidecars()
        run = self.run_(sidecars)
        odd = Odd(
            "upstream",
            ClientContext(clientTLS(alpn=(ALPN,))),
            sidecars.reactor,
            lambda application: None,
        )
        odd.application.onData = lambda data: odd.application.write(PREFIX)
        endpoint = clientFromString(sidecars.reactor, f"tcp:127.0.0.1:{INBOUND}")
        endpoint.connect(OneFactory(odd))
        report = run.over()
        self.assertEqual(
            (report["outcome"], report["exchange"]["opening"]), ("found", "after_ours")
        )

    def test_several(self) -> None:
        """
        As many as were wanted; the status is that of the first that has failed.
        """
        sidecars = Sidecars()
        run = self.run_(sidecars, count=2)
        sidecars.dial(port=INBOUND).close()
        sidecars.reactor.advance(1)
        self.assertFalse(run.ended.called)
        sidecars.dial()
        sidecars.reactor.advance(3)
        first, second = map(json.loads, run.stdout.getvalue().splitlines())
        self.assertEqual((first["outcome"], second["outcome"]), ("tls_failed", "found"))
        self.assertTrue(run.ended.called)
        self.assertEqual(run.probe.status, 5)

    def test_noMore(self) -> None:
        """
        Whoever comes too late is not taken.
        """
        sidecars = Sidecars()
        self.run_(sidecars)
        first, second = sidecars.dial(port=INBOUND), sidecars.dial(port=INBOUND)
        self.assertEqual((0, 1), (first.endings, second.endings))


def _address() -> Any:
    from twisted.internet.address import IPv4Address

    return IPv4Address("TCP", "127.0.0.1", INBOUND)


class PatienceTests(SynchronousTestCase):
    def test_roundTrips(self) -> None:
        """
        Who is far away is given time to speak first.
        """
        reactor = MemoryReactor()
        probe = Probe(request(), io.StringIO(), io.StringIO())
        server, client = probe.converse(reactor, "server"), probe.converse(reactor, "client")
        server.finding.seconds["connect"] = 0.5
        client.finding.seconds["tls"] = 0.25
        self.assertAlmostEqual(server.patience, 1.1)
        self.assertAlmostEqual(client.patience, 0.6)


class FindingTests(SynchronousTestCase):
    def test_statuses(self) -> None:
        """
        Every outcome has its own, none of them the shell's or a wrong command line's.
        """
        statuses = [Finding("server", "x", outcome=outcome).exitStatus for outcome in Outcome]
        self.assertEqual(len(set(statuses)), len(statuses))
        self.assertNotIn(1, statuses)
        self.assertNotIn(2, statuses)
