"""
Redis through a pair of sidecars: many short requests, many connections, deep pipelines.

Keeps: requests and replies stay in order and whole when they share chunks; a client that has its
reply and closes at once loses nothing; connections that come all at once are each exchanged,
carried and logged.
"""

from __future__ import annotations

import random

from tests.e2e.mesh import EndToEnd
from tests.e2e.processes import WHILE, program


class RedisTests(EndToEnd):
    async def redis(self) -> str:
        """
        A server without a TCP port and without a file.
        """
        path = self.directory / "redis"
        server = self.start(
            [program("redis-server"), "--port", "0", "--unixsocket", path, "--save", ""]
        )
        await server.says(r"The server is now ready to accept connections")
        return f"unix:{path}"

    async def test_benchmark(self) -> None:
        """
        C{redis-benchmark}: 50 connections at a time, 40,000 requests one by one and as many
        in pipelines of 16.
        """
        pair = await self.pair(await self.redis())
        benchmark = [program("redis-benchmark"), "-h", "127.0.0.1", "-p", str(pair.port)]
        for options in (["-P", "1", "-n", "10000"], ["-P", "16", "-n", "10000"]):
            tests = ["-c", "50", "-t", "set,get,lpush,mset", "--csv", *options]
            output = await self.run_([*benchmark, *tests], seconds=WHILE)
            rows = [line.split(b",") for line in output.splitlines()[1:]]
            self.assertEqual(len(rows), 4, output)
        # Each of its tests opens 50 and one more at the beginning asks for the configuration.
        connections = await pair.check(400, 420)
        carried = sum(out["downstream"]["bytes_received"] for out, _ in connections)
        self.assertGreater(carried, 80_000 * len("*2\r\n$3\r\nGET\r\n"))

    async def test_pipelined(self) -> None:
        """
        10,000 SETs in one go and 10,000 GETs in another: each value comes back as it was.
        """
        pair = await self.pair(await self.redis())
        source = random.Random(7)
        values = {
            b"key:%d" % number: source.randbytes(source.choice((0, 1, 20, 500, 3000)))
            for number in range(10_000)
        }
        client = await self.connect(pair.port)
        client.write(b"".join(_command(b"SET", *item) for item in values.items()))
        self.assertEqual(await client.reads(len(b"+OK\r\n") * len(values)), b"+OK\r\n" * 10_000)
        client.write(b"".join(_command(b"GET", key) for key in values))
        expected = b"".join(b"$%d\r\n%s\r\n" % (len(value), value) for value in values.values())
        received = await client.reads(len(expected))
        self.assertTrue(received == expected, "the values came back otherwise")
        await client.close()
        await pair.check(1)


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
