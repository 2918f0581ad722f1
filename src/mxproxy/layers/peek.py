"""
Looks at a stream's first bytes, consumes none, and gets out of the way.

The machine is an L{mxproxy.interfaces.IInspector}.  What it has looked at is held (the
inspector bounds it) and goes to whatever is connected above, first byte first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IProtocolFactory
from twisted.python.failure import Failure

from ..connection import Peer
from ..interfaces import IChainContext, IInspector
from .base import LayerFactory
from .deadline import callAtDeadline
from .deliver import HoldingLayer


class PeekLayer(HoldingLayer):
    """
    The runner of one inspector on one connection.
    """

    factory: PeekFactory
    _inspector: IInspector | None = None
    _timer: IDelayedCall | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """The inspector's."""
        return self.factory.name

    def connectionMade(self) -> None:
        """Wait for the first bytes, but not for ever: the peer may want us to speak first."""
        self._inspector = self.factory.inspector()
        self._seen = bytearray()
        self._timer = callAtDeadline(self.connection, self.context, self._timedOut)

    def dataReceived(self, data: bytes) -> None:
        """Look at it."""
        if self._inspector is None:
            self.deliver(data)
            return
        self._seen += data
        answer = self._inspector.feed(data)
        if answer is not None:
            self._decide(answer)

    def readConnectionLost(self) -> None:
        """There is no more to look at."""
        if self._inspector is None:
            self.deliverEOF()
        else:
            self._decide(self._inspector.eof(), eof=True)

    def connectionLost(self, reason: Failure) -> None:
        """Too late to decide anything."""
        self._finish()
        super().connectionLost(reason)

    def _timedOut(self) -> None:
        self._timer = None
        if self._inspector is None:
            return
        if not self.context.continue_on_listener_filters_timeout:
            self._finish()
            self.fail(f"listener_filters_timeout: {self.name} has seen too little to decide")
            return
        self._decide(self._inspector.timeout())

    def _finish(self) -> None:
        self._inspector = None
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def _decide(self, answer: object, eof: bool = False) -> None:
        self._finish()
        self.factory.learnt(self.peer, answer)
        seen, self._seen = bytes(self._seen), bytearray()
        self.leaveWith(seen, eof)


class PeekFactory(LayerFactory):
    """
    Makes L{PeekLayer}s.

    @ivar name: what the trail calls the layer.
    @ivar inspector: called without arguments for each connection: L{IInspector}.
    @ivar learnt: called with the peer and the inspector's answer: keeps the facts.
    """

    layer = PeekLayer

    def __init__(
        self,
        inner: IProtocolFactory,
        context: IChainContext,
        *,
        name: str,
        inspector: Callable[[], Any],
        learnt: Callable[[Peer, Any], None],
    ) -> None:
        super().__init__(inner, context)
        self.name = name
        self.inspector = inspector
        self.learnt = learnt
