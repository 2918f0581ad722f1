"""
One chain on the bench: a filter between a transport in memory and an application, and a script.

A script is the transcript that is expected.  Its lines with an arrow inwards are done, those
with an arrow outwards have to happen::

    bench.play('''
        >> <prefix> 'hello'
        << <own prefix>
        found: reviews
        app<< connected
        app<< 'hello'
        left: metadata_exchange
    ''')

What is done:

    ========================  =========================================================
    C{>> BYTES}               the network brings them (L{mxproxy.testing.transcript} says
                              how bytes are written)
    C{>> eof}                 the peer ends its stream
    C{>> lost}                the connection breaks
    C{app>> BYTES}            the application writes
    C{app>> eof}              it ends its stream, and goes on reading
    C{app>> close}, C{abort}  it closes
    C{app>> pause}, C{resume} it wants nothing more for now, or again
    C{app>> produce}          it registers as a producer
    C{wait SECONDS}           time passes
    C{network stalls}         the peer reads nothing; C{network flows}: it does again
    ========================  =========================================================

What happens:

    ========================  =========================================================
    C{<< BYTES}               they are written to the socket
    C{<< eof}                 our stream ends
    C{<< close}, C{<< reset}  the socket is closed, in order or not
    C{app<< connected}        the chain is open for the application
    C{app<< BYTES}, C{eof}    they are delivered
    C{app<< closed: REASON}   the connection is C{done}, C{lost} or C{aborted}
    C{app<< pause}, C{resume} the producer is told
    C{found: NAME}            the peer is known; C{absent: STATE}: or known to be absent
    C{left: NAME}             a layer has finished
    C{closed: REASON}         the connection is over, and why
    C{app<< wrong: WHAT}      it was delivered what no layer may deliver
    ========================  =========================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from socket import SHUT_WR
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from ..chain import ChainContext
from ..connection import Connection, Peer
from ..interfaces import IChainContext, IConnection, IConnectionObserver
from ..layers.adopt import adopt
from ..wire.metadata import Node
from .application import Application, Tell
from .reactor import MemoryReactor
from .sockets import Chunks, MemorySocket, Pipe
from .transcript import Symbols, Transcript, significant
from .transport import MemoryTransport

Wrap = Callable[[IProtocolFactory, IChainContext], IProtocolFactory]


class Bench:
    """
    A chain, ready to be played.

    @ivar reactor: its time and network.
    @ivar transport: below the chain; its other end is the script's.
    @ivar application: above the chain.
    @ivar connection: what is known.
    @ivar peer: of it, this side's half.
    @ivar transcript: what has happened.
    @ivar counts: what the filter has counted.
    """

    def __init__(
        self,
        wrap: Any,
        *,
        side: str = "downstream",
        node: Node | None = None,
        alpn: str | None = None,
        symbols: Mapping[str, bytes] | None = None,
        chunks: Chunks = None,
        prepare: Callable[[Peer], None] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """
        @param wrap: an L{IFilter<mxproxy.interfaces.IFilter>}, or its C{wrap} alone.
        @param side: C{"downstream"} or C{"upstream"}.
        @param node: who we are.
        @param alpn: what TLS has negotiated below.
        @param symbols: names for bytes in scripts.
        @param chunks: how many bytes are delivered at once, at most.
        @param prepare: called with the peer before the chain is connected, to say what else
            layers below have learnt.
        @param context: what else the chain's context has, by the names of
            L{ChainContext<mxproxy.chain.ChainContext>}.
        """
        self.reactor = MemoryReactor()
        self.transcript = Transcript(Symbols(symbols))
        self.counts: Counter[str] = Counter()
        chain = ChainContext(
            side, "chain", "listener", node or Node(), self.reactor, self._count, **(context or {})
        )
        self.context: IChainContext = chain
        self.application = BenchApplication(self._tell, side)
        factory = adopt(getattr(wrap, "wrap", wrap)(_Top(self.application), chain), chain)
        self.factory: IProtocolFactory = factory
        observer = _Observer(self.transcript)
        self.connection = Connection("listener", self.reactor.seconds, [observer])
        self._left = 0
        self.peer: Peer = self.connection.downstream
        if side == "upstream":
            self.peer = self.connection.newUpstream(lambda peer: None)
        self.peer.alpn = alpn
        if getattr(wrap, "exchanges_metadata", False):
            self.peer.expectMetadata()
        self.transport = _BenchTransport(self.reactor, self.transcript, chunks)
        if prepare is not None:
            prepare(self.peer)
        self._connected = False

    def connect(self) -> None:
        """
        The connection is made: what happens by itself is recorded now.
        """
        if self._connected:
            return
        self._connected = True
        transport = self.transport
        if self.peer is self.connection.downstream:
            self.connection.opened(transport)
        else:
            self.connection.attach(self.peer, transport)
        self.factory.doStart()
        protocol = self.factory.buildProtocol(transport.getPeer())
        if protocol is None:
            transport.socket.close()
        else:
            transport.connect(protocol)
        self._settle()

    def play(self, script: str) -> None:
        """
        Do what the script says, and compare what happens with it.

        @raise TranscriptDiffers: something else happened.
        """
        self.connect()
        for line in significant(script):
            action = self._action(line)
            if action is not None:
                self.transcript.note(line)
                action()
                self._settle()
        self.transcript.check(script)

    def _settle(self) -> None:
        self.reactor.settle()
        # Said last: when a layer leaves depends on how the bytes are cut, and a transcript
        # should not.
        for name in self.connection.trail[self._left :]:
            self.transcript.note(f"left: {name.partition('/')[2] or name}")
        self._left = len(self.connection.trail)

    def _action(self, line: str) -> Callable[[], Any] | None:
        tag, _, rest = line.partition(" ")
        simple: dict[str, Callable[[], Any]] = {
            ">> eof": self.transport.feedEOF,
            ">> lost": self.transport.lose,
            "app>> eof": self.application.end,
            "app>> close": self.application.close,
            "app>> abort": self.application.abort,
            "app>> pause": self.application.pause,
            "app>> resume": self.application.resume,
            "app>> produce": self.application.produce,
            "network stalls": self.stall,
            "network flows": self.flow,
        }
        if line in simple:
            return simple[line]
        if tag == "wait":
            return lambda: self.reactor.advance(float(rest))
        parse = self.transcript.symbols.parse
        if tag == ">>":
            return lambda: self.transport.feed(parse(rest))
        if tag == "app>>":
            return lambda: self.application.write(parse(rest))
        return None

    def stall(self) -> None:
        """
        The peer reads nothing any more.
        """
        self.transport.outgoing.capacity = 0

    def flow(self) -> None:
        """
        The peer reads again.
        """
        self.transport.outgoing.capacity = None
        self.reactor.settle()

    def _count(self, name: str) -> None:
        self.counts[name] += 1

    def _tell(self, what: str, value: object) -> None:
        if what == "data":
            assert isinstance(value, bytes)
            self.transcript.bytes("app<<", value)
        else:
            self.transcript.note(f"app<< {what}" + ("" if value is None else f": {value}"))


class BenchApplication(Application):
    """
    An application that ends a connection as the terminal of a chain does.
    """

    def __init__(self, tell: Tell | None, side: str) -> None:
        super().__init__(tell)
        self._side = side
        self.connection: Any = None

    def connectionMade(self) -> None:
        """The facts have to be there already."""
        self.connection = IConnection(self.transport, None)
        if self.connection is None:
            self.wrong("IConnection(self.transport) is not to be had in connectionMade")
        super().connectionMade()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Whoever is on top says that the connection is lost."""
        super().connectionLost(reason)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.lost(getattr(connection, self._side), reason)


class _Top(Factory):
    """
    Builds the one application.
    """

    noisy = False

    def __init__(self, application: Application) -> None:
        self._application: Application | None = application

    def buildProtocol(self, addr: object) -> Application | None:
        """See L{Factory}.  It is not kept: layers have their factories, and a cycle would be."""
        application, self._application = self._application, None
        return application


class _BenchTransport(MemoryTransport):
    """
    Records what is written, and what becomes of the socket.

    Bytes are recorded when they are written, not when they are sent, so that they stand
    before whatever their writer does next.
    """

    def __init__(self, reactor: MemoryReactor, transcript: Transcript, chunks: Chunks) -> None:
        self._transcript = transcript
        super().__init__(reactor, _BenchSocket(Pipe(chunks=chunks), Pipe(), transcript))

    def write(self, data: bytes) -> None:
        """See L{ITransport}."""
        if data and self.connected and not self._aborting and not self._writeDisconnected:
            self._transcript.bytes("<<", data)
        super().write(data)  # type: ignore[no-untyped-call]

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """See L{ITransport}."""
        self.write(b"".join(iovec))


class _BenchSocket(MemorySocket):
    """
    Records the ends.
    """

    def __init__(self, incoming: Pipe, outgoing: Pipe, transcript: Transcript) -> None:
        super().__init__(incoming, outgoing)
        self._transcript = transcript

    def shutdown(self, how: int) -> None:
        """One direction; both are recorded by C{close}."""
        super().shutdown(how)
        if how == SHUT_WR:
            self._transcript.note("<< eof")

    def close(self) -> None:
        """In order, or not."""
        broken = self.incoming.broken
        super().close()
        if not broken:
            self._transcript.note("<< reset" if self.outgoing.broken else "<< close")


@implementer(IConnectionObserver)
class _Observer:
    """
    Records the edges.
    """

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript

    def opened(self, connection: Connection) -> None:
        """The script knows."""

    def identified(self, connection: Connection, peer: Peer) -> None:
        """Found, or absent."""
        if peer.metadata:
            found = peer.metadata
            self._transcript.note(f"found: {found.workload or found.name or '(says nothing)'}")
        else:
            self._transcript.note(f"absent: {peer.peer_state}")

    def connected(self, connection: Connection) -> None:
        """Only a terminal says so."""

    def closed(self, connection: Connection) -> None:
        """Over."""
        peer = connection.upstream if connection.upstream.close_reason else connection.downstream
        self._transcript.note(f"closed: {peer.close_reason}")
