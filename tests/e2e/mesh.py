"""
A mesh for a test: an authority, workloads, sidecars that are real C{twistd mxproxy} processes,
and what has to be true of every line of their access logs.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.error import ConnectError
from twisted.trial.unittest import TestCase

from mxproxy.pki import Authority
from mxproxy.wire.metadata import Node
from tests.e2e.processes import MOMENT, Child, program, soon, until
from tests.e2e.streams import Application, Stream

TRUST_DOMAIN = "cluster.local"
ALPN = "istio-peer-exchange"

#: How a connection may end of which nothing is wrong.
ORDERLY = ("downstream: closed", "upstream: closed")

Line = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """
    Somebody in the mesh.
    """

    name: str
    namespace: str

    @property
    def principal(self) -> str:
        """What its certificate proves."""
        return f"spiffe://{TRUST_DOMAIN}/ns/{self.namespace}/sa/{self.name}"

    @property
    def node(self) -> Node:
        """What it says of itself."""
        owner = f"kubernetes://apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}"
        return Node(
            id=f"sidecar~127.0.0.1~{self.name}-1.{self.namespace}",
            metadata={
                "NAME": f"{self.name}-1",
                "NAMESPACE": self.namespace,
                "WORKLOAD_NAME": self.name,
                "CLUSTER_ID": "c1",
                "OWNER": owner,
                "LABELS": {"app": self.name, "version": "v1"},
            },
        )

    @property
    def prefix(self) -> bytes:
        """What it sends first."""
        return self.node.prefix()

    def logged(self, line: Line, side: str) -> None:
        """
        Check that a log line's peer on C{side} is this workload, claimed and proven.
        """
        peer = line[side]
        found = peer["peer"] or {}
        what = json.dumps(line, indent=1)
        assert peer["peer_state"] == "found", what
        assert (found["workload"], found["namespace"]) == (self.name, self.namespace), what
        assert (found["name"], found["type"]) == (f"{self.name}-1", "deployment"), what
        assert (found["cluster"], found["app"], found["version"]) == ("c1", self.name, "v1"), what
        assert found["id"] == self.node.id, what
        assert peer["principal"] == self.principal, what
        assert peer["alpn"] == ALPN, what
        assert peer["tls_version"] in ("TLSv1.2", "TLSv1.3"), what


WEB = Workload("web", "shop")
DB = Workload("db", "data")


class Sidecar:
    """
    A C{twistd mxproxy}.

    @ivar child: the process.
    @ivar port: where it listens on 127.0.0.1.
    @ivar log: its access log's path.
    """

    def __init__(self, child: Child, workload: Workload, log: Path) -> None:
        self.child = child
        self.workload = workload
        self.log = log
        self.port = 0

    async def listens(self) -> None:
        """
        Wait until it does.
        """
        said = await self.child.says(r"listening on 127\.0\.0\.1:(\d+)\s")
        self.port = int(said[1])

    def lines(self, event: str = "closed") -> list[Line]:
        """
        The access log's lines of one kind so far.
        """
        try:
            text = self.log.read_text()
        except FileNotFoundError:
            return []
        # The last one may be half written.
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
        return [line for line in lines if line["event"] == event]

    async def closed(self, count: int = 1) -> list[Line]:
        """
        Wait until C{count} connections have been logged as closed.
        """
        await until(
            lambda: len(self.lines()) >= count,
            lambda: f"{count} connections closed, only {len(self.lines())}\n{self.child}",
        )
        lines = self.lines()
        assert len(lines) == count, f"{len(lines)} connections closed instead of {count}"
        return lines

    async def close(self) -> Line:
        """
        Wait until the one connection that there was has been logged as closed.
        """
        return (await self.closed())[0]

    async def stop(self) -> None:
        """
        End it, unless it has ended, and check that it has lived without an unexpected event and
        ended in order.

        twistd, when it has shut down in order, ends by the signal that it was told to by, so that
        its parent knows; systemd, for one, counts that as a success.
        """
        if self.child.status is None:
            await self.child.stop()
        assert self.child.status in (-signal.SIGTERM, -signal.SIGINT), str(self.child)
        assert "Server Shut Down." in self.child.text, str(self.child)
        for word in ("Traceback", "Unhandled", "#error", "#critical", "Warning"):
            assert word not in self.child.text, str(self.child)

    @property
    def peak(self) -> int:
        """The most memory that it has had, in bytes."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


@dataclass(frozen=True)
class Pair:
    """
    Two sidecars, C{outbound} before a client and C{inbound} before an application.
    """

    outbound: Sidecar
    inbound: Sidecar

    @property
    def port(self) -> int:
        """Where the client connects to."""
        return self.outbound.port

    async def check(self, least: int, most: int | None = None) -> list[tuple[Line, Line]]:
        """
        Wait until at least C{least} connections are closed on both sides, stop the sidecars,
        and check every line of both logs: who it was, how many bytes, how it ended.

        @param most: how many connections there may be; C{least} when it is not given.
        @return: the lines of each connection, outbound and inbound.
        """
        both = (self.outbound, self.inbound)
        await until(
            lambda: min(len(side.lines()) for side in both) >= least,
            lambda: f"{least} connections closed: {[len(side.lines()) for side in both]}",
        )
        for side in both:
            await side.stop()
        connected = [len(side.lines("connected")) for side in both]
        outer = self.outbound.lines()
        # Lists: the kernel may give a port again to a later connection.
        inner: dict[str, list[Line]] = {}
        for line in self.inbound.lines():
            inner.setdefault(line["downstream"]["address"], []).append(line)
        closed = [len(outer), sum(map(len, inner.values()))]
        assert connected == closed == [len(outer)] * 2, (connected, closed)
        assert len(outer) <= (least if most is None else most), len(outer)
        pairs = [(line, inner[line["upstream"]["local_address"]].pop(0)) for line in outer]
        for out, into in pairs:
            self._checkLines(out, into)
        return pairs

    def _checkLines(self, out: Line, into: Line) -> None:
        what = json.dumps([out, into], indent=1)
        self.inbound.workload.logged(out, "upstream")
        self.outbound.workload.logged(into, "downstream")
        sent = out["downstream"]["bytes_received"]
        received = out["downstream"]["bytes_sent"]
        for line in out, into:
            down, up = line["downstream"], line["upstream"]
            assert (down["bytes_received"], up["bytes_sent"]) == (sent, sent), what
            assert (up["bytes_received"], down["bytes_sent"]) == (received, received), what
            assert line["close_reason"] in ORDERLY, what
        for plain in out["downstream"], into["upstream"]:
            assert plain["peer_state"] == "disabled", what
            assert plain["tls_version"] is plain["principal"] is plain["peer"] is None, what


class EndToEnd(TestCase):
    """
    The base of the scenarios.

    @ivar directory: the test's own; short, for the sake of UNIX sockets' names.
    @ivar authority: whom the mesh trusts.
    """

    timeout = 240

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mxproxy-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.authority = Authority.create(TRUST_DOMAIN)
        self.ca = self.authority.write(self.directory, "ca")
        self._sidecars = 0

    # -- processes

    def start(
        self, command: Sequence[str | Path], environment: dict[str, str] | None = None
    ) -> Child:
        """
        Run a program until the test's end.
        """
        child = Child.start(command, self.directory, environment)
        self.addCleanup(child.stop)
        return child

    async def run_(
        self, command: Sequence[str | Path], input: bytes = b"", seconds: float = MOMENT
    ) -> bytes:
        """
        Run a program to its end, which has to be a success.

        @return: its standard output.
        """
        child = self.start(command)
        child.write(input)
        child.closeInput()
        status = await child.ends(seconds)
        self.assertEqual(status, 0, str(child))
        return child.output

    # -- identities

    def credential(self, workload: Workload) -> tuple[Path, Path]:
        """
        The files with the workload's certificate and its key.
        """
        paths = self.directory / f"{workload.name}.crt", self.directory / f"{workload.name}.key"
        if not paths[0].exists():
            self.authority.issue(workload.principal).write(self.directory, workload.name)
        return paths

    # -- sidecars

    def identify(self, workload: Workload) -> list[str]:
        """
        The options that say who a sidecar is.
        """
        certificate, key = self.credential(workload)
        metadata = self.directory / f"{workload.name}.json"
        metadata.write_text(json.dumps(dict(workload.node.metadata)))
        return [
            *("--tls-cert", str(certificate), "--tls-key", str(key), "--tls-ca", str(self.ca)),
            *("--node-id", workload.node.id, "--node-metadata", str(metadata)),
        ]

    def twistd(self, *options: str) -> Child:
        """
        Run C{twistd mxproxy} with these options.
        """
        twistd = Path(sys.executable).parent / "twistd"
        return self.start([twistd, "--nodaemon", "--pidfile=", "mxproxy", *options])

    async def sidecar(self, mode: str, workload: Workload, upstream: str, *options: str) -> Sidecar:
        """
        Run a sidecar that listens on a port which the kernel chooses.

        Told to stop, it drops what is open, unless C{options} say otherwise.
        """
        drain = () if "--drain-time" in options else ("--drain-time", "0")
        self._sidecars += 1
        log = self.directory / f"{mode}-{self._sidecars}.log"
        child = self.twistd(
            *("--mode", mode, "--listen", "tcp:0:interface=127.0.0.1", "--upstream", upstream),
            *("--access-log", str(log), *self.identify(workload), *drain, *options),
        )
        sidecar = Sidecar(child, workload, log)
        self.addCleanup(sidecar.stop)
        await sidecar.listens()
        return sidecar

    async def inbound(self, upstream: str, *options: str) -> Sidecar:
        """
        A sidecar before an application, L{DB}'s.
        """
        return await self.sidecar("inbound", DB, upstream, *options)

    async def outbound(self, upstream: str, *options: str) -> Sidecar:
        """
        A sidecar before a client, L{WEB}'s, that talks to L{DB} only.
        """
        return await self.sidecar(
            "outbound", WEB, upstream, "--upstream-san", DB.principal, *options
        )

    async def pair(
        self, upstream: str, inbound: Sequence[str] = (), outbound: Sequence[str] = ()
    ) -> Pair:
        """
        Two sidecars in a row.

        @param upstream: the application, a Twisted client endpoint.
        @param inbound: further options of the inbound one.
        @param outbound: further options of the outbound one.
        """
        inner = await self.inbound(upstream, *inbound)
        outer = await self.outbound(f"tcp:127.0.0.1:{inner.port}", *outbound)
        return Pair(outer, inner)

    # -- OpenSSL's own programs

    def opensslClient(
        self, port: int, credential: tuple[Path, Path] | None, *options: str
    ) -> Child:
        """
        A TLS client: what it is told it sends, what it receives it prints.

        @param credential: its certificate and its key, or C{None} for none.
        """
        own = [] if credential is None else ["-cert", credential[0], "-key", credential[1]]
        return self.start(
            [program("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-quiet"]
            + ["-CAfile", self.ca, "-verify_return_error", *own, *options]
        )

    async def opensslServer(
        self, credential: tuple[Path, Path], *options: str
    ) -> tuple[Child, str]:
        """
        A TLS server, one connection at a time: what it is told it sends, what it receives it
        prints.

        @return: the process, and the client endpoint that leads to it.
        """
        path = self.directory / "server"
        server = self.start(
            [program("openssl"), "s_server", "-unix", path, "-quiet"]
            + ["-cert", credential[0], "-key", credential[1], *options]
        )
        # It does not say when it is ready.
        await until(path.exists, lambda: f"{path} to exist\n{server}")
        for _ in range(1000):
            try:
                stream = await self.connect(f"unix:{path}")
            except ConnectError:
                continue
            await stream.close()
            return server, f"unix:{path}"
        raise AssertionError(f"{path} accepts no connection\n{server}")

    # -- both ends, played by the test

    async def application(self) -> tuple[Application, str]:
        """
        A server that the test plays, and the client endpoint that leads to it.
        """
        from twisted.internet import reactor

        application = Application()
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port: Any = await endpoint.listen(application)
        self.addCleanup(port.stopListening)
        self.addCleanup(application.hangUp)
        return application, f"tcp:127.0.0.1:{port.getHost().port}"

    async def connect(self, where: int | str) -> Stream:
        """
        A client that the test plays.

        @param where: a port on 127.0.0.1, or a client endpoint.
        """
        from twisted.internet import reactor

        text = f"tcp:127.0.0.1:{where}" if isinstance(where, int) else where
        endpoint = clientFromString(reactor, text)
        stream = await soon(connectProtocol(endpoint, Stream()), lambda: f"to connect to {text}")
        self.addCleanup(stream.hangUp)
        return stream
