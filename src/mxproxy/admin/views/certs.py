"""
The certificates in use: Envoy's C{/certs}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509

from ...tls.expiry import daysUntil, utcNow
from ...tls.identity import readIdentities
from ...tls.pem import stamp
from ...tls.settings import PEM

if TYPE_CHECKING:
    from ...service import ProxyService


def take(service: ProxyService, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    @return: one for each set of files: C{ca_cert} and C{cert_chain}.
    """
    now = utcNow()
    return [
        {
            "ca_cert": [
                _describe(one, contents.settings.authorities, now) for one in contents.authorities
            ],
            "cert_chain": [
                _describe(one, contents.settings.certificate, now)
                for one in [contents.certificate]
                if one is not None
            ],
        }
        for contents in service.certificates.contents()
    ]


def merge(
    values: Sequence[list[dict[str, Any]]], arguments: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """
    Workers have the same, but for the moment in which one has renewed them and another has not.
    """
    merged: list[dict[str, Any]] = []
    for value in values:
        merged += [one for one in value if one not in merged]
    return merged


def _describe(certificate: x509.Certificate, source: PEM | None, now: datetime) -> dict[str, Any]:
    names = readIdentities(certificate)
    kinds = (("uri", names.uris), ("dns", names.dns), ("ip_address", names.ips))
    return {
        "path": "<inline>" if source is None or source.path is None else source.path,
        "serial_number": f"{certificate.serial_number:x}",
        "subject_alt_names": [{kind: name} for kind, every in kinds for name in every],
        "days_until_expiration": str(daysUntil(certificate.not_valid_after_utc, now)),
        "valid_from": stamp(certificate.not_valid_before_utc),
        "expiration_time": stamp(certificate.not_valid_after_utc),
    }
