"""
Prefixes for eyes.

Only the looks belong here.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...wire.annotate import annotate
from ...wire.peerstate import PeerState
from ...words import counted
from ..dissect import condense
from ..listing import listBytes, listMetadata, listRows, nameOf
from ..page import Page, printable
from ..verdict import Verdict
from .capture import Capture, Stream

# How many bytes of the application are shown.
_REST = 32

_WHAT = {
    PeerState.FOUND: "a prefix",
    PeerState.BAD_MAGIC: "no prefix",
    PeerState.CLOSED: "cut off",
    PeerState.TOO_LARGE: "too large",
    PeerState.MALFORMED: "no metadata",
}


def showPrefix(verdict: Verdict, data: bytes, page: Page, *, everything: bool = False) -> None:
    """
    Print it.

    @param everything: each of protobuf's fields on a line of its own.
    """
    page.line(_heading("", verdict, page))
    page.line()
    _show(verdict, data, page, everything)


def _heading(who: str, verdict: Verdict, page: Page) -> str:
    found = verdict.metadata is not None
    mark = page.style("✓", "green") if found else page.style("✗", "red")
    what = nameOf(verdict) if found else _WHAT[verdict.state]
    return f"{mark} {page.style(f'{who}{what}', 'bold')}"


def _show(verdict: Verdict, data: bytes, page: Page, everything: bool) -> None:
    if verdict.reason:
        why = f"byte {verdict.fault}: {printable(verdict.reason, 600)}"
        page.line(f"  {page.style(why, 'red')}")
        page.line()
    if verdict.state is PeerState.BAD_MAGIC:
        listBytes(data, page)
        return
    # What is behind the prefix may be long, and is shown apart.
    whole = data[: verdict.size] if verdict.metadata is not None else data
    rows = annotate(whole)
    listRows(rows if everything else condense(rows), page)
    if verdict.metadata is None:
        return
    page.line()
    listMetadata(verdict, page)
    rest = data[verdict.size :]
    if rest:
        page.line()
        page.line(f"  behind it, {counted(len(rest), 'byte')} of the application")
        listBytes(rest, page, most=_REST)


def showCapture(
    capture: Capture,
    said: Sequence[tuple[Stream, str, Verdict, bool]],
    page: Page,
    *,
    everything: bool = False,
) -> None:
    """
    Print all prefixes of a capture, and a line for each stream that has none.

    @param said: for each side of a stream: who it is, what it has said, and whether that begins as
        a prefix does.
    """
    if not capture.streams:
        page.line("no TCP stream in which anything was said")
    for stream in capture.streams:
        sides = [(who, verdict, is_) for one, who, verdict, is_ in said if one is stream]
        tls = ", TLS" if stream.tls else ""
        title = f"stream {stream.number}: {stream.client} to {stream.server}{tls}"
        page.line(page.style(title, "bold"))
        if stream.sni:
            page.line(f"  server name  {printable(stream.sni)}")
        if stream.offered:
            chosen = printable(stream.negotiated) or "unknown"
            page.line(f"  ALPN         {chosen} (offered: {printable(', '.join(stream.offered))})")
        if not stream.decrypted:
            page.line("  not decrypted: there are no secrets for it; give them with --keylog")
        elif not any(is_ for _, _, is_ in sides):
            page.line(f"  no prefix; it begins with {_beginning(stream, sides[0][0])}")
        for who, verdict, is_ in sides:
            if is_:
                page.line()
                side = "client" if who == stream.client else "server"
                page.line(f"  {_heading(f'{side} {who}: ', verdict, page)}")
                page.line()
                _show(verdict, stream.head(who), page, everything)
        page.line()
    if capture.others:
        page.line(f"{capture.others} more streams; look at one with --stream N")
    if capture.silent:
        page.line(f"in {capture.silent} streams nothing was said")


def _beginning(stream: Stream, client: str) -> str:
    head = stream.head(client) or next(iter(map(bytes, stream.heads.values())), b"")
    if not head:
        return "nothing: no byte of the application is in the capture"
    text = head[:32].decode("ascii", "backslashreplace")
    return f"'{printable(text, 60)}'" if head[:8].isascii() else head[:16].hex(" ")
