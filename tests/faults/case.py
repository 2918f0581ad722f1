"""
A proxy between two peers, one of which commits a fault: one case, played in a world.
"""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from mxproxy.config.plan import (
    METADATA_EXCHANGE,
    TCP_PROXY,
    ClusterPlan,
    FilterChainPlan,
    FilterSpec,
    HostPlan,
    ListenerPlan,
    Plan,
)
from mxproxy.connection import Connection
from mxproxy.connection import Peer as Facts
from mxproxy.filters.metadata_exchange import MetadataExchange
from mxproxy.filters.tcp_proxy import TCPProxy
from mxproxy.interfaces import IConnectionObserver
from mxproxy.layers.base import CLOSE_TIMEOUT
from mxproxy.observe.access_log import AccessLog
from mxproxy.service import ProxyService
from mxproxy.testing import findCycle
from mxproxy.testing.sidecars import CLIENT_NODE, SERVER_NODE, clientTLS, serverTLS
from mxproxy.timeouts import Timeouts
from mxproxy.tls.settings import TLSVersion

from .fault import NOTHING, Fault, Kind
from .peers import Peer, Script
from .sessions import Plain, Sidecar
from .worlds import HOST, World, closePort

INBOUND, OUTBOUND = "inbound", "outbound"
DOWNSTREAM, UPSTREAM = "downstream", "upstream"
CLIENT, SERVER = "client", "server"


@dataclass(frozen=True)
class Times:
    """
    What the proxy is configured with, in seconds; C{close} is no option, but a constant.
    """

    handshake: float = 10.0
    exchange: float = 5.0
    idle: float = 60.0
    halfClosed: float = 20.0
    close: float = CLOSE_TIMEOUT


@dataclass(frozen=True)
class Case:
    """
    @ivar mode: which sidecar it is: L{INBOUND}, TLS downstream, or L{OUTBOUND}, upstream.
    @ivar tls: C{None}: no TLS and no exchange on either side.
    @ivar first: who asks: L{CLIENT} or L{SERVER}.
    @ivar side: who commits the fault: L{DOWNSTREAM} or L{UPSTREAM}.
    """

    mode: str
    tls: TLSVersion | None
    first: str
    side: str
    fault: Fault = NOTHING

    @property
    def secure(self) -> bool:
        """Whether the faulty peer is the other sidecar, and not the application."""
        return self.tls is not None and self.side == secureSide(self.mode)

    def __str__(self) -> str:
        tls = "plain" if self.tls is None else self.tls.value
        return f"{self.mode}, {tls}, {self.first} first, {self.side}: {self.fault}"


def secureSide(mode: str) -> str:
    """On which side of such a sidecar TLS is."""
    return DOWNSTREAM if mode == INBOUND else UPSTREAM


@dataclass(frozen=True)
class Verdict:
    """
    What became of a case.

    @ivar reached: whether there was such a place in the connection as the fault's.
    @ivar reason: the access log's C{close_reason}.
    @ivar seconds: from the beginning to when both sides were gone.
    @ivar sent: bytes that the faulty peer has sent, by phase.
    @ivar told: how the other peer learnt of the end, see L{Peer}.
    @ivar wrong: what should not have been, in words; empty: all is well.
    """

    reached: bool
    reason: str
    seconds: float
    sent: Mapping[str, int]
    told: str
    wrong: tuple[str, ...] = ()


@implementer(IConnectionObserver)
class Watching:
    """
    Remembers connections by weak references, and counts their ends.
    """

    def __init__(self) -> None:
        self.closings = 0
        self.references: list[weakref.ref[Any]] = []

    def opened(self, connection: Connection) -> None:
        self.references += [weakref.ref(connection), weakref.ref(connection.downstream)]

    def identified(self, connection: Connection, peer: Facts) -> None:
        """Not looked at."""

    def connected(self, connection: Connection) -> None:
        """Not looked at."""

    def closed(self, connection: Connection) -> None:
        self.closings += 1
        self.references.append(weakref.ref(connection.upstream))


class Lines:
    """
    An access log that is kept.
    """

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def write(self, line: bytes) -> None:
        self.all.append(json.loads(line))


class Stage:
    """
    A running proxy, and what listens behind it; for many cases, one after the other.
    """

    def __init__(self, world: World, mode: str, tls: TLSVersion | None, times: Times) -> None:
        self.world = world
        self.mode = mode
        self.tls = tls
        self._building: list[Peer] = []
        self._behind = world.listen(self._factory())
        self._lines = Lines()
        self._watching = Watching()
        plan = makePlan(mode, tls, times, self._behind.getHost().port)
        log: Any = AccessLog(self._lines)  # type: ignore[arg-type]
        self._service = ProxyService(plan, world.reactor, [self._watching, log])
        self._service.privilegedStartService()
        self._port = self._service.ports[0].getHost().port

    async def close(self) -> None:
        """Listen no more."""
        for port in [*self._service.ports, self._behind]:
            await closePort(port)

    async def play(
        self, case: Case, script: Script, bound: float = 1000.0, alone: bool = True
    ) -> Verdict:
        """
        @param script: what the peers say.
        @param bound: seconds, after which whatever is still there is wrong.
        @param alone: nothing else is going on in this world, so what is left can be seen.
        """
        assert (case.mode, case.tls) == (self.mode, self.tls)
        world, watching = self.world, self._watching
        watching.closings, watching.references = 0, []
        self._lines.all = []
        timers, descriptors = world.timers(), world.descriptors()
        wrong: list[str] = []
        with errors(wrong):
            client, server = self._peers(case, script)
            self._building = [server]
            begin = world.reactor.seconds()
            world.dial(self._factory(client), self._port)
            gone = await world.until(
                lambda: watching.closings > 0 and not len(self._service.connections), bound
            )
            seconds = world.reactor.seconds() - begin
            if not gone:
                wrong.append(f"still there after {bound:g} s: {[*self._service.connections]}")
                abortAll(self._service)
            wrong += await self._leave(client, server)
            if alone:
                wrong += await leftovers(world, timers, descriptors)
            wrong += cycles(watching.references)
        faulty, other = (client, server) if case.side == DOWNSTREAM else (server, client)
        wrong += self._bytes(case, script, client, server)
        closings = [line for line in self._lines.all if line["event"] == "closed"]
        if len(closings) != 1:
            wrong.append(f"{len(closings)} closing lines")
        reason = closings[0]["close_reason"] if closings else ""
        return Verdict(faulty.reached, reason, seconds, faulty.sent, other.told, tuple(wrong))

    # -- its parts

    def _factory(self, *built: Peer) -> Factory:
        factory = Factory()
        factory.noisy = False
        queue = list(built)
        factory.buildProtocol = lambda _: (queue or self._building).pop()  # type: ignore[method-assign, assignment, return-value]
        return factory

    def _peers(self, case: Case, script: Script) -> tuple[Peer, Peer]:
        peers = []
        for side in (DOWNSTREAM, UPSTREAM):
            asks = (case.first == CLIENT) == (side == DOWNSTREAM)
            session: Plain = Plain()
            if case.tls is not None and side == secureSide(case.mode):
                session = Sidecar(case.tls, server=side == UPSTREAM)
            fault = case.fault if side == case.side else NOTHING
            steps = script.asking() if asks else script.answering()
            peers.append(Peer(steps, session, fault, self.world.reactor))
        return peers[0], peers[1]

    async def _leave(self, *peers: Peer) -> list[str]:
        """
        The proxy is done with them; who has stalled does not know.
        """
        made = [peer for peer in peers if peer.transport is not None]

        def over() -> bool:
            # Whoever stalls may do so only now, when it reads what was left for it.
            for peer in made:
                if peer.faulted and not peer.lost:
                    peer.transport.abortConnection()
            return all(peer.lost for peer in made)

        if await self.world.until(over, 5.0):
            return []
        left = [peer for peer in made if not peer.lost]
        for peer in left:
            peer.transport.abortConnection()
        await self.world.until(lambda: all(peer.lost for peer in made), 5.0)
        return [f"{peer!r} was not told that its connection is over" for peer in left]

    def _bytes(self, case: Case, script: Script, client: Peer, server: Peer) -> list[str]:
        """
        Whatever happened: nobody has read what was not said, and everything that could be
        read has been delivered.
        """
        wrong = []
        asking, answering = (client, server) if case.first == CLIENT else (server, client)
        for speaker, listener, stream in (
            (asking, answering, script.question + script.bulk),
            (answering, asking, script.answer + script.rest),
        ):
            if listener.faulted or case.fault.kind is Kind.CORRUPT:
                continue
            if not stream.startswith(listener.received):
                wrong.append("other bytes than were sent")
            certain = self.world.lossless or case.fault.kind is not Kind.RESET
            if speaker.faulted and certain and len(listener.received) < speaker.said:
                wrong.append(f"{speaker.said} bytes said, {len(listener.received)} delivered")
        if case.fault.kind is not Kind.CORRUPT:
            wrong += [peer.complaint for peer in (client, server) if peer.complaint]
        return wrong


def abortAll(service: ProxyService) -> None:
    """End what is there that should not be."""
    for connection in service.connections:
        connection.abort("test: over")


async def leftovers(world: World, timers: set[Any], descriptors: set[str]) -> list[str]:
    """
    @param timers: those of before.
    @param descriptors: those of before.
    @return: what there is more now, in words.
    """
    wrong = []
    await world.until(lambda: world.descriptors() <= descriptors, 1.0)
    if more := world.descriptors() - descriptors:
        wrong.append(f"still open: {', '.join(sorted(more))}")
    if left := [call for call in world.timers() - timers if call.active()]:
        wrong.append(f"still waiting: {left}")
    return wrong


def cycles(references: Iterable[weakref.ref[Any]]) -> list[str]:
    """
    @return: what is kept of all that should be gone, in words; the collector has to be off.
    """
    wrong = []
    for reference in references:
        thing = reference()
        if thing is not None:
            wrong.append(f"a cycle keeps {thing!r}: {' → '.join(findCycle(thing))}")
    return wrong


def makePlan(mode: str, tls: TLSVersion | None, times: Times, port: int) -> Plan:
    """
    A sidecar, as C{--mode} makes one.
    """
    timeouts = Timeouts(times.idle, times.halfClosed)
    terminal = FilterSpec(TCP_PROXY, settings=TCPProxy("cluster", timeouts=timeouts))
    exchange: tuple[FilterSpec, ...] = ()
    downstream: dict[str, Any] = {}
    upstream: dict[str, Any] = {}
    if tls is not None:
        exchange = (
            FilterSpec(METADATA_EXCHANGE, settings=MetadataExchange(timeout=times.exchange)),
        )
        if mode == INBOUND:
            downstream = {"tls": serverTLS(minimum=tls, maximum=tls)}
        else:
            upstream = {"tls": clientTLS(minimum=tls, maximum=tls), "filters": exchange}
    chain = FilterChainPlan(
        "chain",
        (*(exchange if downstream else ()), terminal),
        tls_handshake_timeout=times.handshake,
        **downstream,
    )
    cluster = ClusterPlan(
        "cluster",
        (HostPlan(f"tcp:{HOST}:{port}"),),
        tls_handshake_timeout=times.handshake,
        **upstream,
    )
    node = SERVER_NODE if mode == INBOUND else CLIENT_NODE
    listener = ListenerPlan(mode, f"tcp:0:interface={HOST}", (chain,))
    return Plan(node, (listener,), (cluster,))


@contextmanager
def errors(wrong: list[str]) -> Iterator[None]:
    """
    What is logged as an error is wrong; a collector that does not run leaves cycles to be seen.
    """

    def observe(event: LogEvent) -> None:
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            failure = event.get("log_failure")
            trace = f"\n{failure.getTraceback()}" if failure is not None else ""
            wrong.append(f"logged: {event.get('log_format')}{trace}")

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)
        if enabled:
            gc.enable()
