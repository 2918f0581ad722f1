"""
HAProxy in TCP mode, one thread.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..processes import run
from .base import IDENTITIES, SUITE, Peer, Place, program

_CONFIGURATION = """\
global
    nbthread 1
    maxconn 8000
    ssl-default-bind-options ssl-min-ver TLSv1.3 {tickets}
    ssl-default-server-options ssl-min-ver TLSv1.3
    ssl-default-bind-ciphersuites {suite}
    ssl-default-server-ciphersuites {suite}
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend in
    bind 127.0.0.1:{listen} backlog 4096{bind}
    default_backend out
backend out
    server one 127.0.0.1:{upstream}{server}
"""


class Haproxy(Peer):
    """
    It checks a server's DNS name, and of a client only the chain.
    """

    name = "haproxy"

    def version(self) -> str:
        """And of its OpenSSL."""
        answer = run([program("haproxy"), "-vv"])
        found = re.search(r"version (\S+)", answer)
        tls = re.search(r"Running on OpenSSL version : (OpenSSL \S+)", answer)
        return f"{found[1] if found else '?'} {tls[1] if tls else ''}".strip()

    def command(self, place: Place) -> list[str | Path]:
        """In the foreground."""
        own, authority = place.credentials.both(place.side), place.credentials.authority
        bind = server = ""
        if place.side == "inbound":
            bind = f" ssl crt {own} ca-file {authority} verify required"
        else:
            name = IDENTITIES["inbound"][1]
            server = f" ssl crt {own} ca-file {authority} verify required verifyhost {name}"
            server += f" sni str({name})" + ("" if place.resumption else " no-ssl-reuse")
        path = place.directory / "haproxy.cfg"
        path.write_text(
            _CONFIGURATION.format(
                listen=place.listen,
                upstream=place.upstream,
                bind=bind,
                server=server,
                suite=SUITE,
                tickets="" if place.resumption else "no-tls-tickets",
            )
        )
        return [program("haproxy"), "-db", "-f", path]
