"""
docs/configuration.md: its list of fields is the code's, and its files run.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mxproxy.config.envoy import docs, readPlan
from mxproxy.config.envoy.subset import SUBSET
from mxproxy.config.plan import Plan
from mxproxy.connection import Connection, Peer
from mxproxy.service import ProxyService
from tests.config.commandline import CA, DB, WEB
from tests.e2e.processes import soon
from tests.packaging.environment import ROOT

DOCUMENT = ROOT / "docs" / "configuration.md"


def files() -> dict[str, str]:
    """
    The whole files in it, by the names in their first lines.
    """
    blocks = re.findall(r"(?ms)^```yaml\n(.*?)^```$", DOCUMENT.read_text())
    named = [(re.match(r"# (\S+\.yaml)\n", block), block) for block in blocks]
    return {match[1]: block for match, block in named if match}


class ListTests(SynchronousTestCase):
    def test_current(self) -> None:
        """
        If not: python -m mxproxy.config.envoy.docs --write docs/configuration.md
        """
        self.assertEqual(docs.PART.main(["--check", str(DOCUMENT)]), 0)

    def test_everything(self) -> None:
        """
        Each field is in it, under its message.
        """
        sections = re.split(r"(?m)^#### `", docs.listing())
        self.assertEqual(len(sections) - 1, len(SUBSET))
        for section, (name, fields) in zip(sections[1:], SUBSET.items(), strict=True):
            self.assertTrue(section.startswith(f"{name}`\n"), section)
            for field in fields:
                self.assertIn(f"`{field}`", section)

    def test_remarks(self) -> None:
        listing = docs.listing()
        self.assertIn("- `bind_to_port`: only `true`\n", listing)
        self.assertIn("- `address`: required\n", listing)
        self.assertIn("#### `envoy.extensions.filters.network.echo.v3.Echo`\n\nNo fields.", listing)
        self.assertIn("one of `envoy.extensions.access_loggers.file.v3.FileAccessLog`, `", listing)


class Hello(Protocol):
    """
    Istio's test server: what it is told, with a greeting in front.
    """

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"hello " + data)


class Once(Protocol):
    """
    Says something, and hears all of the answer.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self.transport.loseConnection()

    def connectionLost(self, reason: object) -> None:  # type: ignore[override]
        self.ended.callback(self.heard)


class Learnt:
    """
    Which workloads a proxy has heard of, and the ALPN by which.
    """

    def __init__(self) -> None:
        self.peers: list[tuple[str, str | None]] = []

    def opened(self, connection: Connection) -> None: ...

    def identified(self, connection: Connection, peer: Peer) -> None:
        self.peers.append((peer.metadata.workload, peer.alpn))

    def connected(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...


class ExampleTests(TestCase):
    """
    The files of the page, with other ports.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        CA.write(self.directory, "ca")
        DB.write(self.directory, "db")
        WEB.write(self.directory, "web")

    def plan(self, name: str, ports: dict[str, int]) -> Plan:
        text = files()[name]
        for old, new in ports.items():
            text = text.replace(f"port_value: {old}", f"port_value: {new}")
        text = re.sub(r"filename: (\S+\.(?:crt|key))", rf"filename: {self.directory}/\1", text)
        path = self.directory / name
        path.write_text(text)
        plan = readPlan(str(path))
        # Of what it logs to standard output, nothing is wanted here.
        return replace(
            plan, listeners=tuple(replace(one, access_logs=()) for one in plan.listeners)
        )

    def start(self, plan: Plan) -> tuple[int, Learnt]:
        from twisted.internet import reactor

        learnt = Learnt()
        service = ProxyService(plan, reactor, [learnt])  # type: ignore[list-item]
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        return service.ports[0].getHost().port, learnt  # type: ignore[attr-defined]

    async def pair(self, inbound: str, outbound: str) -> tuple[int, int, Learnt, Learnt]:
        from twisted.internet import reactor

        server = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(
            Factory.forProtocol(Hello)
        )
        self.addCleanup(server.stopListening)
        application = server.getHost().port  # type: ignore[attr-defined]
        inside, db = self.start(self.plan(inbound, {"15006": 0, "5432": application}))
        outside, web = self.start(self.plan(outbound, {"15001": 0, "15006": inside}))
        return inside, outside, db, web

    async def say(self, port: int, text: bytes = b"world\n") -> bytes:
        from twisted.internet import reactor

        once: Any = await connectProtocol(
            clientFromString(reactor, f"tcp:127.0.0.1:{port}"), Once()
        )
        once.transport.write(text)
        heard: bytes = await soon(once.ended, lambda: f"no answer but {once.heard!r}")
        return heard

    async def test_istio(self) -> None:
        """
        Istio's own set-up: "world" comes back as "hello world" on ten connections out of ten.
        """
        _, outside, db, web = await self.pair("server.yaml", "client.yaml")
        answers = await gatherResults(
            [Deferred.fromCoroutine(self.say(outside)) for _ in range(10)]
        )
        self.assertEqual(answers, [b"hello world\n"] * 10)
        self.assertEqual(db.peers, [("productpage-v1", "mx-protocol")] * 10)
        self.assertEqual(web.peers, [("ratings-v1", "mx-protocol")] * 10)

    async def test_pair(self) -> None:
        """
        The mesh's clients exchange metadata with the database's side, and others get through in
        plaintext.
        """
        inside, outside, db, web = await self.pair("db.yaml", "web.yaml")
        self.assertEqual(await self.say(outside), b"hello world\n")
        self.assertEqual(db.peers, [("web", "istio-peer-exchange")])
        self.assertEqual(web.peers, [("db", "istio-peer-exchange")])
        self.assertEqual(await self.say(inside), b"hello world\n")
        self.assertEqual(len(db.peers), 1)
