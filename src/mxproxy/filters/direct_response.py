"""
A terminal that says one thing and closes: C{envoy.filters.network.direct_response}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from ..interfaces import IChainContext, ITerminal
from ..terminal import Terminal, TerminalFactory
from .options import Options


@implementer(ITerminal)
@dataclass(frozen=True)
class DirectResponse:
    """
    The filter's settings.

    @ivar body: what is said.
    """

    body: bytes = b""

    def terminal(self, context: IChainContext) -> IProtocolFactory:
        """See L{ITerminal.terminal}."""
        body = self.body

        class DirectResponseTerminal(Terminal):
            """
            One connection, answered.
            """

            def connectionMade(self) -> None:
                """Say it; nothing is listened to."""
                self.send(body)
                self.peer.closing("direct_response")
                self.close()

        return TerminalFactory(context, "direct_response", DirectResponseTerminal)


def configure(options: Mapping[str, str]) -> DirectResponse:
    """
    @param options: C{body}, a text.
    @raise mxproxy.filters.options.OptionError: one of them is unknown.
    """
    read = Options(options)
    settings = DirectResponse(read.text("body", "").encode("utf-8"))
    read.finish()
    return settings
