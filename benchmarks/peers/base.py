"""
What a proxy has to tell, to be measured.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mxproxy.pki import Authority

#: Where Debian keeps servers, which a user's PATH may lack.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")

SIDES = ("outbound", "inbound")

#: A mesh's names, and one of DNS for the proxies that check no other.
IDENTITIES = {
    side: (f"spiffe://cluster.local/ns/bench/sa/{side}", f"{side}.bench.svc.cluster.local")
    for side in SIDES
}


#: Envoy's choice; OpenSSL would take AES-256. Those who can be told are, so that it is the proxies
#: that are compared.
SUITE = "TLS_AES_128_GCM_SHA256"


class Missing(Exception):
    """
    This proxy cannot be measured here.  The text says why.
    """


@dataclass(frozen=True)
class Credentials:
    """
    Who the two are: files, PEM.
    """

    directory: Path

    @classmethod
    def create(cls, directory: Path) -> Credentials:
        """
        Make them: ECDSA P-256, signed by one authority.
        """
        authority = Authority.create()
        authority.write(directory, "ca")
        for side, (spiffe, dns) in IDENTITIES.items():
            credential = authority.issue(spiffe, dns=(dns,))
            credential.write(directory, side)
            # HAProxy wants both in one file.
            both = directory / f"{side}.pem"
            both.write_bytes(credential.cert_pem + credential.key_pem)
        return cls(directory)

    @property
    def authority(self) -> Path:
        """The one that both trust."""
        return self.directory / "ca.crt"

    def certificate(self, side: str) -> Path:
        """Of a side."""
        return self.directory / f"{side}.crt"

    def key(self, side: str) -> Path:
        """Of a side."""
        return self.directory / f"{side}.key"

    def both(self, side: str) -> Path:
        """Certificate and key in one file."""
        return self.directory / f"{side}.pem"


@dataclass(frozen=True)
class Place:
    """
    What one proxy of a pair is told.

    @ivar side: C{"outbound"}, which takes plain TCP and speaks TLS, or C{"inbound"}.
    @ivar listen: the port to listen on; all is on 127.0.0.1.
    @ivar upstream: the port to connect to.
    @ivar directory: for its files; it exists, and is its alone.
    @ivar resumption: whether TLS sessions may be resumed.
    """

    side: str
    listen: int
    upstream: int
    directory: Path
    credentials: Credentials
    resumption: bool

    @property
    def peer(self) -> str:
        """The other side."""
        return "inbound" if self.side == "outbound" else "outbound"


class Peer:
    """
    A kind of proxy.

    @ivar name: what it is called in the results.
    @ivar resumes: whether it can resume TLS sessions.
    @ivar environment: further variables for its processes.
    """

    name: str
    resumes = True
    environment: Mapping[str, str] = {}

    def version(self) -> str:
        """
        What is installed.

        @raise Missing: it is not.
        """
        raise NotImplementedError

    def command(self, place: Place) -> list[str | Path]:
        """
        Write its configuration.

        @return: what starts it.  It stays in the foreground, logs to standard output or
            nowhere, and ends by SIGTERM.
        """
        raise NotImplementedError


def program(name: str) -> str:
    """
    The path of an installed program.

    @raise Missing: there is none.
    """
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN)))
    if path is None:
        raise Missing("not installed")
    return path
