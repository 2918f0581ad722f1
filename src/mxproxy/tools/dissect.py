"""
A prefix on one screen: L{mxproxy.wire.annotate}'s rows, an entry of a map in one line.

Like the rows, the lines together hold each byte once and in order, whatever the bytes are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ..wire.annotate import Row

# What only says that a map's entry begins, or its value.
_FRAME: Final = re.compile(r"(Struct\.fields|Entry\.value), \d+ bytes: (Entry|Value)")
_KEY: Final = re.compile(r"Entry\.key = '(.*)'")
_TEXT: Final = re.compile(r"Value\.string_value = '(.*)'")
_STRUCT: Final = re.compile(r"Value\.struct_value, (\d+) bytes: Struct")
_TYPE: Final = re.compile(r"Any\.type_url = '(.*)'")

# How many messages deeper a Struct inside a Struct is: Struct, Entry, Value.
_MESSAGES: Final = 3


class Line(NamedTuple):
    """
    Some bytes and what they say.

    @ivar depth: how many Structs they are inside of.
    @ivar fault: see L{Row}.
    """

    offset: int
    data: bytes
    depth: int
    text: str
    fault: int | None = None


def condense(rows: Iterable[Row]) -> Iterator[Line]:
    """
    Put together what makes an entry: C{key = value}, or C{key: Struct} with its entries
    behind it.
    """
    waiting: list[Row] = []
    key = ""
    for row in rows:
        waiting.append(row)
        if _FRAME.fullmatch(row.text):
            continue
        if match := _KEY.fullmatch(row.text):
            key = match[1]
            continue
        yield _line(waiting, _say(row.text, key))
        waiting, key = [], ""
    if waiting:
        yield _line(waiting, waiting[-1].text)


def _line(rows: list[Row], text: str) -> Line:
    data = b"".join(row.data for row in rows)
    fault = next((row.fault for row in rows if row.fault is not None), None)
    return Line(rows[0].offset, data, -(-rows[0].depth // _MESSAGES), text, fault)


def _say(text: str, key: str) -> str:
    if key and (match := _TEXT.fullmatch(text)):
        return f"{key} = {match[1]}"
    if key and (match := _STRUCT.fullmatch(text)):
        return f"{key}: Struct, {match[1]} bytes"
    if match := _TYPE.fullmatch(text):
        return f"Any: {match[1]}"
    return f"{key}: {text}" if key else text
