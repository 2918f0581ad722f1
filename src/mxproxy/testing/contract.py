"""
Is a filter fit for a chain?  L{checkFilter} tries.

What layers owe each other is written at the top of L{mxproxy.layers.base}.  Here it is tried on a
filter, at every step of a conversation: each way to cut the input in two, a pause, an end of
the stream, a loss and a silence at each byte.  Which filter it is, and which of the three ways
it is written in, makes no difference.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import CellType, FrameType, ModuleType
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from ..connection import Peer
from ..interfaces import IFilterPlugin
from .application import Application
from .bench import Bench

#: Up to this length of input every byte is a step; of a longer one the begin, the end, and as
#: many in between.
MAX_POSITIONS = 300

#: More than any transport holds without asking its producer to pause.
FLOOD = 300_000


class ContractBroken(AssertionError):
    """
    A filter does what it must not.  The text says at which step, and what had happened.
    """


@dataclass(frozen=True)
class Conversation:
    """
    What is said through a filter, and what comes of it.

    @ivar incoming: what the network brings.
    @ivar delivered: what of it reaches the application; C{None}: all of it, as it is.
    @ivar outgoing: what the application writes, once it is connected.
    @ivar sent: all that the network is sent, the filter's own bytes included; C{None}: what
        the application writes, as it is.
    @ivar patience: seconds after which a filter has to come to a decision about a peer that
        says nothing: the application is connected by then, or the connection closed.
    @ivar oversize: what is more than the filter is willing to read, or empty: it has to close
        the connection, and deliver none of it.
    @ivar alpn: what TLS has negotiated below.
    @ivar prepare: called with the peer before a connection is made, to say what else the
        layers below have learnt.
    @ivar context: what else the chain's context has, see L{Bench}.
    """

    incoming: bytes
    delivered: bytes | None = None
    outgoing: bytes = b"what the application says\r\n"
    sent: bytes | None = None
    patience: float = 3600.0
    oversize: bytes = b""
    alpn: str | None = None
    prepare: Callable[[Peer], None] | None = None
    context: Mapping[str, Any] | None = None


def checkFilter(
    filter: Any,
    options: Mapping[str, str] | None = None,
    *,
    conversation: Conversation,
    side: str = "downstream",
) -> int:
    """
    Have a filter go through a conversation in every way that it can go wrong.

    @param filter: an L{IFilterPlugin<mxproxy.interfaces.IFilterPlugin>}, an
        L{IFilter<mxproxy.interfaces.IFilter>}, or what would be its C{wrap}.
    @param options: for the plugin's C{configure}.
    @param side: C{"downstream"} or C{"upstream"}.
    @return: in how many ways it went right.
    @raise ContractBroken: in one it went wrong.
    """
    if IFilterPlugin.providedBy(filter):
        filter = filter.configure(options or {})
    check = _Check(filter, conversation, side)
    # A cycle that the collector happens to find first would be missed.
    collecting = gc.isenabled()
    gc.disable()
    try:
        for way in (
            check.wholeAndByteByByte,
            check.splits,
            check.applicationEndsFirst,
            check.pauses,
            check.pausedFromTheStart,
            check.pausesFromWithin,
            check.ends,
            check.losses,
            check.lossesWhilePaused,
            check.closes,
            check.aborts,
            check.closesFromWithin,
            check.closesAtOnce,
            check.silences,
            check.oversize,
            check.backPressure,
        ):
            way()
    finally:
        if collecting:
            gc.enable()
    return check.runs


_Step = AbstractContextManager[tuple["_Run", bytes, bytes]]


def _positions(length: int) -> list[int]:
    if length < MAX_POSITIONS:
        return list(range(length + 1))
    third = MAX_POSITIONS // 3
    between = range(third, length - third, max(1, (length - 2 * third) // third))
    return sorted({*range(third), *between, *range(length - third, length + 1)})


def _closeAsATerminal(application: Application) -> None:
    application.transport.unregisterProducer()
    application.close()


def _pauseAndResume(application: Application) -> None:
    application.pause()
    application.resume()


class _Check:
    """
    The ways, each with a fresh connection at each step.
    """

    def __init__(self, filter: Any, conversation: Conversation, side: str) -> None:
        self._filter = filter
        self._conversation = conversation
        self._side = side
        self.incoming = conversation.incoming
        self.transparent = conversation.delivered is None
        self.delivered = conversation.incoming if self.transparent else conversation.delivered
        self.sent = conversation.outgoing if conversation.sent is None else conversation.sent
        self.runs = 0

    @contextmanager
    def run(self, way: str) -> Iterator[_Run]:
        """
        One connection, from made to gone.
        """
        run = _Run(self._filter, self._conversation, self._side, way)
        with run.watched():
            run.step("the connection is made", run.bench.connect)
            yield run
            run.finish()
            run.leavesNoCycle()
        self.runs += 1

    def steps(self, way: str) -> Iterator[_Step]:
        """
        A connection for each byte that can be the last one before something happens.
        """
        for at in _positions(len(self.incoming)):
            yield self.stopped(way, at)

    @contextmanager
    def stopped(self, way: str, at: int) -> Iterator[tuple[_Run, bytes, bytes]]:
        """
        @return: a connection, what it was fed, and what is still to come.
        """
        with self.run(f"{way}, after {at} of {len(self.incoming)} bytes") as run:
            run.feed(self.incoming[:at])
            yield run, self.incoming[:at], self.incoming[at:]

    def complete(self, run: _Run) -> None:
        """
        Everything was fed: everything has to be there, and the other direction, too.
        """
        run.need(run.connected, "the application is still not connected")
        run.hasDelivered(self.delivered)
        run.step("the application writes", run.application.write, self._conversation.outgoing)
        run.hasSent(self.sent)

    def plausible(self, run: _Run, fed: bytes, all: bool = True) -> None:
        """
        Not everything was fed: what is there has to be in order.

        @param all: nothing may be missing, where that can be told.
        """
        received = run.application.received
        if all and self.transparent and run.connected:
            run.hasDelivered(fed)
        assert self.delivered is not None
        run.need(
            self.delivered.startswith(received) or received in fed,
            f"delivered bytes that nobody has sent in this order: {received!r}",
        )

    # -- ways

    def wholeAndByteByByte(self) -> None:
        """The peer ends its stream, then the application its own."""
        for way, size in (("whole", len(self.incoming) or 1), ("byte by byte", 1)):
            with self.run(way) as run:
                for at in range(0, len(self.incoming), size):
                    run.feed(self.incoming[at : at + size])
                self.complete(run)
                run.end()
                run.hasEnded()
                run.step("the application writes again", run.application.write, b"x" * 100)
                more = run.until(lambda: len(run.taken()) > len(self.sent))
                run.need(more, "no writing after the peer's end")
                run.step("the application ends its stream", run.application.end)
                run.need(run.transport.eofWritten, "the application's end was not passed on")
                run.step("the application closes", run.application.close)

    def splits(self) -> None:
        """Two reads."""
        for step in self.steps("split in two reads"):
            with step as (run, _, rest):
                run.feed(rest)
                self.complete(run)

    def applicationEndsFirst(self) -> None:
        """It goes on reading."""
        for step in self.steps("the application ends its stream first"):
            with step as (run, _, rest):
                if run.connected:
                    before = len(run.taken())
                    run.step("the application writes", run.application.write, b"x" * 100)
                    run.step("the application ends its stream", run.application.end)
                    run.need(len(run.taken()) > before, "what was written before was not sent")
                    run.need(run.transport.eofWritten, "the application's end was not passed on")
                    run.need(not run.transport.closed, "its end closed both directions")
                    run.feed(rest)
                    run.hasDelivered(self.delivered)
                    run.end()
                    run.hasEnded()

    def pauses(self) -> None:
        """Neither bytes nor the end, until it resumes."""
        for step in self.steps("paused"):
            with step as (run, _, rest):
                if run.connected:
                    run.step("the application pauses", run.application.pause)
                    run.feed(rest)
                    run.end()
                    run.wait(self._conversation.patience)
                    run.resume()
                    run.hasDelivered(self.delivered)
                    run.hasEnded()

    def pausedFromTheStart(self) -> None:
        """It pauses in connectionMade, as a terminal does that has nowhere to write."""
        for at in _positions(len(self.incoming)):
            with self.run(f"paused in connectionMade, split at {at}") as run:
                if run.connected:
                    run.step("the application pauses", run.application.pause)
                else:
                    run.whenConnected(lambda application: application.pause())
                run.feed(self.incoming[:at])
                run.feed(self.incoming[at:])
                run.end()
                run.need(run.connected, "the application is still not connected")
                run.resume()
                run.hasDelivered(self.delivered)
                run.hasEnded()

    def pausesFromWithin(self) -> None:
        """It pauses in dataReceived; and once pauses and resumes there."""
        with self.run("paused in dataReceived") as run:
            run.whenData(lambda application: application.pause())
            run.feed(self.incoming)
            run.end()
            for _ in range(len(self.incoming) + 1):
                if run.application.endings:
                    break
                run.resume()
            run.hasDelivered(self.delivered)
            run.hasEnded()
        for way, size in (("whole", len(self.incoming) or 1), ("byte by byte", 1)):
            with self.run(f"paused and resumed in dataReceived, {way}") as run:
                run.whenData(_pauseAndResume)
                for at in range(0, len(self.incoming), size):
                    run.feed(self.incoming[at : at + size])
                self.complete(run)

    def ends(self) -> None:
        """The peer ends its stream: the application sees it, or the connection is closed."""
        for step in self.steps("the stream ends"):
            with step as (run, fed, _):
                run.end()
                if not run.connected and not run.transport.closed:
                    run.wait(self._conversation.patience)
                self.plausible(run, fed)
                run.need(
                    run.transport.closed or run.connected,
                    "the application does not see the end, and the connection is not closed",
                )
                if run.connected and not run.transport.closed:
                    run.hasEnded()

    def losses(self) -> None:
        """The connection breaks."""
        for step in self.steps("the connection breaks"):
            with step as (run, fed, _):
                run.lose()
                self.plausible(run, fed)

    def lossesWhilePaused(self) -> None:
        """What is held may still be delivered then; nothing may after."""
        for step in self.steps("the connection breaks during a pause"):
            with step as (run, _, rest):
                if run.connected:
                    run.step("the application pauses", run.application.pause)
                    run.feed(rest)
                    run.lose()
                    self.plausible(run, self.incoming, all=False)

    def closes(self) -> None:
        """It closes: what it wrote is sent first, and it hears nothing more."""
        for step in self.steps("the application closes"):
            with step as (run, _, rest):
                if run.connected:
                    before = len(run.taken())
                    run.step("the application writes", run.application.write, b"x" * 100)
                    run.step("the application closes", run.application.close)
                    run.feed(rest)
                    run.end()
                    run.until(run.isClosed)
                    run.need(run.transport.closed, "the connection is still open")
                    run.need(len(run.taken()) > before, "what was written before was not sent")

    def aborts(self) -> None:
        """It drops the connection."""
        for step in self.steps("the application aborts"):
            with step as (run, _, rest):
                if run.connected:
                    run.step("the application aborts", run.application.abort)
                    run.feed(rest)
                    run.need(run.transport.aborted, "the connection was not reset")

    def closesFromWithin(self) -> None:
        """It closes in dataReceived."""
        for step in self.steps("the application closes in dataReceived"):
            with step as (run, _, rest):
                run.whenData(lambda application: application.close())
                run.feed(rest)
                run.end()

    def closesAtOnce(self) -> None:
        """
        It closes in connectionMade: it hears nothing at all.  Before, it unregisters a producer
        that it never had, which is nothing to a socket.
        """
        for at in _positions(len(self.incoming)):
            with self.run(f"the application closes in connectionMade, split at {at}") as run:
                if run.connected:
                    run.step("the application closes", _closeAsATerminal, run.application)
                else:
                    run.whenConnected(_closeAsATerminal)
                run.feed(self.incoming[:at])
                run.feed(self.incoming[at:])
                run.end()
                run.until(run.isClosed)
                run.need(run.transport.closed, "the connection is still open")

    def silences(self) -> None:
        """The peer says nothing more."""
        for step in self.steps("the peer falls silent"):
            with step as (run, _, rest):
                run.wait(self._conversation.patience)
                run.need(
                    run.transport.closed or run.connected,
                    f"after {self._conversation.patience:g} s the application is not connected,"
                    " and the connection is not closed",
                )
                run.feed(rest)
                if not run.transport.closed:
                    run.need(
                        run.application.received in (self.delivered, self.incoming),
                        f"what came after the silence was delivered as {run.application.received!r}",
                    )

    def oversize(self) -> None:
        """There is a bound to what is read."""
        big = self._conversation.oversize
        if big:
            for way, size in (("whole", len(big)), ("byte by byte", 1)):
                with self.run(f"oversize, {way}") as run:
                    for at in range(0, len(big), size):
                        run.feed(big[at : at + size])
                    run.need(run.transport.closed, "the connection is still open")
                    run.hasDelivered(b"")

    def backPressure(self) -> None:
        """A producer is told to pause when the network is slow, and to go on."""
        with self.run("the network is slow") as run:
            run.feed(self.incoming)
            run.step("the application registers as a producer", run.application.produce)
            run.step("the network stalls", run.bench.stall)
            run.step("the application writes a lot", run.application.write, b"x" * FLOOD)
            run.need(run.application.held, "the producer was not paused")
            run.step("the network flows", run.bench.flow)
            run.need(not run.application.held, "the producer was not resumed")
            run.step("the application has no more", run.application.transport.unregisterProducer)


class _Run:
    """
    One connection.
    """

    def __init__(self, filter: Any, conversation: Conversation, side: str, way: str) -> None:
        self.bench = Bench(
            filter,
            side=side,
            alpn=conversation.alpn,
            prepare=conversation.prepare,
            context=conversation.context,
        )
        self.application = self.bench.application
        self.transport = self.bench.transport
        self._way = way
        self._patience = conversation.patience
        self._fed = 0
        self._taken = b""
        self._errors: list[str] = []

    @property
    def connected(self) -> bool:
        """Whether the application is."""
        return self.application.connections > 0

    def isClosed(self) -> bool:
        """Whether the connection is gone."""
        return self.transport.closed

    # -- steps

    def step(self, what: str, act: Callable[..., object], *args: Any) -> None:
        """
        Do something, and look whether the rules hold.
        """
        self.bench.transcript.note(f"# {what}")
        try:
            act(*args)
            self.bench.reactor.settle()
        except ContractBroken:
            raise
        except Exception as error:
            raise self.broken(f"{type(error).__name__} was raised: {error}") from error
        application = self.application
        for wrong in application.unexpected + self._errors:
            raise self.broken(wrong)
        self.need(application.connections <= 1, "the application was connected twice")
        self.need(application.endings <= 1, "the end of the stream was delivered twice")
        self.need(
            len(application.losses) <= application.connections,
            "connectionLost was called more often than makeConnection",
        )

    def feed(self, data: bytes) -> None:
        """The network brings C{data}."""
        if not self.transport.closed:
            start, self._fed = self._fed, self._fed + len(data)
            self.step(f"bytes {start} to {self._fed} come", self.transport.feed, data)
            self.letItRead()

    def end(self) -> None:
        """The peer ends its stream."""
        if not self.transport.closed:
            self.step("the peer ends its stream", self.transport.feedEOF)
            self.letItRead()

    def resume(self) -> None:
        """The application goes on."""
        self.step("the application resumes", self.application.resume)
        self.letItRead()

    def letItRead(self) -> None:
        """
        A filter that has paused what is below, for a reason of its own, is given time.
        """
        transport, application = self.transport, self.application
        while self.connected and not application.paused and not transport.disconnecting:
            if transport.closed or transport.reading or transport.endRead:
                return
            self.step("the application pauses", application.pause)
            self.step("the application resumes", application.resume)
            self.need(not transport.reading, "the filter's own pause was undone by a resume")
            if not transport.unread:
                return
            self.need(
                bool(self.bench.reactor.getDelayedCalls()),
                "the filter has paused what is below, and no timer will resume it",
            )
            self.wait(self._patience)

    def until(self, condition: Callable[[], bool]) -> bool:
        """
        A filter that passes things on later is given time.
        """
        if not condition() and self.bench.reactor.getDelayedCalls():
            self.wait(self._patience)
        return condition()

    def lose(self) -> None:
        """The connection breaks."""
        # What a layer holds it may deliver now: there is no later.
        self.application.paused = False
        self.step("the connection breaks", self.transport.lose)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.step(f"{seconds:g} s pass", self.bench.reactor.advance, seconds)

    def taken(self) -> bytes:
        """All that was sent until now."""
        self._taken += self.transport.take()
        return self._taken

    def whenConnected(self, act: Callable[[Application], None]) -> None:
        """What the application does within connectionMade."""
        self.application.onConnect = lambda: act(self.application)

    def whenData(self, act: Callable[[Application], None]) -> None:
        """What the application does within each dataReceived."""
        self.application.onData = lambda data: act(self.application)

    def finish(self) -> None:
        """
        However it ends, nothing is left of it.
        """
        if not self.transport.closed:
            self.step("the connection breaks", self.transport.lose)
        application = self.application
        self.need(
            len(application.losses) == application.connections,
            "the application was not told of the connection's loss",
        )
        self.need(
            not self.bench.peer.open,
            "nobody has said Connection.lost, with nothing connected above",
        )
        self.bench.factory.doStop()
        for call in self.bench.reactor.getDelayedCalls():
            raise self.broken(f"a timer is left: {call}")

    def leavesNoCycle(self) -> None:
        """
        With the last reference gone, everything is.
        """
        bench = self.bench
        watched: dict[str, weakref.ref[Any]] = {
            "the application": weakref.ref(self.application),
            "the transport": weakref.ref(self.transport),
            "the connection's facts": weakref.ref(bench.connection),
        }
        # This very rig is full of cycles; they are cut here.
        bench.__dict__.clear()
        del self.application, self.transport, self.bench, bench
        for what, reference in watched.items():
            thing: Any = reference()
            if thing is not None:
                raise ContractBroken(
                    f"{self._way}: a reference cycle keeps {what}: {' → '.join(_cycle(thing))}"
                )

    # -- verdicts

    def need(self, condition: bool, otherwise: str) -> None:
        """Or it is broken."""
        if not condition:
            raise self.broken(otherwise)

    def equal(self, what: str, found: bytes, expected: bytes | None) -> None:
        """Or it is broken."""
        if found != expected:
            raise self.broken(f"{what}: {found!r}\n{' ' * len(what)}  not: {expected!r}")

    def hasDelivered(self, expected: bytes | None) -> None:
        """That and nothing else."""
        self.until(lambda: self.application.received == expected)
        self.equal("delivered", self.application.received, expected)

    def hasSent(self, expected: bytes) -> None:
        """That and nothing else."""
        self.until(lambda: self.taken() == expected)
        self.equal("sent", self.taken(), expected)

    def hasEnded(self) -> None:
        """The application has seen the end of the stream."""
        ended = self.until(lambda: self.application.endings == 1)
        self.need(ended, "the end of the stream was not delivered")

    def broken(self, what: str) -> ContractBroken:
        """With the way, and the steps."""
        return ContractBroken(f"{self._way}: {what}\n\nwhat had happened:\n{self.bench.transcript}")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """
        What Twisted logs instead of raising is an error here, too.
        """
        errors = self._errors

        def observe(event: LogEvent) -> None:
            failure = event.get("log_failure") or event.get("failure")
            if failure is not None:
                errors.append(f"{failure.type.__name__} was raised: {failure.value}")

        observer = cast(ILogObserver, observe)
        globalLogPublisher.addObserver(observer)
        try:
            yield
        finally:
            globalLogPublisher.removeObserver(observer)


def _cycle(thing: object) -> list[str]:
    """
    The types of the objects of a cycle that keeps C{thing}: its own, or one that leads to it.
    """
    holders: list[object] = [thing]
    seen = {id(thing), id(holders)}
    for held in holders:
        path = [] if _isPlain(held) else _pathBack(held)
        if path:
            return path
        for holder in gc.get_referrers(held):
            if id(holder) not in seen and not isinstance(holder, (FrameType, ModuleType)):
                seen.add(id(holder))
                holders.append(holder)
        if len(holders) > 1000:
            break
    return [type(thing).__name__, "something"]


def _pathBack(start: object) -> list[str]:
    """From C{start} to itself, by the references that objects keep."""
    ways: list[tuple[object, list[str]]] = [(start, [])]
    seen: set[int] = set()
    for held, path in ways:
        for kept in gc.get_referents(held):
            if kept is start:
                return [*_named(path, held), type(start).__name__]
            if id(kept) in seen or isinstance(kept, (type, ModuleType)) or len(ways) > 5000:
                continue
            seen.add(id(kept))
            ways.append((kept, _named(path, held)))
    return []


def _named(path: list[str], thing: object) -> list[str]:
    return path if _isPlain(thing) else [*path, type(thing).__name__]


def _isPlain(thing: object) -> bool:
    """What is only in between, an object's dictionary say, is not worth a name."""
    return isinstance(thing, (dict, list, tuple, set, CellType))
