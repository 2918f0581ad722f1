"""
TLS as a layer, over memory BIOs: it runs on whatever transport is below it.  Where that is a socket
of ours, L{mxproxy.layers.tls_socket} does the same without them.

What belongs here is the life of a TLS connection: its handshake and that handshake's
timeout, records to bytes and back, and the ends of the two directions.  What a certificate
proves, and whom to trust, is C{mxproxy.tls}.

Theory of operation.  C{dataReceived} puts ciphertext into OpenSSL; C{_read} takes
plaintext out, record by record, as long as nobody above has paused, so at most one chunk
of ciphertext waits in OpenSSL's memory.  C{write} encrypts at once and hands the
ciphertext down; the buffer, and so the back-pressure, is the socket's.

The ends, which stock Twisted mixes up (twisted/twisted#5341, #7926):

  - The peer's close_notify is the end of one direction: the protocol above is told of a
    half-close and may write on.
  - Our own end of stream is a close_notify and then the transport's; we may read on.
  - Closing never waits for the peer's alert.
  - An end of the transport without a close_notify is passed on as an end of stream, and
    noted: C{"truncated"}.
"""

from __future__ import annotations

from socket import socket as Socket
from typing import Any
from typing import Protocol as TypingProtocol

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure

from ..interfaces import IChainContext
from ..tls.explain import explain
from ..transports.buffer import RECORD
from ..transports.socket import SocketTransport
from .base import LayerFactory, loseWriteConnection, readConnectionLost
from .securing import LINGER, LOST, SecuringLayer
from .tls_socket import SocketTLSLayer

#: Ciphertext is taken from OpenSSL in pieces of this size; four records.
BIO_READ = 64 * 1024 + 1024


class MakesConnections(TypingProtocol):
    """What of C{mxproxy.tls.context} a layer needs."""

    def connection(self, socket: Socket | None = None) -> SSL.Connection:
        """A new connection over C{socket}, or over memory BIOs, its side chosen."""


class TLSLayer(SecuringLayer):
    """
    One side of a TLS connection.
    """

    factory: TLSFactory
    _sawFirstByte = False
    _reading = False
    _readDone = False
    _writeDone = False
    _belowEOF = False

    # -- the handshake

    def makeConnection(self, transport: Any) -> None:
        """On a socket of our own there is a better way: L{SocketTLSLayer} takes this one's place."""
        if isinstance(transport, SocketTransport):
            layer = transport.protocol = SocketTLSLayer(self.factory)
            layer.makeConnection(transport)
        else:
            super().makeConnection(transport)

    def connectionMade(self) -> None:
        """Begin the handshake."""
        self._tls = self.factory.tls.connection()
        self.startHandshakeTimer(self.factory.timeout)
        if self.context.side == "upstream":
            self._handshake()

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return
        except SSL.Error as error:
            self.refuse(explain(error, self._tls))
            return
        self._flush()
        self.secured()
        self.connection.trail.append(f"{self.peer.side}/{self.name}")
        self.connectInner()

    def refuse(self, reason: str) -> None:
        """See L{SecuringLayer}."""
        self._flush()
        super().refuse(reason)

    # -- reading

    def dataReceived(self, data: bytes) -> None:
        """Ciphertext from below."""
        if self._refused or self._readDone or not data:
            return
        if self._handshaking:
            if not self._sawFirstByte and self.notTLS(data[0]):
                return
            self._sawFirstByte = True
            self._tls.bio_write(data)
            self._handshake()
            if self._handshaking:
                return
        else:
            self._tls.bio_write(data)
        self._read()

    def _read(self) -> None:
        if self._reading:
            return
        self._reading = True
        recv = self._tls.recv
        try:
            # self.protocol is looked up each time: what is above may leave.
            while not self._pauses and self.protocol is not None and not self._readDone:
                self.protocol.dataReceived(recv(RECORD))
        except SSL.WantReadError:
            if self._belowEOF:
                self._truncated()
        except SSL.ZeroReturnError:
            self._endOfStream()
        except SSL.Error as error:
            self._broken(error)
        finally:
            self._reading = False
        self._flush()

    def unpaused(self) -> None:
        """Records that came before the pause go first."""
        if not self._handshaking and not self._readDone:
            self._read()
        if not self.paused:
            self.transport.resumeProducing()

    def readConnectionLost(self) -> None:
        """The transport has ended; has the stream, too?"""
        if self._refused:
            self.transport.loseConnection()
        elif self._handshaking:
            self.refuse("closed: the stream ended during the TLS handshake")
            self.transport.loseConnection()
        elif not self._readDone:
            self._belowEOF = True
            self._read()

    def _endOfStream(self) -> None:
        self._readDone = True
        if self.protocol is not None:
            readConnectionLost(self.protocol, self)

    def _truncated(self) -> None:
        self.peer.closing("truncated: the stream ended without a close_notify")
        self._endOfStream()

    def _broken(self, error: SSL.Error) -> None:
        self.peer.closing(explain(error, self._tls))
        self._readDone = self._writeDone = True
        self._flush()
        # First, as a socket whose writing direction has ended is lost from within.
        self.startTimer(LINGER, self.lingered)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """The transport is gone."""
        self.stopTimer()
        if self._handshaking:
            self.peer.closing(LOST)
        self._writeDone = True
        try:
            if self.paused:
                self._drain()
        finally:
            self._readDone = True
            super().connectionLost(reason)

    def _drain(self) -> None:
        """Records that waited for the end of a pause go on now: there is no later."""
        try:
            while self.protocol is not None and not self._readDone:
                self.protocol.dataReceived(self._tls.recv(RECORD))
        except SSL.Error:
            pass  # There is no more.

    # -- writing

    def write(self, data: bytes) -> None:
        """Encrypt it and hand it down."""
        if self._writeDone or not data:
            return
        send = self._tls.send
        try:
            if len(data) <= RECORD:
                send(data)
            else:
                view = memoryview(data)
                for start in range(0, len(data), RECORD):
                    send(view[start : start + RECORD])
        except SSL.Error as error:
            self._broken(error)
        else:
            self._flush()

    def _flush(self) -> None:
        """Hand down all ciphertext that OpenSSL has ready."""
        read = self._tls.bio_read
        try:
            while True:
                self.transport.write(read(BIO_READ))
        except SSL.WantReadError:
            pass

    def loseWriteConnection(self) -> None:
        """Say close_notify, then end the transport's writing direction."""
        if self._closeNotify():
            loseWriteConnection(self.transport)

    def loseConnection(self) -> None:
        """Say close_notify and close; the peer's is not waited for."""
        self._closeNotify()
        self._readDone = True
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Close without a close_notify: the peer sees a truncated stream."""
        self._readDone = self._writeDone = True
        self.transport.abortConnection()

    def _closeNotify(self) -> bool:
        if self._writeDone:
            return False
        self._writeDone = True
        try:
            self._tls.shutdown()
        except SSL.Error:
            pass  # The session is broken; there is nobody to be told.
        self._flush()
        return True


class TLSFactory(LayerFactory):
    """
    Makes L{TLSLayer}s.

    @ivar tls: the chain's TLS context; one for all its connections.
    @ivar timeout: seconds for a handshake.
    """

    layer = TLSLayer

    def __init__(
        self,
        inner: IProtocolFactory,
        context: IChainContext,
        tls: MakesConnections,
        timeout: float,
    ) -> None:
        super().__init__(inner, context)
        self.tls = tls
        self.timeout = timeout
