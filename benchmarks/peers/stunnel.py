"""
stunnel: a thread for each connection.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..processes import run
from .base import IDENTITIES, SUITE, Peer, Place, program

_CONFIGURATION = """\
foreground = yes
pid =
debug = 3
sessionResume = {resumption}
[bench]
client = {client}
accept = 127.0.0.1:{listen}
connect = 127.0.0.1:{upstream}
sslVersionMin = TLSv1.3
ciphersuites = {suite}
cert = {certificate}
key = {key}
CAfile = {authority}
verifyChain = yes
{check}
"""


class Stunnel(Peer):
    """
    It checks a server's DNS name, and of a client only the chain.
    """

    name = "stunnel"

    def version(self) -> str:
        """And of its OpenSSL."""
        answer = run([program("stunnel"), "-version"])
        found = re.search(r"stunnel (\S+)", answer)
        tls = re.search(r"Running\s+with (OpenSSL \S+)", answer)
        tls = tls or re.search(r"Compiled(?:/running)? with (OpenSSL \S+)", answer)
        return f"{found[1] if found else '?'} {tls[1] if tls else ''}".strip()

    def command(self, place: Place) -> list[str | Path]:
        """In the foreground."""
        credentials, side = place.credentials, place.side
        path = place.directory / "stunnel.conf"
        path.write_text(
            _CONFIGURATION.format(
                suite=SUITE,
                resumption="yes" if place.resumption else "no",
                client="yes" if side == "outbound" else "no",
                listen=place.listen,
                upstream=place.upstream,
                certificate=credentials.certificate(side),
                key=credentials.key(side),
                authority=credentials.authority,
                check=f"checkHost = {IDENTITIES['inbound'][1]}" if side == "outbound" else "",
            )
        )
        return [program("stunnel"), path]
