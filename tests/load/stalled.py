"""
What others notice of handshakes that stall.

Half of the peers that stall say nothing at all; the others send a ClientHello, or most of one,
and then nothing more.  Whoever is dropped comes back.
"""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import resource
import selectors
import socket
import ssl
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe

from .client import SOURCES, Files, ask, clientHello, join
from .proxy import Inbound, filesAllowed, waitUntil

#: Requests a second on connections that are open, and new connections a second.
REQUESTS, NEW = 100.0, 10.0

#: Honest connections that are open.
OPEN = 20

#: The promise: seconds for 99 of 100 requests.
PROMISE = 0.250


def quantile(values: list[float], share: float) -> float:
    """
    The value that so many are not above.
    """
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@dataclass
class Traffic:
    """
    Seconds that honest peers have waited.

    @ivar requests: for an answer, on connections that are open.
    @ivar new: for a connection, its exchange and an answer.
    """

    requests: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return "; ".join(
            f"{what}: p50 {1000 * quantile(values, 0.5):.1f} ms,"
            f" p99 {1000 * quantile(values, 0.99):.1f} ms,"
            f" worst {1000 * max(values):.0f} ms ({len(values)})"
            for what, values in (("requests", self.requests), ("new connections", self.new))
        )

    @property
    def worst(self) -> float:
        """The p99 that is the larger one."""
        return max(quantile(self.requests, 0.99), quantile(self.new, 0.99))


def traffic(port: int, context: ssl.SSLContext, seconds: float) -> Traffic:
    """
    Be honest for so long.
    """
    measured = Traffic()
    all_ = [join(port, context) for _ in range(OPEN)]
    opened = itertools.cycle(all_)
    end = time.monotonic() + seconds
    requestAt = newAt = time.monotonic()
    while (now := time.monotonic()) < end:
        # What is late was not asked in time: it counts from when it should have been.
        if now >= requestAt:
            ask(next(opened), b"x" * 512)
            measured.requests.append(time.monotonic() - requestAt)
            requestAt = max(requestAt + 1 / REQUESTS, now)
        elif now >= newAt:
            tls = join(port, context)
            ask(tls, b"hello")
            measured.new.append(time.monotonic() - now)
            tls.close()
            newAt = now + 1 / NEW
            # Its own wait is no request's.
            requestAt = max(requestAt, time.monotonic())
        else:
            time.sleep(max(0.0, min(requestAt, newAt) - now))
    for tls in all_:
        tls.close()
    return measured


def _stall(pipe: Pipe, port: int, count: int, files: Files, rate: float) -> None:
    """
    A process that has C{count} handshakes stall, and opens at most C{rate} a second.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    hello = clientHello(files.context())
    says = itertools.cycle((b"", hello, b"", hello[:-1]))
    selector = selectors.DefaultSelector()
    open_, made = 0, 0
    last, due = time.monotonic(), float(count)
    while not pipe.poll():
        now = time.monotonic()
        # All at once, and then so many a second: what was not used is not made up for.
        due = max(min(due + (now - last) * rate, rate / 10), due if made < count else 0.0)
        last = now
        while open_ < count and due >= 1:
            due -= 1
            own = socket.socket()
            own.bind((f"127.0.0.{2 + SOURCES + made % SOURCES}", 0))
            own.setblocking(False)
            if own.connect_ex(("127.0.0.1", port)) not in (0, errno.EINPROGRESS):
                own.close()
                continue
            text = next(says)
            selector.register(own, selectors.EVENT_WRITE if text else selectors.EVENT_READ, text)
            open_, made = open_ + 1, made + 1
        for key, events in selector.select(0.01):
            own = key.fileobj  # type: ignore[assignment]
            try:
                if events & selectors.EVENT_WRITE:
                    own.send(key.data)
                    selector.modify(own, selectors.EVENT_READ)
                elif own.recv(65536):
                    continue
                else:
                    raise ConnectionError
            except BlockingIOError:
                continue
            except OSError:
                selector.unregister(own)
                own.close()
                open_ -= 1
    pipe.send(made)


@dataclass(frozen=True)
class Result:
    """
    @ivar made: how many stalling connections were made.
    @ivar before: what honest peers wait without them.
    @ivar beside: what they wait beside them.
    @ivar ends: how connections have ended, and how often.
    """

    what: str
    made: int
    most: int
    before: Traffic
    beside: Traffic
    memory: tuple[int, int]
    ends: dict[str, int]
    lines: int

    def __str__(self) -> str:
        ends = ", ".join(f"{reason} ({count})" for reason, count in sorted(self.ends.items()))
        return (
            f"{self.what}: {self.made} made, {self.most} at once, memory"
            f" {self.memory[0] / 2**20:.1f} MB before, {self.memory[1] / 2**20:.1f} MB with them\n"
            f"  without them: {self.before}\n  beside them:  {self.beside}\n"
            f"  ended: {ends}; {self.lines} lines in the program's log"
        )


def stalled(count: int, seconds: float, rate: float, limit: int) -> Result:
    """
    @param count: how many stall at once, or try to.
    @param seconds: for each of the two measurements.
    @param rate: how many come in a second, at most, in the place of those that have gone.
    @param limit: how many the proxy lets stall.
    """
    filesAllowed()
    inbound = Inbound("--max-handshakes", str(limit))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, inbound.port, count, inbound.files, rate)
    process = context.Process(target=_stall, args=arguments, daemon=True)
    try:
        honest = inbound.files.context()
        before = traffic(inbound.port, honest, seconds)
        inbound.settles()
        memory = inbound.memory
        process.start()
        # Until they are there, or as many of them as may be.
        waitUntil(lambda: inbound.connections >= min(count, limit), 30)
        most, with_ = inbound.connections, inbound.memory
        try:
            beside = traffic(inbound.port, honest, seconds)
        except (OSError, AssertionError) as error:
            raise AssertionError(f"{error}\n{inbound.reasons()}\n{inbound.said[-2000:]}") from error
        ours.send(None)
        made = ours.recv()
        process.join()
        inbound.settles()
        what = f"{count} stalled handshakes, --max-handshakes {limit}"
        return Result(
            what,
            made,
            most,
            before,
            beside,
            (memory, with_),
            inbound.reasons(),
            inbound.said.count("\n"),
        )
    finally:
        if process.is_alive():
            process.kill()
        inbound.stop()
