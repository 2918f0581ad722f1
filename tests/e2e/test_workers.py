"""
C{--workers}: several processes on one port, and one that looks after them.

Keeps: all of them take connections; one that dies is replaced and the others' connections do not
notice; one signal stops, drains or reloads all of them; the access log has whole lines; a worker
that cannot live ends the whole with a status and a line.
"""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectError

from tests.e2e.mesh import DB, EndToEnd
from tests.e2e.processes import WHILE, Child, until
from tests.e2e.streams import Application, Stream
from tests.e2e.test_reload import bootstrap, talk

WORKERS = 2

PLAIN = ("--mode", "outbound", "--upstream-tls", "disable", "--workers", str(WORKERS))

#: A hash may give one worker everything, but not of so many connections.
MANY = 40

READY = r"(?s)" + r"is ready \(process (\d+)\).*?" * WORKERS


def children(pid: int) -> list[int]:
    """
    The processes that a process has started and that live.
    """
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def lives(pid: int) -> bool:
    """
    Whether there is such a process.
    """
    return Path(f"/proc/{pid}").exists()


def files(pid: int) -> int:
    """
    How many files a process has open.
    """
    return len(os.listdir(f"/proc/{pid}/fd"))


class WorkersTests(EndToEnd):
    async def run_(self, upstream: str, *options: str) -> tuple[Child, int]:
        """
        @return: the parent, and where the workers listen.
        """
        self.log = self.directory / "access.log"
        child = self.twistd(
            *PLAIN,
            *("--listen", "tcp:0:interface=127.0.0.1", "--upstream", upstream),
            *("--access-log", str(self.log), *options),
        )
        return child, await self.ready(child)

    async def ready(self, child: Child) -> int:
        await child.says(READY, WHILE)
        said = await child.says(r"listening on 127\.0\.0\.1:(\d+), a socket for each worker")
        return int(said[1])

    async def lines(self, closed: int) -> list[dict[str, Any]]:
        """
        Wait for so many connections to be logged as closed.
        """
        await until(
            lambda: self.log.exists() and self.log.read_text().count('"closed"') >= closed,
            lambda: f"{closed} connections to be closed",
        )
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def converse(self, port: int, application: Application) -> tuple[Stream, Stream]:
        """
        Another connection, on which something was said.
        """
        client = await self.connect(port)
        server = await application.accepts()
        await talk(client, server)
        return client, server

    async def test_all(self) -> None:
        """
        Each takes some, and each writes whole lines to one log, with ids of its own.
        """
        application, upstream = await self.application()
        child, port = await self.run_(upstream)
        before = {pid: files(pid) for pid in children(child.pid)}
        self.assertEqual(len(before), WORKERS)
        pairs = [await self.converse(port, application) for _ in range(MANY)]
        after = {pid: files(pid) for pid in children(child.pid)}
        for pid, count in before.items():
            self.assertGreater(after[pid], count)
        for client, server in pairs:
            await client.close()
            await server.close()
        lines = await self.lines(MANY)
        self.assertEqual(len(lines), 2 * MANY)
        self.assertEqual(len({line["connection"] for line in lines}), MANY)

    async def test_admin(self) -> None:
        """
        One address for all of them: their numbers, their ends.
        """
        application, upstream = await self.application()
        child, port = await self.run_(upstream, "--admin", "tcp:0")
        said = await child.says(r"admin interface on 127\.0\.0\.1:(\d+)")
        for _ in range(MANY):
            await self.converse(port, application)
        stats = await self.ask(int(said[1]), "GET /stats")
        self.assertIn(f"server.concurrency: {WORKERS}\n", stats)
        self.assertIn(f"server.total_connections: {MANY}\n", stats)
        await self.ask(int(said[1]), "POST /quitquitquit")
        self.assertEqual(await child.ends(), 0)

    async def ask(self, port: int, request: str) -> str:
        client = await self.connect(port)
        client.write(f"{request} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        answer = (await client.readsRest()).decode()
        self.assertIn(" 200 OK", answer)
        return answer

    async def test_killed(self) -> None:
        """
        Connections of the others go on, another one takes the place of the one that is gone, and
        nothing of it is left in the parent.
        """
        application, upstream = await self.application()
        child, port = await self.run_(upstream)
        pairs = [await self.converse(port, application) for _ in range(MANY)]
        killed, *others = children(child.pid)
        open_ = files(child.pid)
        for turn in range(2):
            os.kill(killed, signal.SIGKILL)
            await child.says(rf"worker \d: process {killed} has ended: signal 9")
            await until(lambda: len(children(child.pid)) == WORKERS, lambda: str(child))
            (killed,) = {*children(child.pid)} - {*others}
            await child.says(rf"worker \d is ready \(process {killed}\)", WHILE)
            del turn
        self.assertEqual(files(child.pid), open_)
        survivors = 0
        for client, server in pairs:
            if not client.ended:
                await talk(client, server)
                survivors += 1
        self.assertGreater(survivors, 0)
        self.assertLess(survivors, MANY)
        # All of the sockets are accepted from.
        for _ in range(MANY):
            await self.converse(port, application)

    async def test_drained(self) -> None:
        """
        One signal to one process: nobody new, who is open has time, and then all end.
        """
        application, upstream = await self.application()
        child, port = await self.run_(upstream, "--drain-time", "1000")
        pairs = [await self.converse(port, application) for _ in range(4)]
        workers = children(child.pid)
        child.signal(signal.SIGTERM)
        await child.says("stopping: draining")
        await until(lambda: child.text.count("Port") >= WORKERS, lambda: str(child))
        with self.assertRaises(ConnectError):
            await self.connect(port)
        for client, server in pairs:
            await talk(client, server)
            await client.close()
            await server.close()
        self.assertEqual(await child.ends(), -signal.SIGTERM)
        self.assertEqual(len(await self.lines(4)), 8)
        for pid in workers:
            self.assertFalse(lives(pid))
        self.assertIn("Server Shut Down.", child.text)
        self.assertNotIn("Traceback", child.text)

    async def test_secondSignal(self) -> None:
        application, upstream = await self.application()
        child, port = await self.run_(upstream, "--drain-time", "1000")
        client, _ = await self.converse(port, application)
        child.signal(signal.SIGTERM)
        await child.says("stopping: draining")
        child.signal(signal.SIGTERM)
        self.assertEqual(await child.ends(), -signal.SIGTERM)
        self.assertEqual(await client.readsRest(), b"")
        self.assertEqual((await self.lines(1))[-1]["close_reason"], "proxy: shutdown")

    async def test_orphaned(self) -> None:
        """
        Workers without a parent end.
        """
        _, upstream = await self.application()
        child, _ = await self.run_(upstream)
        workers = children(child.pid)
        child.signal(signal.SIGKILL)
        for pid in workers:
            await until(lambda which=pid: not lives(which), lambda: "an end")

    async def test_reopened(self) -> None:
        """
        SIGUSR1 to the parent is for all.
        """
        application, upstream = await self.application()
        child, port = await self.run_(upstream)
        self.log.rename(self.directory / "old.log")
        child.signal(signal.SIGUSR1)
        await until(self.log.exists, lambda: "a new log")
        pairs = [await self.converse(port, application) for _ in range(MANY)]
        for client, server in pairs:
            await client.close()
            await server.close()
        self.assertEqual(len(await self.lines(MANY)), 2 * MANY)

    async def test_standardOutput(self) -> None:
        """
        Where a pipe's lines could be mixed with each other's.
        """
        application, upstream = await self.application()
        child = self.twistd(
            *PLAIN,
            *("--listen", "tcp:0:interface=127.0.0.1", "--upstream", upstream),
            *("--access-log", "-", "--node-id", "x" * 9000),
        )
        port = await self.ready(child)
        pairs = [await self.converse(port, application) for _ in range(MANY)]
        for client, _ in pairs:
            client.transport.loseConnection()
        for _, server in pairs:
            server.transport.loseConnection()
        await until(lambda: child.text.count('"closed"') == MANY, lambda: str(child))
        lines = [line for line in child.output.decode().splitlines() if line.startswith("{")]
        self.assertEqual(len([json.loads(line) for line in lines]), 2 * MANY)

    async def test_cannotStart(self) -> None:
        """
        What only shows in a worker ends the whole.
        """
        hook = self.directory / "sitecustomize.py"
        hook.write_text("import os, sys\nif '-m' in sys.orig_argv: os._exit(7)\n")
        _, upstream = await self.application()
        child = self.start(
            [Path(os.sys.executable).parent / "twistd", "--nodaemon", "--pidfile=", "mxproxy"]  # type: ignore[attr-defined]
            + [*PLAIN, "--listen", "tcp:0:interface=127.0.0.1", "--upstream", upstream],
            {"PYTHONPATH": str(self.directory)},
        )
        self.assertEqual(await child.ends(), 1, str(child))
        self.assertRegex(child.text, "mxproxy: worker [12] could not start: exit status 7: giving")
        self.assertIn("Server Shut Down.", child.text)

    async def test_unix(self) -> None:
        """
        One socket, whose name and whose mode stay.
        """
        application, upstream = await self.application()
        path = self.directory / "socket"
        child = self.twistd(*PLAIN, "--listen", f"unix:{path}:mode=600", "--upstream", upstream)
        await child.says(READY, WHILE)
        await child.says("one socket for all workers")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        killed = children(child.pid)[0]
        os.kill(killed, signal.SIGTERM)
        await child.says(rf"worker \d: process {killed} has ended")
        for _ in range(4):
            client = await self.connect(f"unix:{path}")
            await talk(client, await application.accepts())
        child.signal(signal.SIGTERM)
        await child.ends()
        self.assertFalse(path.exists())


class WorkersReloadTests(EndToEnd):
    async def test_reload(self) -> None:
        """
        All of them have what is new, a listener too, and one that is started later as well.
        """
        (one, toOne), (two, toTwo) = await self.application(), await self.application()
        file = self.directory / "envoy.json"
        file.write_text(bootstrap(("a", 0, toOne)))
        child = self.twistd("--config", str(file), "--drain-time", "0.2", "--workers", str(WORKERS))
        await child.says(READY, WHILE)
        said = await child.says(r"listening on 127\.0\.0\.1:(\d+), a socket for each worker")
        port = int(said[1])
        file.write_text(bootstrap(("a", 0, toTwo), ("b", 0, toTwo)))
        child.signal(signal.SIGHUP)
        await until(
            lambda: len(re.findall("worker .: reloaded: .*listener b new", child.text)) == WORKERS,
            lambda: str(child),
        )
        said = await child.says(r"(?s)listening on .*listening on 127\.0\.0\.1:(\d+), a socket")
        for where in port, int(said[1]):
            for _ in range(MANY // 2):
                client = await self.connect(where)
                await talk(client, await two.accepts())
        # What is in the file now nobody has asked for.
        file.write_text("nonsense")
        os.kill(children(child.pid)[0], signal.SIGKILL)
        await child.says(READY + r"is ready", WHILE)
        for _ in range(MANY // 2):
            client = await self.connect(port)
            await talk(client, await two.accepts())
        # And a file that is wrong is complained of once.
        child.signal(signal.SIGHUP)
        await child.says("not reloaded: ")
        self.assertEqual(child.text.count("not reloaded: "), 1)
        self.assertEqual(one.streams, [])

    async def test_certificates(self) -> None:
        """
        A pair of sidecars, each of several processes.
        """
        application, upstream = await self.application()
        more = ("--workers", str(WORKERS))
        pair = await self.pair(upstream, more, more)
        for _ in range(4):
            client = await self.connect(pair.port)
            server = await application.accepts()
            await talk(client, server)
            await client.close()
            await server.close()
        for line in await pair.inbound.closed(4):
            self.assertEqual(line["downstream"]["peer"]["workload"], "web")
        for line in await pair.outbound.closed(4):
            DB.logged(line, "upstream")
