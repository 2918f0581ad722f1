"""
A terminal that answers with what it is told: C{envoy.filters.network.echo}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory, IPushProducer
from zope.interface import implementer

from ..interfaces import IChainContext, ITerminal
from ..terminal import Terminal, TerminalFactory
from .options import Options


@implementer(IPushProducer)
class EchoTerminal(Terminal):
    """
    One connection, answered.
    """

    def connectionMade(self) -> None:
        """Whoever does not read gets no more to read."""
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """It does not read."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """It has read."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """It is gone; C{connectionLost} does what is to be done."""

    def received(self, data: bytes) -> None:
        """Say it again."""
        self.send(data)

    def readConnectionLost(self) -> None:
        """There is nothing more to be said."""
        self.peer.closing("closed")
        self.close()


@implementer(ITerminal)
@dataclass(frozen=True)
class Echo:
    """
    The filter's settings: none.
    """

    def terminal(self, context: IChainContext) -> IProtocolFactory:
        """See L{ITerminal.terminal}."""
        return TerminalFactory(context, "echo", EchoTerminal)


def configure(options: Mapping[str, str]) -> Echo:
    """
    @raise mxproxy.filters.options.OptionError: there are no options.
    """
    Options(options).finish()
    return Echo()
