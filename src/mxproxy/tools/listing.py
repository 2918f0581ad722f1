"""
How prefixes and what they say are listed: for all tools alike.

Only the looks belong here.  Whatever a peer has said is escaped and cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from ..wire.annotate import Row
from ..words import counted
from .dissect import Line
from .page import Page, printable
from .verdict import FIELDS, Verdict

#: How wide a column of names is.
LABEL: Final = 13

# How much is shown of what a peer may send much of.
_MAX_LABELS: Final = 64
_DUMP_WIDTH: Final = 16


def nameOf(verdict: Verdict) -> str:
    """
    Who it is, in a few words; of one that was found.
    """
    metadata = verdict.metadata
    assert metadata is not None
    name = metadata.workload or metadata.name or metadata.id
    where = f" in namespace {printable(metadata.namespace)}" if metadata.namespace else ""
    what = f", a {metadata.type}" if metadata.type else ""
    return f"{printable(name) or 'a nameless workload'}{where}{what}"


def listMetadata(verdict: Verdict, page: Page) -> None:
    """
    What the prefix says, field by field.
    """
    metadata = verdict.metadata
    assert metadata is not None
    page.line(page.style("  metadata", "bold") + f" ({counted(verdict.size, 'byte')})")
    said = [(name.replace("_", " "), getattr(metadata, name)) for name in FIELDS]
    _table([(name, value) for name, value in said if value] or [("", "nothing")], page)
    for title, items in ("other labels", metadata.labels), ("other fields", verdict.others):
        every = list(items.items())
        if every:
            page.line(page.style(f"  {title}", "bold"))
            _table(every[:_MAX_LABELS], page)
        if every[_MAX_LABELS:]:
            page.line(f"    and {len(every) - _MAX_LABELS} more")


def _table(items: Iterable[tuple[str, str]], page: Page) -> None:
    shown = [(printable(name, 60), printable(value)) for name, value in items]
    width = max(LABEL - 1, *(len(name) for name, _ in shown))
    for name, value in shown:
        page.line(f"    {page.style(f'{name:<{width}}', 'dim')} {value}")


def listRows(rows: Iterable[Row | Line], page: Page, *, width: int = 8, most: int = 500) -> None:
    """
    The bytes of a prefix, and what they say.

    @param width: how many bytes of a row are shown.
    @param most: how many rows are.
    """
    shown = list(islice(rows, most + 1))
    for row in shown[:most]:
        data = row.data[:width].hex(" ") + (" …" if row.data[width:] else "")
        text = "  " * row.depth + printable(row.text)
        style = () if row.fault is None else ("red",)
        page.line(
            f"    {page.style(f'{row.offset:06x}', 'dim')}"
            f"  {page.style(f'{data:<{3 * width + 1}}', 'cyan')}  {page.style(text, *style)}"
        )
    if shown[most:]:
        page.line("    …")


def listBytes(data: bytes, page: Page, *, most: int = 256) -> None:
    """
    Bytes of which nothing is known, as hex and as text.

    @param most: how many are shown.
    """
    for start in range(0, min(len(data), most), _DUMP_WIDTH):
        piece = data[start : min(start + _DUMP_WIDTH, most)]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        offset = page.style(f"{start:06x}", "dim")
        page.line(f"    {offset}  {piece.hex(' '):<{3 * _DUMP_WIDTH}} {text}")
    if data[most:]:
        page.line("    …")
