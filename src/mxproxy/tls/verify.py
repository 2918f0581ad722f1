"""
Judging a peer's certificate in the middle of the handshake, and keeping the verdict.

OpenSSL's verification callback and what it records of a connection belong here.  The rules
for identities are L{mxproxy.tls.identity}'s, the words for a refusal
L{mxproxy.tls.explain}'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from OpenSSL import SSL, crypto

from mxproxy.tls.identity import (
    Accepted,
    Identities,
    acceptedPattern,
    accepts,
    faultOfSVID,
    parseAccepted,
    readIdentities,
)
from mxproxy.tls.pem import oneLine
from mxproxy.tls.settings import NameMatcher

_GOOD: int = SSL.X509VerificationCodes.OK


@dataclass(frozen=True)
class VerificationFailure:
    """
    Why a peer's certificate was refused.

    @ivar depth: 0 for the peer's own certificate, 1 for the one that signed it, …
    @ivar number: OpenSSL's C{X509_V_ERR_…}; 0 when the chain is good and the refusal ours.
    @ivar reason: why the certificate cannot be used though its chain is good, or C{""}.
    @ivar serial: the certificate's serial number; C{None} if that cannot be read.
    @ivar subject: the certificate's subject, RFC 4514.
    @ivar issuer: the same of its issuer.
    @ivar names: all of its subject alternative names.
    @ivar not_before: when it begins to be valid; C{None} if that cannot be read.
    @ivar not_after: when it ends.
    @ivar accepted: what would have been accepted; empty when that is not the point.
    """

    depth: int
    number: int
    reason: str = ""
    subject: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None
    accepted: tuple[str, ...] = ()
    serial: int | None = None


class Record:
    """
    What the callbacks learn of one connection; it is the connection's app data.

    It refers to no connection and no context, so that no cycle has to be collected.

    @ivar offered: the ALPN names that the client offered.
    @ivar identities: what the peer's certificate proves; C{None} until it is verified.
    @ivar failure: why it was refused, or C{None}.
    """

    __slots__ = ("failure", "identities", "offered")

    def __init__(self, offered: tuple[str, ...] = ()) -> None:
        self.offered = offered
        self.identities: Identities | None = None
        self.failure: VerificationFailure | None = None

    def __repr__(self) -> str:
        return f"<Record identities={self.identities} failure={self.failure}>"


def recordOf(connection: SSL.Connection) -> Record:
    """
    What has been recorded of a connection that L{mxproxy.tls.context} made.
    """
    record = connection.get_app_data()
    if not isinstance(record, Record):
        raise TypeError(f"{connection!r} was not made by mxproxy.tls.context")
    return record


def verifier(
    accepted: tuple[str | NameMatcher, ...],
) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    """
    Make a callback that judges each certificate of a chain as OpenSSL has, and the peer's
    own by its identity too.

    OpenSSL calls from the root down, and last for the peer's own certificate.  A refusal
    here, inside the handshake, reaches the peer as an alert, and not a byte of ours has
    been written.  (The alert for a refusal of ours is C{internal_error}: OpenSSL picks it by
    an error number that pyOpenSSL does not let a callback set.)

    @raise TLSConfigurationError: what is accepted is no identity.
    """
    matchers: tuple[Accepted, ...] = tuple(
        acceptedPattern(one) if isinstance(one, NameMatcher) else parseAccepted(one)
        for one in accepted
    )
    names = tuple(map(str, accepted))

    def verify(
        connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, good: int
    ) -> bool:
        if good and depth > 0:
            return True
        record = recordOf(connection)
        # With a good certificate, the number may be left over from an earlier check.
        verdict = _judge(certificate, _GOOD if good else number, depth, matchers, names)
        if isinstance(verdict, Identities):
            record.identities = verdict
            return True
        record.failure = verdict
        return False

    return verify


def _judge(
    certificate: crypto.X509,
    number: int,
    depth: int,
    matchers: tuple[Accepted, ...],
    accepted: tuple[str, ...],
) -> Identities | VerificationFailure:
    """
    The identities of the peer's own certificate, or why the handshake ends.
    """
    try:
        parsed = certificate.to_cryptography()
        identities = readIdentities(parsed)
        reason, mismatch = "", False
        if number == _GOOD:
            reason = faultOfSVID(parsed, identities)
            mismatch = not reason and bool(matchers) and not accepts(matchers, identities)
            if not reason and not mismatch:
                return identities
        return VerificationFailure(
            depth,
            number,
            reason,
            subject=parsed.subject.rfc4514_string(),
            issuer=parsed.issuer.rfc4514_string(),
            names=identities.everything,
            not_before=parsed.not_valid_before_utc,
            not_after=parsed.not_valid_after_utc,
            accepted=accepted if mismatch else (),
            serial=parsed.serial_number,
        )
    except Exception as error:  # noqa: BLE001
        # cryptography parses a certificate bit by bit, and more strictly than OpenSSL; what
        # it raises on hostile bytes is not of one type.  Whatever it is, it may not leave
        # an OpenSSL callback: pyOpenSSL would raise it as if it were our own defect.
        return VerificationFailure(depth, number, f"it cannot be read: {oneLine(error)}")
