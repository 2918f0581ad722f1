"""
Which reason the access log has to name for which fault, and how soon both sides are gone.

The table is read from the top; the first row that fits is it.  In a reason, C{S} is the side
of the faulty peer, C{O} the other one; a reason fits that begins so.

What the peers' phases are called is said in C{peers.py} and C{sessions.py}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mxproxy.layers.tls import LINGER
from mxproxy.tls.settings import TLSVersion

from .case import DOWNSTREAM, UPSTREAM, Case, Times, Verdict
from .fault import Kind
from .points import BEHIND, CONVERSATION, asks, speaks

CLOSE, END, RESET, STALL, CORRUPT = Kind.CLOSE, Kind.END, Kind.RESET, Kind.STALL, Kind.CORRUPT

#: At once; but a reset, which waits until what was sent before it is out, takes its time.
AT_ONCE = 0.11

#: How TLS can fail when a bit of its handshake is another: whoever finds it says what it has
#: seen.  A bit of a length makes the other side wait.
BROKEN_HANDSHAKE = (
    *("S: not_tls", "S: protocol_error", "S: protocol_version", "S: handshake_timeout"),
    *("S: alert_received", "S: no_shared_cipher", "S: no_shared_algorithm", "S: closed"),
    *("S: unknown_ca", "S: certificate_", "S: malformed_certificate", "S: identity_mismatch"),
    *("S: no_client_certificate", "S: tls_error", "S: truncated"),
)

#: Where a record's length is in its header.
LENGTH = (3, 4)


@dataclass(frozen=True)
class Row:
    """
    @ivar fits: to which cases it applies.
    @ivar reasons: any of them is right.
    @ivar seconds: how long it may take, at most.
    @ivar told: how the other peer has to learn of it; empty: in any way.
    """

    what: str
    kinds: tuple[Kind, ...]
    fits: Callable[[Case], bool]
    reasons: tuple[str, ...]
    seconds: Callable[[Times], float]
    told: str = ""


def inHandshake(case: Case) -> bool:
    """Whether the proxy's TLS handshake is still going on."""
    if case.fault.phase == "finish":
        # A TLS 1.3 server's second flight is tickets only: its client is done before.
        return case.tls is TLSVersion.TLS12 or case.side == DOWNSTREAM
    return case.fault.phase == "hello"


def inExchange(case: Case) -> bool:
    """Whether TLS is up, and the faulty peer's prefix not all out."""
    return case.fault.phase in ("finish", "prefix")


def hasEnded(case: Case) -> bool:
    """
    Whether the faulty peer had ended its own stream, orderly, before; or, at the fault,
    has said its close_notify.
    """
    phase = case.fault.phase
    if phase == "closing":
        return True
    if asks(case):
        # What is behind a whole close_notify is as good as an end.
        whole = phase == "finished" and case.fault.offset == BEHIND
        return whole or phase in ("rest", "ended")
    return phase == "ended" and case.fault.offset == BEHIND


def otherHasEnded(case: Case) -> bool:
    """Whether the other peer had ended its stream before."""
    if asks(case):
        return case.fault.phase == "closing"
    return case.fault.phase in ("rest", "ended", "closing")


def isPlain(case: Case) -> bool:
    """Whether it is an application."""
    return not case.secure


def everyCase(case: Case) -> bool:
    """All that is left."""
    return True


ROWS = (
    Row(
        "it ends, in any way, in the TLS handshake",
        (CLOSE, END, RESET),
        inHandshake,
        ("S: closed: ", "S: reset"),
        lambda times: LINGER + AT_ONCE,
    ),
    Row(
        "it falls silent in the TLS handshake",
        (STALL,),
        inHandshake,
        ("S: handshake_timeout: ",),
        lambda times: times.handshake + AT_ONCE,
    ),
    Row(
        "a bit of the TLS handshake is another; where TLS does not care for it, all goes well",
        (CORRUPT,),
        inHandshake,
        (*BROKEN_HANDSHAKE, "S: closed", "O: closed"),
        lambda times: times.handshake + LINGER + AT_ONCE,
    ),
    Row(
        "a bit of a later record's length is another: the rest of the record may be waited for",
        (CORRUPT,),
        lambda case: case.fault.phase == "finish" or case.fault.offset in LENGTH,
        ("S: protocol_error: ", "proxy: idle_timeout: ", "proxy: half_closed_timeout: "),
        lambda times: times.exchange + around(times.idle) + times.close + LINGER + AT_ONCE,
    ),
    Row(
        "a bit of a later record is another: TLS never lets that pass",
        (CORRUPT,),
        everyCase,
        ("S: protocol_error: ",),
        lambda times: times.close + LINGER + AT_ONCE,
    ),
    Row(
        "it ends in the exchange, without a close_notify; what we send is answered by a reset",
        (CLOSE, END),
        inExchange,
        ("S: truncated: ", "S: reset"),
        lambda times: AT_ONCE,
    ),
    Row(
        "it falls silent in the exchange: the hold ends, then nothing moves",
        (STALL,),
        inExchange,
        ("proxy: idle_timeout: ",),
        lambda times: times.exchange + around(times.idle) + AT_ONCE,
    ),
    Row(
        "both had ended already: nothing that it does is waited for",
        (CLOSE, END, RESET, STALL),
        lambda case: hasEnded(case) and otherHasEnded(case),
        ("S: closed", "O: closed"),
        lambda times: AT_ONCE,
    ),
    Row(
        "it had ended its own stream, then closes: what it is still sent may be answered by a reset",
        (CLOSE, END),
        hasEnded,
        ("S: closed", "S: reset"),
        lambda times: AT_ONCE,
    ),
    Row(
        "the other had ended before; it ends, too: who was the first is named",
        (CLOSE, END),
        otherHasEnded,
        ("O: closed", "S: truncated: ", "S: reset"),
        lambda times: AT_ONCE,
    ),
    Row(
        "an application ends: that is what they do; with bytes unread, it is a reset",
        (CLOSE, END),
        isPlain,
        ("S: closed", "S: reset", "O: closed"),
        lambda times: AT_ONCE,
    ),
    Row(
        "a sidecar ends without a close_notify; with bytes unread, it is a reset",
        (CLOSE, END),
        everyCase,
        ("S: truncated: ", "S: reset", "O: closed"),
        lambda times: AT_ONCE,
    ),
    Row(
        "it resets, when its own stream had ended before: the bytes in between decide who is first",
        (RESET,),
        lambda case: hasEnded(case) or otherHasEnded(case),
        ("S: reset", "S: closed", "O: closed"),
        lambda times: AT_ONCE,
    ),
    Row(
        "it resets when nothing is under way: the other one is reset",
        (RESET,),
        lambda case: case.fault.phase in CONVERSATION and not speaks(case, case.fault.phase),
        ("S: reset",),
        lambda times: AT_ONCE,
        told="reset",
    ),
    Row(
        "it resets in the middle of what it says: that is delivered, if it came",
        (RESET,),
        everyCase,
        ("S: reset",),
        lambda times: AT_ONCE,
    ),
    Row(
        "it falls silent when a direction had ended; the kernel may hold all that it is owed",
        (STALL,),
        lambda case: hasEnded(case) or otherHasEnded(case),
        ("proxy: half_closed_timeout: ", "S: closed", "O: closed"),
        lambda times: around(times.halfClosed) + times.close + AT_ONCE,
    ),
    Row(
        "it falls silent; and may be owed what it does not read",
        (STALL,),
        everyCase,
        # The other, when it is told of the end behind a full buffer, counts as having ended.
        ("proxy: idle_timeout: ", "proxy: half_closed_timeout: "),
        lambda times: around(times.idle) + times.close + AT_ONCE,
    ),
)


def around(seconds: float) -> float:
    """A timeout and an eighth, see L{mxproxy.timeouts}; it began with the last byte."""
    return seconds * 9 / 8


def rowOf(case: Case) -> Row:
    """
    @return: the first that fits.
    """
    kind = case.fault.kind
    return next(row for row in ROWS if kind in row.kinds and row.fits(case))


def judge(case: Case, verdict: Verdict, times: Times, slack: float = 0.0) -> list[str]:
    """
    @param slack: seconds, for a machine that does something else, too.
    @return: what is wrong, in words.
    """
    wrong = list(verdict.wrong)
    row = rowOf(case)
    other = UPSTREAM if case.side == DOWNSTREAM else DOWNSTREAM
    names = {"S": case.side, "O": other, "proxy": "proxy"}
    right = []
    for reason in row.reasons:
        side, _, rest = reason.partition(": ")
        right.append(f"{names[side]}: {rest}")
    if not verdict.reason.startswith(tuple(right)):
        wrong.append(f"the reason {verdict.reason!r} begins with none of {right} ({row.what})")
    if row.told and verdict.told not in ("", row.told):
        wrong.append(f"the other peer was told by {verdict.told}, not {row.told} ({row.what})")
    limit = row.seconds(times) + slack
    if verdict.seconds > limit:
        wrong.append(f"gone after {verdict.seconds:g} s, not within {limit:g} s ({row.what})")
    return wrong
