"""
Looks at a stream's first bytes, consumes none, and gets out of the way.

The machine is an L{mxproxy.interfaces.IInspector}.  What it has looked at is held (the
inspector bounds it) and goes to whatever is connected above, first byte first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from ..connection import Peer
from ..interfaces import IChainContext, IInspector
from .base import LayerFactory
from .deadline import ListenerFilterLayer


class PeekLayer(ListenerFilterLayer):
    """
    The runner of one inspector on one connection.
    """

    factory: PeekFactory
    _inspector: IInspector

    @property
    def name(self) -> str:  # type: ignore[override]
        """The inspector's."""
        return self.factory.name

    def begin(self) -> bool:
        """Is this one's answer wanted?"""
        if not self.factory.wanted(self.peer):
            return False
        self._inspector = self.factory.inspector()
        return True

    def look(self, data: bytes) -> None:
        """Ask the inspector."""
        answer = self._inspector.feed(data)
        if answer is None:
            return
        refused = self.factory.learnt(self.peer, answer)
        if refused:
            self.refuse(f"{self.name}: {refused}")
        else:
            self.goOn(self.seen)

    def ended(self) -> None:
        """Something may be made of it."""
        self.factory.learnt(self.peer, self._inspector.eof())

    def timedOut(self) -> None:
        """Something may be made of it."""
        self.factory.learnt(self.peer, self._inspector.timeout())


def _always(peer: Peer) -> bool:
    return True


class PeekFactory(LayerFactory):
    """
    Makes L{PeekLayer}s.

    @ivar name: what the trail calls the layer.
    @ivar inspector: called without arguments for each connection: L{IInspector}.
    @ivar learnt: called with the peer and the inspector's answer: keeps the facts.  It returns
        why the connection has to be closed, if so.
    @ivar wanted: called with the peer: whether to look at all.
    """

    layer = PeekLayer

    def __init__(
        self,
        inner: IProtocolFactory,
        context: IChainContext,
        *,
        name: str,
        inspector: Callable[[], Any],
        learnt: Callable[[Peer, Any], str | None],
        wanted: Callable[[Peer], bool] = _always,
    ) -> None:
        super().__init__(inner, context)
        self.name = name
        self.inspector = inspector
        self.learnt = learnt
        self.wanted = wanted
