"""
In which form bytes are given: as they are, in hex, in base64, or in a capture.

Pure functions of bytes; nothing here reads a file.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from typing import Final

from ...wire.prefix import MAGIC_BYTES


class Form(str, enum.Enum):
    """
    The names are those of C{--format}.
    """

    RAW = "raw"
    HEX = "hex"
    BASE64 = "base64"
    CAPTURE = "capture"


# pcap in either byte order, with microseconds or nanoseconds; pcapng; either in gzip.
# U{https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-03.html}, and -pcapng-02.
_CAPTURES: Final = (
    b"\xa1\xb2\xc3\xd4",
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x4d\x3c\xb2\xa1",
    b"\x0a\x0d\x0d\x0a",
    b"\x1f\x8b",
)

# A line of xxd, hexdump -C, od -tx1z or Wireshark's "copy as hex dump": an offset, bytes in groups,
# and perhaps what they are in ASCII, behind two spaces or a bar.
_DUMP_LINE: Final = re.compile(
    r"\s*([0-9a-fA-F]{4,16}):?\s+((?:[0-9a-fA-F]{2}){1,8}(?: {1,2}(?:[0-9a-fA-F]{2}){1,8})*)"
    r"(?:\s{2,}.*|\s+[|>].*|\s*)"
)
_DUMP_END: Final = re.compile(r"\s*[0-9a-fA-F]{4,16}\s*")

# What stands between the digits of hex that was written by hand, or by a language.
_BETWEEN: Final = re.compile(r"0x|\\x|[\s:,;'\"\[\]{}]+")


def detect(data: bytes) -> Form:
    """
    The form that C{data} is most likely in.
    """
    if data.startswith(_CAPTURES):
        return Form.CAPTURE
    # Its second byte, "#", is in neither of the others' alphabets.
    if data.startswith(MAGIC_BYTES[:2]):
        return Form.RAW
    for form in Form.HEX, Form.BASE64:
        try:
            found = decode(data, form)
        except ValueError:
            continue
        # Any word may be base64; what comes of it has to be a prefix.
        if form is Form.HEX or found.startswith(MAGIC_BYTES):
            return form
    return Form.RAW


def decode(data: bytes, form: Form) -> bytes:
    """
    @raise ValueError: it is not in that form; the text says where.
    """
    if form is Form.HEX:
        return _hex(_ascii(data))
    if form is Form.BASE64:
        text = "".join(_ascii(data).split()).replace("-", "+").replace("_", "/")
        try:
            return base64.b64decode(
                text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True
            )
        except binascii.Error as error:
            raise ValueError(f"it is not base64: {error}") from error
    return data


def _ascii(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is not text: byte {error.start} is 0x{data[error.start]:02x}"
        ) from error


def _hex(text: str) -> bytes:
    lines = [line for line in text.splitlines() if line.strip()]
    dumped = _dump(lines)
    if dumped is not None:
        return dumped
    digits = _BETWEEN.sub("", text)
    if not digits:
        raise ValueError("there are no hex digits in it")
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong is not None:
        raise ValueError(f"it is not hex: {wrong[0]!r} is no digit")
    if len(digits) % 2:
        raise ValueError(f"it is not hex: {len(digits)} digits make no whole bytes")
    return bytes.fromhex(digits)


def _dump(lines: list[str]) -> bytes | None:
    """
    The bytes of a dump with offsets; C{None} if it is none: each line has to begin where the one
    before has ended.
    """
    data = b""
    for line in lines:
        match = _DUMP_LINE.fullmatch(line)
        if match is None:
            # hexdump and od end with an offset alone.
            if data and line is lines[-1] and _DUMP_END.fullmatch(line):
                continue
            return None
        if int(match[1], 16) != len(data):
            return None
        data += bytes.fromhex(match[2].replace(" ", ""))
    return data or None
