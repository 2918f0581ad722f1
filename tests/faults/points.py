"""
Which faults there are: all of them, or a sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mxproxy.tls.settings import TLSVersion

from .case import CLIENT, DOWNSTREAM, INBOUND, OUTBOUND, SERVER, UPSTREAM, Case
from .fault import Fault, Kind

#: What a sidecar says before its application does, byte by byte.
HANDSHAKE = ("hello", "finish", "prefix")

#: The rest, for who asks and who answers; see C{peers.py}.
CONVERSATION = ("question", "answer", "bulk", "finished", "rest", "ended", "closing")

#: In which of them who asks, and who answers, has bytes to send.
ASKING = ("question", "bulk", "finished")
ANSWERING = ("answer", "rest", "ended")

#: Where in the many bytes: the first, within the first record, in a later one, near the end.
MIDDLE = (0, 1, 100, 50_000, 120_000)
FEW = (0, 1, 500)

KINDS = (Kind.CLOSE, Kind.END, Kind.RESET, Kind.STALL, Kind.CORRUPT)

#: Behind the last byte of a close_notify.
BEHIND = 1000

VERSIONS = (None, TLSVersion.TLS12, TLSVersion.TLS13)


def situations() -> Iterator[Case]:
    """
    Every proxy and every conversation, with either peer to commit a fault.
    """
    for mode in (INBOUND, OUTBOUND):
        for tls in VERSIONS:
            for first in (CLIENT, SERVER):
                for side in (DOWNSTREAM, UPSTREAM):
                    yield Case(mode, tls, first, side)


def asks(case: Case) -> bool:
    """Whether the faulty peer is who asks."""
    return (case.first == CLIENT) == (case.side == DOWNSTREAM)


def speaks(case: Case, phase: str) -> bool:
    """Whether the faulty peer has bytes to send in this phase, or only the end behind them."""
    return phase in HANDSHAKE or phase in (ASKING if asks(case) else ANSWERING)


def phases(case: Case) -> tuple[str, ...]:
    """Which there are for the faulty peer."""
    return (*HANDSHAKE, *CONVERSATION) if case.secure else CONVERSATION


def offsets(case: Case, phase: str, sent: Mapping[str, int], every: int) -> Iterable[int]:
    """
    Where in the phase.

    @param sent: how many bytes there are, by phase.
    @param every: of the handshakes' bytes, every so manieth, and the first two.
    """
    if not speaks(case, phase):
        return (0,)
    if phase in HANDSHAKE:
        size = sent.get(phase, 0)
        return sorted({*range(min(2, size)), *range(0, size, every)})
    if phase in ("bulk", "rest"):
        return MIDDLE
    if phase in ("question", "answer"):
        return FEW
    # A close_notify has 24 to 31 bytes; then behind it.
    return (0, 1, 10, BEHIND) if case.secure else (0,)


def kinds(case: Case, phase: str) -> tuple[Kind, ...]:
    """A byte that is corrupt has to be there; of an application's, nobody would know."""
    return KINDS if case.secure and speaks(case, phase) else KINDS[:-1]


def faults(case: Case, sent: Mapping[str, int], every: int = 1) -> Iterator[Case]:
    """
    C{case} with each fault that its faulty peer can commit.

    @param sent: how many bytes that peer sends when all goes well, by phase.
    """
    for phase in phases(case):
        if phase in ("hello", "finish") and case.first == SERVER:
            continue  # Who speaks first is not known so early.
        for kind in kinds(case, phase):
            for offset in offsets(case, phase, sent, every):
                if kind is not Kind.CORRUPT or offset != BEHIND:
                    yield replace(case, fault=Fault(kind, phase, offset))
