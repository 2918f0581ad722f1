"""
Is a filter fit for a chain?  L{checkFilter} tries.

What layers owe each other is written at the top of L{mxproxy.layers.base}.  Here it is tried on a
filter, at every step of a conversation: each way to cut the input in two, a pause, an end of
the stream, a loss and a silence at each byte.  Which filter it is, and which of the three ways
it is written in, makes no difference.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ..interfaces import IFilterPlugin
from .application import Application
from .run import Conversation, Run

#: Up to this length of input every byte is a step; of a longer one the begin, the end, and as
#: many in between.
MAX_POSITIONS = 300

#: More than any transport holds without asking its producer to pause.
FLOOD = 300_000


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


_Step = AbstractContextManager[tuple[Run, bytes, bytes]]


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
    def run(self, way: str) -> Iterator[Run]:
        """
        One connection, from made to gone.
        """
        run = Run(self._filter, self._conversation, self._side, way)
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
    def stopped(self, way: str, at: int) -> Iterator[tuple[Run, bytes, bytes]]:
        """
        @return: a connection, what it was fed, and what is still to come.
        """
        with self.run(f"{way}, after {at} of {len(self.incoming)} bytes") as run:
            run.feed(self.incoming[:at])
            yield run, self.incoming[:at], self.incoming[at:]

    def complete(self, run: Run) -> None:
        """
        Everything was fed: everything has to be there, and the other direction, too.
        """
        run.need(run.connected, "the application is still not connected")
        run.hasDelivered(self.delivered)
        run.step("the application writes", run.application.write, self._conversation.outgoing)
        run.hasSent(self.sent)

    def plausible(self, run: Run, fed: bytes, all: bool = True) -> None:
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
