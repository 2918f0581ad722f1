"""
The two sidecars, as processes: their certificates, their logs and their size.
"""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from mxproxy.demo.processes import findTwistd
from mxproxy.pki import Authority, Credential
from mxproxy.testing.sidecars import CLIENT_ID, SERVER_ID

HOST = "127.0.0.1"

INBOUND, OUTBOUND = "inbound", "outbound"
IDENTITIES = {INBOUND: SERVER_ID, OUTBOUND: CLIENT_ID}
NODES = {
    INBOUND: {"NAME": "httpbin-1", "NAMESPACE": "default", "WORKLOAD_NAME": "httpbin"},
    OUTBOUND: {"NAME": "sleep-1", "NAMESPACE": "default", "WORKLOAD_NAME": "sleep"},
}

#: What should not be in a sidecar's own log.
TROUBLE = re.compile(rb"Traceback|Unhandled|#critical|\[[^\]]*#error\]")

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Certificates:
    """
    Both sidecars' certificates, which are renewed, and the authorities behind them, which
    change, too: whoever issues next is trusted one renewal before it does.

    The inbound sidecar's files are written anew, one after the other; the outbound's are behind
    a symbolic link that is swapped, as Kubernetes does it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authorities = [Authority.create()]
        self.renewals = 0
        self._write()

    def options(self, mode: str) -> list[str]:
        """
        @return: for the command line.
        """
        place = self._directory / mode
        if mode == OUTBOUND:
            place /= "..data"
        return [
            *("--tls-cert", str(place / "own.crt"), "--tls-key", str(place / "own.key")),
            *("--tls-ca", str(place / "ca.crt")),
        ]

    def renew(self) -> None:
        """
        New certificates for both; every other time, another authority.
        """
        self.renewals += 1
        if self.renewals % 2:
            self._authorities = [*self._authorities, Authority.create()][-3:]
        self._write()

    def _write(self) -> None:
        # Odd renewals announce an authority, even ones use it.
        issuer = self._authorities[-2 if self.renewals % 2 else -1]
        trusted = b"".join(authority.cert_pem for authority in self._authorities)
        for mode, identity in IDENTITIES.items():
            place = self._directory / mode
            place.mkdir(exist_ok=True)
            credential = issuer.issue(identity)
            if mode == INBOUND:
                _write(place, credential, trusted)
                continue
            version = place / f"..{self.renewals}"
            version.mkdir()
            _write(version, credential, trusted)
            link = place / "..data_tmp"
            link.symlink_to(version.name)
            link.rename(place / "..data")
            old = place / f"..{self.renewals - 2}"
            if old.exists():
                for file in old.iterdir():
                    file.unlink()
                old.rmdir()


def _write(place: Path, credential: Credential, trusted: bytes) -> None:
    for name, data in (
        ("own.key", credential.key_pem),
        ("own.crt", credential.cert_pem),
        ("ca.crt", trusted),
    ):
        new = place / f"{name}.new"
        new.touch(0o600)
        new.write_bytes(data)
        new.rename(place / name)


class Sidecar(ProcessProtocol):
    """
    One of them.

    @ivar accessLog: its path.
    @ivar output: the path of its own log.
    @ivar rss: bytes, with the seconds since its start, sample by sample.
    @ivar descriptors: how many are open, sample by sample.
    """

    def __init__(self, mode: str, directory: Path, options: list[str]) -> None:
        self.mode = mode
        self.accessLog = directory / f"{mode}.access.log"
        self.output = directory / f"{mode}.log"
        self._node = directory / f"{mode}.json"
        self.writeNode(0)
        self.command = [
            *(*findTwistd(), "-n", "--pidfile=", "mxproxy", "--mode", mode),
            *("--node-metadata", str(self._node), "--access-log", str(self.accessLog)),
            *options,
        ]
        self.rss: list[tuple[float, int]] = []
        self.descriptors: list[int] = []
        self.ended: Deferred[str] = Deferred()
        self.pid = 0
        self._how = ""

    def writeNode(self, version: int) -> None:
        """Who it is, from the next reload on."""
        labels = {"app.kubernetes.io/version": str(version)}
        self._node.write_text(json.dumps({**NODES[self.mode], "LABELS": labels}))

    def start(self, reactor: Any) -> None:
        """Run it; what it says goes into a file."""
        with self.output.open("ab") as output:
            number = output.fileno()
            process = reactor.spawnProcess(
                self, self.command[0], self.command, os.environ, childFDs={1: number, 2: number}
            )
        self.pid = process.pid

    def said(self, what: bytes) -> int:
        """
        @return: how often it has said so.
        """
        return self.output.read_bytes().count(what)

    def trouble(self) -> list[str]:
        """
        @return: the lines of its log that should not be there, the first ten.
        """
        lines = self.output.read_bytes().splitlines()
        return [
            b" / ".join(lines[number : number + 12]).decode("utf-8", "replace")
            for number, line in enumerate(lines)
            if TROUBLE.search(line)
        ][:10]

    def signal(self, number: signal.Signals) -> None:
        """Send it one."""
        transport: Any = self.transport
        try:
            transport.signalProcess(number)
        except ProcessExitedAlready:
            pass

    def sample(self, now: float) -> None:
        """Look how large it is."""
        if self._how:
            return
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        self.rss.append((now, pages * _PAGE))
        self.descriptors.append(len(os.listdir(f"/proc/{self.pid}/fd")))

    def seconds(self) -> float:
        """CPU seconds so far, user's and system's."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def gone(self) -> str:
        """How it ended; empty while it runs."""
        return self._how

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        self._how = f"signal {value.signal}" if value.signal else f"status {value.exitCode}"
        self.ended.callback(self._how)
