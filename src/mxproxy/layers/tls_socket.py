"""
TLS on the socket itself: the handshake is run here, and then this layer leaves.

How a byte flows: while the handshake lasts, the transport
(L{SocketTransport<mxproxy.transports.socket.SocketTransport>}) only says when its socket is ready,
and OpenSSL reads and writes by itself.  When it is done the transport is given a
L{TLSChannel<mxproxy.transports.tls.TLSChannel>} to read and write through, and what is above this
layer is connected to the transport.
"""

from __future__ import annotations

import socket as sockets
from typing import TYPE_CHECKING

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from ..tls.explain import explain
from ..transports.socket import SocketTransport
from ..transports.tls import channel, forgetErrors
from .securing import LOST, SecuringLayer

if TYPE_CHECKING:
    from .tls import TLSFactory


#: What records there are (RFC 8446, section 5.1): change_cipher_spec, alert, handshake and
#: application_data.
RECORDS = range(0x14, 0x18)


class SocketTLSLayer(SecuringLayer):
    """
    One side's handshake.
    """

    factory: TLSFactory
    transport: SocketTransport
    _sawFirstByte = False

    def connectionMade(self) -> None:
        """Begin the handshake."""
        transport = self.transport
        self._tls = self.factory.tls.connection(transport.socket)
        self.startHandshakeTimer(self.factory.timeout)
        transport.control(self._ready)
        if self.context.side == "upstream":
            self._handshake()

    def _ready(self) -> None:
        """The socket can be read or written."""
        if not self._sawFirstByte and not self._lookAtFirstByte():
            return
        self._handshake()

    def _lookAtFirstByte(self) -> bool:
        try:
            first = self.transport.socket.recv(1, sockets.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            self._lost()
            return False
        if not first:
            self._ended()
            return False
        self._sawFirstByte = True
        if self.context.side == "upstream" and first[0] in RECORDS:
            # A server that is near may have answered while we were still in the first call of
            # do_handshake, and OpenSSL has read of it what there was: any record may be next.
            return True
        return not self.notTLS(first[0])

    def _handshake(self) -> None:
        transport = self.transport
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            transport.stopWriting()
        except SSL.WantWriteError:
            transport.startWriting()
        except SSL.ZeroReturnError:
            self._ended()
        except SSL.SysCallError as error:
            forgetErrors()
            if error.args[0] > 0:
                self._lost()
            else:
                self._ended()
        except SSL.Error as error:
            self.refuse(explain(error, self._tls))
        else:
            self.secured()
            transport.secure(channel(self._tls, explain), self.peer.closing)
            self.leave()

    def _ended(self) -> None:
        self.refuse("closed: the stream ended during the TLS handshake")
        self.transport.loseConnection()

    def _lost(self) -> None:
        self.peer.closing(LOST)
        self.transport.control(None)
        self.transport.connectionLost(Failure(ConnectionLost()))

    def refuse(self, reason: str) -> None:
        """See L{SecuringLayer}; OpenSSL has sent the alert already."""
        self.transport.control(None)
        self.transport.stopWriting()
        super().refuse(reason)

    # -- after a refusal: what the peer still says is read and dropped

    def dataReceived(self, data: bytes) -> None:
        """Nobody wants it."""

    def readConnectionLost(self) -> None:
        """It has gone."""
        self.transport.loseConnection()
