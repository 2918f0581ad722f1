"""
A TLS handshake as a layer sees it, whoever moves its bytes: how long it may take, what it teaches,
and how it is refused.

L{mxproxy.layers.tls} runs it over memory BIOs, on whatever transport is below;
L{mxproxy.layers.tls_socket} on the socket itself.
"""

from __future__ import annotations

from typing import Protocol as TypingProtocol

from OpenSSL import SSL

from ..tls.context import describe
from .base import Layer, loseWriteConnection

#: Seconds for a refused peer to read our alert and go.  Closing with its bytes still
#: unread would make the kernel send a reset, and a reset overtakes the alert.
LINGER = 1.0

#: Why a connection that was lost, and had not ended, came to nothing.
LOST = "reset: the connection was lost during the TLS handshake"

#: What a side of TLS reads first is a record of this type (RFC 8446, 5.1); or an alert, but
#: only a client is told one before anything else.
HANDSHAKE, ALERT = 0x16, 0x15
FIRST_RECORDS = {"downstream": (HANDSHAKE,), "upstream": (HANDSHAKE, ALERT)}


class SecuresConnections(TypingProtocol):
    """What a layer needs of its factory."""

    timeout: float


class SecuringLayer(Layer):
    """
    What both have in common.

    The protocol above is connected when the handshake is done and the peer's identity is
    accepted; before that it has not been built, and nothing of it can have been written.
    """

    name = "tls"
    _tls: SSL.Connection
    _handshaking = True
    _refused = False

    def startHandshakeTimer(self, seconds: float) -> None:
        """
        @param seconds: for the whole of it.
        """
        self.startTimer(seconds, lambda: self._timedOut(seconds))

    def _timedOut(self, seconds: float) -> None:
        self.peer.closing(f"handshake_timeout: no TLS handshake within {seconds:g} s")
        self.transport.abortConnection()

    def notTLS(self, first: int) -> bool:
        """
        Whether the first byte says that this is no TLS, and the peer is refused for it.

        OpenSSL waits for a whole record header before it judges; a plaintext message that is
        shorter would wait for the timeout.
        """
        if first in FIRST_RECORDS[self.context.side]:
            return False
        self.refuse(f"not_tls: the first byte is 0x{first:02x}, no TLS handshake")
        return True

    def secured(self) -> None:
        """The handshake is done: keep what it has settled."""
        self._handshaking = False
        self.stopTimer()
        facts = describe(self._tls)
        peer = self.peer
        peer.transport_protocol = "tls"
        peer.tls_version = facts.version
        peer.server_name = facts.server_name
        peer.alpn_offered = facts.alpn_offered
        peer.alpn = facts.alpn
        peer.principals = facts.principals
        peer.tls_cipher = facts.cipher
        peer.session_reused = facts.session_reused
        peer.keepCertificates(facts.certificate, facts.local_certificate)

    def refuse(self, reason: str) -> None:
        """
        The handshake has failed: let the alert out, say why, and do not stay.
        """
        self.stopTimer()
        self._refused = True
        self.peer.closing(reason)
        loseWriteConnection(self.transport)
        self.startTimer(LINGER, self.lingered)

    def lingered(self) -> None:
        """It has had its time to read the alert."""
        self.transport.abortConnection()
