"""
A prefix taken apart for people: which bytes say what.

This is the one reader here that is neither strict nor fast: it shows whatever it is given, up to
the byte that makes no sense, and says why that one does not.  It never decides anything; that is
L{mxproxy.wire.exchange}'s.  Every byte is in exactly one row, in order, so the rows put together
are the input again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from mxproxy.wire.prefix import HEADER_SIZE, MAGIC_BYTES

# What the numbers of a message's fields mean: a name, and the message inside or the kind of
# value, where its bytes do not say it.  Source: google/protobuf/any.proto and struct.proto.
_FIELDS: Final[dict[str, dict[int, tuple[str, str]]]] = {
    "Any": {1: ("type_url", "text"), 2: ("value", "Struct")},
    "Struct": {1: ("fields", "Entry")},
    "Entry": {1: ("key", "text"), 2: ("value", "Value")},
    "Value": {
        1: ("null_value", ""),
        2: ("number_value", "number"),
        3: ("string_value", "text"),
        4: ("bool_value", ""),
        5: ("struct_value", "Struct"),
        6: ("list_value", "List"),
    },
    "List": {1: ("values", "Value")},
}
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
# Protobuf's own limit: it refuses messages that are nested deeper.
_MAX_DEPTH: Final = 100
_MAX_VARINT: Final = 10


class Row(NamedTuple):
    """
    Some bytes and what they say.

    @ivar offset: where they begin, counted from the first byte of the input.
    @ivar data: the bytes.
    @ivar depth: how many messages they are inside of.
    @ivar text: what they say, or what is wrong with them.
    @ivar fault: where the byte is that makes no sense, or the one that is missing; C{None} in a
        row of which nothing is wrong.
    """

    offset: int
    data: bytes
    depth: int
    text: str
    fault: int | None = None


class _Nonsense(Exception):
    """
    From C{offset} on, the bytes of a message say nothing.
    """

    def __init__(self, offset: int, text: str) -> None:
        super().__init__(text)
        self.offset = offset
        self.text = text


def annotate(data: bytes) -> Iterator[Row]:
    """
    Take the bytes of a stream's head apart.  Never raises, whatever the bytes are.

    @param data: a prefix, a part of one, or one with the application's bytes behind it.
    @return: the rows, which together hold each byte of C{data} once.
    """
    magic = data[: len(MAGIC_BYTES)]
    if not MAGIC_BYTES.startswith(magic):
        good = next(i for i, byte in enumerate(magic) if byte != MAGIC_BYTES[i])
        yield Row(0, data, 0, f"not a prefix: byte {good} is not the magic's", good)
        return
    if len(magic) < len(MAGIC_BYTES):
        if magic:
            cut = f"magic, cut off after {len(magic)} of {len(MAGIC_BYTES)} bytes"
            yield Row(0, magic, 0, cut, len(data))
        return
    yield Row(0, magic, 0, "magic")
    number = data[len(MAGIC_BYTES) : HEADER_SIZE]
    if len(data) < HEADER_SIZE:
        if number:
            cut = f"length, cut off after {len(number)} of 4 bytes"
            yield Row(len(magic), number, 0, cut, len(data))
        return
    length = int.from_bytes(number, "big")
    payload = data[HEADER_SIZE : HEADER_SIZE + length]
    cut = f", but only {len(payload)} bytes follow" if len(payload) < length else ""
    fault = len(data) if cut else None
    yield Row(len(magic), number, 0, f"length {length}{cut}", fault)
    yield from _message(data, HEADER_SIZE, HEADER_SIZE + len(payload), "Any", 0)
    if len(data) > HEADER_SIZE + length:
        rest = data[HEADER_SIZE + length :]
        yield Row(HEADER_SIZE + length, rest, 0, f"{len(rest)} bytes of the application")


def render(rows: Iterable[Row], width: int = 32) -> Iterator[str]:
    """
    The rows as lines of text: offset, bytes, and what they say, indented by depth.

    @param width: how many bytes of a row are shown before an ellipsis.
    """
    for offset, data, depth, text, _ in rows:
        shown = data[:width].hex(" ") + (" ..." if len(data) > width else "")
        yield f"{offset:06x}  {'  ' * depth + text:<64}  {shown}"


def _message(data: bytes, start: int, end: int, name: str, depth: int) -> Iterator[Row]:
    """
    The rows of one message, which is C{data[start:end]}.
    """
    if depth > _MAX_DEPTH:
        text = f"{name}: nested more than {_MAX_DEPTH} deep"
        yield Row(start, data[start:end], depth, text, start)
        return
    while start < end:
        try:
            body, stop, text, inner, bad = _field(data, start, end, name)
        except _Nonsense as error:
            text = f"{name}: {error.text} (byte {error.offset})"
            yield Row(start, data[start:end], depth, text, error.offset)
            return
        if inner:
            yield Row(start, data[start:body], depth, f"{name}.{text}")
            yield from _message(data, body, stop, inner, depth + 1)
        else:
            fault = None if bad is None else body + bad
            yield Row(start, data[start:stop], depth, f"{name}.{text}", fault)
        start = stop


def _field(data: bytes, start: int, end: int, name: str) -> tuple[int, int, str, str, int | None]:
    """
    One field of a message.

    @return: where its value begins, where it ends, what it says, the name of the message that it
        holds (or nothing), and which byte of the value is wrong, if one is.
    @raise _Nonsense: this is not a field.
    """
    tag, body = _varint(data, start, end)
    number, wire = tag >> 3, tag & 7
    label, kind = _FIELDS[name].get(number, (f"field {number}, unknown", ""))
    if wire == _VARINT:
        value, stop = _varint(data, body, end)
        return body, stop, f"{label} = {value}", "", None
    if wire == _DELIMITED:
        size, body = _varint(data, body, end)
    elif wire in (_FIXED64, _FIXED32):
        size = 8 if wire == _FIXED64 else 4
    else:
        raise _Nonsense(start, f"wire type {wire} has no place here")
    stop = body + size
    if stop > end:
        raise _Nonsense(body, f"{label} wants {size} bytes where {end - body} are left")
    raw = data[body:stop]
    if wire == _DELIMITED and kind in _FIELDS:
        return body, stop, f"{label}, {size} bytes: {kind}", kind, None
    if wire == _DELIMITED and kind == "text":
        text, bad = _text(raw)
        return body, stop, f"{label} = {text}", "", bad
    if wire == _FIXED64 and kind == "number":
        return body, stop, f"{label} = {struct.unpack('<d', raw)[0]!r}", "", None
    return body, stop, f"{label}, {size} bytes", "", None


def _varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    """
    A number of seven bits a byte, the least first, and where it ends.
    """
    value = 0
    for index, byte in enumerate(data[start : min(end, start + _MAX_VARINT)]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, start + index + 1
    raise _Nonsense(start, "a number that does not end")


def _text(raw: bytes) -> tuple[str, int | None]:
    try:
        return repr(raw.decode("utf-8")), None
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}: {raw!r}", error.start
