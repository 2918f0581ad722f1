"""
What a peer's bytes are wrapped in: nothing, or TLS with the metadata exchange.

A session is bytes in, bytes out.  What it wants to send comes with the name of the phase
that it belongs to:

  - C{hello}: the first flight: ClientHello, or from ServerHello on;
  - C{finish}: the second: the client's certificate and Finished; the server's tickets;
  - C{prefix}: the exchange's.

TLS is pyOpenSSL's, used here without any of mxproxy's own code.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from mxproxy.testing.sidecars import CLIENT_ID, CLIENT_NODE, SERVER_ID, SERVER_NODE, credential
from mxproxy.tls.settings import TLSVersion

ALPN = b"istio-peer-exchange"

_VERSIONS = {TLSVersion.TLS12: SSL.TLS1_2_VERSION, TLSVersion.TLS13: SSL.TLS1_3_VERSION}

Flights = Iterator[tuple[str, bytes]]


class Plain:
    """
    An application without TLS.

    @ivar ready: what the application says may be sent.
    @ivar read: what was read of the application's bytes, and not taken yet.
    @ivar ended: the other side has ended its stream, orderly.
    @ivar failed: TLS is broken; nothing more can be said or read.
    """

    ready = True
    failed = False

    def __init__(self) -> None:
        self.read = bytearray()
        self.ended = False

    def start(self) -> Flights:
        """The connection is made."""
        return iter(())

    def feed(self, data: bytes) -> Flights:
        """Bytes have come."""
        self.read += data
        return iter(())

    def feedEOF(self) -> None:
        """The stream has ended."""
        self.ended = True

    def wrap(self, data: bytes) -> bytes:
        """
        @return: what is sent for C{data}.
        """
        return data

    def arriving(self, size: int) -> int:
        """
        @return: how many of the application's bytes the other side can read when the first
            C{size} bytes of what L{wrap} gave last have come.
        """
        return size

    def end(self) -> bytes:
        """
        @return: what is sent before the end of the stream.
        """
        return b""


@cache
def _context(version: TLSVersion, server: bool) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(_VERSIONS[version])
    context.set_max_proto_version(_VERSIONS[version])
    own = credential(SERVER_ID if server else CLIENT_ID)
    context.use_certificate(x509.load_pem_x509_certificate(own.cert_pem))
    context.use_privatekey(load_pem_private_key(own.key_pem, None))  # type: ignore[arg-type]
    if server:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.set_alpn_select_callback(
            lambda _, offered: ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS
        )
    else:
        context.set_alpn_protos([ALPN])
    return context


class Sidecar(Plain):
    """
    The other sidecar: TLS, and the exchange behind it.
    """

    def __init__(self, version: TLSVersion, server: bool) -> None:
        super().__init__()
        self.ready = False
        self._server = server
        self._tls = SSL.Connection(_context(version, server), None)
        if server:
            self._tls.set_accept_state()
        else:
            self._tls.set_connect_state()
        self._prefix = (SERVER_NODE if server else CLIENT_NODE).prefix()
        self._handshaking = True
        self._saidHello = False
        # Where the records of the last wrap() end, and how many of the application's bytes
        # are in them up to there.
        self._records = [(0, 0)]

    def start(self) -> Flights:
        if not self._server:
            yield from self._handshake()

    def feed(self, data: bytes) -> Flights:
        if self.failed:
            return
        self._tls.bio_write(data)
        if self._handshaking:
            yield from self._handshake()
        if not self._handshaking:
            self._readAll()
            if not self.ready:
                yield from self._exchange()

    def feedEOF(self) -> None:
        """Without a close_notify this is no orderly end; it is one that is over, though."""

    def _handshake(self) -> Flights:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self.failed = True
        else:
            self._handshaking = False
        out = self._takeOut()
        if out:
            yield ("finish" if self._saidHello else "hello"), out
            self._saidHello = True
        if not self._handshaking and not self._server:
            yield "prefix", self.wrap(self._prefix)

    def _exchange(self) -> Flights:
        """Once the peer's prefix is there."""
        size = 8 + int.from_bytes(self.read[4:8], "big")
        if len(self.read) >= 8 and len(self.read) >= size:
            del self.read[:size]
            self.ready = True
            if self._server:
                yield "prefix", self.wrap(self._prefix)

    def _readAll(self) -> None:
        try:
            while True:
                self.read += self._tls.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error:
            self.failed = True

    def _takeOut(self) -> bytes:
        out = b""
        try:
            while True:
                out += self._tls.bio_read(65536)
        except SSL.WantReadError:
            return out

    def wrap(self, data: bytes) -> bytes:
        out = bytearray()
        self._records = [(0, 0)]
        for start in range(0, len(data), 16384):
            self._tls.send(data[start : start + 16384])
            out += self._takeOut()
            self._records.append((len(out), min(start + 16384, len(data))))
        return bytes(out)

    def arriving(self, size: int) -> int:
        return max(plain for end, plain in self._records if end <= size)

    def end(self) -> bytes:
        try:
            self._tls.shutdown()
        except SSL.Error:
            pass
        return self._takeOut()
