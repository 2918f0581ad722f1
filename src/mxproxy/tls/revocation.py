"""
Lists of revoked certificates (CRLs): reading them, and what to say of them beforehand.

What a list means for a peer is decided by OpenSSL, as it is for Envoy: with any list at all,
each certificate that is looked up has to have a list of its issuer's that is in force.  A
list that has expired, or that is missing, so refuses everybody it would be asked about;
that is why both are warned of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from mxproxy.tls.pem import oneLine, read
from mxproxy.tls.settings import PEM, TLSConfigurationError, TLSSettings

_BEGIN = b"-----BEGIN X509 CRL-----"
_BLOCK = re.compile(_BEGIN + rb".*?-----END X509 CRL-----", re.DOTALL)

#: How many authorities a warning names.
_NAMED = 5


def revocationLists(source: PEM) -> Sequence[x509.CertificateRevocationList]:
    """
    The lists of a PEM text, at least one; other blocks in it are passed over.

    @raise TLSConfigurationError: it cannot be read, or has none, or a damaged one.
    """
    found = _parse(read(source, "CRL"), source)
    if not found:
        raise TLSConfigurationError(
            f"no PEM CRL in {source.origin}: it needs a block that begins with '{_BEGIN.decode()}'"
        )
    return found


def listsOf(settings: TLSSettings) -> Sequence[x509.CertificateRevocationList]:
    """
    All lists: of the file that is for them, and, as in Envoy, those between the CA
    certificates.

    @raise TLSConfigurationError: one cannot be used, or the file has none.
    """
    found: list[x509.CertificateRevocationList] = []
    if settings.authorities is not None:
        found += _parse(read(settings.authorities, "CA certificate"), settings.authorities)
    if settings.crl is not None:
        if settings.authorities is None:
            raise TLSConfigurationError(
                f"the CRL in {settings.crl.origin} comes without the CA certificates whose it is"
            )
        found += revocationLists(settings.crl)
    return found


def _parse(data: bytes, source: PEM) -> list[x509.CertificateRevocationList]:
    blocks = _BLOCK.findall(data)
    if len(blocks) != data.count(_BEGIN):
        raise TLSConfigurationError(
            f"a damaged CRL in {source.origin}: it has a beginning and no end: write the file anew"
        )
    try:
        return [x509.load_pem_x509_crl(block) for block in blocks]
    except ValueError as error:
        raise TLSConfigurationError(
            f"a damaged CRL in {source.origin}: {oneLine(error)}: write the file anew"
        ) from error


def listsToWatch(
    settings: TLSSettings,
    authorities: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
) -> tuple[str, ...]:
    """
    Warn of what makes peers be refused that nobody has revoked: authorities without a list.
    That a list ends, and when, is L{mxproxy.tls.expiry}'s.

    @return: no line or one.
    """
    source = settings.crl or settings.authorities
    if not lists or source is None:
        return ()
    without = [one for one in authorities if not any(_isOf(two, one) for two in lists)]
    if without:
        named = ", ".join(nameOf(one.subject) for one in without[:_NAMED])
        more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        what = f"there is no CRL of {named}{more} in {source.origin}"
        return (f"{what}: every certificate of that CA is refused",)
    return ()


def _isOf(one: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if one.issuer != authority.subject:
        return False
    try:
        # A key that signs nothing is a TypeError.
        return one.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def nameOf(name: x509.Name) -> str:
    """
    A CA's name as a log has it.
    """
    return name.rfc4514_string() or "a CA without a name"
