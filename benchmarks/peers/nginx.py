"""
nginx with its stream module, one worker process.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..processes import run
from .base import IDENTITIES, SUITE, Missing, Peer, Place, program

_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

_CONFIGURATION = """\
{load}
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/error.log crit;
events {{ worker_connections 8192; }}
stream {{
    server {{
        listen 127.0.0.1:{listen}{ssl} backlog=4096;
        proxy_pass 127.0.0.1:{upstream};
        proxy_half_close on;
{tls}
    }}
}}
"""

_INBOUND = """\
        ssl_protocols TLSv1.3;
        ssl_conf_command Ciphersuites {suite};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_client_certificate {authority};
        ssl_verify_client on;
        ssl_session_tickets {resumption};
"""

_OUTBOUND = """\
        proxy_ssl on;
        proxy_ssl_protocols TLSv1.3;
        proxy_ssl_conf_command Ciphersuites {suite};
        proxy_ssl_certificate {certificate};
        proxy_ssl_certificate_key {key};
        proxy_ssl_trusted_certificate {authority};
        proxy_ssl_verify on;
        proxy_ssl_name {name};
        proxy_ssl_session_reuse {resumption};
"""


class Nginx(Peer):
    """
    It checks a server's DNS name, and of a client only the chain.
    """

    name = "nginx"

    def version(self) -> str:
        """And of its OpenSSL."""
        answer = run([program("nginx"), "-V"])
        if not _MODULE.exists() and "--with-stream " not in answer:
            raise Missing("its stream module is not installed")
        found = re.search(r"nginx/(\S+)", answer)
        tls = re.search(r"running with (OpenSSL \S+)", answer)
        tls = tls or re.search(r"built with (OpenSSL \S+)", answer)
        return f"{found[1] if found else '?'} {tls[1] if tls else ''}".strip()

    def command(self, place: Place) -> list[str | Path]:
        """Master and worker."""
        credentials, side = place.credentials, place.side
        tls = (_OUTBOUND if side == "outbound" else _INBOUND).format(
            certificate=credentials.certificate(side),
            key=credentials.key(side),
            authority=credentials.authority,
            name=IDENTITIES["inbound"][1],
            resumption="on" if place.resumption else "off",
            suite=SUITE,
        )
        path = place.directory / "nginx.conf"
        path.write_text(
            _CONFIGURATION.format(
                load=f"load_module {_MODULE};" if _MODULE.exists() else "",
                directory=place.directory,
                listen=place.listen,
                upstream=place.upstream,
                ssl=" ssl" if side == "inbound" else "",
                tls=tls,
            )
        )
        error_log = place.directory / "error.log"
        return [program("nginx"), "-p", place.directory, "-e", error_log, "-c", path]
