"""
Runs a pure handshake on a connection, then gets out of the way.

The machine (L{mxproxy.interfaces.IHandshake}) knows the bytes; this layer knows the
transport and the clock, and nothing of what the bytes mean.

How a byte flows: until the machine has come to an L{Outcome} nothing is connected above,
so nothing can be written and there is nothing to pause.  With the outcome, C{send} goes
down, the protocol above is connected, C{forward} goes up, and the layer leaves.  Where the
hold ends early (an optimistic machine, or the timeout), the protocol above is connected
with this layer as its transport, and what is read goes on through the machine until that
is finished.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from ..interfaces import IChainContext, IHandshake
from ..wire.handshake import Outcome
from .base import LayerFactory
from .deliver import HoldingLayer


class HandshakeLayer(HoldingLayer):
    """
    The runner.  Subclasses say which machine, and keep what it learns.
    """

    name = "handshake"
    factory: HandshakeFactory
    _machine: IHandshake | None = None

    # -- for subclasses

    def begin(self) -> IHandshake | None:
        """
        @return: the machine for this connection, or C{None}: nothing is to be done here.
        """
        machine: IHandshake = self.factory.machine()
        return machine

    def isOptimistic(self) -> bool:
        """
        Whether what is above may write as soon as our own opening is out.
        """
        return False

    def learnt(self, result: object) -> None:
        """
        The machine has come to a result; perhaps not the last one.

        @param result: never C{None}: an L{Outcome} without a result teaches nothing.
        """

    # -- the run

    def connectionMade(self) -> None:
        """Begin."""
        self._machine = machine = self.begin()
        if machine is None:
            self.leave()
            return
        opening = machine.opening()
        if opening:
            self.transport.write(opening)
        self.startTimer(self.factory.timeout, self._timedOut)
        if opening and self.isOptimistic():
            self.connectInner()

    def dataReceived(self, data: bytes) -> None:
        """Feed the machine; behind it, the protocol above."""
        if self._machine is None:
            self.deliver(data)
            return
        outcome = self._machine.feed(data)
        if outcome is not None:
            self._apply(outcome)

    def readConnectionLost(self) -> None:
        """Ask the machine what the end of the stream means; then pass it on."""
        if self._machine is None:
            self.deliverEOF()
        else:
            self._apply(self._machine.eof(), eof=True)

    def _timedOut(self) -> None:
        assert self._machine is not None
        self._apply(self._machine.timeout())

    def _finish(self) -> None:
        self._machine = None
        self.stopTimer()

    def _apply(self, outcome: Outcome, eof: bool = False) -> None:
        if outcome.abort:
            self._finish()
            self._learn(outcome)
            self.peer.closing(outcome.abort)
            self.transport.abortConnection()
            return
        # Behind the end of the stream there is nothing more to be fed.
        final = outcome.final or eof
        if final:
            self._finish()
        self._learn(outcome)
        if outcome.send:
            self.transport.write(outcome.send)
        if final:
            self.leaveWith(outcome.forward, eof)
            return
        if self.protocol is None:
            self.connectInner()
        self.deliver(outcome.forward)

    def _learn(self, outcome: Outcome) -> None:
        if outcome.result is not None:
            self.learnt(outcome.result)


class HandshakeFactory(LayerFactory):
    """
    Makes L{HandshakeLayer}s.

    @ivar machine: called without arguments for each connection: L{IHandshake}.
    @ivar timeout: seconds until the machine is told of the timeout.
    """

    layer = HandshakeLayer

    def __init__(
        self,
        inner: IProtocolFactory,
        context: IChainContext,
        machine: Callable[[], Any],
        timeout: float,
        *,
        layer: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(inner, context, layer)
        self.machine = machine
        self.timeout = timeout
