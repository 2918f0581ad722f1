"""
Versions and cipher suites by a name: Mozilla's guideline,
U{https://wiki.mozilla.org/Security/Server_Side_TLS}, version 5.7.

Left out of the guideline's intermediate profile are its DHE suites: those need Diffie-Hellman
parameters of our own, and whoever speaks TLS 1.2 with AEAD suites speaks ECDHE too.  As it
says, the client's order decides.  Its suites of TLS 1.3 are the three of OpenSSL's default.

The groups are OpenSSL's default, strongest first where both sides have it: its hybrid of X25519
with ML-KEM, X25519, the NIST curves, and last finite fields.  The guideline has fewer, but
pyOpenSSL can name one group, not a list, and one would be all that is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from OpenSSL import SSL

from mxproxy.tls.settings import TLSConfigurationError, TLSProfile, TLSSettings, TLSVersion

_VERSIONS = {
    TLSVersion.TLS12: SSL.TLS1_2_VERSION,
    TLSVersion.TLS13: SSL.TLS1_3_VERSION,
}

_ECDHE_AEAD = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_TLS13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"


@dataclass(frozen=True)
class _Profile:
    oldest: TLSVersion
    suites12: bytes
    suites13: bytes


_PROFILES = {
    TLSProfile.INTERMEDIATE: _Profile(TLSVersion.TLS12, _ECDHE_AEAD, _TLS13),
    # No suite of TLS 1.2 is ever offered, but a context cannot be without one.
    TLSProfile.MODERN: _Profile(TLSVersion.TLS13, _ECDHE_AEAD, _TLS13),
}


def useProfile(context: SSL.Context, settings: TLSSettings) -> None:
    """
    Have a context speak the versions and offer the suites that the settings say.

    @raise TLSConfigurationError: no version is left.
    """
    profile = _PROFILES[settings.profile]
    oldest = max(settings.minimum, profile.oldest, key=_VERSIONS.__getitem__)
    minimum, maximum = _VERSIONS[oldest], _VERSIONS[settings.maximum]
    if minimum > maximum:
        raise TLSConfigurationError(
            f"the oldest TLS version to speak, {oldest.value}, is newer than the "
            f"newest, {settings.maximum.value}: swap them"
        )
    context.set_min_proto_version(minimum)
    context.set_max_proto_version(maximum)
    context.set_cipher_list(profile.suites12)
    context.set_tls13_ciphersuites(profile.suites13)
