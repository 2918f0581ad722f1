"""
What whoever runs a sidecar does to it: start it wrongly, stop it, rotate its log, make it a daemon.

Keeps: an address that cannot be listened on is one line and an exit status, no traceback;
SIGTERM ends a sidecar soon, whatever is open, and the log has it; SIGUSR1 lets logrotate rename.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectError

from tests.e2e.mesh import EndToEnd, Pair
from tests.e2e.processes import until
from tests.e2e.streams import Stream

#: Seconds in which a sidecar that was told to stop has to be gone.
SOON = 5.0

PLAIN = ("--mode", "outbound", "--upstream-tls", "disable")


class AddressTests(EndToEnd):
    async def check(self, listen: str, why: str) -> None:
        """
        C{listen} is refused by one line that says so.
        """
        twistd = self.twistd(*PLAIN, "--listen", listen, "--upstream", "tcp:127.0.0.1:1")
        status = await twistd.ends()
        self.assertGreater(status, 0, str(twistd))
        lines = [line for line in twistd.text.splitlines() if "#info]" not in line]
        lines = [line for line in lines if "Factory starting on" not in line]
        self.assertEqual(len(lines), 1, str(twistd))
        self.assertRegex(lines[0], f"mxproxy: listener outbound: {listen}: .*{why}")
        self.assertNotIn("listening on", twistd.text)

    async def test_inUse(self) -> None:
        """
        Another server has it already.
        """
        _, upstream = await self.application()
        port = upstream.rpartition(":")[2]
        await self.check(f"tcp:{port}:interface=127.0.0.1", "[Aa]ddress already in use")

    async def test_notOurs(self) -> None:
        """
        An address of another machine (RFC 5737: of none).
        """
        await self.check("tcp:0:interface=192.0.2.1", "[Cc]annot assign requested address")

    async def test_noDirectory(self) -> None:
        """
        A UNIX socket nowhere.
        """
        await self.check(f"unix:{self.directory}/nowhere/socket", "No such file or directory")


class StopTests(EndToEnd):
    async def converse(self, drain: str) -> tuple[Pair, Stream, Stream]:
        """
        A pair in the middle of a conversation.

        @param drain: the outbound sidecar's C{--drain-time}.
        """
        application, upstream = await self.application()
        pair = await self.pair(upstream, outbound=["--drain-time", drain])
        client = await self.connect(pair.port)
        client.write(b"request")
        server = await application.accepts()
        self.assertEqual(await server.reads(7), b"request")
        return pair, client, server

    async def check(self, number: int) -> None:
        """
        Stop both sidecars, without any time for what is open.
        """
        pair, client, server = await self.converse("0")
        for sidecar in pair.outbound, pair.inbound:
            sidecar.child.signal(number)
            self.assertEqual(await sidecar.child.ends(SOON), -number)
            await sidecar.stop()
            line = await sidecar.close()
            self.assertEqual(line["downstream"]["bytes_received"], 7)
        self.assertEqual(pair.outbound.lines()[0]["close_reason"], "proxy: shutdown")
        self.assertEqual(await client.readsRest(), b"")
        self.assertEqual(await server.readsRest(), b"")

    def test_terminated(self) -> Any:
        return self.check(signal.SIGTERM)

    def test_interrupted(self) -> Any:
        return self.check(signal.SIGINT)

    async def test_finished(self) -> None:
        """
        Who is open when it is told to stop may finish; nobody new is taken, and it ends with the
        last one, by the signal and with the line in the log.
        """
        pair, client, server = await self.converse("1000")
        child = pair.outbound.child
        child.signal(signal.SIGTERM)
        await child.says("stopping: draining 1 connection, for at most 1000 s")
        with self.assertRaises(ConnectError):
            await self.connect(pair.port)
        server.write(b"answer")
        self.assertEqual(await client.reads(6), b"answer")
        await client.close()
        await server.close()
        self.assertEqual(await child.ends(SOON), -signal.SIGTERM)
        line = await pair.outbound.close()
        self.assertEqual(line["close_reason"], "downstream: closed")
        self.assertEqual(line["downstream"]["bytes_sent"], 6)

    async def test_closed(self) -> None:
        """
        Who does not finish is closed, in order: with what was written, and TLS with its end.
        """
        pair, client, server = await self.converse("0.5")
        server.write(b"answer")
        pair.outbound.child.signal(signal.SIGTERM)
        self.assertEqual(await client.readsRest(), b"answer")
        self.assertEqual(await server.readsRest(), b"")
        await server.close()
        self.assertEqual(await pair.outbound.child.ends(SOON), -signal.SIGTERM)
        self.assertEqual((await pair.outbound.close())["close_reason"], "proxy: drain")
        self.assertEqual((await pair.inbound.close())["close_reason"], "downstream: closed")

    async def second(self, first: int, second: int) -> None:
        """
        A second signal ends what is open.
        """
        pair, client, _ = await self.converse("1000")
        child = pair.outbound.child
        child.signal(first)
        await child.says("stopping: draining 1 connection")
        child.signal(second)
        self.assertEqual(await child.ends(SOON), -first)
        self.assertEqual((await pair.outbound.close())["close_reason"], "proxy: shutdown")
        self.assertEqual(await client.readsRest(), b"")

    def test_secondSIGTERM(self) -> Any:
        return self.second(signal.SIGTERM, signal.SIGTERM)

    def test_secondSIGINT(self) -> Any:
        return self.second(signal.SIGINT, signal.SIGINT)

    def test_secondIsAnother(self) -> Any:
        return self.second(signal.SIGTERM, signal.SIGINT)


class LogRotationTests(EndToEnd):
    async def test_rename(self) -> None:
        """
        logrotate's way: rename, signal, and go on in a new file; no line is lost or twice.
        """
        application, upstream = await self.application()
        pair = await self.pair(upstream)

        async def converse() -> None:
            client = await self.connect(pair.port)
            server = await application.accepts()
            await client.close()
            await server.close()

        log = pair.inbound.log
        old = Path(f"{log}.1")
        # One connection is open over the rotation.
        long = await self.connect(pair.port)
        server = await application.accepts()
        for _ in range(3):
            await converse()
        await pair.inbound.closed(3)
        log.rename(old)
        pair.inbound.child.signal(signal.SIGUSR1)
        await until(log.exists, lambda: f"a new log\n{pair.inbound.child}")
        for _ in range(2):
            await converse()
        await long.close()
        await server.close()
        await pair.inbound.closed(3)
        before, after = (_read(path).splitlines() for path in (old, log))
        events = [json.loads(line)["event"] for line in before]
        self.assertEqual((events.count("connected"), events.count("closed")), (4, 3))
        events = [json.loads(line)["event"] for line in after]
        self.assertEqual((events.count("connected"), events.count("closed")), (2, 3))
        self.assertEqual(pair.inbound.child.status, None)
        self.assertEqual(len(set(before + after)), 12)


class DaemonTests(EndToEnd):
    async def test_daemon(self) -> None:
        """
        As a service without C{--nodaemon}: in another directory, with files named relatively to
        where it was started; the access log's writer survives the fork.
        """
        application, upstream = await self.application()
        rundir = self.directory / "run"
        rundir.mkdir()
        pidfile = self.directory / "pid"
        twistd = self.start(
            [Path(sys.executable).parent / "twistd", "--rundir", rundir, "--pidfile", "pid"]
            + ["--logfile", "program.log", "mxproxy", *PLAIN, "--upstream", upstream]
            + ["--listen", "tcp:0:interface=127.0.0.1", "--access-log", "access.log"]
        )
        self.addCleanup(self._kill, pidfile)
        self.assertEqual(await twistd.ends(), 0, str(twistd))
        program = self.directory / "program.log"
        found = await until(
            lambda: re.search(r"listening on 127.*:(\d+)", _read(program)),
            lambda: f"{program} to say where it listens",
        )
        client = await self.connect(int(found[1]))
        client.write(b"request")
        server = await application.accepts()
        self.assertEqual(await server.reads(7), b"request")
        await client.close()
        await server.close()
        log = self.directory / "access.log"
        await until(lambda: '"closed"' in _read(log), lambda: "the access log")
        os.kill(int(_read(pidfile)), signal.SIGTERM)
        await until(
            lambda: not pidfile.exists(),
            lambda: f"the daemon to end\n{_read(program)}",
            SOON,
        )
        self.assertNotIn("Traceback", _read(program))

    async def test_cannotListen(self) -> None:
        """
        Whoever starts a daemon that cannot listen is told so, by the exit status and by a line;
        twistd's file with the process id does not stay.
        """
        twistd = self.start(
            [Path(sys.executable).parent / "twistd", "--pidfile", "pid", "--logfile", "program.log"]
            + ["mxproxy", *PLAIN, "--listen", "tcp:0:interface=192.0.2.1"]
            + ["--upstream", "tcp:127.0.0.1:1"]
        )
        self.assertEqual(await twistd.ends(SOON), 1)
        self.assertIn("mxproxy: listener outbound: tcp:0:interface=192.0.2.1", twistd.text)
        self.assertNotIn("Traceback", twistd.text)
        # The daemon itself may be a moment behind.
        log = self.directory / "program.log"
        await until(lambda: "assign requested address" in _read(log), lambda: _read(log))
        self.assertNotIn("Traceback", _read(log))
        await until(lambda: not (self.directory / "pid").exists(), lambda: "pid to be removed")

    def _kill(self, pidfile: Path) -> None:
        # twistd removes the file when it ends.
        if pid := _read(pidfile):
            os.kill(int(pid), signal.SIGKILL)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
