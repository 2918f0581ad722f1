"""
Who is who in the scenarios: two authorities, and the certificates that they have issued.

Files in one directory, C{${certs}} in a scenario's file; made once a test process.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mxproxy.pki import Authority, Credential

SPIFFE = "spiffe://cluster.local/ns/shop/sa/"


class Certificates:
    """
    @ivar directory: has C{NAME.crt} and C{NAME.key} of each, C{ca.crt}, C{foreign.crt}, and lists of
        what they have revoked, C{NAME.crl}.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._names: dict[str, str] = {}
        self._pems: dict[str, str] = {}
        self._issued: dict[str, Credential] = {}
        ours = Authority.create("cluster.local")
        between = ours.subordinate()
        foreign = Authority.create("cluster.local")
        self._authority("ca", ours)
        self._authority("foreign", foreign)
        self._credential("server", ours.issue(SPIFFE + "server", ("server.test", "*.server.test")))
        for name in "alpha", "beta", "gamma":
            self._credential(name, ours.issue(SPIFFE + name, (f"{name}.test",)))
        self._credential("rsa", ours.issue(SPIFFE + "rsa", ("server.test",), rsa_key=True))
        self._credential("chained", between.issue(SPIFFE + "chained", ("server.test",)))
        self._credential("client", ours.issue(SPIFFE + "client", common_name="client"))
        self._credential("other", ours.issue(SPIFFE + "other", ("other.test",)))
        self._credential("stranger", foreign.issue(SPIFFE + "client"))
        self._credential("expired", ours.issue(SPIFFE + "client", validity=-timedelta(hours=1)))

        # After the certificates: what is revoked has to be there.
        self._list("ca", ours.revoke(self._issued["other"]))
        self._list("between", between.revoke())
        self._list("both", ours.revoke(), between.revoke(self._issued["chained"]))
        self._list("expired", ours.revoke(validity=-timedelta(hours=1)))
        self._list("foreign", foreign.revoke())

    def _list(self, name: str, *lists: bytes) -> None:
        (self.directory / f"{name}.crl").write_bytes(b"".join(lists))

    def _authority(self, name: str, authority: Authority) -> None:
        authority.write(self.directory, name)
        self._pems[f"{name}_crt"] = authority.cert_pem.decode()

    def _credential(self, name: str, credential: Credential) -> None:
        credential.write(self.directory, name)
        self._issued[name] = credential
        self._pems[f"{name}_crt"] = credential.cert_pem.decode()
        self._pems[f"{name}_key"] = credential.key_pem.decode()
        certificate = x509.load_pem_x509_certificate(credential.cert_pem)
        der = certificate.public_bytes(Encoding.DER)
        self._names[hashlib.sha256(der).hexdigest()] = name

    def name(self, der: bytes) -> str:
        """
        Whose certificate this is.
        """
        return self._names.get(hashlib.sha256(der).hexdigest(), "unknown")

    def file(self, name: str) -> str:
        """
        The path of a file, C{alpha.key}.
        """
        return str(self.directory / name)

    def placeholders(self) -> dict[str, str]:
        """
        What a file may name: the directory, and each PEM as it goes between double quotes.
        """
        inline = {f"pem_{name}": text.replace("\n", "\\n") for name, text in self._pems.items()}
        return {"certs": str(self.directory), **inline}


@functools.cache
def certificates() -> Certificates:
    """
    This process's.
    """
    directory = Path(tempfile.mkdtemp(prefix="mxproxy-certificates-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return Certificates(directory)
