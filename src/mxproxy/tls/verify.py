"""
Judging a peer's certificate in the middle of the handshake, and keeping the verdict.

OpenSSL's verification callback and what it records of a connection belong here.  The rules
for identities are L{mxproxy.tls.identity}'s, the words for a refusal
L{mxproxy.tls.explain}'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import NamedTuple

from cryptography import x509
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

_Codes = SSL.X509VerificationCodes
_GOOD: int = _Codes.OK

#: How many certificates that were accepted a L{Verifier} knows again.
KNOWN = 256


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


class _Known(NamedTuple):
    """
    A certificate that was accepted.
    """

    identities: Identities
    parsed: x509.Certificate


def _encoded(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


class Record:
    """
    What the callbacks learn of one connection; it is the connection's app data.

    It refers to no connection and no context, so that no cycle has to be collected.

    @ivar offered: the ALPN names that the client offered.
    @ivar own: the certificate that we show, or would if we were asked; C{None} without one.
    @ivar identities: what the peer's certificate proves; C{None} until it is verified.
    @ivar certificate: that one.
    @ivar failure: why it was refused, or C{None}.
    """

    __slots__ = ("certificate", "failure", "identities", "offered", "own")

    def __init__(self, offered: tuple[str, ...] = (), own: x509.Certificate | None = None) -> None:
        self.offered = offered
        self.own = own
        self.identities: Identities | None = None
        self.certificate: crypto.X509 | None = None
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


class Verifier:
    """
    Judges each certificate of a chain as OpenSSL has, and the peer's own by its identity too.

    It is a verification callback.  OpenSSL calls from the root down, and last for the peer's
    own certificate.  A refusal here, inside the handshake, reaches the peer as an alert, and not
    a byte of ours has been written.  (The alert for a refusal of ours is C{internal_error}:
    OpenSSL picks it by an error number that pyOpenSSL does not let a callback set.)
    """

    def __init__(
        self,
        accepted: tuple[str | NameMatcher, ...],
        lists: Sequence[x509.CertificateRevocationList] = (),
        required: bool = True,
    ) -> None:
        """
        @param lists: of what is revoked; here for resumed sessions only.
        @param required: whether a peer has to have a certificate.
        @raise TLSConfigurationError: what is accepted is no identity.
        """
        self._matchers: tuple[Accepted, ...] = tuple(
            acceptedPattern(one) if isinstance(one, NameMatcher) else parseAccepted(one)
            for one in accepted
        )
        self._names = tuple(map(str, accepted))
        self._lists = lists
        self._required = required
        # Those of a mesh come again and again.  What is said of a good one depends on nothing but
        # its bytes; whether it is good is asked each time.
        self._known: dict[bytes, _Known] = {}

    def __call__(
        self,
        connection: SSL.Connection,
        certificate: crypto.X509,
        number: int,
        depth: int,
        good: int,
    ) -> bool:
        """
        See L{SSL.Context.set_verify}.
        """
        if good and depth > 0:
            return True
        # With a good certificate, the number may be left over from an earlier check.
        encoded = _encoded(certificate)
        return self._record(connection, certificate, encoded, _GOOD if good else number, depth)

    def again(self, connection: SSL.Connection) -> bool:
        """
        Judge the certificate of a session that was resumed, and for which nobody has called
        us: by its own dates, by the lists, and by its identity.  OpenSSL has verified it when
        the session was made, in this same context.

        @return: whether it is accepted; if not, why is in the connection's L{Record}.
        """
        certificate = connection.get_peer_certificate()
        if certificate is None:
            if self._required:
                record = recordOf(connection)
                record.failure = VerificationFailure(0, _GOOD, "the session is nobody's")
            return not self._required
        encoded = _encoded(certificate)
        known = self._known.get(encoded)
        try:
            number = self._numberNow(known.parsed if known else certificate.to_cryptography())
        except ValueError:
            number = _GOOD  # What cannot be read is refused below, in its own words.
        return self._record(connection, certificate, encoded, number, 0)

    def _record(
        self,
        connection: SSL.Connection,
        certificate: crypto.X509,
        encoded: bytes,
        number: int,
        depth: int,
    ) -> bool:
        record = recordOf(connection)
        known = self._known.get(encoded)
        if number == _GOOD and known is not None:
            record.identities, record.certificate = known.identities, certificate
            return True
        verdict = _judge(certificate, number, depth, self._matchers, self._names)
        if isinstance(verdict, Identities):
            record.identities, record.certificate = verdict, certificate
            self._remember(encoded, _Known(verdict, certificate.to_cryptography()))
            return True
        record.failure = verdict
        return False

    def _remember(self, encoded: bytes, known: _Known) -> None:
        if len(self._known) >= KNOWN:
            # The oldest.
            del self._known[next(iter(self._known))]
        self._known[encoded] = known

    def _numberNow(self, certificate: x509.Certificate) -> int:
        """
        What OpenSSL would say of the certificate today.
        """
        now = datetime.now(timezone.utc)
        number: int = _GOOD
        if certificate.not_valid_before_utc > now:
            number = _Codes.ERR_CERT_NOT_YET_VALID
        elif certificate.not_valid_after_utc <= now:
            number = _Codes.ERR_CERT_HAS_EXPIRED
        elif self._lists:
            number = self._listed(certificate, now)
        return number

    def _listed(self, certificate: x509.Certificate, now: datetime) -> int:
        number: int = _GOOD
        own = [one for one in self._lists if one.issuer == certificate.issuer]
        serial = certificate.serial_number
        if not own:
            number = _Codes.ERR_UNABLE_TO_GET_CRL
        elif all(_isOver(one, now) for one in own):
            number = _Codes.ERR_CRL_HAS_EXPIRED
        elif any(one.get_revoked_certificate_by_serial_number(serial) for one in own):
            number = _Codes.ERR_CERT_REVOKED
        return number


def _isOver(one: x509.CertificateRevocationList, now: datetime) -> bool:
    return one.next_update_utc is not None and one.next_update_utc <= now


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
