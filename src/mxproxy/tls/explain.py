"""
Why a handshake failed, in one line for a person.

Only words belong here.  Each line begins with a token that stays the same over releases,
so that it can be searched, counted and alerted on; what follows it may be reworded.
"""

from __future__ import annotations

from collections.abc import Iterable

from OpenSSL import SSL

from mxproxy.tls.pem import serialInHex, stamp
from mxproxy.tls.verify import VerificationFailure, recordOf

# What of a peer's text goes into a line.  A DNS name has 253 characters at most, SPIFFE IDs
# as Istio writes them seldom more than 150; a certificate may hold megabytes of either.
MAX_TEXT = 256
MAX_NAMES = 5

_Codes = SSL.X509VerificationCodes

_UNKNOWN_CA = {
    _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT,
    _Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
    _Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN,
    _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
    _Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
}

_NO_LIST = {
    _Codes.ERR_UNABLE_TO_GET_CRL: "there is no CRL",
    _Codes.ERR_UNABLE_TO_GET_CRL_ISSUER: "nobody trusted has signed the CRL",
    _Codes.ERR_CRL_SIGNATURE_FAILURE: "another CA has signed the CRL",
    _Codes.ERR_CRL_NOT_YET_VALID: "it is too early for the CRL",
    _Codes.ERR_CRL_HAS_EXPIRED: "there is no newer CRL than the expired one",
}

# OpenSSL has words for its numbers, pyOpenSSL only the constants' names.  The last three it
# does not have; they are those of a certificate that is too weak (openssl/x509_vfy.h).
_NAMES = {
    number: name.removeprefix("ERR_").lower().replace("_", " ")
    for name, number in vars(_Codes).items()
    if name.startswith("ERR_")
} | {66: "key too small", 67: "authority's key too small", 68: "authority's digest too weak"}

_NOT_TLS = {
    "http request": "the peer speaks HTTP without TLS",
    "https proxy request": "the peer takes this for an HTTP proxy",
    "wrong version number": "the peer speaks another protocol without TLS",
    # What OpenSSL 3 makes of text whose fourth and fifth byte are too big for a length.
    "packet length too long": "the peer speaks another protocol without TLS",
}

_NO_COMMON_VERSION = {
    "unsupported protocol",
    "wrong ssl version",
    "no protocols available",
    "inappropriate fallback",
    "version too low",
}

_NO_COMMON_ALGORITHM = {
    "no suitable signature algorithm",
    "no shared signature algorithms",
    "no suitable groups",
    "no suitable key share",
}

_PROTOCOL_ERROR = {
    "unexpected message",
    "unexpected record",
    "bad signature",
    "data length too long",
    "length mismatch",
    "length too short",
    "bad length",
    "bad packet",
    "bad packet length",
    "bad record type",
    "bad change cipher spec",
    "bad extension",
    "invalid alert",
    "decode error",
    "decryption failed or bad record mac",
    "digest check failed",
    "excessive message size",
    "record too small",
    "record length mismatch",
}


#: Envoy's counters, by the words that L{explain} begins with.
_COUNTERS = {
    "no_client_certificate": "fail_verify_no_cert",
    "identity_mismatch": "fail_verify_san",
    "unknown_ca": "fail_verify_error",
    "malformed_certificate": "fail_verify_error",
    "certificate_expired": "fail_verify_error",
    "certificate_not_yet_valid": "fail_verify_error",
    "certificate_revoked": "fail_verify_error",
    "certificate_purpose": "fail_verify_error",
    "certificate_rejected": "fail_verify_error",
    "alert_received": "connection_error",
    "not_tls": "connection_error",
    "protocol_version": "connection_error",
    "no_shared_cipher": "connection_error",
    "no_shared_algorithm": "connection_error",
    "protocol_error": "connection_error",
    "tls_error": "connection_error",
}


def failureCounter(reason: str) -> str | None:
    """
    What a handshake that failed is counted as, behind C{ssl.}; C{None} for a reason that has
    nothing to do with TLS.

    @param reason: what L{explain} said, or another close reason.
    """
    return _COUNTERS.get(reason.partition(":")[0])


def explain(error: BaseException, connection: SSL.Connection) -> str:
    """
    Say why TLS on C{connection} has failed with C{error}.

    @return: C{token: explanation}, one line of printable ASCII, of bounded length.
    """
    failure = recordOf(connection).failure
    if failure is not None:
        return _certificate(failure)
    if isinstance(error, (SSL.SysCallError, SSL.ZeroReturnError)):
        return _ended(error)
    if isinstance(error, SSL.Error):
        # Of a peer with whom there was a ServerHello, TLS it is, whatever its record says now.
        # Before it a server's connection has no random number, and a client's has noughts.
        return _handshake(reasons(error), begun=any(connection.server_random() or b""))
    return f"tls_error: {type(error).__name__}: {quote(str(error))}"


def reasons(error: SSL.Error) -> str:
    """
    What OpenSSL's error queue says; its own fixed texts, nothing of the peer's.
    """
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(reason for _library, _function, reason in queue if reason)


def quote(text: str) -> str:
    """
    A peer's text as printable ASCII of bounded length; what is no such thing is escaped.
    """
    escaped = text[:MAX_TEXT].encode("unicode_escape").decode("ascii")
    return escaped[:MAX_TEXT] + "..." if max(len(text), len(escaped)) > MAX_TEXT else escaped


def _list(names: Iterable[str]) -> str:
    every = tuple(names)
    shown = ", ".join(map(quote, every[:MAX_NAMES]))
    left = len(every) - MAX_NAMES
    return f"{shown} and {left} more" if left > 0 else shown


def _certificate(failure: VerificationFailure) -> str:
    """
    The peer's certificate, or one that signs it, was refused.
    """
    if failure.accepted:
        who = _list(failure.names) or "nobody: its certificate has no name"
        return f"identity_mismatch: the peer is {who}; accepted are {_list(failure.accepted)}"
    what = quote(next(iter(failure.names), failure.subject)) or "without a name"
    if failure.depth:
        what = f"of the authority {what}"
    if failure.number == _Codes.OK:
        return f"malformed_certificate: certificate {what}: {quote(failure.reason)}"
    issuer = quote(failure.issuer) or "unnamed"
    if failure.number in _UNKNOWN_CA:
        return f"unknown_ca: certificate {what} is signed by an unknown authority ({issuer})"
    if failure.number == _Codes.ERR_CERT_HAS_EXPIRED:
        when = "" if failure.not_after is None else f" at {stamp(failure.not_after)}"
        return f"certificate_expired: certificate {what} expired{when}"
    if failure.number == _Codes.ERR_CERT_NOT_YET_VALID:
        when = "" if failure.not_before is None else f" before {stamp(failure.not_before)}"
        return f"certificate_not_yet_valid: certificate {what} is not valid{when or ' yet'}"
    if failure.number == _Codes.ERR_CERT_REVOKED:
        serial = "" if failure.serial is None else f" (serial {serialInHex(failure.serial)})"
        return f"certificate_revoked: certificate {what}{serial} is revoked by {issuer}"
    if failure.number in _NO_LIST:
        return (
            f"crl: certificate {what} cannot be looked up: {_NO_LIST[failure.number]} of {issuer}"
        )
    if failure.number == _Codes.ERR_INVALID_PURPOSE:
        return f"certificate_purpose: certificate {what} is not issued for this use"
    why = _NAMES.get(failure.number, f"X509 error {failure.number}")
    return f"certificate_rejected: certificate {what}: {why}"


def _ended(error: SSL.Error) -> str:
    """
    The stream has ended before its time.
    """
    if len(error.args) == 2 and error.args[0] != -1:
        return f"closed: the connection broke off ({error.args[1] or error.args[0]})"
    return "closed: the peer ended the connection in the middle of TLS"


def _handshake(reason: str, begun: bool) -> str:
    """
    OpenSSL has given up, for what its error queue says.

    @param begun: both sides had spoken TLS before.
    """
    first = reason.partition(", ")[0]
    _, alert, name = first.partition(" alert ")
    if alert:
        # mxproxy itself sends this one when an identity is not accepted, and so does
        # everyone whose verification callback is pyOpenSSL's.
        hint = "; it may not accept our identity" if name == "internal error" else ""
        return f"alert_received: the peer refused with alert '{name}'{hint}"
    if first == "peer did not return a certificate":
        return "no_client_certificate: the peer sent no certificate"
    if first in _NOT_TLS and not begun:
        return f"not_tls: {_NOT_TLS[first]}"
    if first in _NO_COMMON_VERSION:
        return f"protocol_version: no TLS version that both sides speak ({reason})"
    if first == "no shared cipher":
        return "no_shared_cipher: no cipher suite that both sides support"
    if first in _NO_COMMON_ALGORITHM:
        return f"no_shared_algorithm: no key exchange or signature both support ({reason})"
    # With TLS 1.2 a provider's own reason comes first: "cipher operation failed".
    if first in _NOT_TLS or not _PROTOCOL_ERROR.isdisjoint(reason.split(", ")):
        return f"protocol_error: the peer's bytes are not valid TLS ({reason})"
    return f"tls_error: {reason or 'OpenSSL gives no reason'}"
