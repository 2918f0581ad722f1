"""
One conversation with a sidecar: TLS, the exchange, and goodbye.

How a byte flows: the socket, TLS (L{mxproxy.layers.tls}, as in a sidecar), and on top of it, where
a sidecar would have its exchange and its application, L{Above}, which runs the exchange's machine
itself, keeps what was read, and never has an application.  What becomes known is written down in
a L{Finding}; a bound of time is over all of it.

Who speaks first is found out by waiting: as long as an answer takes to come, and a moment.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ...chain import ChainContext
from ...connection import Connection, Peer
from ...layers.base import build, connect
from ...layers.tls import TLSFactory
from ...observe.access_log import formatAddress
from ...upstream.attempt import brief, setNoDelay
from ...wire.exchange import Exchange, alpnAgrees
from ...wire.metadata import Node, decodeMetadata
from ...wire.prefix import DEFAULT_MAX_SIZE, HEADER_SIZE
from ..verdict import judge
from .finding import Finding, Outcome
from .looking import Looking

#: Seconds beyond two round trips that a peer is given to speak first, or to refuse us: with
#: TLS 1.3 a server judges our certificate after our handshake is done.
MOMENT: Final = 0.1

#: Seconds that a peer may take to see our close_notify, before the connection is dropped.
LINGER: Final = 1.0

#: What a peer says when TLS was up for us already, and was not for him.
_REFUSALS: Final = ("alert_received", "protocol_error", "tls_error")


class Conversation:
    """
    With one peer.

    @ivar finding: what is known.
    @ivar connection: as L{mxproxy.layers} know it.
    @ivar done: fires with the finding, once; it never fails.
    """

    def __init__(
        self,
        finding: Finding,
        looking: Looking,
        node: Node,
        clock: Any,
        timeout: float,
        *,
        protocol: str,
        insecure: bool,
    ) -> None:
        """
        @param node: who we say that we are.
        @param clock: an L{IReactorTime}.
        @param timeout: seconds for all of it.
        @param protocol: the ALPN that stands for the exchange.
        @param insecure: go on with a peer that is not trusted.
        """
        self.finding = finding
        self.done: Deferred[Finding] = Deferred()
        self.looking = looking
        self.prefix = node.prefix()
        self.clock = clock
        self.protocol = protocol
        self.insecure = insecure
        self._timeout = timeout
        self._began = self._stepBegan = clock.seconds()
        self._timer = clock.callLater(timeout, self._timedOut)
        self._transport: Any = None
        self._gone = Deferred[None]()
        self._dialing: Deferred[Any] | None = None
        side = "upstream" if finding.peer == "server" else "downstream"
        self._context = ChainContext(side, "probe", "", node, clock, lambda name: None)
        self.connection = Connection("probe", clock.seconds)

    def dial(self, endpoint: Any) -> None:
        """
        Connect to a server.
        """
        self._dialing = endpoint.connect(_Bottom(self))
        self._dialing.addCallbacks(lambda _: None, self._dialFailed)

    def _dialFailed(self, failure: Failure) -> None:
        self.end(Outcome.CONNECT_FAILED, brief(failure))

    def connected(self, transport: Any) -> None:
        """
        There is a connection, ours or a client's.
        """
        if self.done.called:
            transport.abortConnection()
            return
        self._transport = transport
        setNoDelay(transport)
        finding = self.finding
        finding.address = formatAddress(transport.getPeer())
        finding.local_address = formatAddress(transport.getHost())
        if finding.peer == "server":
            self.stepDone("tls")
            peer = self.connection.newUpstream(self._lost)
            self.connection.attach(peer, transport)
        else:
            finding.step = "tls"
            self.connection.opened(transport)
            peer = self.connection.downstream
            peer.whenLost = self._lost
        # The handshake's bound is the conversation's.
        factory = TLSFactory(_Above(self), self._context, self.looking, 2 * self._timeout)
        inner = build(factory, transport, peer)
        transport.protocol = inner
        connect(inner, transport, peer)

    def stepDone(self, following: str) -> None:
        """
        A step is done, and another begins; C{""} for none.
        """
        now = self.clock.seconds()
        self.finding.seconds[self.finding.step] = now - self._stepBegan
        self._stepBegan = now
        self.finding.step = following or self.finding.step

    def stepBegins(self) -> None:
        """
        What came before was waiting.
        """
        self._stepBegan = self.clock.seconds()

    @property
    def patience(self) -> float:
        """
        Seconds in which a peer that wants to speak has spoken.
        """
        seconds = self.finding.seconds
        # Of a client we have not seen more of the way than his handshake took.
        return MOMENT + 2 * seconds.get("connect", seconds.get("tls", 0.0))

    def end(self, outcome: Outcome, reason: str = "") -> None:
        """
        That was it; the first one who says so is right.
        """
        if self._timer.active():
            self._timer.cancel()
        if self.done.called:
            return
        finding = self.finding
        finding.outcome = outcome
        finding.reason = reason
        self.looking.note(finding)
        if self._transport is not None:
            # Said in order, but not waited for in vain.
            self._timer = self.clock.callLater(LINGER, self._abort)
        self.done.callback(finding)

    async def gone(self) -> None:
        """
        Wait, within a bound, until nothing is left of the connection.
        """
        if self._transport is not None:
            await self._gone

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abortConnection()

    def _timedOut(self) -> None:
        finding = self.finding
        waited = {"connect": "connection", "tls": "TLS handshake", "exchange": "metadata"}
        self.end(Outcome.TIMEOUT, f"no {waited[finding.step]} within {self._timeout:g} s")
        if self._dialing is not None:
            self._dialing.cancel()
        self._abort()

    def _lost(self, peer: Peer) -> None:
        """
        The transport is gone, in whichever step.
        """
        self._transport = None
        if not self.done.called:
            self.end(Outcome.TLS_FAILED, peer.close_reason)
        if self._timer.active():
            self._timer.cancel()
        self._gone.callback(None)


class _Bottom(Protocol, Factory):
    """
    What an endpoint is given, for one call.
    """

    noisy = False

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See L{Factory.buildProtocol}."""
        return self

    def makeConnection(self, transport: Any) -> None:
        """The TCP connection is up."""
        self._conversation.connected(transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Of one that came too late."""


class _Above(Factory):
    """
    Makes the one L{Above}.
    """

    noisy = False

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See L{Factory.buildProtocol}."""
        return Above(self._conversation)


@implementer(IHalfCloseableProtocol)
class Above(Protocol):
    """
    Above TLS: the exchange, and nothing else.
    """

    transport: Any
    _machine: Exchange | None = None
    _opened = False
    _ended = False
    _timer: Any = None

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._finding = conversation.finding
        # What was read; as much of it as a prefix may have.
        self._read = bytearray()

    def connectionMade(self) -> None:
        """TLS is up; with whom?"""
        conversation, finding = self._conversation, self._finding
        conversation.stepDone("exchange")
        finding.tls = tls = conversation.looking.settled()
        conversation.looking.note(finding)
        if finding.trusted is not True and not conversation.insecure:
            reason = finding.distrust or "no_certificate: the peer has shown no certificate"
            self._end(Outcome.TLS_FAILED, reason)
            return
        if alpnAgrees(tls.alpn or "", conversation.protocol):
            self._machine = Exchange(
                conversation.prefix, decodeMetadata, speaksFirst=True, maxSize=DEFAULT_MAX_SIZE
            )
        self._timer = conversation.clock.callLater(conversation.patience, self._spoken)

    def _spoken(self) -> None:
        """
        Whoever wanted to speak first, has.
        """
        self._timer = None
        if self._machine is None:
            self._noExchange()
        else:
            self._open()

    def _noExchange(self) -> None:
        tls = self._finding.tls
        assert tls is not None
        what = f"{tls.alpn!r}" if tls.alpn else "no protocol"
        self._end(Outcome.NO_EXCHANGE, f"alpn_mismatch: TLS has negotiated {what}")

    def _open(self) -> None:
        """
        Say who we are.
        """
        assert self._machine is not None
        self._opened = True
        self._stopTimer()
        self._finding.speaksFirst = bool(self._read)
        if not self._read:
            self._conversation.stepBegins()
        self.transport.write(self._machine.opening())

    def dataReceived(self, data: bytes) -> None:
        """The peer has said something."""
        if self._ended:
            return
        finding = self._finding
        finding.received += len(data)
        self._read += data[: HEADER_SIZE + DEFAULT_MAX_SIZE - len(self._read)]
        finding.head = bytes(self._read)
        if self._machine is None:
            self._noExchange()
        elif self._machine.feed(data) is not None:
            self._decided()
        elif not self._opened:
            self._open()

    def readConnectionLost(self) -> None:
        """The peer has nothing more to say."""
        if not self._ended:
            self._over()

    def writeConnectionLost(self) -> None:
        """That was us."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Gone, whoever wanted it."""
        connection = self._conversation.connection
        side = connection.upstream if self._finding.peer == "server" else connection.downstream
        if self._ended:
            pass
        elif side.close_reason.startswith(_REFUSALS):
            self._end(Outcome.TLS_FAILED, side.close_reason)
        else:
            self._over()
        connection.lost(side, reason)

    def _over(self) -> None:
        """
        The stream has ended too early.
        """
        if self._machine is None:
            self._noExchange()
        else:
            self._decided()

    def _decided(self) -> None:
        """
        The exchange has come to its end, a good one or not.
        """
        if not self._opened:
            self._open()
        finding = self._finding
        finding.verdict = verdict = judge(bytes(self._read))
        if verdict.metadata is not None:
            self._end(Outcome.FOUND)
            return
        where = "" if verdict.fault is None else f" (byte {verdict.fault})"
        self._end(Outcome.EXCHANGE_FAILED, f"{verdict.state}: {verdict.reason}{where}")

    def _end(self, outcome: Outcome, reason: str = "") -> None:
        self._ended = True
        self._stopTimer()
        if self._opened:
            self._conversation.stepDone("")
        self.transport.loseConnection()
        self._conversation.end(outcome, reason)

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
