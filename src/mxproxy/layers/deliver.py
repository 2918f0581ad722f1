"""
Bytes that a layer has in hand when it would rather leave.

A handshake often ends in the middle of a chunk: what follows belongs to the protocol
above, and that one may want nothing yet.  A L{HoldingLayer} keeps such bytes, at most one
chunk's worth of them because what is below is paused meanwhile, hands them on as soon as
it may, and leaves.
"""

from __future__ import annotations

from twisted.python.failure import Failure

from ..interfaces import ILayer
from .base import Layer, readConnectionLost


class HoldingLayer(Layer):
    """
    A layer that can hold back bytes, and the end of the stream behind them.
    """

    _held = b""
    _heldEOF = False
    _leaving = False
    _delivering = False
    _unwanted = False

    def deliver(self, data: bytes) -> None:
        """
        Hand C{data} to the protocol above, now or when it resumes.
        """
        if self.protocol is None or self._unwanted:
            return  # It took no connection, is gone or has closed.
        if data:
            self._held = self._held + data if self._held else data
        self._flush()

    def deliverEOF(self) -> None:
        """Tell the protocol above of the end of the stream, behind what is held."""
        self._heldEOF = not self._unwanted
        self._flush()

    def leaveWith(self, data: bytes, eof: bool = False) -> None:
        """
        Leave; but C{data} and the end of the stream, which were read already, go to the
        protocol above first.
        """
        self.stopTimer()
        if self.protocol is None:
            if not data and not eof:
                self.leave()
                return
            self.connectInner()
        self._leaving = True
        self._heldEOF = (self._heldEOF or eof) and not self._unwanted
        self.deliver(data)

    def dataReceived(self, data: bytes) -> None:
        """More, while this layer is on its way out: behind what is held."""
        self.deliver(data)

    def readConnectionLost(self) -> None:
        """The end, while this layer is on its way out: behind what is held."""
        if self.protocol is None:
            super().readConnectionLost()
        else:
            self.deliverEOF()

    def loseConnection(self) -> None:
        """What is above has closed: as from a socket, nothing more is delivered to it."""
        self._discard()
        super().loseConnection()

    def abortConnection(self) -> None:
        """See L{loseConnection}."""
        self._discard()
        super().abortConnection()

    def _discard(self) -> None:
        self._unwanted = True
        self._held, self._heldEOF = b"", False

    def connectionLost(self, reason: Failure) -> None:
        """What is held goes first, paused or not: there is no later."""
        held, self._held = self._held, b""
        try:
            if self.protocol is not None and held:
                self.protocol.dataReceived(held)
        finally:
            super().connectionLost(reason)

    def unpaused(self) -> None:
        """See L{Layer.unpaused}."""
        ended = self._heldEOF
        self._flush()
        # A socket that is resumed behind its end tells of it again; a layer has more to tell.
        if not self.paused and not (ended and not ILayer.providedBy(self.transport)):
            self.transport.resumeProducing()

    def _flush(self) -> None:
        # Not reentered: what is above may resume us from within dataReceived.
        if self._delivering or self.protocol is None:
            return
        self._delivering = True
        try:
            while self._held and not self.paused and self.protocol is not None:
                held, self._held = self._held, b""
                self.protocol.dataReceived(held)
            if self._held or (self._heldEOF and self.paused):
                return
            if self._heldEOF and self.protocol is not None:
                self._heldEOF = False
                readConnectionLost(self.protocol, self)
        finally:
            self._delivering = False
        if self._leaving and self.protocol is not None:
            self._leaving = False
            self.leave()
