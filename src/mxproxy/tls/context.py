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
from mxproxy.tls.profiles import useProfile
from mxproxy.tls.resumption import LIFETIME, ResumableConnection, Sessions, collect
from mxproxy.tls.revocation import listsOf, listsToWatch
from mxproxy.tls.settings import (
    ClientTLS,
    ServerTLS,
    TLSConfigurationError,
    TLSSettings,
)
from mxproxy.tls.verify import Record, Verifier, recordOf

# Renegotiation and compression have been attacked and are of no use here (CVE-2009-3555,
# CVE-2012-4929).  An end of TCP in place of a close_notify is for the transport to judge
# (mxproxy.transports.tls): OpenSSL would refuse to write any more.
_OPTIONS = (
    SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | getattr(SSL, "OP_IGNORE_UNEXPECTED_EOF", 0)
)

# SSL_MODE_NO_AUTO_CHAIN, openssl/ssl.h; pyOpenSSL has no name for it.
_NO_AUTO_CHAIN = 0x8

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
    @ivar session_reused: whether it has taken up an earlier session.
    """

    version: str
    cipher: str
    alpn: str | None
    alpn_offered: tuple[str, ...]
    server_name: str | None
    principals: tuple[str, ...]
    certificate: crypto.X509 | None
    local_certificate: x509.Certificate | None
    session_reused: bool


def describe(connection: SSL.Connection) -> TLSFacts:
    """
    The facts of a connection whose handshake is finished.

    Principals are those of a certificate that was judged for this very connection, be it that
    of a resumed session (L{mxproxy.tls.resumption}).
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
        certificate=record.certificate,
        local_certificate=record.own,
        session_reused=isinstance(connection, ResumableConnection) and connection.reused,
    )


class ServerContext:
    """
    The accepting side of a chain.

    @ivar settings: what it was built from.
    @ivar warnings: one line each, of what works but should be looked at.
    """

    def __init__(self, settings: ServerTLS, resumption: bool = False) -> None:
        """
        @param resumption: let clients resume their sessions.
        @raise TLSConfigurationError: the settings cannot be used.
        """
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
        lists = listsOf(settings)
        self._context, self._own, self.warnings = _newContext(settings, authorities, lists)
        mode = SSL.VERIFY_NONE
        if authorities:
            mode = SSL.VERIFY_PEER
            # A client that has several certificates needs to know which to send.
            for authority in authorities:
                self._context.add_client_ca(authority)
        if settings.require_client_certificate or settings.accepted:
            mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        required = bool(mode & SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        self._verifier = Verifier(settings.accepted, lists, required)
        self._context.set_verify(mode, self._verifier)
        self._context.set_alpn_select_callback(_alpnSelector(settings.alpn))
        # A session is good for the context it was made by and no other (CVE-2025-23419).
        self._context.set_session_id(os.urandom(32))
        self._resumption = resumption and settings.resumable
        if self._resumption:
            self._context.set_timeout(LIFETIME)
            # A session of TLS 1.2 remembers the server name only if somebody has taken it.
            self._context.set_tlsext_servername_callback(_takeAnyName)
        else:
            self._context.set_options(SSL.OP_NO_TICKET)

    def connection(self, socket: sockets.socket | None = None) -> SSL.Connection:
        """
        A new connection that awaits a ClientHello, over memory or over C{socket}.
        """
        if self._resumption:
            again = self._verifier.again if self.settings.authorities is not None else None
            connection: SSL.Connection = ResumableConnection.make(self._context, socket, again)
        else:
            connection = SSL.Connection(self._context, socket)
        connection.set_app_data(Record(own=self._own))
        connection.set_accept_state()
        return connection


class ClientContext:
    """
    The connecting side of a chain.

    @ivar settings: what it was built from.
    @ivar warnings: one line each, of what works but should be looked at.
    """

    def __init__(self, settings: ClientTLS, resumption: bool = False) -> None:
        """
        @param resumption: take sessions up again.
        @raise TLSConfigurationError: the settings cannot be used.
        """
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
        lists = listsOf(settings)
        authorities = _authorities(settings)
        self._context, self._own, self.warnings = _newContext(settings, authorities, lists)
        if settings.authorities is None:
            self._context.set_default_verify_paths()
        if settings.alpn:
            self._context.set_alpn_protos([_alpnName(name) for name in settings.alpn])
        mode = SSL.VERIFY_PEER if settings.verify else SSL.VERIFY_NONE
        self._verifier = Verifier(accepted, lists) if settings.verify else None
        self._context.set_verify(mode, self._verifier or _anybody)
        self._sessions: Sessions | None = None
        if resumption and settings.resumable:
            self._sessions = Sessions()
            self._context.set_info_callback(collect)
        else:
            self._context.set_options(SSL.OP_NO_TICKET)
        if not settings.verify:
            self.warnings = (*self.warnings, "whoever answers is believed: no CA is given")

    def connection(self, socket: sockets.socket | None = None) -> SSL.Connection:
        """
        A new connection that begins with a ClientHello, over memory or over C{socket}.
        """
        sessions = self._sessions
        if sessions is None:
            return self._begin(SSL.Connection(self._context, socket))
        again = None if self._verifier is None else self._verifier.again
        connection = ResumableConnection.make(self._context, socket, again, sessions)
        self._begin(connection)
        connection.offer()
        return connection

    def _begin(self, connection: SSL.Connection) -> SSL.Connection:
        connection.set_app_data(Record(self.settings.alpn, self._own))
        if self._sni is not None:
            connection.set_tlsext_host_name(self._sni)
        connection.set_connect_state()
        return connection


def _takeAnyName(_: SSL.Connection) -> None:
    """
    A server name callback for which each name is right.
    """


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
    settings: TLSSettings,
    authorities: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
) -> tuple[SSL.Context, x509.Certificate | None, tuple[str, ...]]:
    """
    What both sides have in common, the own certificate, and the warnings about it.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    useProfile(context, settings)
    context.set_options(_OPTIONS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # About 34 KB less for an idle connection (SSL_CTX_set_mode(3)).  pyOpenSSL itself sets
    # AUTO_RETRY, ENABLE_PARTIAL_WRITE and ACCEPT_MOVING_WRITE_BUFFER.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # What is sent is what the file has, as in Envoy.  OpenSSL would complete it with the trusted
    # root, which the peer has to have anyway: 450 bytes each way, and a twentieth of the time
    # that a handshake takes.
    context.set_mode(_NO_AUTO_CHAIN)
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
    # An intermediate among the authorities is trusted without its root, as in Envoy.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for one in lists:
        store.add_crl(one)
    if lists:
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK)
        if not settings.only_verify_leaf_cert_crl:
            store.set_flags(crypto.X509StoreFlags.CRL_CHECK_ALL)
    own, ownWarnings = _useCertificate(context, settings)
    warnings = [*ownWarnings, *listsToWatch(settings, authorities, lists)]
    if settings.key_log is not None:
        context.set_keylog_callback(keyLogger(settings.key_log))
        warnings.insert(0, warningOf(settings.key_log))
    return context, own, tuple(warnings)


def _useCertificate(
    context: SSL.Context, settings: TLSSettings
) -> tuple[x509.Certificate | None, tuple[str, ...]]:
    """
    Give the context the own chain and key, if there are any.

    @return: the certificate, and what to watch.
    """
    if settings.certificate is None:
        if settings.key is not None:
            raise TLSConfigurationError(
                f"the key in {settings.key.origin} comes without its certificate: give both"
            )
        return None, ()
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
    return own, (*datesToWatch(own, settings.certificate), *keyFileToWatch(settings.key))


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
