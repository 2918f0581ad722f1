"""
What a TLS side is told: plain, frozen values.

Everything an operator can say about TLS belongs here, and the one error that says it was
said wrongly.  Nothing here reads a file, looks at a clock or imports OpenSSL: the
configuration is parsed, compared and printed without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class TLSConfigurationError(ValueError):
    """
    The settings cannot be used.

    Its text is one line: what is wrong, in which file, what to do about it.
    """


class TLSVersion(Enum):
    """
    A protocol version, by the name that OpenSSL and the access log use.

    Nothing older is offered: RFC 8996 forbids TLS 1.0 and 1.1.
    """

    TLS12 = "TLSv1.2"
    TLS13 = "TLSv1.3"


class TLSProfile(Enum):
    """
    A configuration by Mozilla's name for it; L{mxproxy.tls.profiles} knows what is in it.
    """

    INTERMEDIATE = "intermediate"
    MODERN = "modern"


class NameKind(Enum):
    """
    A kind of subject alternative name, by Envoy's name for it.
    """

    EMAIL = "EMAIL"
    DNS = "DNS"
    URI = "URI"
    IP_ADDRESS = "IP_ADDRESS"


class Comparison(Enum):
    """
    How a name is compared, by Envoy's word for it.
    """

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "safe_regex"


@dataclass(frozen=True)
class NameMatcher:
    """
    Identities that are accepted: those with a name like this.  Envoy's
    C{SubjectAltNameMatcher}.

    @ivar text: what is compared with; a whole DNS name may be covered by a wildcard of the
        certificate's, and a regular expression has to match the whole name.
    """

    kind: NameKind
    comparison: Comparison
    text: str
    ignore_case: bool = False

    def __str__(self) -> str:
        case = " in any case" if self.ignore_case else ""
        return f"{self.kind.value} {self.comparison.value} {self.text}{case}"


@dataclass(frozen=True)
class PEM:
    """
    One PEM text: in a file, given inline, or read from a file already.

    @ivar path: the file to read when a context is built; with C{text}, the one that it was
        read from; or C{None}.
    @ivar text: the text itself, or C{None}.  It may be a private key, so it is never
        part of the C{repr}.
    """

    path: str | None = None
    text: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.path is None and self.text is None:
            raise TLSConfigurationError("a PEM is given by a path or inline")

    @property
    def origin(self) -> str:
        """
        Where the text is from, for an error message.
        """
        return "the inline PEM" if self.path is None else repr(self.path)


@dataclass(frozen=True, eq=False)
class Discovered:
    """
    Where certificates come from when files of their own say where they are, as SDS's do.

    @ivar paths: those files.
    @ivar read: reads them again.  Of the settings that it returns, only those in
        L{RENEWABLE} count.  It may be called in another thread.
    """

    paths: tuple[str, ...]
    read: Callable[[], TLSSettings]


@dataclass(frozen=True)
class TLSSettings:
    """
    What both sides of TLS are told.

    @ivar certificate: the own chain, the own certificate first.
    @ivar key: the private key of the first certificate in it, not encrypted.
    @ivar authorities: the certificates trusted to sign a peer's; nothing else is.
    @ivar crl: lists of certificates that are revoked.  With one, as in Envoy, each
        certificate of a peer's chain has to have a current list of its issuer's.
    @ivar only_verify_leaf_cert_crl: look the peer's own certificate up only, not those of
        the authorities above it.
    @ivar alpn: protocol names, in the own order of preference.
    @ivar accepted: identities of which a peer has to prove one: C{spiffe://…} or another
        URI, a DNS name, an IP address; or a L{NameMatcher}.  Empty: whoever the
        authorities have signed.
    @ivar profile: the cipher suites, and the oldest version where it is newer than
        C{minimum}.
    @ivar minimum: the oldest version spoken.
    @ivar maximum: the newest version spoken.
    @ivar key_log: the file that secrets are appended to (L{mxproxy.tls.keylog}), or C{None}.
    @ivar resumable: C{False}: sessions are not resumed even where the proxy does that.
    @ivar discovered: where the certificates are to be looked for again, if not in the same
        files.
    """

    certificate: PEM | None = None
    key: PEM | None = None
    authorities: PEM | None = None
    crl: PEM | None = None
    only_verify_leaf_cert_crl: bool = False
    alpn: tuple[str, ...] = ()
    accepted: tuple[str | NameMatcher, ...] = ()
    profile: TLSProfile = TLSProfile.INTERMEDIATE
    minimum: TLSVersion = TLSVersion.TLS12
    maximum: TLSVersion = TLSVersion.TLS13
    key_log: str | None = None
    resumable: bool = True
    discovered: Discovered | None = field(default=None, compare=False, repr=False)


#: The fields of L{TLSSettings} that are PEM texts.
PEMS = ("certificate", "key", "authorities", "crl")

#: The fields that may change while the proxy runs.
RENEWABLE = (*PEMS, "only_verify_leaf_cert_crl", "accepted")


@dataclass(frozen=True)
class ServerTLS(TLSSettings):
    """
    What the accepting side is told; it needs a certificate and a key.

    @ivar require_client_certificate: refuse a client without a certificate.  When
        C{False}, a certificate that comes is still verified, if there are authorities to
        verify it with; this is what Envoy does.
    """

    require_client_certificate: bool = True


@dataclass(frozen=True)
class ClientTLS(TLSSettings):
    """
    What the connecting side is told.

    With a certificate and a key this is mutual TLS, and needs authorities.  Without, it
    is what Istio calls simple: the platform's trust store stands in for missing
    authorities, and the server proves C{server_name} unless C{accepted} says otherwise.

    @ivar server_name: the name asked for (SNI), when it is a DNS name.
    @ivar verify_name: whether in simple TLS the server has to prove it.
    @ivar verify: C{False}: whoever answers will do, with whatever certificate, and has no
        identity; this is what Envoy does when it is given no authorities.
    """

    server_name: str | None = None
    verify_name: bool = True
    verify: bool = True
