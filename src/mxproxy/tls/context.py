"""
From settings to TLS connections.

Reading the PEM texts, building the one OpenSSL context of a chain, and what its callbacks
record of each connection belong here.  Protocols, transports and the words in which a
failure is told (L{mxproxy.tls.explain}) do not.

A context is built once and shared by all connections of a chain: a new one for each would
halve the rate of handshakes.  It is never changed; new certificates mean a new context,
and connections keep the one that they began with.
"""

from __future__ import annotations

import os
import socket as sockets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from OpenSSL import SSL, crypto

from mxproxy.tls.identity import (
    Accepted,
    Identities,
    MalformedCertificate,
    accepts,
    checkSVID,
    parseAccepted,
    readIdentities,
)
from mxproxy.tls.settings import (
    PEM,
    CipherProfile,
    ClientTLS,
    ServerTLS,
    TLSConfigurationError,
    TLSSettings,
    TLSVersion,
)

# Mozilla's "intermediate" guideline 5.7, https://wiki.mozilla.org/Security/Server_Side_TLS,
# without its DHE suites: those need Diffie-Hellman parameters of our own, and whoever
# speaks TLS 1.2 with AEAD suites speaks ECDHE too.  As the guideline says, the client's
# order decides.  Suites of TLS 1.3 are OpenSSL's default three, which are the guideline's.
_CIPHERS = {
    CipherProfile.INTERMEDIATE: (
        b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
        b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
        b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    )
}

_VERSIONS = {
    TLSVersion.TLS12: SSL.TLS1_2_VERSION,
    TLSVersion.TLS13: SSL.TLS1_3_VERSION,
}

# Renegotiation and compression have been attacked and are of no use here (CVE-2009-3555,
# CVE-2012-4929).  Tickets are resumption, which is off: a resumed session brings no
# certificate, and so skips whatever is checked of it (CVE-2025-23419).
_OPTIONS = SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET

# A ClientHello has room for tens of thousands of names; browsers offer three, Istio three.
MAX_RECORDED_ALPN = 32

_PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)  # fmt: skip


@dataclass(frozen=True)
class VerificationFailure:
    """
    Why a peer's certificate was refused.

    @ivar depth: 0 for the peer's own certificate, 1 for the one that signed it, …
    @ivar number: OpenSSL's C{X509_V_ERR_…}; 0 when the chain is good and the refusal ours.
    @ivar reason: what L{MalformedCertificate} says, or C{""}.
    @ivar subject: the certificate's subject, RFC 4514.
    @ivar issuer: the same of its issuer.
    @ivar names: all of its subject alternative names.
    @ivar accepted: what would have been accepted; empty when that is not the point.
    """

    depth: int
    number: int
    reason: str
    subject: str
    issuer: str
    names: tuple[str, ...]
    accepted: tuple[str, ...] = ()


class Record:
    """
    What the callbacks learn of one connection; it is the connection's app data.

    @ivar offered: the ALPN names that the client offered.
    @ivar server_name: the name that this side asks for; a server asks the connection.
    @ivar identities: what the peer's certificate proves; C{None} until it is verified.
    @ivar failure: why it was refused, or C{None}.
    """

    __slots__ = ("failure", "identities", "offered", "server_name")

    def __init__(self, offered: tuple[str, ...] = (), server_name: str | None = None) -> None:
        self.offered = offered
        self.server_name = server_name
        self.identities: Identities | None = None
        self.failure: VerificationFailure | None = None

    def __repr__(self) -> str:
        return f"<Record identities={self.identities} failure={self.failure}>"


@dataclass(frozen=True)
class TLSFacts:
    """
    What a finished handshake has settled.

    @ivar version: C{"TLSv1.2"} or C{"TLSv1.3"}.
    @ivar cipher: the suite, by OpenSSL's name.
    @ivar alpn: the protocol negotiated, or C{None}.
    @ivar alpn_offered: what the client offered, in its order.
    @ivar server_name: what the client asked for (SNI), or C{None}.
    @ivar principals: what the peer's verified certificate proves: URIs, then DNS names.
        Empty when there was none to verify.
    """

    version: str
    cipher: str
    alpn: str | None
    alpn_offered: tuple[str, ...]
    server_name: str | None
    principals: tuple[str, ...]


def recordOf(connection: SSL.Connection) -> Record:
    """
    What has been recorded of a connection that a context of this module made.
    """
    record = connection.get_app_data()
    assert isinstance(record, Record), "a connection of another maker"
    return record


def describe(connection: SSL.Connection) -> TLSFacts:
    """
    The facts of a connection whose handshake is finished.
    """
    record = recordOf(connection)
    asked = connection.get_servername()
    identities = record.identities
    return TLSFacts(
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        alpn=_text(connection.get_alpn_proto_negotiated()) or None,
        alpn_offered=record.offered,
        server_name=record.server_name if asked is None else _text(asked),
        principals=() if identities is None else identities.principals,
    )


class ServerContext:
    """
    The accepting side of a chain.

    @ivar settings: what it was built from.
    @ivar warnings: one line each, of what works but should be looked at.
    """

    def __init__(self, settings: ServerTLS) -> None:
        if settings.certificate is None:
            raise TLSConfigurationError("a TLS server needs a certificate and its key")
        if settings.require_client_certificate and settings.authorities is None:
            raise TLSConfigurationError(
                "requiring a client certificate needs the CA certificates to verify it with"
            )
        if settings.accepted and settings.authorities is None:
            raise TLSConfigurationError(
                "accepting named identities needs the CA certificates to verify them with"
            )
        self.settings = settings
        self._context, self.warnings = _newContext(settings)
        mode = SSL.VERIFY_NONE
        if settings.authorities is not None:
            mode = SSL.VERIFY_PEER
            for authority in _certificates(settings.authorities, "CA certificate"):
                self._context.add_client_ca(authority)
        if settings.require_client_certificate or settings.accepted:
            mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        self._context.set_verify(mode, _verifier(settings.accepted))
        self._context.set_alpn_select_callback(_alpnSelector(settings.alpn))
        # A session is good for the context it was made by and no other (CVE-2025-23419).
        self._context.set_session_id(os.urandom(32))

    def connection(self, socket: sockets.socket | None = None) -> SSL.Connection:
        """
        A new connection that awaits a ClientHello, over memory or over C{socket}.
        """
        connection = SSL.Connection(self._context, socket)
        connection.set_app_data(Record())
        connection.set_accept_state()
        return connection


class ClientContext:
    """
    The connecting side of a chain.

    @ivar settings: what it was built from.
    @ivar warnings: one line each, of what works but should be looked at.
    """

    def __init__(self, settings: ClientTLS) -> None:
        accepted = settings.accepted
        if settings.authorities is None:
            if settings.certificate is not None:
                raise TLSConfigurationError(
                    "mutual TLS needs the CA certificates to verify the server with"
                )
            if not accepted and settings.server_name is None:
                raise TLSConfigurationError(
                    "every public web server would do: say which server name or identity "
                    "to accept, or give the CA certificates to trust"
                )
        if not accepted and settings.certificate is None and settings.server_name is not None:
            accepted = (settings.server_name,)
        self.settings = settings
        self._context, self.warnings = _newContext(settings)
        if settings.authorities is None:
            self._context.set_default_verify_paths()
        if settings.alpn:
            self._context.set_alpn_protos([_alpnName(name) for name in settings.alpn])
        self._context.set_verify(SSL.VERIFY_PEER, _verifier(accepted))
        self._sni = _sni(settings.server_name)

    def connection(self, socket: sockets.socket | None = None) -> SSL.Connection:
        """
        A new connection that begins with a ClientHello, over memory or over C{socket}.
        """
        connection = SSL.Connection(self._context, socket)
        name = None if self._sni is None else self._sni.decode("ascii")
        connection.set_app_data(Record(self.settings.alpn, name))
        if self._sni is not None:
            connection.set_tlsext_host_name(self._sni)
        connection.set_connect_state()
        return connection


def _sni(name: str | None) -> bytes | None:
    """
    The name as it goes into a ClientHello: a DNS name without its last dot, and nothing
    for an address (RFC 6066, section 3).
    """
    if name is None:
        return None
    accepted = parseAccepted(name.rstrip("."))
    hostname = getattr(getattr(accepted, "service", None), "hostname", None)
    return hostname if isinstance(hostname, bytes) else None


def _alpnName(name: str) -> bytes:
    encoded = name.encode("utf-8")
    if not 1 <= len(encoded) <= 255:
        raise TLSConfigurationError(f"{name[:300]!r} is no ALPN name: it has 1 to 255 bytes")
    return encoded


def _text(data: bytes) -> str:
    """
    A peer's bytes as text that tells any two of them apart and prints in one line.
    """
    return data.decode("ascii", "backslashreplace")


def _newContext(settings: TLSSettings) -> tuple[SSL.Context, tuple[str, ...]]:
    """
    What both sides have in common, and the warnings about it.
    """
    minimum, maximum = _VERSIONS[settings.minimum], _VERSIONS[settings.maximum]
    if minimum > maximum:
        raise TLSConfigurationError(
            f"the oldest TLS version to speak, {settings.minimum.value}, is newer than the "
            f"newest, {settings.maximum.value}: swap them"
        )
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(minimum)
    context.set_max_proto_version(maximum)
    context.set_cipher_list(_CIPHERS[settings.ciphers])
    context.set_options(_OPTIONS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # 34 KB less for an idle connection.  pyOpenSSL itself sets AUTO_RETRY,
    # ENABLE_PARTIAL_WRITE and ACCEPT_MOVING_WRITE_BUFFER.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    warnings = _useCertificate(context, settings)
    if settings.authorities is not None:
        store = context.get_cert_store()
        assert store is not None
        for authority in _certificates(settings.authorities, "CA certificate"):
            store.add_cert(crypto.X509.from_cryptography(authority))
        # An intermediate in the CA file is trusted without its root, as in Envoy.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    return context, warnings


def _useCertificate(context: SSL.Context, settings: TLSSettings) -> tuple[str, ...]:
    """
    Give the context the own chain and key, if there are any.
    """
    if settings.certificate is None or settings.key is None:
        if settings.certificate is not None:
            raise TLSConfigurationError(
                f"the certificate in {settings.certificate.origin} comes without its key: "
                "give both"
            )
        if settings.key is not None:
            raise TLSConfigurationError(
                f"the key in {settings.key.origin} comes without its certificate: give both"
            )
        return ()
    own, *chain = _certificates(settings.certificate, "certificate")
    key = _privateKey(settings.key)
    if _spki(own.public_key()) != _spki(key.public_key()):
        raise TLSConfigurationError(
            f"the key in {settings.key.origin} does not belong to the first certificate in "
            f"{settings.certificate.origin}: give the pair that was issued together"
        )
    try:
        context.use_certificate(own)
        context.use_privatekey(key)
        for certificate in chain:
            context.add_extra_chain_cert(certificate)
    except SSL.Error as error:
        raise TLSConfigurationError(
            f"OpenSSL refuses the certificate in {settings.certificate.origin}: {error}"
        ) from error
    return _datesToWatch(own, settings.certificate)


def _spki(public_key: object) -> bytes:
    return public_key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def _datesToWatch(certificate: x509.Certificate, source: PEM) -> tuple[str, ...]:
    """
    Warn of an own certificate that peers will refuse today.

    Not an error: the file may be renewed at any time, and a proxy that runs can pick
    the new one up.
    """
    now = datetime.now(timezone.utc)
    if certificate.not_valid_after_utc < now:
        return (
            f"the certificate in {source.origin} expired at "
            f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}: peers will refuse it",
        )
    if certificate.not_valid_before_utc > now:
        return (
            f"the certificate in {source.origin} is not valid before "
            f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}: peers will refuse it",
        )
    return ()


def _read(source: PEM, what: str) -> bytes:
    if source.text is not None:
        return source.text
    assert source.path is not None
    try:
        with open(source.path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TLSConfigurationError(
            f"cannot read the {what} file {source.origin}: {error.strerror}"
        ) from error


def _certificates(source: PEM, what: str) -> list[x509.Certificate]:
    """
    The certificates of a PEM text, at least one.
    """
    data = _read(source, what)
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise TLSConfigurationError(
            f"no PEM {what} in {source.origin}: it needs a block that begins with "
            "'-----BEGIN CERTIFICATE-----'"
        )
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise TLSConfigurationError(
            f"a damaged {what} in {source.origin}: {_line(error)}"
        ) from error


def _privateKey(source: PEM) -> _PrivateKey:
    data = _read(source, "key")
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:
        raise TLSConfigurationError(
            f"the key in {source.origin} is encrypted: decrypt it first, "
            "for instance with 'openssl pkey -in OLD -out NEW'"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TLSConfigurationError(
            f"no usable PEM private key in {source.origin}: {_line(error)}"
        ) from error
    if not isinstance(key, _PrivateKey):
        raise TLSConfigurationError(
            f"the key in {source.origin} cannot sign a TLS handshake: use an EC, RSA or "
            "Ed25519 key"
        )
    return key


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _alpnSelector(
    preferred: tuple[str, ...],
) -> Callable[[SSL.Connection, list[bytes]], bytes | SSL._NoOverlappingProtocols]:
    """
    Select by the server's preference, and note what was offered.

    Without overlap the handshake goes on without ALPN and without an alert (WIRE.md,
    section 1): a client that offers something else is served, it just gets no exchange.
    """
    names = [_alpnName(name) for name in preferred]

    def select(
        connection: SSL.Connection, offered: list[bytes]
    ) -> bytes | SSL._NoOverlappingProtocols:
        recordOf(connection).offered = tuple(map(_text, offered[:MAX_RECORDED_ALPN]))
        for name in names:
            if name in offered:
                return name
        return SSL.NO_OVERLAPPING_PROTOCOLS

    return select


def _verifier(
    accepted: tuple[str, ...],
) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    """
    Judge each certificate of a chain as OpenSSL has, and the peer's own by its identity.

    OpenSSL calls from the root down, and last for the peer's own certificate.  A refusal
    here, inside the handshake, reaches the peer as an alert, and not a byte of ours has
    been written.  No exception may leave the callback: it would surface in another
    connection's call, since pyOpenSSL keeps it in the shared context.
    """
    matchers: tuple[Accepted, ...] = tuple(map(parseAccepted, accepted))

    def verify(
        connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, good: int
    ) -> bool:
        record = recordOf(connection)
        if good and depth > 0:
            return True
        parsed = certificate.to_cryptography()
        identities = Identities()
        reason = ""
        try:
            identities = readIdentities(parsed)
            if good:
                checkSVID(parsed, identities)
        except MalformedCertificate as error:
            reason = str(error)
        refused = not good or bool(reason)
        mismatch = not refused and bool(matchers) and not accepts(matchers, identities)
        if not refused and not mismatch:
            record.identities = identities
            return True
        record.failure = VerificationFailure(
            depth=depth,
            number=0 if good else number,
            reason=reason,
            subject=parsed.subject.rfc4514_string(),
            issuer=parsed.issuer.rfc4514_string(),
            names=identities.everything,
            accepted=accepted if mismatch else (),
        )
        return False

    return verify
