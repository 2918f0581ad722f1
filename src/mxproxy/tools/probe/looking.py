"""
TLS that looks at whoever comes: the handshake is done with anybody, and what is wrong with his
certificate is written down instead.

So a report has the chain and the protocol also of a peer that is not trusted.  Whether to go on
with him is decided afterwards, before anything else is said (L{mxproxy.tools.probe.conversation}).
The judgement is that of sidecars: L{mxproxy.tls.verify}, L{mxproxy.tls.explain}.
"""

from __future__ import annotations

import socket as sockets
from collections.abc import Iterator
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, crypto

from ...tls.context import describe
from ...tls.explain import explain
from ...tls.identity import readIdentities
from ...tls.verify import Verifier, recordOf
from .finding import CertificateSeen, Finding, TLSSeen

# What of a chain is looked at; OpenSSL itself verifies 100 at most, a mesh has two or three.
_MAX_CHAIN = 16
_MAX_AUTHORITIES = 16


class MakesConnections(Protocol):
    """A client's or a server's context, of L{mxproxy.tls.context}."""

    def connection(self, socket: sockets.socket | None = None) -> SSL.Connection:
        """See there."""


class Looking:
    """
    Takes the place of a context, for one conversation.
    """

    def __init__(self, context: MakesConnections, accepted: tuple[str, ...]) -> None:
        """
        @param accepted: see L{mxproxy.tls.settings.TLSSettings}.
        @raise mxproxy.tls.settings.TLSConfigurationError: one of them is no identity.
        """
        self._context = context
        self._judge = Verifier(accepted)
        self._connection: SSL.Connection | None = None
        self._own: crypto.X509 | None = None

    def connection(self, socket: sockets.socket | None = None) -> SSL.Connection:
        """
        A new connection, which refuses nobody.
        """
        self._connection = connection = self._context.connection(socket)
        connection.set_verify(SSL.VERIFY_PEER, self._verify)
        return connection

    def _verify(
        self, connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int
    ) -> bool:
        record = recordOf(connection)
        first = record.failure
        self._judge(connection, certificate, number, depth, ok)
        # What is wrong first is the cause of what is wrong later.
        record.failure = first or record.failure
        if depth == 0:
            self._own = certificate
        return True

    def note(self, finding: Finding) -> None:
        """
        Write down what is known by now; at any time, of a handshake that failed, too.
        """
        connection = self._connection
        if connection is None:
            return
        finding.chain = tuple(map(_see, self._chain(connection)))
        record = recordOf(connection)
        if record.failure is not None:
            finding.trusted = False
            # Its words are for the failure that is on record, whatever the error.
            finding.distrust = explain(SSL.Error(), connection)
        elif record.identities is not None:
            finding.trusted = True
            finding.principals = record.identities.principals
        if finding.peer == "server":
            finding.wanted = tuple(
                _subject(name) for name in connection.get_client_ca_list()[:_MAX_AUTHORITIES]
            )

    def settled(self) -> TLSSeen:
        """
        Of a handshake that is done.
        """
        assert self._connection is not None
        facts = describe(self._connection)
        return TLSSeen(
            facts.version, facts.cipher, facts.alpn, facts.alpn_offered, facts.server_name
        )

    def _chain(self, connection: SSL.Connection) -> Iterator[crypto.X509]:
        shown = (connection.get_peer_cert_chain() or [])[:_MAX_CHAIN]
        # Of a client's, OpenSSL leaves out the first, its own.
        if self._own is not None and (not shown or _der(shown[0]) != _der(self._own)):
            yield self._own
        yield from shown


def _der(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


def _see(certificate: crypto.X509) -> CertificateSeen:
    """
    Whatever is in it.
    """
    try:
        parsed = certificate.to_cryptography()
        return CertificateSeen(
            subject=parsed.subject.rfc4514_string(),
            issuer=parsed.issuer.rfc4514_string(),
            names=readIdentities(parsed).everything,
            not_before=parsed.not_valid_before_utc,
            not_after=parsed.not_valid_after_utc,
            serial=f"{parsed.serial_number:x}",
            key=_key(parsed),
            authority=_isAuthority(parsed),
            fingerprint=parsed.fingerprint(hashes.SHA256()).hex(),
        )
    except Exception as error:  # noqa: BLE001 - hostile bytes; see mxproxy.tls.verify
        return CertificateSeen(fault=f"{type(error).__name__}: {error}")


def _key(certificate: x509.Certificate) -> str:
    key: Any = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__.removeprefix("_").removesuffix("PublicKey")


def _isAuthority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _subject(name: crypto.X509Name) -> str:
    return ",".join(
        f"{key.decode('ascii', 'replace')}={value.decode('utf-8', 'backslashreplace')}"
        for key, value in name.get_components()
    )
