"""
Who a certificate says its holder is, and whether that is somebody we accept.

Reading the subject alternative names, the rules of SPIFFE, and the comparison with the
accepted identities belong here.  Whether the certificate is to be believed does not: the
chain has been verified, or refused, before anyone asks this module.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import (
    DNS_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    ServiceID,
    verify_service_identity,
)

from mxproxy.tls.settings import Comparison, NameKind, NameMatcher, TLSConfigurationError

SPIFFE = "spiffe://"

# Both bounds: SPIFFE-ID, section 2.3.
MAX_SPIFFE_ID = 2048
MAX_TRUST_DOMAIN = 255

# SPIFFE-ID, sections 2.1 and 2.2.
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.+|urn:.+", re.IGNORECASE)


@dataclass(frozen=True)
class Identities:
    """
    The subject alternative names of one certificate, each kind in the certificate's order.
    """

    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()

    @property
    def principals(self) -> tuple[str, ...]:
        """
        The names a peer is called by: its URIs, then its DNS names.

        An address is where somebody is, not who, and is none of them.
        """
        return self.uris + self.dns

    @property
    def principal(self) -> str | None:
        """
        The first URI, else the first DNS name, else C{None}.
        """
        return next(iter(self.principals), None)

    @property
    def everything(self) -> tuple[str, ...]:
        """
        All names, for a log line.
        """
        return self.uris + self.dns + self.ips + self.emails


def readIdentities(certificate: x509.Certificate) -> Identities:
    """
    Read the subject alternative names; the subject's common name is none of them.

    @raise Exception: of many kinds, when the extensions cannot be parsed.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return Identities()
    names = extension.value
    return Identities(
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        dns=tuple(names.get_values_for_type(x509.DNSName)),
        ips=tuple(str(ip) for ip in names.get_values_for_type(x509.IPAddress)),
        emails=tuple(names.get_values_for_type(x509.RFC822Name)),
    )


def faultOfSVID(certificate: x509.Certificate, identities: Identities) -> str:
    """
    Hold a certificate that claims a SPIFFE ID to the rules of X509-SVID, section 5.2.

    A certificate without a SPIFFE ID is no SVID, and without fault.  One with several URIs
    is refused whole, as the specification demands: picking one of them would let the
    certificate's order decide who the peer is in a log or a policy.  (Envoy's default
    validator is laxer and takes any of them.)  The characters of a peer's SPIFFE ID are
    not judged: it is only ever compared as a whole.

    @return: the rule that is broken, or C{""}.
    """
    ids = [uri for uri in identities.uris if uri[: len(SPIFFE)].lower() == SPIFFE]
    if not ids:
        return ""
    if len(identities.uris) > 1:
        return "it has a SPIFFE ID and more than one URI"
    if not ids[0][len(SPIFFE) :].partition("/")[2]:
        return "its SPIFFE ID has no path, so it is not a workload's"
    if _maySign(certificate):
        return "it has a SPIFFE ID but may sign certificates, so it is not a workload's"
    return ""


def _maySign(certificate: x509.Certificate) -> bool:
    """
    Whether the certificate is fit to sign others.
    """
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            return True
        if isinstance(value, x509.KeyUsage) and (value.key_cert_sign or value.crl_sign):
            return True
    return False


@dataclass(frozen=True)
class AcceptedURI:
    """
    A URI, compared as a whole: every byte counts, and there is no prefix or wildcard.
    """

    uri: str

    def matches(self, identities: Identities) -> bool:
        """
        Whether the certificate has this URI.
        """
        return self.uri in identities.uris


@dataclass(frozen=True)
class AcceptedName:
    """
    A DNS name or an IP address, compared by service-identity as RFC 6125 and RFC 2818 say.
    """

    service: ServiceID

    def matches(self, identities: Identities) -> bool:
        """
        Whether the certificate covers this name, by a wildcard of its own if need be.
        """
        try:
            verify_service_identity(_patterns(identities), [self.service], [])
        except (VerificationError, CertificateError):
            return False
        return True


@dataclass(frozen=True)
class AcceptedPattern:
    """
    A name that is compared as Envoy's C{SubjectAltNameMatcher} compares.

    @ivar compare: whether a name of that kind will do.
    """

    kind: NameKind
    compare: Callable[[str], bool]

    def matches(self, identities: Identities) -> bool:
        """
        Whether the certificate has a name like that.
        """
        return any(map(self.compare, _NAMES[self.kind](identities)))


_NAMES: dict[NameKind, Callable[[Identities], tuple[str, ...]]] = {
    NameKind.EMAIL: lambda identities: identities.emails,
    NameKind.DNS: lambda identities: identities.dns,
    NameKind.URI: lambda identities: identities.uris,
    NameKind.IP_ADDRESS: lambda identities: identities.ips,
}

Accepted = AcceptedURI | AcceptedName | AcceptedPattern


def acceptedPattern(matcher: NameMatcher) -> AcceptedPattern:
    """
    @raise TLSConfigurationError: it can match nothing.
    """
    return AcceptedPattern(matcher.kind, _comparison(matcher))


def _comparison(matcher: NameMatcher) -> Callable[[str], bool]:
    text, comparison = matcher.text, matcher.comparison
    if comparison is Comparison.REGEX:
        # As in Envoy, which ignores the case of everything but these.
        try:
            pattern = re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise TLSConfigurationError(f"{text!r} is no regular expression: {error}") from error
        return lambda name: pattern.fullmatch(name) is not None
    if comparison is Comparison.EXACT and matcher.kind is NameKind.DNS:
        return lambda name: _covers(name.lower(), text.lower())
    if comparison is Comparison.EXACT and matcher.kind is NameKind.IP_ADDRESS:
        with suppress(ValueError):
            # However a person writes it: 2001:db8::0:1 is 2001:db8::1.
            text = str(ipaddress.ip_address(text))
    fold: Callable[[str], str] = str.lower if matcher.ignore_case else str
    wanted = fold(text)
    if comparison is Comparison.EXACT:
        return lambda name: fold(name) == wanted
    if comparison is Comparison.PREFIX:
        return lambda name: fold(name).startswith(wanted)
    if comparison is Comparison.SUFFIX:
        return lambda name: fold(name).endswith(wanted)
    return lambda name: wanted in fold(name)


def _covers(name: str, wanted: str) -> bool:
    """
    Whether a certificate's DNS name is C{wanted}, or a wildcard for it: one whole label, and
    not of a top-level domain.
    """
    if name == wanted:
        return True
    label, _, domain = wanted.partition(".")
    return bool(label) and "." in domain and name == f"*.{domain}"


def _patterns(identities: Identities) -> list[CertificatePattern]:
    """
    The DNS names and addresses as service-identity's patterns.

    Not by its C{extract_patterns}: that parses the URIs too, and raises a bare
    C{ValueError} on any with a second colon, such as C{urn:uuid:…}, so that a
    certificate with a good DNS name beside it could not be used.
    """
    patterns: list[CertificatePattern] = []
    for name in identities.dns:
        # A name such as "*" or "a.*.b" matches nothing; the others still may.
        with suppress(CertificateError):
            patterns.append(DNSPattern.from_bytes(name.encode("utf-8")))
    patterns += [IPAddressPattern(ipaddress.ip_address(ip)) for ip in identities.ips]
    return patterns


def accepts(accepted: Iterable[Accepted], identities: Identities) -> bool:
    """
    Whether one of the accepted identities is among those the certificate proves.
    """
    return any(one.matches(identities) for one in accepted)


def parseAccepted(text: str) -> Accepted:
    """
    Read one accepted identity as an operator writes it.

    @raise TLSConfigurationError: it is none, or a SPIFFE ID that no certificate may have.
    """
    with suppress(ValueError):
        return AcceptedName(IPAddress_ID(text))
    if text[: len(SPIFFE)].lower() == SPIFFE:
        _checkSpiffeID(text)
        return AcceptedURI(text)
    if _URI.fullmatch(text):
        return AcceptedURI(text)
    if ":" in text:
        raise TLSConfigurationError(
            f"{text!r} is no identity: write a DNS name or an IP address without port or "
            "brackets, or a URI such as spiffe://trust-domain/path"
        )
    try:
        return AcceptedName(DNS_ID(text))
    except (ValueError, ImportError):
        raise TLSConfigurationError(
            f"{text!r} is no identity: write a DNS name without wildcard, an IP address, or "
            "a URI such as spiffe://trust-domain/path"
        ) from None


def _checkSpiffeID(text: str) -> None:
    """
    Refuse what SPIFFE-ID, section 2, refuses, and what no workload can have.
    """

    def refuse(why: str) -> TLSConfigurationError:
        return TLSConfigurationError(f"{text[:300]!r} is no SPIFFE ID of a workload: {why}")

    if len(text) > MAX_SPIFFE_ID:
        raise refuse(f"it is longer than {MAX_SPIFFE_ID} bytes")
    if not text.startswith(SPIFFE):
        raise refuse("write the scheme in lower case")
    domain, _, path = text[len(SPIFFE) :].partition("/")
    if not _TRUST_DOMAIN.fullmatch(domain) or len(domain) > MAX_TRUST_DOMAIN:
        raise refuse(
            "its trust domain must be 1 to 255 of a-z, 0-9, '.', '-' and '_', without a port"
        )
    if not path:
        raise refuse("it has no path after the trust domain")
    for segment in path.split("/"):
        if not _SEGMENT.fullmatch(segment) or segment in (".", ".."):
            raise refuse(
                f"{segment!r} in its path is not allowed: a part is of letters, digits, '.', "
                "'-' and '_', not empty, and neither '.' nor '..'"
            )
