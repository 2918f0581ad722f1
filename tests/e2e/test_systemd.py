"""
As a service of systemd's: its sockets, what it is told, and the units in examples/.

Keeps: an inherited socket is used as it is, by one process and by several; READY, RELOADING and
STOPPING come when it is so; the example's units are as systemd wants them.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.mesh import EndToEnd
from tests.e2e.processes import WHILE, Child, program, until
from tests.e2e.test_reload import talk

EXAMPLES = Path(__file__).parents[2] / "examples" / "systemd"

# What systemd does between fork and exec.
LAUNCH = """
import os, sys
count, names = len(sys.argv[1].split(",")), sys.argv[2]
for place, number in enumerate(map(int, sys.argv[1].split(","))):
    os.dup2(number, 3 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=names)
os.execv(sys.argv[3], sys.argv[3:])
"""

PLAIN = ("--mode", "outbound", "--upstream-tls", "disable")


class Manager:
    """
    The one that is told.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self.messages: list[dict[str, str]] = []

    def read(self) -> list[dict[str, str]]:
        """
        All that it has been told.
        """
        while True:
            try:
                text = self._socket.recv(4096).decode()
            except BlockingIOError:
                return self.messages
            self.messages.append(dict(line.split("=", 1) for line in text.split("\n")))

    async def told(self, name: str, count: int = 1) -> dict[str, str]:
        """
        Wait until it was told C{name} so often.

        @return: the last one.
        """
        found = await until(
            lambda: [one for one in self.read() if name in one][count - 1 :],
            lambda: f"{name} {count} times: {self.messages}",
            WHILE,
        )
        return found[0]

    def close(self) -> None:
        self._socket.close()


class SystemdTests(EndToEnd):
    async def launch(self, where: socket.socket, endpoint: str, *options: str) -> Child:
        """
        Run a sidecar that is given a listening socket, as systemd gives it.
        """
        where.listen()
        number = where.fileno()
        os.set_inheritable(number, True)
        _, upstream = self.upstream = await self.application()
        self.manager = Manager(self.directory / "notify")
        self.addCleanup(self.manager.close)
        twistd = Path(sys.executable).parent / "twistd"
        child = Child(
            [sys.executable, "-c", LAUNCH, "9", "other"]
            + [str(twistd), "--nodaemon", "--pidfile=", "mxproxy", *PLAIN]
            + ["--listen", endpoint, "--upstream", upstream, *options]
        )
        from twisted.internet import reactor

        spawner: Any = reactor
        spawner.spawnProcess(
            child,
            child.command[0],
            child.command,
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(self.manager.path),
                "WATCHDOG_USEC": "1000000",
            },
            path=str(self.directory),
            childFDs={0: "w", 1: "r", 2: "r", 9: number},
        )
        self.addCleanup(child.stop)
        return child

    async def check(self, child: Child, connect: str) -> None:
        """
        It lives as a service should.
        """
        application, _ = self.upstream
        ready = await self.manager.told("READY")
        self.assertIn("listening on 1 address", ready["STATUS"])
        await self.manager.told("WATCHDOG", 2)
        for _ in range(3):
            client = await self.connect(connect)
            await talk(client, await application.accepts())
            await client.close()
        child.signal(signal.SIGHUP)
        reloading = await self.manager.told("RELOADING")
        self.assertGreater(int(reloading["MONOTONIC_USEC"]), 0)
        await self.manager.told("READY", 2)
        await talk(await self.connect(connect), await application.accepts())
        child.signal(signal.SIGTERM)
        stopping = await self.manager.told("STOPPING")
        self.assertIn("draining", stopping["STATUS"])
        self.assertGreater(int(stopping["EXTEND_TIMEOUT_USEC"]), 1_000_000)
        child.signal(signal.SIGTERM)
        self.assertEqual(await child.ends(), -signal.SIGTERM)
        self.assertNotIn("Traceback", child.text)

    async def inet(self, *options: str) -> None:
        with socket.socket() as own:
            own.bind(("127.0.0.1", 0))
            child = await self.launch(own, "systemd:domain=INET:name=other", *options)
            await self.check(child, f"tcp:127.0.0.1:{own.getsockname()[1]}")
            # Whoever has opened it goes on: systemd, for the next start.
            with socket.create_connection(own.getsockname()):  # noqa: TID251 - own, at once
                pass

    async def unix(self, *options: str) -> None:
        path = self.directory / "socket"
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(str(path))
            path.chmod(0o600)
            child = await self.launch(own, "systemd:domain=UNIX:index=0", *options)
            await self.check(child, f"unix:{path}")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_inet(self) -> Any:
        return self.inet()

    def test_inetWorkers(self) -> Any:
        return self.inet("--workers", "2")

    def test_unix(self) -> Any:
        """
        Neither its permissions nor its name are ours.
        """
        return self.unix()

    def test_unixWorkers(self) -> Any:
        return self.unix("--workers", "2")

    async def test_noSuchSocket(self) -> None:
        """
        A sidecar that was started without its socket unit says what is missing.
        """
        child = self.twistd(
            *PLAIN, "--listen", "systemd:domain=INET:name=x", "--upstream", "tcp:h:1"
        )
        self.assertEqual(await child.ends(), 2)
        self.assertIn("it has passed on no such socket", child.text)


class UnitTests(EndToEnd):
    def test_verify(self) -> None:
        """
        systemd finds nothing wrong with the examples.
        """
        twistd = str(Path(sys.executable).parent / "twistd")
        for name in "mxproxy.service", "mxproxy.socket":
            text = (EXAMPLES / name).read_text()
            (self.directory / name).write_text(text.replace("/opt/mxproxy/bin/twistd", twistd))
        result = subprocess.run(
            [program("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no"]
            + [str(self.directory / "mxproxy.service"), str(self.directory / "mxproxy.socket")],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_options(self) -> None:
        """
        The command line in it is one.
        """
        from mxproxy.config.options import GROUPS

        text = (EXAMPLES / "mxproxy.service").read_text()
        names = {option.name for _, options in GROUPS for option in options}
        used = set(
            re.findall(r" --([a-z-]+)(?= [^=])", text.split("ExecStart=")[1].split("\n\n")[0])
        )
        self.assertEqual(used - names - {"nodaemon"}, set())
        self.assertIn("listen", used)

    def test_name(self) -> None:
        """
        The socket is the one that the service asks for.
        """
        service, unit = (
            (EXAMPLES / f"mxproxy.{kind}").read_text() for kind in ("service", "socket")
        )
        (name,) = re.findall(r"systemd:domain=INET:name=(\w+)", service)
        self.assertIn(f"FileDescriptorName={name}\n", unit)
