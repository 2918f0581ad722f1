"""
Captures of our own ports, read by C{mxproxy decode} and by Wireshark's dissector in
C{contrib/wireshark}.

Keeps: both say of a connection what its sidecars have logged: TLS 1.3 and 1.2 with the secrets that
C{--tls-keylog} has written, and plaintext; nothing of TLS without them; prefixes in pieces; what
follows a prefix goes to the application's own dissector.

Live captures need the right to capture on the loopback interface; captures/ holds one that was made
by this very test, for machines that do not give it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from mxproxy.wire.prefix import encodePrefix
from tests.e2e.mesh import ALPN, DB, WEB, EndToEnd
from tests.e2e.processes import Child, program, until

DISSECTOR = Path(__file__).parents[2] / "contrib" / "wireshark" / "istio-peer-exchange.lua"
RECORDED = Path(__file__).parent / "captures"

REQUEST = b"GET /hello HTTP/1.1\r\nHost: db\r\n\r\n"
REPLY = b"HTTP/1.1 204 No Content\r\n\r\n"

_FIN = 0x01

Frame = dict[str, Any]


class Captures(EndToEnd):
    """
    What tests of captures have in common.
    """

    def setUp(self) -> None:
        super().setUp()
        # Not this user's own preferences and plugins.
        self.environment = {"HOME": str(self.directory), "WIRESHARK_CONFIG_DIR": "/nonexistent"}
        self.keys = self.directory / "keys.log"

    async def capture(self, port: int) -> tuple[Child, Path]:
        """
        Begin to capture what goes to and comes from C{port}, on the loopback interface.
        """
        path = self.directory / "capture.pcapng"
        _, other = await self.application()
        knocked = int(other.rpartition(":")[2])
        child = self.start(
            [program("tshark"), "-i", "lo", "-f", f"tcp port {port} or tcp port {knocked}"]
            + ["-w", path, "-P", "-l", "-T", "fields", "-E", "separator=,"]
            + ["-e", "tcp.flags", "-e", "tcp.srcport", "-e", "tcp.dstport"],
            self.environment,
        )
        try:
            await child.says("Capturing on ")
        except AssertionError:
            raise SkipTest(f"no right to capture here: {child.text[-300:]}") from None
        # It says so a moment before it is true: somebody knocks at another port.
        for _ in range(100):
            stream = await self.connect(knocked)
            await stream.close()
            try:
                await until(lambda: child.output, str, 0.2)
            except AssertionError:
                continue
            return child, path
        raise AssertionError(f"nothing is captured\n{child}")

    async def captured(self, child: Child, port: int, ends: int) -> None:
        """
        Wait for so many ends of streams, and stop.
        """

        def seen() -> int:
            found = 0
            for line in child.output.decode().splitlines():
                flags, _, ports = line.partition(",")
                found += str(port) in ports.split(",") and bool(int(flags, 16) & _FIN)
            return found

        await until(lambda: seen() >= ends, lambda: f"{ends} ends of streams\n{child}")
        await child.stop()

    async def decode(self, status: int, *arguments: str | Path) -> str:
        child = self.start(
            [Path(sys.executable).parent / "mxproxy", "decode", *arguments], self.environment
        )
        self.assertEqual(await child.ends(), status, str(child))
        if "SHOW" in os.environ:
            sys.stdout.write(f"\n$ {' '.join(child.command[1:])}\n{child.text}")
        return child.output.decode()

    async def said(self, status: int, *arguments: str | Path) -> list[dict[str, Any]]:
        """
        The sides of streams that have said something.
        """
        lines = await self.decode(status, *arguments, "--json")
        every = [json.loads(line) for line in lines.splitlines()]
        return [one for one in every if one["prefix_bytes"] or one["rest_bytes"]]

    async def dissect(self, path: Path, *options: str) -> list[Frame]:
        """
        The frames that our dissector has found something in, by protocol.
        """
        output = await self.run_(
            [program("env"), *(f"{name}={value}" for name, value in self.environment.items())]
            + [program("tshark"), "-X", f"lua_script:{DISSECTOR}", "-r", path, "-T", "json"]
            + ["-Y", "istio_peer_exchange", "-J", "istio_peer_exchange http tcp _ws", *options]
        )
        return [frame["_source"]["layers"] for frame in json.loads(output.decode(errors="replace"))]

    def key(self) -> list[str]:
        return ["-o", f"tls.keylog_file:{self.keys}"]


class LiveTests(Captures):
    """
    Captured while it happens.
    """

    async def test_pair(self) -> None:
        """
        Two sidecars, of which one writes the secrets.
        """
        application, upstream = await self.application()
        pair = await self.pair(upstream, inbound=["--tls-keylog", str(self.keys)])
        port = pair.inbound.port
        child, path = await self.capture(port)
        client = await self.connect(pair.port)
        client.write(REQUEST)
        server = await application.accepts()
        self.assertEqual(await server.reads(len(REQUEST)), REQUEST)
        server.write(REPLY)
        self.assertEqual(await client.reads(len(REPLY)), REPLY)
        await server.close()
        await client.close()
        await self.captured(child, port, 2)

        self.assertEqual(os.stat(self.keys).st_mode & 0o777, 0o600)
        self.assertIn("TLS SECRETS ARE WRITTEN to", pair.inbound.child.text)
        found = [one for one in await self.said(0, path, "--keylog", self.keys) if one["metadata"]]
        self.assertEqual([one["side"] for one in found], ["client", "server"])
        self.assertEqual([one["metadata"]["workload"] for one in found], ["web", "db"])
        self.assertEqual([one["rest_bytes"] for one in found], [len(REQUEST), len(REPLY)])
        self.assertEqual((found[0]["alpn"], found[0]["tls"]), (ALPN, True))
        text = await self.decode(0, path, "--keylog", self.keys)
        self.assertIn("web in namespace shop, a deployment\n", text)
        text = await self.decode(3, path)
        self.assertIn("not decrypted: there are no secrets for it; give them with --keylog", text)

        frames = await self.dissect(path, *self.key())
        layers = [frame["istio_peer_exchange"] for frame in frames]
        self.assertEqual(
            [layer["istio_peer_exchange.length"] for layer in layers],
            [str(len(one.prefix) - 8) for one in (WEB, DB)],
        )
        self.assertEqual([json.dumps(layer).count(ALPN) for layer in layers], [0, 0])
        for layer, workload in zip(layers, (WEB, DB), strict=True):
            self.assertIn(f'"istio_peer_exchange.workload": "{workload.name}"', json.dumps(layer))
        self.assertEqual(await self.dissect(path), [])
        if "RECORD" in os.environ:
            RECORDED.mkdir(exist_ok=True)
            shutil.copy(path, RECORDED / "pair.pcapng")
            shutil.copy(self.keys, RECORDED / "pair.keys")

    async def test_older(self) -> None:
        """
        TLS 1.2, the prefix in pieces.
        """
        application, upstream = await self.application()
        sidecar = await self.inbound(upstream, "--tls-keylog", str(self.keys))
        port = sidecar.port
        child, path = await self.capture(port)
        client = self.opensslClient(port, self.credential(WEB), "-tls1_2", "-alpn", ALPN)
        for at in range(0, len(WEB.prefix), 100):
            client.write(WEB.prefix[at : at + 100])
        client.write(REQUEST)
        server = await application.accepts()
        self.assertEqual(await server.reads(len(REQUEST)), REQUEST)
        await server.close()
        await client.stop()
        await self.captured(child, port, 1)
        found = [one for one in await self.said(0, path, "--keylog", self.keys) if one["metadata"]]
        self.assertEqual([one["metadata"]["workload"] for one in found], ["web", "db"])
        frames = await self.dissect(path, *self.key())
        text = json.dumps(frames)
        for workload in WEB, DB:
            self.assertIn(f'"istio_peer_exchange.workload": "{workload.name}"', text)

    async def test_plaintext(self) -> None:
        """
        As it is between a TLS terminator and somebody else; one is malformed.
        """
        application, upstream = await self.application()
        port = int(upstream.rpartition(":")[2])
        child, path = await self.capture(port)
        client = await self.connect(port)
        client.write(WEB.prefix[:9])
        server = await application.accepts()
        self.assertEqual(await server.reads(9), WEB.prefix[:9])
        client.write(WEB.prefix[9:] + REQUEST)
        await server.reads(len(WEB.prefix) - 9 + len(REQUEST))
        server.write(encodePrefix(b"\x0a\x01\xff") + REPLY)
        await client.reads(11 + len(REPLY))
        await server.close()
        await client.close()
        await self.captured(child, port, 2)
        found = [one for one in await self.said(4, path) if one["prefix_bytes"]]
        self.assertEqual([one["state"] for one in found], ["found", "malformed"])
        self.assertEqual(found[1]["fault_at_byte"], 10)
        frames = await self.dissect(path)
        text = json.dumps(frames)
        self.assertIn('"istio_peer_exchange.workload": "web"', text)
        self.assertIn("This is no metadata", text)


class RecordedTests(Captures):
    """
    The same, of a capture that was made before.
    """

    def setUp(self) -> None:
        super().setUp()
        self.path = RECORDED / "pair.pcapng"
        self.keys = RECORDED / "pair.keys"

    async def test_decode(self) -> None:
        found = [
            one for one in await self.said(0, self.path, "--keylog", self.keys) if one["metadata"]
        ]
        self.assertEqual([one["metadata"]["workload"] for one in found], ["web", "db"])
        self.assertEqual([one["rest_bytes"] for one in found], [len(REQUEST), len(REPLY)])
        number = str(found[0]["stream"])
        again = await self.said(0, self.path, "--keylog", self.keys, "--stream", number)
        self.assertEqual(len(again), 2)

    async def test_dissect(self) -> None:
        """
        The tree, to the letter; what follows is HTTP's.
        """
        output = await self.run_(
            [program("tshark"), "-X", f"lua_script:{DISSECTOR}", "-r", self.path, *self.key()]
            + ["-O", "istio_peer_exchange", "-Y", "istio_peer_exchange.workload == web"]
        )
        tree = output.decode().partition("Istio Peer Metadata Exchange")[2]
        self.assertEqual(
            tree.rstrip(),
            f""", web in shop
    Magic: 0x3d230467
    Length: {len(WEB.prefix) - 8}
    Type URL: type.googleapis.com/google.protobuf.Struct
    Struct
        x-envoy-peer-metadata
            CLUSTER_ID: c1
            LABELS
                app: web
                version: v1
            NAME: web-1
            NAMESPACE: shop
            OWNER: kubernetes://apis/apps/v1/namespaces/shop/deployments/web
            WORKLOAD_NAME: web
        x-envoy-peer-metadata-id: {WEB.node.id}""",
        )
        output = await self.run_(
            [program("tshark"), "-X", f"lua_script:{DISSECTOR}", "-r", self.path, *self.key()]
            + ["-Y", "http && tls", "-T", "fields", "-e", "_ws.col.Info"]
        )
        self.assertEqual(
            output.decode().replace(" \n", "\n"),
            "GET /hello HTTP/1.1\nHTTP/1.1 204 No Content\n",
        )

    async def test_payload(self) -> None:
        """
        The application's protocol can be said; and the stream as raw bytes is a prefix.
        """
        output = await self.run_(
            [program("tshark"), "-X", f"lua_script:{DISSECTOR}", "-r", self.path, *self.key()]
            + ["-o", "istio_peer_exchange.payload:smtp", "-Y", "smtp", "-T", "fields"]
            + ["-e", "frame.number"]
        )
        self.assertEqual(len(output.split()), 2)
