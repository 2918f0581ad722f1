"""
A set of TLS files in a directory, and the ways in which such files are replaced.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mxproxy.pki import Authority, Credential
from mxproxy.tls.settings import PEM, ClientTLS, ServerTLS

#: The files' names, by the settings'.
NAMES = {"certificate": "tls.crt", "key": "tls.key", "authorities": "ca.crt", "crl": "ca.crl"}


def texts(
    credential: Credential | None = None, ca: Authority | bytes | None = None, crl: bytes = b""
) -> dict[str, bytes]:
    """
    What is to be in which file.
    """
    found: dict[str, bytes] = {}
    if credential is not None:
        found |= {"tls.crt": credential.cert_pem, "tls.key": credential.key_pem}
    if ca is not None:
        found["ca.crt"] = ca if isinstance(ca, bytes) else ca.cert_pem
    if crl:
        found["ca.crl"] = crl
    return found


class Directory:
    """
    @ivar path: where it is.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        os.makedirs(self.path, exist_ok=True)

    def file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def pems(self, *names: str) -> dict[str, Any]:
        """
        Settings that name these files, C{"certificate"} and so on.
        """
        return {name: PEM(self.file(NAMES[name])) for name in names}

    def server(self, **more: Any) -> ServerTLS:
        return replace(ServerTLS(**self.pems("certificate", "key", "authorities")), **more)

    def client(self, **more: Any) -> ClientTLS:
        return replace(ClientTLS(**self.pems("certificate", "key", "authorities")), **more)

    # -- the ways

    def write(self, files: Mapping[str, bytes]) -> None:
        """
        In place, as an editor or C{cp} does.
        """
        for name, text in files.items():
            with open(self.file(name), "wb", opener=_secret) as file:
                file.write(text)

    def rename(self, files: Mapping[str, bytes]) -> None:
        """
        Each at once, one after the other, as C{mv} and most renewing programs do.
        """
        for name, text in files.items():
            self.write({name + ".new": text})
            os.rename(self.file(name + ".new"), self.file(name))

    def swap(self, files: Mapping[str, bytes], generation: str) -> None:
        """
        All at once, as Kubernetes does with a secret's: the files are links through C{..data},
        itself a link to a directory, which is exchanged.
        """
        whole = Directory(self.file(generation))
        whole.write(files)
        os.symlink(generation, self.file("..data_tmp"))
        os.rename(self.file("..data_tmp"), self.file("..data"))
        for name in files:
            if not os.path.lexists(self.file(name)):
                os.symlink(os.path.join("..data", name), self.file(name))

    def remove(self, name: str) -> None:
        os.remove(self.file(name))


def _secret(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
