"""
A profile is what it is called for: versions and suites, on both sides.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tls.settings import TLSConfigurationError, TLSProfile, TLSVersion
from tests.tls.memory import VERSIONS, client, server, shake

TLS12, TLS13 = VERSIONS


class ProfileTests(SynchronousTestCase):
    def suites(self, profile: TLSProfile) -> list[str]:
        return [
            name
            for name in server(profile=profile).connection().get_cipher_list()
            if name.startswith("TLS_") or profile is TLSProfile.INTERMEDIATE
        ]

    def test_intermediate(self) -> None:
        for version in VERSIONS:
            pair = shake(client(version=version), server())
            self.assertEqual(pair.server.facts.version, version.value)

    def test_modern(self) -> None:
        for sides in (
            {"client": {"profile": TLSProfile.MODERN}, "server": {"maximum": TLS12}},
            {"client": {"maximum": TLS12}, "server": {"profile": TLSProfile.MODERN}},
        ):
            pair = shake(client(**sides["client"]), server(**sides["server"]))  # type: ignore[arg-type]
            whys = {pair.client.why.partition(":")[0], pair.server.why.partition(":")[0]}
            self.assertIn("protocol_version", whys)
        modern: Any = {"profile": TLSProfile.MODERN}
        self.assertEqual(shake(client(**modern), server()).server.facts.version, TLS13.value)
        self.assertEqual(shake(client(), server(**modern)).server.facts.version, TLS13.value)

    def test_suites(self) -> None:
        """
        AEAD and forward secrecy, and nothing else.
        """
        found = self.suites(TLSProfile.INTERMEDIATE)
        self.assertEqual(len(found), 9)
        for name in found:
            self.assertRegex(name, r"^(ECDHE-(ECDSA|RSA)-|TLS_)(AES|CHACHA20)")
            self.assertRegex(name, r"GCM|POLY1305")
        self.assertEqual(
            self.suites(TLSProfile.MODERN),
            ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
        )

    def test_nothingLeft(self) -> None:
        error = self.assertRaises(
            TLSConfigurationError, server, profile=TLSProfile.MODERN, maximum=TLSVersion.TLS12
        )
        self.assertIn("the oldest TLS version to speak, TLSv1.3, is newer", str(error))
