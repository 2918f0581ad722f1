"""
From settings to TLS connections.

Building the one OpenSSL context of a chain, making connections with it and telling what
their handshakes have settled belong here.  Protocols, transports and the rules by which a
peer's certificate is judged (L{mxproxy.tls.verify}) do not.

A context is built once and shared by all connections of a chain: a new one for each would
halve the rate of handshakes.  It is never changed; new certificates mean a new context,
and connections keep the one that they began with.
"""

from __future__ import annotations

import os
import socket as sockets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity.hazmat import DNS_ID

from mxproxy.tls.explain import reasons
from mxproxy.tls.keyfile import keyFileToWatch
from mxproxy.tls.keylog import keyLogger, warningOf
from mxproxy.tls.pem import certificates, credential, datesToWatch
from mxproxy.tls.revocation import listsOf, listsToWatch
from mxproxy.tls.settings import (
    CipherProfile,
    ClientTLS,
    ServerTLS,
    TLSConfigurationError,
    TLSSettings,
    TLSVersion,
)
from mxproxy.tls.verify import Record, recordOf, verifier

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
# An end of TCP in place of a close_notify is for the transport to judge (mxproxy.transports.tls):
# OpenSSL would refuse to write any more.
_OPTIONS = (
    SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_TICKET
    | getattr(SSL, "OP_IGNORE_UNEXPECTED_EOF", 0)
)

# A ClientHello has room for tens of thousands of names; browsers offer three, Istio three.
MAX_RECORDED_ALPN = 32


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
    @ivar certificate: the one that was verified, or C{None}.
    @ivar local_certificate: our own, or C{None}.
    """

    version: str
    cipher: str
    alpn: str | None
    alpn_offered: tuple[str, ...]
    server_name: str | None
    principals: tuple[str, ...]
    certificate: crypto.X509 | None
    local_certificate: crypto.X509 | None


def describe(connection: SSL.Connection) -> TLSFacts:
    """
    The facts of a connection whose handshake is finished.

    Principals are those of a certificate that this very handshake has verified.  Should
    sessions ever be resumed, a resumed one has none until it is verified anew.
    """
    record = recordOf(connection)
    asked = connection.get_servername()
    identities = record.identities
    return TLSFacts(
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        alpn=_text(connection.get_alpn_proto_negotiated()) or None,
        alpn_offered=record.offered,
        server_name=None if asked is None else _text(asked),
        principals=() if identities is None else identities.principals,
        certificate=None if identities is None else connection.get_peer_certificate(),
        local_certificate=connection.get_certificate(),
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
        authorities = _authorities(settings)
        self._context, self.warnings = _newContext(settings, authorities)
        mode = SSL.VERIFY_NONE
        if authorities:
            mode = SSL.VERIFY_PEER
            # A client that has several certificates needs to know which to send.
            for authority in authorities:
                self._context.add_client_ca(authority)
        if settings.require_client_certificate or settings.accepted:
            mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        self._context.set_verify(mode, verifier(settings.accepted))
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
        simple = settings.certificate is None and settings.verify_name and settings.verify
        if not accepted and simple and settings.server_name is not None:
            # In a mesh the name asked for selects a port, and no certificate has it.  In
            # simple TLS it is the one thing that says who the server is.
            accepted = (settings.server_name.rstrip("."),)
        if accepted and not settings.verify:
            raise TLSConfigurationError(
                "accepting named identities needs the CA certificates to verify them with"
            )
        if settings.authorities is None and settings.verify:
            if settings.certificate is not None:
                raise TLSConfigurationError(
                    "mutual TLS needs the CA certificates to verify the server with"
                )
            if not accepted:
                raise TLSConfigurationError(
                    "any server with a public certificate would do: say which server name "
                    "or identity to accept, or give the CA certificates to trust"
                )
        self.settings = settings
        self._sni = _sni(settings.server_name)
        self._context, self.warnings = _newContext(settings, _authorities(settings))
        if settings.authorities is None:
            self._context.set_default_verify_paths()
        if settings.alpn:
            self._context.set_alpn_protos([_alpnName(name) for name in settings.alpn])
        mode = SSL.VERIFY_PEER if settings.verify else SSL.VERIFY_NONE
        self._context.set_verify(mode, verifier(accepted) if settings.verify else _anybody)
        if not settings.verify:
            self.warnings = (*self.warnings, "whoever answers is believed: no CA is given")

    def connection(self, socket: sockets.socket | None = None) -> SSL.Connection:
        """
        A new connection that begins with a ClientHello, over memory or over C{socket}.
        """
        connection = SSL.Connection(self._context, socket)
        connection.set_app_data(Record(self.settings.alpn))
        if self._sni is not None:
            connection.set_tlsext_host_name(self._sni)
        connection.set_connect_state()
        return connection


def _anybody(*_: object) -> bool:
    """
    A verification callback for which nothing is wrong, and nothing proven.
    """
    return True


def _sni(name: str | None) -> bytes | None:
    """
    The name as it goes into a ClientHello: a DNS name without its last dot, and nothing
    for an address (RFC 6066, section 3).
    """
    if name is None:
        return None
    with suppress(ValueError):
        ip_address(name)
        return None
    try:
        return DNS_ID(name.rstrip(".")).hostname
    except (ValueError, ImportError):
        raise TLSConfigurationError(
            f"{name[:300]!r} cannot be asked for as a server name: write a DNS name or an "
            "IP address, without port"
        ) from None


def _alpnName(name: str) -> bytes:
    encoded = name.encode("utf-8")
    if not 1 <= len(encoded) <= 255:
        raise TLSConfigurationError(f"{name[:300]!r} is no ALPN name: it has 1 to 255 bytes")
    return encoded


def _text(data: bytes) -> str:
    """
    A peer's bytes as text; what is not ASCII is escaped.
    """
    return data.decode("ascii", "backslashreplace")


def _authorities(settings: TLSSettings) -> Sequence[x509.Certificate]:
    if settings.authorities is None:
        return ()
    return certificates(settings.authorities, "CA certificate")


def _newContext(
    settings: TLSSettings, authorities: Sequence[x509.Certificate]
) -> tuple[SSL.Context, tuple[str, ...]]:
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
    # About 34 KB less for an idle connection (SSL_CTX_set_mode(3)).  pyOpenSSL itself sets
    # AUTO_RETRY, ENABLE_PARTIAL_WRITE and ACCEPT_MOVING_WRITE_BUFFER.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
    # An intermediate among the authorities is trusted without its root, as in Envoy.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    lists = listsOf(settings)
    for one in lists:
        store.add_crl(one)
    if lists:
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK)
        if not settings.only_verify_leaf_cert_crl:
            store.set_flags(crypto.X509StoreFlags.CRL_CHECK_ALL)
    warnings = [*_useCertificate(context, settings), *listsToWatch(settings, authorities, lists)]
    if settings.key_log is not None:
        context.set_keylog_callback(keyLogger(settings.key_log))
        warnings.insert(0, warningOf(settings.key_log))
    return context, tuple(warnings)


def _useCertificate(context: SSL.Context, settings: TLSSettings) -> tuple[str, ...]:
    """
    Give the context the own chain and key, if there are any.
    """
    if settings.certificate is None:
        if settings.key is not None:
            raise TLSConfigurationError(
                f"the key in {settings.key.origin} comes without its certificate: give both"
            )
        return ()
    if settings.key is None:
        origin = settings.certificate.origin
        raise TLSConfigurationError(f"the certificate in {origin} comes without its key: give both")
    (own, *chain), key = credential(settings.certificate, settings.key)
    try:
        context.use_certificate(own)
        context.use_privatekey(key)
        for certificate in chain:
            context.add_extra_chain_cert(certificate)
    except SSL.Error as error:
        raise TLSConfigurationError(
            f"OpenSSL refuses the certificate in {settings.certificate.origin}: "
            f"{reasons(error)}: have it issued anew"
        ) from error
    return (*datesToWatch(own, settings.certificate), *keyFileToWatch(settings.key))


def _alpnSelector(preferred: tuple[str, ...]) -> Callable[[SSL.Connection, list[bytes]], Any]:
    """
    Select by the server's preference, and note what was offered.

    Without overlap the handshake goes on without ALPN and without an alert (docs/wire.md):
    a client that offers something else is served, it just gets no exchange.

    @return: the callback.  It answers bytes, or pyOpenSSL's sentinel, whose type is private.
    """
    names = [_alpnName(name) for name in preferred]

    def select(connection: SSL.Connection, offered: list[bytes]) -> Any:
        recordOf(connection).offered = tuple(map(_text, offered[:MAX_RECORDED_ALPN]))
        for name in names:
            if name in offered:
                return name
        return SSL.NO_OVERLAPPING_PROTOCOLS

    return select
