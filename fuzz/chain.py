"""
The whole inbound chain in memory: accept, listener filters, exchange, terminal; and whatever a
client, a server and the network do meanwhile.

An input is a configuration, what happens, and what the client sends::

    offset  size  what
    0       1     the listener's filters, and how the exchange opens: see L{Settings}
    1       1     how the network cuts and holds bytes
    2       1     N, modulo 32: how many things happen
    3       N     each of them: a kind in the upper three bits, an amount in the lower five
    3 + N         the client's bytes

Invariant: bytes out are bytes in without the prefix and the PROXY header, or the connection is
closed with a reason; in either direction, in order, once.  When both ends have gone and time has
passed, nothing is left: no connection, no timer, no socket, no reference cycle.
"""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from mxproxy.config.plan import METADATA_EXCHANGE, FilterSpec, ListenerPlan
from mxproxy.connection import Connection
from mxproxy.filters import metadata_exchange
from mxproxy.filters.http_inspector import HTTPInspector
from mxproxy.filters.proxy_protocol import ProxyProtocol
from mxproxy.filters.tls_inspector import TLSInspector
from mxproxy.testing import Application, ApplicationFactory, MemoryReactor, Proxy
from mxproxy.testing.sidecars import INBOUND, SERVER, dial, onePlan
from mxproxy.wire.metadata import Node
from mxproxy.wire.peerstate import PeerState
from mxproxy.wire.prefix import HEADER, HEADER_SIZE, MAGIC, MAGIC_BYTES
from mxproxy.wire.proxyprotocol import ProxyProtocolDecoder

#: A cap that inputs can reach.
MAX_SIZE = 256

NODE = Node("fuzzed", {"NAME": "server"})
OWN = NODE.prefix(())

#: What the server says is part of this, and none of it looks like a prefix.
TALK = bytes(range(128, 160)) * 64


class Settings(NamedTuple):
    """
    The first byte.
    """

    proxy: bool
    inspectors: bool
    eager: bool
    optimistic: bool
    goesOn: bool
    allowsNone: bool
    unreachable: bool
    serverPaused: bool

    @classmethod
    def of(cls, byte: int) -> Settings:
        return cls(*(bool(byte >> bit & 1) for bit in range(8)))


class Rig:
    """
    One configuration, running.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.reactor = MemoryReactor()
        self.servers = ApplicationFactory()
        if not settings.unreachable:
            self.reactor.listenTCP(SERVER, self.servers)
        exchange = metadata_exchange.configure(
            {
                "protocol": "",
                "max_size": str(MAX_SIZE),
                "opening": "eager" if settings.eager else "reply",
                "hold": "read" if settings.optimistic else "both",
            }
        )
        plan = onePlan(
            NODE,
            INBOUND,
            SERVER,
            downstreamFilters=(FilterSpec(METADATA_EXCHANGE, settings=exchange),),
        )
        listener: ListenerPlan = replace(
            plan.listeners[0],
            listener_filters=self._filters(),
            continue_on_listener_filters_timeout=settings.goesOn,
        )
        self.proxy = Proxy(replace(plan, listeners=(listener,)), self.reactor)
        self.timers = len(self.reactor.getDelayedCalls())

    def _filters(self) -> tuple[FilterSpec, ...]:
        settings = self.settings
        filters: list[Any] = []
        if settings.proxy:
            filters.append(ProxyProtocol(settings.allowsNone))
        if settings.inspectors:
            filters += [TLSInspector(), HTTPInspector()]
        return tuple(FilterSpec(type(one).__name__, settings=one) for one in filters)


_rig = cache(Rig)


class _Errors:
    """
    Keeps what was logged instead of raised.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        globalLogPublisher.addObserver(cast(ILogObserver, self._observe))

    def _observe(self, event: LogEvent) -> None:
        failure = event.get("log_failure") or event.get("failure")
        if failure is not None:
            self.found.append(failure.getTraceback())


_errors = cache(_Errors)


class Conversation:
    """
    One connection, from made to gone.
    """

    def __init__(self, rig: Rig, network: int, data: bytes) -> None:
        self.rig = rig
        self.reactor = rig.reactor
        # An odd number is how many bytes arrive at once; the network may hold few of them.
        self.reactor.chunks = (network & 15) + 1 if network & 1 else None
        self.reactor.capacity = (16, 1000)[network >> 5 & 1] if network & 16 else None
        self.rest = data
        self.sent = b""
        self.said = b""
        self.accident = False
        self.waited = False
        rig.servers.built.clear()
        self.client = dial(self.reactor, INBOUND)
        self.connection: Connection = rig.proxy.connection
        self._look()

    @property
    def server(self) -> Application | None:
        built = self.rig.servers.built
        return built[0] if built else None

    def _look(self) -> None:
        server = self.server
        if server is not None and self.rig.settings.serverPaused and not self.paused:
            self.paused = True
            server.pause()

    paused = False

    # -- what happens

    def do(self, kind: int, amount: int) -> None:
        """
        One thing.
        """
        if kind <= 2:
            self._send(amount + 1)
        elif kind == 3:
            self.waited = True
            # Who does not read what is owed to him is dropped, thirty seconds after the end.
            slow = any(one is not None and one.paused for one in (self.client, self.server))
            self.accident = self.accident or slow
            self.reactor.advance(120.0 if amount == 31 else amount * 0.25)
        elif kind == 4:
            self._say(TALK[: (amount + 1) * (amount + 1)])
        elif kind == 5:
            self._endOf(amount)
        elif kind == 6:
            self._pauseOf(amount)
        else:
            self._send(len(self.rest))
        self.reactor.settle()
        self._look()

    @staticmethod
    def _open(application: Application | None) -> bool:
        return application is not None and bool(application.connections) and not application.losses

    def _send(self, size: int) -> None:
        if self._open(self.client) and not self._ended(self.client):
            piece, self.rest = self.rest[:size], self.rest[size:]
            self.sent += piece
            self.client.write(piece)

    def _say(self, data: bytes) -> None:
        server = self.server
        if server is not None and self._open(server) and not self._ended(server):
            self.said += data
            server.write(data)

    @staticmethod
    def _ended(application: Application) -> bool:
        return bool(application.transport.disconnecting or application.transport.eofWritten) or (
            getattr(application.transport, "_writeDisconnecting", False)
        )

    def _endOf(self, amount: int) -> None:
        application = (self.client, self.server)[amount & 1]
        if application is None or not self._open(application):
            return
        if amount & 2:
            self.accident = True
            if amount & 4:
                application.abort()
            elif not application.transport.disconnecting:
                application.close()
        elif not self._ended(application):
            application.end()

    def _pauseOf(self, amount: int) -> None:
        application = (self.client, self.server)[amount & 1]
        if application is None or not self._open(application):
            return
        if application.transport.disconnecting or application.endings:
            return
        if application.paused:
            application.resume()
        else:
            application.pause()

    # -- the end

    def finish(self) -> None:
        """
        Everybody goes on, and ends; then a long time passes.
        """
        for _ in range(2):
            for application in (self.client, self.server):
                if application is not None and self._open(application):
                    application.paused = False
                    if not application.transport.disconnecting and not application.endings:
                        application.resume()
            self._send(len(self.rest))
            self.reactor.settle()
            for application in (self.client, self.server):
                if application is not None and self._open(application):
                    if not self._ended(application):
                        application.end()
                    self.reactor.settle()
            self.reactor.advance(30.0)
            self._look()
        self.reactor.advance(10_000.0)
        for application in (self.client, self.server):
            if application is not None and self._open(application):
                self.accident = self.accident or not self.connection.close_reason
                application.close()
        self.reactor.settle()
        self.reactor.advance(10_000.0)

    # -- what has to be

    def check(self) -> None:
        """
        @raise AssertionError: it is not.
        """
        connection, rig = self.connection, self.rig
        reason = connection.close_reason
        assert reason, f"closed without a reason: {connection!r}"
        assert reason.isprintable() and len(reason) < 1000, reason
        assert rig.proxy.edges.told.count("opened") == 1, rig.proxy.edges.told
        closed = [line for line in rig.proxy.edges.told if line.startswith("closed")]
        assert len(closed) == 1, rig.proxy.edges.told
        assert connection.downstream.peer_state is not PeerState.PENDING, "pending for ever"
        for application in (self.client, *rig.servers.built):
            assert application.unexpected == [], application.unexpected
            assert len(application.losses) == application.connections <= 1, application
        whole = not (self.accident or self._refused(reason))
        self._checkThere(whole)
        self._checkBack(whole)
        assert _errors().found == [], _errors().found

    @staticmethod
    def _refused(reason: str) -> bool:
        """Not in order; the reason says why bytes are missing."""
        return reason not in ("downstream: closed", "upstream: closed")

    def _checkThere(self, whole: bool) -> None:
        received = self.server.received if self.server is not None else b""
        possible = [expected(self.rig.settings, self.sent)]
        if self.waited:
            # The time of the listener's filters may have been up inside of a PROXY header.
            possible.append(expected(self.rig.settings._replace(proxy=False), self.sent))
        if whole:
            assert received in possible, (received, possible, self.connection.close_reason)
        else:
            assert any(one.startswith(received) for one in possible), (received, possible)

    def _checkBack(self, whole: bool) -> None:
        received, settings = self.client.received, self.rig.settings
        found = self.connection.downstream.peer_state in (PeerState.FOUND, PeerState.MALFORMED)
        possible = [OWN + self.said]
        if not settings.eager:
            possible = [self.said, *(possible if found else [])]
            if found and not self.waited:
                possible = [OWN + self.said]
        if whole:
            assert received in possible, (received, possible, self.connection.close_reason)
        else:
            assert any(one.startswith(received) for one in possible), (received, possible)


def expected(settings: Settings, data: bytes) -> bytes:
    """
    What has to come of a stream that ends behind C{data}, if nothing else goes wrong.
    """
    if settings.proxy:
        decoder = ProxyProtocolDecoder(allowRequestsWithoutProxyProtocol=settings.allowsNone)
        outcome = decoder.feed(data) or decoder.eof()
        data = outcome.forward
        if outcome.abort:
            return b""
    if not data.startswith(MAGIC_BYTES) or len(data) == len(MAGIC_BYTES):
        return data
    if len(data) < HEADER_SIZE:
        return b""
    length = int.from_bytes(data[4:8], "big")
    return b"" if length > MAX_SIZE else data[HEADER_SIZE + length :]


def chain(data: bytes) -> None:
    """
    See this module.
    """
    if len(data) < 3:
        return
    collecting = gc.isenabled()
    gc.disable()
    _errors().found.clear()
    rig = _rig(Settings.of(data[0]))
    rig.proxy.edges.told.clear()
    size = data[2] & 31
    conversation = Conversation(rig, data[1], data[3 + size :])
    for byte in data[3 : 3 + size]:
        conversation.do(byte >> 5, byte & 31)
    conversation.finish()
    conversation.check()
    _nothingIsLeft(rig, conversation)
    if collecting:
        gc.enable()


def _nothingIsLeft(rig: Rig, conversation: Conversation) -> None:
    assert len(rig.reactor.getDelayedCalls()) == rig.timers, rig.reactor.getDelayedCalls()
    assert rig.reactor.getReaders() == rig.reactor.getWriters() == [], rig.reactor
    assert len(rig.proxy.service.connections) == 0
    gone = [weakref.ref(conversation.connection), weakref.ref(conversation.connection.downstream)]
    rig.proxy.edges.all.clear()
    rig.servers.built.clear()
    conversation.__dict__.clear()
    for reference in gone:
        assert reference() is None, f"a reference cycle keeps {reference()!r}"


def conversations() -> list[bytes]:
    """
    A conversation for each filter and each ending, with things happening.
    """
    prefix = Node("client", {"NAME": "x"}).prefix(())
    app = b"GET / HTTP/1.1\r\n\r\n"
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\n"
    happen = [
        b"",
        bytes([0, 1, 31, 0xE0, 0x82, 0xA0, 0xA1]),
        bytes([7, 0x7F, 7, 0x84, 0x61, 0xE0, 0xA1]),
        bytes([0xC1, 0xE0, 0xC1, 0x9F, 0xC0, 0x60, 0xC0, 0xA0]),
        bytes([0x1F, 0xA4, 0x80]),
        bytes([0xE0, 0x81, 0xA6]),
    ]
    streams = [
        prefix + app,
        app,
        MAGIC_BYTES,
        prefix[:20],
        HEADER.pack(MAGIC, MAX_SIZE + 1) + app,
        HEADER.pack(MAGIC, 3) + b"\x0a\xff\xff" + app,
    ]
    found = []
    for number, stream in enumerate(streams):
        for configuration in (0b00000000, 0b00010111, 0b00111001, 0b10001100):
            what = happen[(number + configuration) % len(happen)]
            data = header + stream if configuration & 1 else stream
            network = 0x11 * number
            found.append(bytes([configuration, network & 255, len(what)]) + what + data)
    return found
