"""
Two whole sidecars, and what holds whatever is sent and however it is cut.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import clientFromString
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mxproxy.config.plan import FilterSpec
from mxproxy.interfaces import IFilter
from mxproxy.testing import Application, ApplicationFactory, Sidecars
from mxproxy.testing.sidecars import CLIENT_ID, INBOUND, SERVER_ID, clientTLS, serverTLS
from mxproxy.tls.settings import TLSVersion
from mxproxy.wire.metadata import Node
from mxproxy.wire.prefix import MAGIC_BYTES

from .layers.test_adopt import CountingFactory
from .proxies import CollectorOff, assertNoCycles, assertQuiet

# A machine that is busy with something else is no fault of the strategies'.
PROFILE: dict[str, Any] = {
    "deadline": None,
    "derandomize": bool(os.environ.get("CI")),
    "suppress_health_check": [HealthCheck.too_slow],
}

#: Text that UTF-8 can write.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)

labels = st.dictionaries(
    st.sampled_from(["app", "version", "service.istio.io/canonical-name", "team", "other"]), texts
)

nodes = st.builds(
    lambda id, metadata, labels: Node(id, {**metadata, "LABELS": labels}),
    texts,
    st.dictionaries(
        st.sampled_from(
            ["NAME", "NAMESPACE", "WORKLOAD_NAME", "CLUSTER_ID", "IDENTITY", "REGION", "SECRET"]
        ),
        texts,
    ),
    labels,
)

#: What applications say: anything, and what looks like a prefix.
payloads = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            MAGIC_BYTES,
            MAGIC_BYTES + b"\x00\x00\x00\x00",
            MAGIC_BYTES + b"\xff\xff\xff\xff",
            Node("x", {"NAME": "y"}).prefix() + b"rest",
            b"x" * 100_000,
        ]
    ),
)

chunks = st.lists(st.integers(1, 3000), min_size=1, max_size=5)

exchanges = st.fixed_dictionaries(
    {"opening": st.sampled_from(["reply", "eager"]), "hold": st.sampled_from(["both", "read"])}
)


def inTime(cut: list[int], messages: list[bytes]) -> list[int]:
    """
    Byte by byte, hundreds of kilobytes through six sockets are more turns than a test has.
    """
    least = sum(map(len, messages)) // 5000
    return [max(size, least) for size in cut]


class Talk:
    """
    One connection through a pair: each side writes some messages, ends, and is closed.
    """

    def __init__(self, test: SynchronousTestCase, sidecars: Sidecars) -> None:
        self.test = test
        self.sidecars = sidecars

    def run(self, toServer: list[bytes], toClient: list[bytes], serverFirst: bool) -> None:
        sidecars, test = self.sidecars, self.test
        client = Application()
        if not serverFirst:
            # Written before anybody knows whether there is a server.
            client.onConnect = lambda: [client.write(message) for message in toServer]  # type: ignore[assignment, return-value]
        sidecars.dial(client)
        server = sidecars.server
        turns: list[tuple[Application, bytes]] = [(server, message) for message in toClient]
        if serverFirst:
            turns += [(client, message) for message in toServer]
        for application, message in turns:
            application.write(message)
            sidecars.reactor.settle()
        for application in (client, server):
            application.end()
        sidecars.reactor.settle()
        test.assertEqual(server.received, b"".join(toServer))
        test.assertEqual(client.received, b"".join(toClient))
        test.assertEqual((client.endings, server.endings), (1, 1))
        for application in (client, server):
            application.close()
        sidecars.reactor.settle()
        assertQuiet(test, sidecars.reactor, [sidecars.outbound, sidecars.inbound], [client, server])

    def learnt(self, clientNode: Node, serverNode: Node, *labels: str) -> None:
        """
        Both ends know each other.
        """
        outbound, inbound = self.sidecars.outbound.connection, self.sidecars.inbound.connection
        self.test.assertEqual(outbound.upstream.metadata, serverNode.describe(labels))
        self.test.assertEqual(inbound.downstream.metadata, clientNode.describe(labels))


class PropertyTests(SynchronousTestCase):
    """
    Invariant: for any metadata, any application bytes and any split, both ends learn each other
    and both applications receive exactly what was sent.
    """

    @settings(max_examples=100, **PROFILE)
    @given(
        nodes,
        nodes,
        st.lists(payloads, max_size=4),
        st.lists(payloads, max_size=4),
        chunks,
        exchanges,
        exchanges,
        st.booleans(),
        st.sampled_from([None, 100, 70_000]),
    )
    def test_withoutTLS(
        self,
        clientNode: Node,
        serverNode: Node,
        toServer: list[bytes],
        toClient: list[bytes],
        cut: list[int],
        inbound: dict[str, str],
        outbound: dict[str, str],
        serverFirst: bool,
        capacity: int | None,
    ) -> None:
        sidecars = Sidecars(
            tls=False,
            clientNode=clientNode,
            serverNode=serverNode,
            inboundExchange={**inbound, "additional_labels": "team"},
            outboundExchange={**outbound, "additional_labels": "team"},
            chunks=inTime(cut, toServer + toClient),
            capacity=capacity,
        )
        talk = Talk(self, sidecars)
        talk.run(toServer, toClient, serverFirst)
        talk.learnt(clientNode, serverNode, "team")

    @settings(max_examples=25, **PROFILE)
    @given(
        nodes,
        nodes,
        st.lists(payloads, max_size=3),
        st.lists(payloads, max_size=3),
        chunks,
        exchanges,
        st.sampled_from(list(TLSVersion)),
        st.booleans(),
    )
    def test_withTLS(
        self,
        clientNode: Node,
        serverNode: Node,
        toServer: list[bytes],
        toClient: list[bytes],
        cut: list[int],
        exchange: dict[str, str],
        version: TLSVersion,
        serverFirst: bool,
    ) -> None:
        sidecars = Sidecars(
            server=serverTLS(minimum=version, maximum=version),
            client=clientTLS(),
            clientNode=clientNode,
            serverNode=serverNode,
            inboundExchange=exchange,
            outboundExchange=exchange,
            chunks=inTime(cut, toServer + toClient),
        )
        talk = Talk(self, sidecars)
        talk.run(toServer, toClient, serverFirst)
        talk.learnt(clientNode, serverNode)
        downstream = sidecars.inbound.connection.downstream
        upstream = sidecars.outbound.connection.upstream
        self.assertEqual((downstream.principals, upstream.principals), ((CLIENT_ID,), (SERVER_ID,)))
        for peer in (downstream, upstream):
            self.assertEqual(peer.alpn, "istio-peer-exchange")
            self.assertEqual(peer.tls_version, version.value)


class LossTests(SynchronousTestCase):
    """
    Wherever a connection breaks, all of it is gone: no timer, no socket, no cycle.
    """

    def test_everywhere(self) -> None:
        with CollectorOff():
            for tls in (False, True):
                for which in range(4):
                    for steps in range(1, 40, 2 if tls else 1):
                        self.check(tls, which, steps)

    def check(self, tls: bool, which: int, steps: int) -> None:
        """
        @param which: of the connections that are open by then, as far as there are so many.
        @param steps: how many turns until one breaks.
        """
        sidecars = Sidecars(tls=tls, chunks=300)
        client = Application()
        client.onConnect = lambda: client.write(b"x" * 2000)
        applications = sidecars.servers
        clients = ApplicationFactory(lambda: client)
        clientFromString(sidecars.reactor, "tcp:127.0.0.1:15001").connect(clients)
        for _ in range(steps):
            sidecars.reactor._turn()
        open_ = sidecars.transports
        if open_:
            open_[which % len(open_)].lose()
        sidecars.reactor.settle()
        # Whoever waits, for a handshake, an exchange or a peer that does not read.
        for application in [*clients.built, *applications.built]:
            if not application.losses:
                application.close()
        sidecars.reactor.settle()
        where = f"TLS {tls}, connection {which}, after {steps} turns"
        try:
            assertQuiet(
                self,
                sidecars.reactor,
                [sidecars.outbound, sidecars.inbound],
                [*clients.built, *applications.built],
            )
            del open_
            assertNoCycles(self, sidecars.reactor, [sidecars.outbound, sidecars.inbound])
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error


class OutsiderTests(SynchronousTestCase):
    """
    Who is not in the mesh does not get in, and is told apart.
    """

    def refused(self, sidecars: Sidecars, first: bytes, reason: str) -> None:
        outsider = sidecars.dial(port=INBOUND)
        outsider.write(first)
        sidecars.reactor.advance(10)
        if not outsider.losses:
            outsider.close()
        sidecars.reactor.settle()
        connection = sidecars.inbound.connection
        self.assertTrue(connection.close_reason.startswith(reason), connection.close_reason)
        self.assertEqual(sidecars.servers.built, [])
        assertQuiet(self, sidecars.reactor, [sidecars.inbound], [outsider])

    def test_plaintext(self) -> None:
        self.refused(Sidecars(), b"GET / HTTP/1.0\r\n\r\n", "downstream: not_tls: ")

    def test_silence(self) -> None:
        self.refused(Sidecars(), b"", "downstream: handshake_timeout: ")


class FilterTests(SynchronousTestCase):
    """
    Filters between the exchange and the terminal, on both sides.
    """

    def test_counting(self) -> None:
        made: list[Any] = []

        @implementer(IFilter)
        class Counting:
            def wrap(self, inner: Any, context: Any) -> Any:
                made.append(CountingFactory(inner))
                return made[-1]

        spec = FilterSpec("counting", settings=Counting())
        sidecars = Sidecars(outboundFilters=(spec,), inboundFilters=(spec,))
        Talk(self, sidecars).run([b"a" * 1000, b"b"], [b"c" * 500], False)
        self.assertEqual([(one.read, one.written) for one in made], [(1001, 500)] * 2)
