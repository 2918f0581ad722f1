"""
mxproxy: of this source tree, or another one, so that two versions can be compared.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..processes import Failed, run
from .base import IDENTITIES, Missing, Peer, Place

_METADATA = {
    side: {
        "NAME": f"{side}-7d9c5b7f8-x2x4z",
        "NAMESPACE": "bench",
        "WORKLOAD_NAME": side,
        "CLUSTER_ID": "Kubernetes",
        "MESH_ID": "cluster.local",
        "OWNER": f"kubernetes://apis/apps/v1/namespaces/bench/deployments/{side}",
        "LABELS": {"app": side, "version": "v1"},
    }
    for side in IDENTITIES
}


class Mxproxy(Peer):
    """
    Two sidecars, started by their options; the metadata exchange is on.

    @param path: a virtual environment, or a source tree with one in C{.venv}.
    @param options: further ones for C{twistd mxproxy}, of both sides; C{%d} in them is a
        directory of its own.
    @param inbound: those of one side alone.
    @param note: what to say of the options; C{None} for what they are.
    """

    def __init__(
        self,
        name: str = "mxproxy",
        path: str | Path | None = None,
        options: Sequence[str] = (),
        inbound: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        note: str | None = None,
    ) -> None:
        self.name = name
        self._path = Path(sys.prefix if path is None else path)
        self._options = list(options)
        self._inbound = list(inbound)
        self.environment = environment or {}
        self._note = " ".join([*options, *inbound]) if note is None else note

    @classmethod
    def described(cls, text: str) -> Mxproxy:
        """
        From a command line's C{NAME=PATH [OPTION ...]}.
        """
        name, equals, rest = text.partition("=")
        words = shlex.split(rest)
        if not equals or not name or not words:
            raise ValueError(f"not NAME=PATH [OPTION ...]: {text}")
        return cls(name, words[0], words[1:])

    def python(self) -> Path:
        """
        Its interpreter.
        """
        for directory in self._path / ".venv", self._path:
            if (directory / "bin" / "twistd").exists():
                return directory / "bin" / "python"
        raise Missing(f"no twistd in {self._path}/.venv/bin or {self._path}/bin")

    def version(self) -> str:
        """Of Python and OpenSSL, too."""
        ask = (
            "import platform, mxproxy, twisted; from importlib.util import find_spec; "
            "from OpenSSL import SSL; "
            "print(mxproxy.__version__, 'Python', platform.python_version(), "
            "'Twisted', twisted.__version__, "
            "*SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode().split()[:2], "
            "*(['flows.c'] if find_spec('mxproxy.transports._flows') else []))"
        )
        try:
            answer = run([self.python(), "-c", ask]).strip()
        except Failed as error:
            raise Missing(str(error)) from error
        if "OpenSSL" not in answer or "\n" in answer:
            raise Missing(answer[-500:])
        options = [*self._options, *self._inbound]
        self._knows(options)
        return f"{answer} {self._note}".rstrip()

    def _knows(self, options: Sequence[str]) -> None:
        wanted = {option for option in options if option.startswith("--")}
        if wanted:
            help = run([self.python().with_name("twistd"), "mxproxy", "--help"])
            for option in sorted(wanted):
                if f"{option} " not in help:
                    raise Missing(f"has no {option}")

    def command(self, place: Place) -> list[str | Path]:
        """C{twistd mxproxy}."""
        metadata = place.directory / "metadata.json"
        metadata.write_text(json.dumps(_METADATA[place.side]))
        credentials, side = place.credentials, place.side
        # Names of files differ between the two.
        options = self._options + (self._inbound if side == "inbound" else [])
        options = [option.replace("%d", str(place.directory)) for option in options]
        names = ["--upstream-san", IDENTITIES["inbound"][0]] if side == "outbound" else []
        # Off by default, for security: see docs/tls.md.
        resumption = ["--tls-session-resumption", "on"] if place.resumption else []
        return [
            *(self.python(), self.python().with_name("twistd"), "--nodaemon", "--pidfile="),
            *("mxproxy", "--mode", side),
            *("--listen", f"tcp:{place.listen}:interface=127.0.0.1:backlog=4096"),
            *("--upstream", f"tcp:127.0.0.1:{place.upstream}"),
            *("--tls-cert", credentials.certificate(side), "--tls-key", credentials.key(side)),
            *("--tls-ca", credentials.authority),
            *("--node-id", f"sidecar~127.0.0.1~{side}.bench~bench.svc.cluster.local"),
            *("--node-metadata", metadata, *names, *resumption, *options),
        ]
