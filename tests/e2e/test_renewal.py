"""
Certificates that are renewed under a running sidecar, as Kubernetes does it and by a signal.

Keeps: new connections are shown the new certificate, an open one goes on, and files that do not
belong together change nothing and are complained of, once.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.e2e.mesh import ALPN, DB, WEB, EndToEnd, Sidecar
from tests.e2e.processes import program


class RenewalTests(EndToEnd):
    def volume(self, generation: str) -> tuple[Path, Path]:
        """
        Put a new generation of C{DB}'s certificate into its volume, all at once.

        @return: the paths of the certificate and the key, which are always the same.
        """
        volume = self.directory / "volume"
        (volume / generation).mkdir(parents=True)
        self.authority.issue(DB.principal).write(volume / generation, "tls")
        (volume / "..data_tmp").symlink_to(generation)
        os.replace(volume / "..data_tmp", volume / "..data")
        paths = volume / "tls.crt", volume / "tls.key"
        for path in paths:
            if not path.is_symlink():
                path.symlink_to(Path("..data", path.name))
        return paths

    def credential(self, workload: object) -> tuple[Path, Path]:
        if workload is not DB:
            return super().credential(WEB)
        volume = self.directory / "volume"
        if not volume.exists():
            return self.volume("..one")
        return volume / "tls.crt", volume / "tls.key"

    async def serial(self, path: Path) -> str:
        command = [program("openssl"), "x509", "-noout", "-serial", "-in", str(path)]
        return (await self.run_(command)).decode().strip()

    async def shown(self, sidecar: Sidecar) -> str:
        """
        The serial number of the certificate that a new connection is shown.
        """
        certificate, key = self.credential(WEB)
        client = self.start(
            [
                *(program("openssl"), "s_client", "-connect", f"127.0.0.1:{sidecar.port}"),
                *("-cert", str(certificate), "-key", str(key)),
            ]
        )
        said = await client.says(r"(?s)(-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----)")
        await client.stop()
        file = self.directory / "shown.crt"
        file.write_text(said[1])
        return await self.serial(file)

    async def test_renewed(self) -> None:
        application, upstream = await self.application()
        sidecar = await self.inbound(upstream, "--tls-reload-interval", "0.2")
        client = self.opensslClient(sidecar.port, self.credential(WEB), "-alpn", f"{ALPN},istio")
        client.write(WEB.prefix + b"before, ")
        server = await application.accepts()
        self.assertEqual(await server.reads(8), b"before, ")
        first = await self.serial(self.credential(DB)[0])
        self.assertEqual(await self.shown(sidecar), first)

        # A whole new set is taken by itself.
        certificate, _ = self.volume("..two")
        second = await self.serial(certificate)
        await sidecar.child.says(r"renewed: the certificate in '[^']*tls.crt'")
        self.assertEqual(await self.shown(sidecar), second)

        # Half a set is not, and a signal does not make it better.
        other = self.authority.issue(DB.principal)
        (self.directory / "volume" / "..two" / "tls.key").write_bytes(other.key_pem)
        await sidecar.child.says(r"not renewed: the key in '[^']*tls.key' does not match")
        self.assertEqual(await self.shown(sidecar), second)

        # The other half; the signal asks for it at once.
        (self.directory / "volume" / "..two" / "tls.crt").write_bytes(other.cert_pem)
        sidecar.child.signal(signal.SIGHUP)
        third = await self.serial(certificate)
        await sidecar.child.says(rf"renewed: [^\n]*{third.removeprefix('serial=')}")
        self.assertEqual(await self.shown(sidecar), third)
        self.assertEqual(len({first, second, third}), 3)

        client.write(b"after")
        self.assertEqual(await server.reads(5), b"after")
