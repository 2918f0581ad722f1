"""
SIGHUP: the configuration is read again while connections come and go.

Keeps: no connection is refused meanwhile; new ones get what the file says now, old ones keep what
they have; a file that is wrong changes nothing, and why is in the log as it would be at start.
"""

from __future__ import annotations

import json
import signal
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol

from tests.e2e.mesh import DB, WEB, EndToEnd
from tests.e2e.processes import Child, until
from tests.e2e.streams import Stream

#: Reloads while clients connect, and clients that do so at once.
RELOADS, CLIENTS = 20, 8


def bootstrap(*listeners: tuple[str, int, str]) -> str:
    """
    @param listeners: name, port (0: any), and the client endpoint of where it leads to.
    """
    return json.dumps(
        {
            "static_resources": {
                "listeners": [
                    {
                        "name": name,
                        "address": _address(port),
                        "filter_chains": [{"filters": [_proxy(upstream)]}],
                    }
                    for name, port, upstream in listeners
                ],
                "clusters": [
                    {
                        "name": upstream,
                        "load_assignment": {
                            "cluster_name": upstream,
                            "endpoints": [{"lb_endpoints": [_host(upstream)]}],
                        },
                    }
                    for upstream in sorted({upstream for _, _, upstream in listeners})
                ],
            }
        }
    )


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _host(upstream: str) -> dict[str, Any]:
    return {"endpoint": {"address": _address(int(upstream.rpartition(":")[2]))}}


def _proxy(upstream: str) -> dict[str, Any]:
    package = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3"
    return {
        "name": "tcp",
        "typed_config": {"@type": f"{package}.TcpProxy", "stat_prefix": "x", "cluster": upstream},
    }


async def talk(client: Stream, server: Stream) -> None:
    client.write(b"ping")
    assert await server.reads(4) == b"ping"
    server.write(b"pong")
    assert await client.reads(4) == b"pong"


class ReloadTests(EndToEnd):
    async def run_(self, *listeners: tuple[str, int, str]) -> tuple[Child, list[int]]:
        """
        @return: the proxy, and where its listeners are.
        """
        self.file = self.directory / "envoy.json"
        self.file.write_text(bootstrap(*listeners))
        child = self.twistd("--config", str(self.file), "--drain-time", "0.2")
        said = await child.says(r"(?s)" + r"listening on 127\.0\.0\.1:(\d+).*?" * len(listeners))
        return child, [int(port) for port in said.groups()]

    async def reload(self, child: Child, *listeners: tuple[str, int, str]) -> None:
        before = child.text.count("reloaded: ")
        self.file.write_text(bootstrap(*listeners))
        child.signal(signal.SIGHUP)
        await until(lambda: child.text.count("reloaded: ") > before, lambda: f"a reload {child}")

    async def test_newCluster(self) -> None:
        (one, toOne), (two, toTwo) = await self.application(), await self.application()
        child, (port,) = await self.run_(("a", 0, toOne))
        old = await self.connect(port)
        oldServer = await one.accepts()
        await self.reload(child, ("a", 0, toTwo))
        new = await self.connect(port)
        await talk(new, await two.accepts())
        await talk(old, oldServer)
        self.assertIn("reloaded: listener a changed; cluster", child.text)

    async def test_listeners(self) -> None:
        """
        One more, and one less, whose connections are drained.
        """
        application, upstream = await self.application()
        child, (one,) = await self.run_(("one", 0, upstream))
        await self.reload(child, ("one", 0, upstream), ("two", 0, upstream))
        said = await child.says(r"(?s)listening on .*listening on 127\.0\.0\.1:(\d+)\s")
        client = await self.connect(int(said[1]))
        server = await application.accepts()
        await talk(client, server)
        await self.reload(child, ("one", 0, upstream))
        self.assertEqual(await client.readsRest(), b"")
        await child.says("listener two is gone: 1 connection closed, none is left")
        await talk(await self.connect(one), await application.accepts())

    async def test_wrong(self) -> None:
        """
        Each fault is a line, the same as at start.
        """
        application, upstream = await self.application()
        child, (port,) = await self.run_(("a", 0, upstream))
        wrong = json.loads(self.file.read_text())
        wrong["static_resources"]["clusters"][0]["lb_policy"] = "GUESS"
        wrong["static_resources"]["listeners"][0]["nonsense"] = 1
        self.file.write_text(json.dumps(wrong))
        child.signal(signal.SIGHUP)
        await child.says("not reloaded: .*GUESS")
        await child.says("not reloaded: .*nonsense")
        start = self.twistd("--config", str(self.file))
        self.assertEqual(await start.ends(), 1)
        for line in start.text.splitlines():
            self.assertIn(f"not reloaded: {line.removeprefix('twistd mxproxy: ')}", child.text)
        await talk(await self.connect(port), await application.accepts())
        # And it can be mended.
        await self.reload(child, ("a", 0, upstream))
        self.assertIn("reloaded: nothing has changed", child.text)

    async def test_underLoad(self) -> None:
        """
        Clients that connect all the time are never refused nor cut off.
        """
        (one, toOne), (two, toTwo) = await self.echo(), await self.echo()
        child, (port,) = await self.run_(("a", 0, toOne))
        self.running = True
        loads = [Deferred.fromCoroutine(self.load(port)) for _ in range(CLIENTS)]
        for turn in range(RELOADS):
            await self.reload(child, ("a", 0, (toTwo, toOne)[turn % 2]))
        self.running = False
        counts: list[int] = await gatherResults(loads)
        self.assertGreater(min(counts), 1)
        self.assertGreater(one.accepted, 0)
        self.assertGreater(two.accepted, 0)
        self.assertEqual(one.accepted + two.accepted, sum(counts))

    async def echo(self) -> tuple[_EchoFactory, str]:
        """
        A server that answers, and the client endpoint that leads to it.
        """
        from twisted.internet import reactor

        factory = _EchoFactory()
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port: Any = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        return factory, f"tcp:127.0.0.1:{port.getHost().port}"

    async def load(self, port: int) -> int:
        """
        Connect, talk, and close, again and again.
        """
        count = 0
        while self.running:
            client = await self.connect(port)
            client.write(b"ping")
            self.assertEqual(await client.reads(4), b"ping")
            await client.close()
            count += 1
        return count


class OptionsTests(EndToEnd):
    async def test_nodeMetadata(self) -> None:
        """
        Without a file it is the files that the options name that are read again.
        """
        application, upstream = await self.application()
        pair = await self.pair(upstream)
        metadata = self.directory / f"{WEB.name}.json"
        metadata.write_text(json.dumps({**WEB.node.metadata, "WORKLOAD_NAME": "renamed"}))
        pair.outbound.child.signal(signal.SIGHUP)
        await pair.outbound.child.says("reloaded: the node changed; ")
        client = await self.connect(pair.port)
        server = await application.accepts()
        await client.close()
        await server.close()
        line = await pair.inbound.close()
        self.assertEqual(line["downstream"]["peer"]["workload"], "renamed")

    async def test_certificate(self) -> None:
        """
        A key that is another's is refused, and the old pair goes on.
        """
        application, upstream = await self.application()
        child = self.twistd(
            *("--mode", "inbound", "--listen", "tcp:0:interface=127.0.0.1"),
            *("--upstream", upstream, *self.identify(DB)),
        )
        said = await child.says(r"listening on 127\.0\.0\.1:(\d+)\s")
        outbound = await self.outbound(f"tcp:127.0.0.1:{said[1]}")
        self.authority.issue(DB.principal).write(self.directory, "other")
        (self.directory / f"{DB.name}.key").write_bytes((self.directory / "other.key").read_bytes())
        child.signal(signal.SIGHUP)
        await child.says("not reloaded: the key in .* does not match the first certificate")
        client = await self.connect(outbound.port)
        await talk(client, await application.accepts())


class _Echo(Protocol):
    """
    Answers with what it is told, until the other end closes.
    """

    def connectionMade(self) -> None:
        self.factory.accepted += 1  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]


class _EchoFactory(Factory):
    """
    @ivar accepted: how many connections it has had.
    """

    noisy = False
    protocol = _Echo
    accepted = 0
