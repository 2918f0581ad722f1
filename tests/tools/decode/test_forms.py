"""
Bytes in whatever form come back as they were.
"""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tools.decode.forms import Form, decode, detect
from mxproxy.wire.metadata import Node
from mxproxy.wire.prefix import MAGIC_BYTES

PREFIX = Node("n1", {"NAME": "x", "LABELS": {"app": "y"}}).prefix()


def xxd(data: bytes, width: int = 16) -> str:
    lines = []
    for start in range(0, len(data), width):
        piece = data[start : start + width]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        groups = " ".join(piece[at : at + 2].hex() for at in range(0, len(piece), 2))
        lines.append(f"{start:08x}: {groups:<{width * 5 // 2}} {text}\n")
    return "".join(lines)


def hexdump(data: bytes) -> str:
    """
    C{hexdump -C}.
    """
    lines = []
    for start in range(0, len(data), 16):
        piece = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        halves = "  ".join(part.hex(" ") for part in (piece[:8], piece[8:]) if part)
        lines.append(f"{start:08x}  {halves:<48}  |{text}|\n")
    return "".join(lines) + f"{len(data):08x}\n"


class FormTests(SynchronousTestCase):
    @given(st.binary(max_size=300))
    def test_roundTrip(self, behind: bytes) -> None:
        """
        A prefix, or the beginning of one, with anything behind it; no form is taken for another.
        """
        data = PREFIX + behind
        for form, written in [
            (Form.RAW, data),
            (Form.HEX, data.hex().encode()),
            (Form.HEX, data.hex(" ").upper().encode()),
            (Form.HEX, data.hex(":").encode()),
            (Form.HEX, ", ".join(f"0x{byte:02x}" for byte in data).encode()),
            (Form.HEX, ('"' + "".join(f"\\x{byte:02x}" for byte in data) + '"').encode()),
            (Form.HEX, xxd(data).encode()),
            (Form.HEX, hexdump(data).encode()),
            (Form.BASE64, base64.b64encode(data)),
            (Form.BASE64, base64.encodebytes(data)),
            (Form.BASE64, base64.urlsafe_b64encode(data).rstrip(b"=")),
        ]:
            self.assertEqual((detect(written), decode(written, form)), (form, data), written)

    def test_short(self) -> None:
        """
        A part of the magic is still what it is.
        """
        self.assertEqual(detect(MAGIC_BYTES.hex().encode()), Form.HEX)
        self.assertEqual(detect(PREFIX[:6]), Form.RAW)

    def test_others(self) -> None:
        """
        What only could be base64 is not taken for it.
        """
        for data in b"GET / HTTP/1.1\r\n\r\n", b"ping", b"", b"\x00\x01\x02", "é".encode():
            self.assertEqual(detect(data), Form.RAW, data)

    def test_captures(self) -> None:
        for magic in "a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "0a0d0d0a", "1f8b0800":
            self.assertEqual(detect(bytes.fromhex(magic) + bytes(30)), Form.CAPTURE)

    def test_wrong(self) -> None:
        """
        What is wrong is said.
        """
        for form, data, message in [
            (Form.HEX, b"3d2", "3 digits make no whole bytes"),
            (Form.HEX, b"3dzz", "'z' is no digit"),
            (Form.HEX, b" \n", "there are no hex digits in it"),
            (Form.HEX, b"3d\xff", "it is not text: byte 2 is 0xff"),
            (Form.BASE64, b"PS!", "it is not base64"),
            (Form.BASE64, b"P", "it is not base64"),
        ]:
            error = self.assertRaises(ValueError, decode, data, form)
            self.assertIn(message, str(error))

    def test_noDump(self) -> None:
        """
        Offsets that do not fit are no offsets.
        """
        lines = xxd(PREFIX).splitlines(keepends=True)
        self.assertRaises(ValueError, decode, "".join(lines[1:]).encode(), Form.HEX)
