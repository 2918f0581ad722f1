"""
From a request to what is printed: one conversation with a server, or some with clients.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, TextIO

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

from ...lifecycle.refusal import whyNot
from ...observe.access_log import formatAddress
from ..page import Page
from .command import Request
from .conversation import Conversation
from .finding import Finding
from .show import show


def run(request: Request, stdout: TextIO, stderr: TextIO) -> int:
    """
    @return: the exit status: of several conversations that of the first that did not go well.
    @raise OSError: there is no listening where it is wanted.
    @raise KeyboardInterrupt: somebody wants it to end.
    """
    probe = Probe(request, stdout, stderr)
    with suppress(SystemExit):
        react(probe.main)
    if probe.fault is not None:
        raise probe.fault
    if not probe.finished:
        raise KeyboardInterrupt
    return probe.status


class Probe:
    """
    One run.

    @ivar finished: whether it came to its end.
    @ivar status: the exit status so far.
    @ivar fault: what is wrong on our side, or C{None}.
    """

    def __init__(self, request: Request, stdout: TextIO, stderr: TextIO) -> None:
        self.request = request
        self.finished = False
        self.status = 0
        self.fault: Exception | None = None
        self._page = Page(stdout)
        self._stdout = stdout
        self._stderr = stderr
        self._shown = 0

    async def main(self, reactor: Any) -> None:
        """
        All of it, on C{reactor}.
        """
        try:
            if self.request.listens:
                await self._listen(reactor)
            else:
                conversation = self.converse(reactor, "server")
                conversation.dial(self.request.clientEndpoint(reactor))
                self.report(await conversation.done)
                await conversation.gone()
        except Exception as error:  # noqa: BLE001 - react would print a traceback
            self.fault = error
        self.finished = True

    def converse(self, clock: Any, peer: str) -> Conversation:
        """
        Another conversation.
        """
        request = self.request
        return Conversation(
            Finding(peer, request.target),
            request.looking(),
            request.node,
            clock,
            request.timeout,
            protocol=request.protocol,
            insecure=request.insecure,
        )

    async def _listen(self, reactor: Any) -> None:
        clients = Clients(self, reactor)
        try:
            port = await self.request.serverEndpoint(reactor).listen(clients)
        except CannotListenError as error:
            raise OSError(f"cannot listen on {self.request.target}: {whyNot(error)}") from error
        where = formatAddress(port.getHost())
        self._stderr.write(f"listening on {where}, for a client sidecar\n")
        self._stderr.flush()
        try:
            for _ in range(self.request.count):
                await clients.next()
        finally:
            await maybeDeferred(port.stopListening)

    def report(self, finding: Finding) -> None:
        """
        Print it.
        """
        if self.request.json:
            self._stdout.write(json.dumps(finding.describe()) + "\n")
            self._stdout.flush()
        else:
            if self._shown:
                self._page.line()
            show(finding, self._page)
        self._shown += 1
        self.status = self.status or finding.exitStatus


class Clients(Factory):
    """
    Accepts as many clients as are wanted, and no more.
    """

    noisy = False

    def __init__(self, probe: Probe, reactor: Any) -> None:
        self._probe = probe
        self._reactor = reactor
        self._left = probe.request.count
        self._over: list[Deferred[None]] = []
        self._waiting: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See L{Factory.buildProtocol}."""
        if not self._left:
            return None
        self._left -= 1
        return _Accepted(self)

    def accepted(self, transport: Any) -> None:
        """
        A client has come.
        """
        conversation = self._probe.converse(self._reactor, "client")
        conversation.connected(transport)
        self._over.append(Deferred.fromCoroutine(self._talk(conversation)))
        if self._waiting:
            self._waiting.pop(0).callback(None)

    async def _talk(self, conversation: Conversation) -> None:
        self._probe.report(await conversation.done)
        await conversation.gone()

    async def next(self) -> None:
        """
        Wait for the end of a conversation, in the order in which they began.
        """
        if not self._over:
            self._waiting.append(Deferred())
            await self._waiting[-1]
        await self._over.pop(0)


class _Accepted(Protocol):
    """
    The bottom of a client's connection, for one call.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def makeConnection(self, transport: Any) -> None:
        """Here it is."""
        self._clients.accepted(transport)
