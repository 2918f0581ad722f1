"""
What an idle connection costs.
"""

from __future__ import annotations

import random
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .client import ask, join
from .proxy import OWN_FILES, Inbound

#: Connections that are made at once.
AT_ONCE = 8

#: Of the idle ones, so many are asked whether they still are what they were.
ASKED = 200


@dataclass(frozen=True)
class Result:
    """
    @ivar connections: how many were idle at once.
    @ivar before: bytes of memory with one of them.
    @ivar after: with all of them.
    @ivar gone: bytes when they had gone.
    @ivar seconds: to make them.
    """

    what: str
    connections: int
    before: int
    after: int
    gone: int
    seconds: float

    @property
    def each(self) -> float:
        """
        Kilobytes (1024 bytes) for one.
        """
        return (self.after - self.before) / 1024 / (self.connections - 1)

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.connections} idle connections, {self.each:.1f} KB each: "
            f"{self.before / 2**20:.1f} MB with one, {self.after / 2**20:.1f} MB with all, "
            f"{self.gone / 2**20:.1f} MB when they had gone; "
            f"{self.connections / self.seconds:.0f} made a second"
        )


def idle(connections: int, echo: bool) -> Result:
    """
    Make so many, measure, ask some of them, and let them go.

    @param echo: the proxy answers by itself, and needs one file for a connection instead of two.
    """
    inbound = Inbound(echo=echo)
    try:
        context = inbound.files.context()
        first = join(inbound.port, context)
        ask(first, b"the first")
        before = inbound.memory
        begun = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            numbers = range(1, connections)
            all_: list[ssl.SSLSocket] = [first]
            all_ += pool.map(lambda number: join(inbound.port, context, number), numbers)
        seconds = time.monotonic() - begun
        # The last one's upstream, too.
        ask(all_[-1], b"the last")
        after = inbound.memory
        for number in random.sample(range(connections), min(ASKED, connections)):
            ask(all_[number], b"number %d" % number)
        for tls in all_:
            tls.close()
        inbound.settles()
        what = "answered by the proxy itself" if echo else "to an application"
        return Result(what, connections, before, after, inbound.memory, seconds)
    finally:
        inbound.stop()


def possible(files: int, echo: bool) -> int:
    """
    @param files: how many a process may have open.
    @return: how many connections that allows.
    """
    return (files - OWN_FILES) // (1 if echo else 2)
