"""
One connection of L{mxproxy.testing.checkFilter}: from made to gone, step by step.

What is done in a step, and what has to hold after each, whatever it was, belongs here.  Which
steps there are is L{mxproxy.testing.contract}'s.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from ..connection import Peer
from .application import Application
from .bench import Bench
from .cycles import findCycle


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


class Run:
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
                    f"{self._way}: a reference cycle keeps {what}: {' → '.join(findCycle(thing))}"
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
