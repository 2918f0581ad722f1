"""
A sidecar that may have few files open, and more clients than that.

Keeps: those who are connected notice nothing, those who come later wait and are served when there
is room, nothing spins and the log is not flooded; with stock Twisted they were closed, with
three lines for each, and an upstream, too, could find no file left.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.internet.task import deferLater

from tests.e2e.mesh import EndToEnd
from tests.e2e.processes import Child, until

#: Files that a sidecar may have open.  It needs about twenty itself, and two for a connection.
FILES = 128

PLAIN = ("--mode", "outbound", "--upstream-tls", "disable", "--listen", "tcp:0:interface=127.0.0.1")


class FewFilesTests(EndToEnd):
    def few(self, *options: str) -> Child:
        """
        A C{twistd mxproxy} that is allowed few files, and by default fewer.
        """
        twistd = Path(sys.executable).parent / "twistd"
        words = [str(twistd), "--nodaemon", "--pidfile=", "mxproxy", *options]
        limits = f"ulimit -S -n {FILES // 2}; ulimit -H -n {FILES}; "
        return self.start(["/bin/sh", "-c", limits + 'exec "$@"', "sh", *words])

    async def test_moreClientsThanFiles(self) -> None:
        from twisted.internet import reactor

        application, upstream = await self.application()
        log = self.directory / "access.log"
        sidecar = self.few(*PLAIN, "--upstream", upstream, "--access-log", str(log))
        port = int((await sidecar.says(r"listening on 127\.0\.0\.1:(\d+)\s"))[1])
        clients = [await self.connect(port) for _ in range(100)]
        await sidecar.says("accepts no connections for now: few files are left, of 128")
        # Those who are served now, and those who wait.
        await until(lambda: len(application.streams) >= 25, lambda: str(sidecar))
        await deferLater(reactor, 1, lambda: None)  # type: ignore[arg-type]
        served = len(application.streams)
        self.assertLess(served, 60, str(sidecar))
        self.assertFalse(any(client.ended for client in clients), "nobody is refused")
        before = _cpu(sidecar.pid)
        for number, stream in enumerate(application.streams):
            stream.write(b"%d\n" % number)
        greetings = set()
        for client in clients[:served]:
            greetings.add(await client.reads(2))
        self.assertEqual(len(greetings), served)
        await deferLater(reactor, 2, lambda: None)  # type: ignore[arg-type]
        self.assertLess(_cpu(sidecar.pid) - before, 1.0, "it spins")
        # As they go, the others come.
        for client in clients[:served]:
            await client.close()
        for stream in application.streams[:served]:
            await stream.close()
        await until(
            lambda: len(application.streams) >= min(100, 2 * served),
            lambda: f"{len(application.streams)} served\n{sidecar}",
        )
        clients[served].write(b"me, too")
        self.assertEqual(await application.streams[served].reads(7), b"me, too")
        self.assertLess(sidecar.text.count("\n"), 40, "the log is flooded")
        self.assertNotIn("EMFILE", sidecar.text)
        self.assertNotIn("Too many open files", log.read_text())

    async def test_noFileForTheUpstream(self) -> None:
        """
        Files can be used up by others. Then the connection has a reason that says so.
        """
        application, upstream = await self.application()
        log = self.directory / "access.log"
        sidecar = self.few(*PLAIN, "--upstream", upstream, "--access-log", str(log))
        port = int((await sidecar.says(r"listening on 127\.0\.0\.1:(\d+)\s"))[1])
        first = await self.connect(port)
        first.write(b"first")
        server = await application.accepts()
        self.assertEqual(await server.reads(5), b"first")
        # As many as it has now, and one: for the accepted socket.
        open_ = len(os.listdir(f"/proc/{sidecar.pid}/fd"))
        _limitFiles(sidecar.pid, open_ + 1)
        second = await self.connect(port)
        self.assertEqual(await second.readsRest(), b"")
        await until(log.exists, lambda: str(sidecar))
        await until(lambda: "closed" in log.read_text(), lambda: str(sidecar))
        self.assertIn('"upstream: connect_failed: Too many open files (tcp:', log.read_text())
        first.write(b", still")
        self.assertEqual(await server.reads(7), b", still")
        _limitFiles(sidecar.pid, FILES)
        third = await self.connect(port)
        third.write(b"third")
        self.assertEqual(await (await application.accepts()).reads(5), b"third")


def _cpu(pid: int) -> float:
    """
    Seconds of CPU time that a process has had.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _limitFiles(pid: int, number: int) -> None:
    import resource

    resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, FILES))
