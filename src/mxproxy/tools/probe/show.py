"""
A finding for eyes.

Only the looks belong here.  Whatever a peer has said is escaped and cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Final

from ...wire.annotate import annotate
from ...wire.peerstate import PeerState
from ...wire.prefix import MAGIC_BYTES
from ...words import counted
from ..dissect import condense
from ..listing import LABEL, listBytes, listMetadata, listRows, nameOf
from ..page import Page, printable
from ..verdict import Verdict
from .finding import CertificateSeen, Finding, Outcome, TLSSeen

# What each way to fail is called.
_HEADINGS: Final = {
    Outcome.NO_EXCHANGE: "no metadata exchange",
    Outcome.EXCHANGE_FAILED: "the metadata exchange has failed",
    Outcome.TLS_FAILED: "TLS has failed",
    Outcome.CONNECT_FAILED: "no connection",
    Outcome.TIMEOUT: "timeout",
}

_STEPS: Final = {"connect": "TCP", "tls": "TLS", "exchange": "metadata"}

# How much is shown of what a peer may send much of.
_MAX_NAMES: Final = 8
_MAX_LINES: Final = 16


def show(finding: Finding, page: Page, now: datetime | None = None) -> None:
    """
    Print it.

    @param now: what certificates' dates are compared with.
    """
    page.line(_heading(finding, page))
    page.line()
    for label, value, *style in _facts(finding):
        page.line(f"  {page.style(f'{label:<{LABEL}}', 'dim')}{page.style(value, *style)}")
    if finding.verdict is not None and finding.verdict.metadata is not None:
        _metadata(finding, finding.verdict, page)
    elif finding.head:
        _head(finding, page)
    for depth, certificate in enumerate(finding.chain):
        page.line()
        page.line(page.style(f"  certificate {depth}", "bold"))
        for label, value, *style in _certificate(certificate, now or datetime.now(timezone.utc)):
            page.line(f"    {page.style(f'{label:<{LABEL}}', 'dim')}{page.style(value, *style)}")


def _heading(finding: Finding, page: Page) -> str:
    who = finding.target
    if finding.peer == "client":
        who = f"client {finding.address}"
    who = printable(who)
    if finding.verdict is not None and finding.verdict.metadata is not None:
        what = f"{who} is {nameOf(finding.verdict)}"
        return f"{page.style('✓', 'green')} {page.style(what, 'bold')}"
    what = f"{who}: {_HEADINGS[finding.outcome]}"
    return f"{page.style('✗', 'red')} {page.style(what, 'bold')}"


def _facts(finding: Finding) -> Iterator[tuple[str, ...]]:
    """
    Labels, values, and the values' style.
    """
    if finding.reason:
        yield "why", printable(finding.reason, 600), "red"
    hint = _hint(finding)
    if hint:
        yield "", hint
    if finding.address is not None:
        yield "address", f"{finding.address}, seen from {finding.local_address}"
    if finding.tls is not None:
        yield from _tls(finding, finding.tls)
    if finding.wanted:
        yield "asks for", f"a client certificate of {_several(finding.wanted)}"
    if finding.outcome is Outcome.FOUND:
        yield "opening", "speaks first" if finding.speaksFirst else "after it had our metadata"
    if finding.seconds:
        steps = finding.seconds.items()
        yield "took", ", ".join(f"{_STEPS[step]} {spent * 1000:.1f} ms" for step, spent in steps)


def _tls(finding: Finding, tls: TLSSeen) -> Iterator[tuple[str, ...]]:
    yield "TLS", f"{tls.version}, {tls.cipher}"
    offered = printable(", ".join(tls.offered)) or "nothing"
    yield "ALPN", f"{printable(tls.alpn or '') or 'none'} (offered: {offered})"
    if tls.server_name is not None:
        yield "server name", printable(tls.server_name)
    if finding.trusted:
        yield "trusted", _several(finding.principals) or "yes, but it has no name", "green"
    elif finding.trusted is None:
        yield "trusted", "no: it has shown no certificate", "red"
    elif finding.distrust != finding.reason:
        yield "trusted", f"no: {printable(finding.distrust, 600)}", "red"


def _hint(finding: Finding) -> str:
    """
    What to try next, where that is one thing.
    """
    if finding.outcome is not Outcome.TLS_FAILED:
        return ""
    if finding.tls is not None and finding.reason == finding.distrust:
        trust = "--ca FILE says whom to trust; " if finding.reason.startswith("unknown_ca") else ""
        return f"{trust}--insecure does the exchange all the same"
    if "certificate required" in finding.reason:
        return "give it one: --cert and --key"
    return ""


def _several(texts: Iterable[str]) -> str:
    every = tuple(texts)
    shown = ", ".join(printable(text) for text in every[:_MAX_NAMES])
    return f"{shown} and {len(every) - _MAX_NAMES} more" if every[_MAX_NAMES:] else shown


# -- certificates ----------------------------------------------------------------------------


def _certificate(one: CertificateSeen, now: datetime) -> Iterator[tuple[str, ...]]:
    if one.fault:
        yield "unreadable", printable(one.fault), "red"
        return
    yield "names", _several(one.names) or "none"
    if one.subject:
        yield "subject", printable(one.subject)
    yield "issuer", printable(one.issuer) or "without a name"
    assert one.not_before is not None
    assert one.not_after is not None
    dates = f"{one.not_before:%Y-%m-%d %H:%M} to {one.not_after:%Y-%m-%d %H:%M} UTC"
    if now > one.not_after:
        yield "valid", f"{dates}: expired {_span(now - one.not_after)} ago", "red"
    elif now < one.not_before:
        yield "valid", f"{dates}: not before {_span(one.not_before - now)} have passed", "red"
    else:
        yield "valid", f"{dates}, for another {_span(one.not_after - now)}"
    yield "key", f"{one.key}, an authority's" if one.authority else one.key


def _span(span: timedelta) -> str:
    """
    A span of time in its largest unit.

    >>> _span(timedelta(hours=47))
    '47 h'
    """
    minutes = int(span.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // (24 * 60)} days"


# -- the exchange ----------------------------------------------------------------------------


def _metadata(finding: Finding, verdict: Verdict, page: Page) -> None:
    page.line()
    listMetadata(verdict, page)
    rest = finding.received - verdict.size
    if rest > 0:
        page.line()
        page.line(f"  Behind it came {counted(rest, 'byte')} of the application:")
        listBytes(finding.head[verdict.size :], page)


def _head(finding: Finding, page: Page) -> None:
    """
    What came instead of metadata.
    """
    page.line()
    page.line(f"  Instead of metadata came {counted(finding.received, 'byte')}:")
    if not finding.head.startswith(MAGIC_BYTES) or finding.state is PeerState.ALPN_MISMATCH:
        listBytes(finding.head, page)
    else:
        listRows(condense(annotate(finding.head)), page, most=_MAX_LINES)
