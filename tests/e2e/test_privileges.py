"""
Started as root, run as nobody: twistd's C{--uid} and C{--gid}.

Keeps: what only root may do is done before, reading a key and opening a port below 1024 among it;
what cannot be done afterwards is said at start.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from unittest import SkipTest

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory

from tests.e2e.mesh import DB, ORDERLY, EndToEnd, Sidecar
from tests.e2e.processes import WHILE, Child, until
from tests.e2e.test_reload import talk
from tests.e2e.test_workers import READY, children

USER = "nobody"


#: Where this process has its modules from.
MODULES = os.pathsep.join(entry for entry in sys.path if entry)


@cache
def python() -> str:
    """
    An interpreter that not only root can run: one in root's home is of no use to a worker.
    """
    for path in sys.executable, "/usr/bin/python3":
        command = [path, "-c", "import mxproxy.service"]
        with contextlib.suppress(OSError):
            runs = subprocess.run(
                command, user=USER, env={"PYTHONPATH": MODULES}, capture_output=True, check=False
            )
            if runs.returncode == 0:
                return path
    raise SkipTest(f"{USER} can run no Python with mxproxy's modules")


def owner(pid: int) -> tuple[set[str], set[str]]:
    """
    Users and groups of a process: real, effective, saved and for files; groups beside these, too.
    """
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    users = {pwd.getpwuid(int(word)).pw_name for word in status["Uid"].split()}
    numbers = [*status["Gid"].split(), *status["Groups"].split()]
    return users, {grp.getgrgid(int(word)).gr_name for word in numbers}


class PrivilegesTests(EndToEnd):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can drop privileges")
        super().setUp()
        self.group = grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name
        # What the service writes is in a directory of its own.
        self.logs = self.directory / "logs"
        self.logs.mkdir()
        os.chown(self.logs, pwd.getpwnam(USER).pw_uid, -1)
        self.directory.chmod(0o755)
        self.connections = 0
        self.other: Sidecar | None = None

    def lowPort(self) -> int:
        """
        One that is free, and only root's.
        """
        from twisted.internet import reactor

        for port in range(1023, 600, -1):
            try:
                taken = reactor.listenTCP(port, Factory(), interface="127.0.0.1")  # type: ignore[attr-defined]
            except CannotListenError:
                continue
            taken.stopListening()
            return port
        raise SkipTest("no port below 1024 is free")

    async def run_(self, upstream: str, *options: str) -> tuple[Child, int]:
        """
        An inbound sidecar, whose files only root can read.
        """
        identity = self.identify(DB)
        for path in self.directory.iterdir():
            if path.is_file():
                path.chmod(0o600)
        self.log = self.logs / "access.log"
        port = self.lowPort()
        child = self.start(
            [python(), "-c", "from twisted.scripts.twistd import run; run()"]
            + ["--nodaemon", "--pidfile", self.directory / "pid", "--umask", "027"]
            + ["--uid", USER, "--gid", self.group, "mxproxy", "--mode", "inbound"]
            + ["--listen", f"tcp:{port}:interface=127.0.0.1", "--upstream", upstream]
            + ["--access-log", self.log, *identity, *options],
            {"PYTHONPATH": MODULES},
        )
        return child, port

    def closed(self) -> list[str]:
        """
        Why connections have ended, so far.
        """
        if not self.log.exists():
            return []
        lines = map(json.loads, self.log.read_text().split("\n")[:-1])
        return [line["close_reason"] for line in lines if line["event"] == "closed"]

    async def check(self, child: Child, port: int, application: object) -> None:
        """
        It works, and for nobody else.
        """
        if self.other is None:
            self.other = await self.outbound(f"tcp:127.0.0.1:{port}")
        client = await self.connect(self.other.port)
        server = await application.accepts()  # type: ignore[attr-defined]
        await talk(client, server)
        await client.close()
        await server.close()
        self.connections += 1
        await until(lambda: len(self.closed()) == self.connections, lambda: str(child), WHILE)
        self.assertLessEqual(set(self.closed()), set(ORDERLY))
        self.assertEqual(self.log.stat().st_mode & 0o777, 0o640)
        self.assertEqual(self.log.stat().st_uid, pwd.getpwnam(USER).pw_uid)
        for pid in (child.pid, *children(child.pid)):
            self.assertEqual(owner(pid), ({USER}, {self.group}))

    async def test_dropped(self) -> None:
        application, upstream = await self.application()
        child, port = await self.run_(upstream)
        await child.says(r"listening on 127\.0\.0\.1")
        self.assertEqual((self.directory / "pid").read_text(), str(child.pid))
        await child.says(
            r"user 65534 cannot read '.*' and 3 more, which was read before privileges"
        )
        await self.check(child, port, application)
        # It goes on, and says why it cannot do more.
        child.signal(signal.SIGHUP)
        await child.says("not reloaded: .*Permission denied")
        await self.check(child, port, application)
        child.signal(signal.SIGTERM)
        self.assertEqual(await child.ends(), -signal.SIGTERM)
        # The directory is root's.
        self.assertIn("No permission to delete pid file", child.text)

    async def test_workers(self) -> None:
        """
        Workers never were root, not even the one that is started later; they are given what the
        parent has read.
        """
        application, upstream = await self.application()
        child, port = await self.run_(upstream, "--workers", "2")
        await child.says(READY, WHILE)
        await self.check(child, port, application)
        killed = children(child.pid)[0]
        os.kill(killed, signal.SIGKILL)
        await child.says(READY + "is ready", WHILE)
        await self.check(child, port, application)
