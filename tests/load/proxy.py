"""
An inbound proxy in a process of its own, before an application in another.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmarks.processes import Failed, Process, freePort
from mxproxy.pki import Authority

from .client import Files

#: Files that a proxy needs for itself, and leaves to everything but connections.
OWN_FILES = 100


class Inbound:
    """
    The two, running.

    @ivar port: where the proxy listens.
    @ivar files: a client's.
    """

    def __init__(self, *options: str, echo: bool = False) -> None:
        """
        @param options: further options of the proxy.
        @param echo: the proxy answers by itself: there is no application, and no file for a
            connection to it.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="mxproxy-load-"))
        authority = Authority.create()
        ca = authority.write(self.directory, "ca")
        own = authority.issue("spiffe://cluster.local/ns/default/sa/db")
        theirs = authority.issue("spiffe://cluster.local/ns/default/sa/load")
        self.files = Files(*theirs.write(self.directory, "load"), ca)
        certificate, key = own.write(self.directory, "db")
        self.port, application = freePort(), freePort()
        self.log = self.directory / "access.log"
        self._processes: list[Process] = []
        twistd = [Path(sys.executable).parent / "twistd", "--nodaemon", "--pidfile=", "mxproxy"]
        if echo:
            file = self.directory / "envoy.json"
            file.write_text(json.dumps(_bootstrap(self.port, certificate, key, ca)))
            words = ["--config", file]
        else:
            words = ["--mode", "inbound", "--listen", f"tcp:{self.port}:interface=127.0.0.1"]
            words += ["--upstream", f"tcp:127.0.0.1:{application}", "--node-id", "db~id"]
            words += ["--tls-cert", certificate, "--tls-key", key, "--tls-ca", ca]
            self._start([sys.executable, "-m", "tests.load.echo", application], "echo", application)
        self.proxy = self._start(
            [*twistd, *words, "--access-log", self.log, *options], "proxy", self.port
        )

    def _start(self, words: list[object], name: str, port: int) -> Process:
        process = Process([str(word) for word in words], self.directory / f"{name}.log")
        self._processes.append(process)
        try:
            process.listens(port)
        except Failed:
            self.stop()
            raise
        return process

    @property
    def said(self) -> str:
        """What the proxy has logged."""
        return (self.directory / "proxy.log").read_text(errors="replace")

    @property
    def connections(self) -> int:
        """How many sockets the proxy has beside the one that listens."""
        found = 0
        for file in Path(f"/proc/{self.proxy.pid}/fd").iterdir():
            # It may be closed meanwhile.
            with suppress(FileNotFoundError):
                found += file.readlink().name.startswith("socket:")
        return found - 1

    @property
    def memory(self) -> int:
        """Bytes of resident memory that are the proxy's alone."""
        rollup = Path(f"/proc/{self.proxy.pid}/smaps_rollup").read_text()
        return 1024 * sum(
            map(int, re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB$", rollup, re.MULTILINE))
        )

    def reasons(self) -> dict[str, int]:
        """
        How connections have ended, and how often.
        """
        found: dict[str, int] = {}
        for line in self.log.read_text().splitlines():
            event = json.loads(line)
            if event["event"] == "closed":
                token = ": ".join(event["close_reason"].split(": ")[:2])
                found[token] = found.get(token, 0) + 1
        return found

    def settles(self, seconds: float = 60.0) -> None:
        """
        Wait until the proxy has no connection any more.

        @raise AssertionError: it still has, after C{seconds}.
        """
        if not waitUntil(lambda: self.connections == 0, seconds):
            raise AssertionError(f"{self.connections} connections are still open")

    def stop(self) -> None:
        """
        End everything.
        """
        for process in reversed(self._processes):
            process.stop()
        shutil.rmtree(self.directory)


def waitUntil(condition: Callable[[], bool], seconds: float) -> bool:
    """
    Ask for C{condition} until it is true.

    @return: whether it was, within C{seconds}.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def filesAllowed() -> int:
    """
    Take what the system allows, for this process and its children.

    @return: how many files that is.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _bootstrap(port: int, certificate: Path, key: Path, ca: Path) -> object:
    extensions = "type.googleapis.com/envoy.extensions"
    tls = {
        "@type": f"{extensions}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(certificate)},
                    "private_key": {"filename": str(key)},
                }
            ],
            "validation_context": {"trusted_ca": {"filename": str(ca)}},
            "alpn_protocols": ["istio-peer-exchange", "istio"],
        },
    }
    filters = [
        {
            "name": "exchange",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
                "protocol": "istio-peer-exchange",
            },
        },
        {
            "name": "echo",
            "typed_config": {"@type": f"{extensions}.filters.network.echo.v3.Echo"},
        },
    ]
    socket = {"name": "tls", "typed_config": tls}
    listener = {
        "name": "inbound",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": filters, "transport_socket": socket}],
    }
    return {"node": {"id": "db~id"}, "static_resources": {"listeners": [listener]}}
