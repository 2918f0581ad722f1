"""
What is in a set of certificates, and what a log says of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509

from mxproxy.tls.expiry import Lifetime
from mxproxy.tls.identity import Identities, readIdentities
from mxproxy.tls.pem import certificates, serialInHex, stamp
from mxproxy.tls.revocation import listsOf, nameOf
from mxproxy.tls.settings import PEM, TLSSettings

_NAMED = 3


@dataclass(frozen=True)
class Contents:
    """
    What a set holds.

    @ivar settings: what it was read with.
    @ivar certificate: the own one, or C{None}.
    @ivar authorities: the trusted ones.
    @ivar lists: of revoked ones.
    @ivar lifetimes: what to watch of them.
    """

    settings: TLSSettings
    certificate: x509.Certificate | None
    authorities: Sequence[x509.Certificate]
    lists: Sequence[x509.CertificateRevocationList]

    @property
    def lifetimes(self) -> Sequence[Lifetime]:
        """
        What to watch of it, always in the same order.
        """
        return tuple(self._lifetimes())

    def _lifetimes(self) -> Iterator[Lifetime]:
        own, authorities = self.certificate, self.authorities
        if own is not None:
            yield Lifetime(
                f"the certificate in {_origin(self.settings.certificate)}",
                own.not_valid_before_utc,
                own.not_valid_after_utc,
                "peers will refuse it",
            )
        if authorities:
            # Of a bundle some may be old ones on their way out: the last one counts.
            last = max(authorities, key=lambda one: one.not_valid_after_utc)
            yield Lifetime(
                f"the {'last ' if len(authorities) > 1 else ''}CA certificate in "
                f"{_origin(self.settings.authorities)}",
                last.not_valid_before_utc,
                last.not_valid_after_utc,
                "no peer will be trusted",
            )
        for one in self.lists:
            if one.next_update_utc is not None:
                yield Lifetime(
                    f"the CRL of {nameOf(one.issuer)} in {self._listsOrigin()}",
                    one.last_update_utc,
                    one.next_update_utc,
                    "every certificate of that CA will be refused",
                )

    def _listsOrigin(self) -> str:
        return _origin(self.settings.crl or self.settings.authorities)

    # -- in words

    def inUse(self) -> str:
        """
        What is in use, where something newer is not good.
        """
        if self.certificate is not None:
            return f"the certificate of {certificateInWords(self.certificate)}"
        if self.authorities:
            return _authoritiesInWords(self.authorities)
        return "the old ones"

    def insteadOf(self, before: Contents) -> str:
        """
        What is new in it.
        """
        return "; ".join(self._new(before)) or "the same certificates, found elsewhere"

    def _new(self, before: Contents) -> Iterator[str]:
        if self.certificate != before.certificate:
            if self.certificate is None:
                yield "no certificate of our own"
            else:
                yield (
                    f"the certificate in {_origin(self.settings.certificate)}, "
                    f"{certificateInWords(self.certificate)}"
                )
        elif _text(self.settings.certificate) != _text(before.settings.certificate):
            yield f"another chain above the certificate in {_origin(self.settings.certificate)}"
        if _text(self.settings.key) != _text(before.settings.key) and (
            self.certificate == before.certificate
        ):
            yield f"the key in {_origin(self.settings.key)}"
        if list(self.authorities) != list(before.authorities):
            where = _origin(self.settings.authorities)
            yield f"{_authoritiesInWords(self.authorities)} in {where}"
        if list(self.lists) != list(before.lists):
            yield f"{_listsInWords(self.lists)} in {self._listsOrigin()}"
        if self.settings.accepted != before.settings.accepted:
            names = ", ".join(map(str, self.settings.accepted[:_NAMED]))
            yield f"accepting {names or 'whoever a CA has signed'}"


def contentsOf(settings: TLSSettings) -> Contents:
    """
    @raise mxproxy.tls.settings.TLSConfigurationError: the settings cannot be used.
    """
    own = None
    if settings.certificate is not None:
        own = certificates(settings.certificate, "certificate")[0]
    authorities: Sequence[x509.Certificate] = ()
    if settings.authorities is not None:
        authorities = certificates(settings.authorities, "CA certificate")
    return Contents(settings, own, authorities, listsOf(settings))


def certificateInWords(certificate: x509.Certificate) -> str:
    """
    Which certificate it is, and how long it is good for.
    """
    try:
        names = readIdentities(certificate)
    except Exception:  # noqa: BLE001
        # OpenSSL is content with more than cryptography; what that raises is of many kinds.
        names = Identities()
    parts = [f"serial {serialInHex(certificate.serial_number)}", *names.principals[:_NAMED]]
    return f"{', '.join(parts)}, valid until {stamp(certificate.not_valid_after_utc)}"


def _authoritiesInWords(authorities: Sequence[x509.Certificate]) -> str:
    if not authorities:
        return "no CA certificate"
    one = len(authorities) == 1
    names = ", ".join(
        f"{nameOf(each.subject)} until {stamp(each.not_valid_after_utc)}"
        for each in authorities[:_NAMED]
    )
    more = f" and {len(authorities) - _NAMED} more" if len(authorities) > _NAMED else ""
    return f"the CA certificate{'' if one else 's'} of {names}{more}"


def _listsInWords(lists: Sequence[x509.CertificateRevocationList]) -> str:
    if not lists:
        return "no CRL"
    names = []
    for one in lists[:_NAMED]:
        ends = "" if one.next_update_utc is None else f" until {stamp(one.next_update_utc)}"
        names.append(f"{nameOf(one.issuer)}, {len(one)} revoked,{ends}".rstrip(","))
    more = f" and {len(lists) - _NAMED} more" if len(lists) > _NAMED else ""
    return f"the CRL{'' if len(lists) == 1 else 's'} of {'; '.join(names)}{more}"


def _origin(source: PEM | None) -> str:
    return "nowhere" if source is None else source.origin


def _text(source: PEM | None) -> bytes | None:
    return None if source is None else source.text
