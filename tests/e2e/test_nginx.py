"""
nginx through a pair of sidecars: 100 MB down, up, and both at once, sha256 compared.

Keeps: bulk data in either direction is carried whole, with back-pressure: however slow the
reader is, a sidecar's memory stays bounded.
"""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults

from tests.e2e.mesh import EndToEnd
from tests.e2e.processes import WHILE, program

MB = 1_000_000
SIZE = 100 * MB

CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/unused;
  fastcgi_temp_path {directory}/unused;
  uwsgi_temp_path {directory}/unused;
  scgi_temp_path {directory}/unused;
  server {{
    listen unix:{directory}/nginx;
    root {directory}/files;
    location / {{ dav_methods PUT; }}
  }}
}}
"""


class NginxTests(EndToEnd):
    async def nginx(self) -> str:
        """
        A server of C{files/} that takes PUT, too.
        """
        (self.directory / "files").mkdir()
        configuration = self.directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        configuration.write_text(CONFIGURATION.format(directory=self.directory, user=user))
        # Its standard error, also before it has read the configuration.
        server = self.start([program("nginx"), "-c", configuration, "-e", "stderr"])
        await server.says("start worker processes")
        return f"unix:{self.directory / 'nginx'}"

    def bulk(self, name: str) -> str:
        """
        Write a file of 100 MB.

        @return: its sha256.
        """
        source, digest = random.Random(name), hashlib.sha256()
        with open(self.directory / name, "wb") as file:
            for _ in range(SIZE // MB):
                block = source.randbytes(MB)
                digest.update(block)
                file.write(block)
        return digest.hexdigest()

    def curl(self, *arguments: str | Path) -> Deferred[bytes]:
        """
        Begin a transfer.
        """
        command = [program("curl"), "--silent", "--show-error", "--fail", *arguments]
        return Deferred.fromCoroutine(self.run_(command, seconds=WHILE))

    async def test_downAndUp(self) -> None:
        """
        One after the other.
        """
        pair = await self.pair(await self.nginx())
        url = f"http://127.0.0.1:{pair.port}"
        down = self.bulk("files/down")
        await self.curl("--output", self.directory / "down", f"{url}/down")
        self.assertEqual(_sha256(self.directory / "down"), down)
        up = self.bulk("up")
        await self.curl("--upload-file", self.directory / "up", f"{url}/up")
        self.assertEqual(_sha256(self.directory / "files/up"), up)
        lines = [out for out, _ in await pair.check(2)]
        self.assertGreater(max(line["downstream"]["bytes_sent"] for line in lines), SIZE)
        self.assertGreater(max(line["downstream"]["bytes_received"] for line in lines), SIZE)

    async def test_both(self) -> None:
        """
        Two down and one up at the same time, one of the readers a slow one: nothing piles up.
        """
        pair = await self.pair(await self.nginx())
        url = f"http://127.0.0.1:{pair.port}"
        down, up = self.bulk("files/down"), self.bulk("up")
        await gatherResults(
            [
                self.curl("--output", self.directory / "down", f"{url}/down"),
                self.curl("--upload-file", self.directory / "up", f"{url}/up"),
                self.curl(
                    *("--limit-rate", "20M"),
                    *("--output", self.directory / "slow", f"{url}/down"),
                ),
            ]
        )
        self.assertEqual(_sha256(self.directory / "down"), down)
        self.assertEqual(_sha256(self.directory / "slow"), down)
        self.assertEqual(_sha256(self.directory / "files/up"), up)
        for sidecar in pair.outbound, pair.inbound:
            self.assertLess(sidecar.peak, SIZE)
        await pair.check(3)

    async def test_stalled(self) -> None:
        """
        A reader that has stopped reading is not read for: the rest of 100 MB waits at nginx.
        """
        pair = await self.pair(await self.nginx())
        self.bulk("files/down")
        before = pair.outbound.peak, pair.inbound.peak
        url = f"http://127.0.0.1:{pair.port}/down"
        client = await self.connect(pair.port)
        client.write(b"GET /down HTTP/1.0\r\n\r\n")
        await client.reads(1)
        client.transport.pauseProducing()
        # Another connection shows that the sidecars have gone on meanwhile, and not far.
        await self.curl("--range", "0-20000000", "--output", os.devnull, url)
        after = pair.outbound.peak, pair.inbound.peak
        for one, other in zip(before, after, strict=True):
            self.assertLess(other - one, 30 * MB)
        client.transport.resumeProducing()
        rest = await client.readsRest(WHILE)
        self.assertTrue(rest.endswith((self.directory / "files/down").read_bytes()[-1000:]))
        await client.close()
        await pair.check(2)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(MB):
            digest.update(block)
    return digest.hexdigest()
