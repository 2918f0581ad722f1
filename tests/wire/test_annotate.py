"""
A prefix taken apart for people.
"""

from __future__ import annotations

import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire.annotate import Row, annotate, render
from mxproxy.wire.metadata import encodeMetadata
from mxproxy.wire.prefix import HEADER, MAGIC, encodePrefix
from tests.wire.test_metadata import TINY, anyMetadata
from tests.wire.test_properties import streams

DOCUMENT = Path(__file__).parents[2] / "docs" / "wire.md"


class AnnotateTests(SynchronousTestCase):
    """
    Every byte is in one row, in order, and nothing raises.
    """

    def rows(self, data: bytes) -> list[Row]:
        """
        The rows, which put together are the input.
        """
        rows = list(annotate(data))
        self.assertEqual(data, b"".join(row.data for row in rows))
        position = 0
        for row in rows:
            self.assertEqual(position, row.offset)
            self.assertTrue(row.data)
            self.assertGreaterEqual(row.depth, 0)
            position += len(row.data)
        return rows

    def said(self, data: bytes) -> list[str]:
        return ["  " * row.depth + row.text for row in self.rows(data)]

    def inside(self, body: bytes) -> list[str]:
        """
        What is said of an Any's bytes.
        """
        return self.said(encodePrefix(body))[2:]

    @given(st.one_of(streams, anyMetadata.map(lambda m: encodePrefix(encodeMetadata(m)))))
    def test_everyByte(self, data: bytes) -> None:
        """
        Whatever it is.
        """
        self.rows(data)

    def test_faults(self) -> None:
        """
        Which byte is wrong, or which one is missing.
        """
        for data, fault in [
            (TINY, None),
            (TINY + b"application", None),
            (b"", None),
            (MAGIC.to_bytes(4, "big")[:2] + b"x", 2),
            (MAGIC.to_bytes(4, "big")[:2] + b"\0", 2),
            (TINY[:3], 3),
            (TINY[:6], 6),
            (TINY[:60], 60),
            (encodePrefix(b"\x0a\x01\xff"), 10),
            (encodePrefix(b"\x0a\x02a\xff"), 11),
            (encodePrefix(b"\x0f"), 8),
            (encodePrefix(b"\x12\x05\x0a"), 10),
        ]:
            faults = [row.fault for row in annotate(data) if row.fault is not None]
            self.assertEqual(faults[:1], [] if fault is None else [fault], data)

    @given(st.integers(0, len(TINY) - 9), st.integers(1, 255))
    def test_anyByteWrong(self, where: int, change: int) -> None:
        """
        One wrong byte in a payload does not raise either.
        """
        data = bytearray(TINY)
        data[8 + where] ^= change
        self.rows(bytes(data))

    def test_example(self) -> None:
        self.assertEqual(
            [
                "magic",
                "length 136",
                "Any.type_url = 'type.googleapis.com/google.protobuf.Struct'",
                "Any.value, 90 bytes: Struct",
                "  Struct.fields, 54 bytes: Entry",
                "    Entry.key = 'x-envoy-peer-metadata'",
                "    Entry.value, 29 bytes: Value",
                "      Value.struct_value, 27 bytes: Struct",
                "        Struct.fields, 12 bytes: Entry",
                "          Entry.key = 'LABELS'",
                "          Entry.value, 2 bytes: Value",
                "            Value.struct_value, 0 bytes: Struct",
                "        Struct.fields, 11 bytes: Entry",
                "          Entry.key = 'NAME'",
                "          Entry.value, 3 bytes: Value",
                "            Value.string_value = 'x'",
                "  Struct.fields, 32 bytes: Entry",
                "    Entry.key = 'x-envoy-peer-metadata-id'",
                "    Entry.value, 4 bytes: Value",
                "      Value.string_value = 'n1'",
                "3 bytes of the application",
            ],
            self.said(TINY + b"GET"),
        )

    def test_otherKinds(self) -> None:
        """
        Numbers, lists, and fields that nobody knows.
        """
        value = b"\x08\x00\x20\x01" + struct.pack("<Bd", 0x11, 1.5) + b"\x32\x04\x0a\x02\x20\x00"
        entry = b"\x12" + bytes([len(value)]) + value + b"\x1a\x01?\x25abcd\x29abcdefgh"
        fields = b"\x0a" + bytes([len(entry)]) + entry
        self.assertEqual(
            [
                "  Struct.fields, 38 bytes: Entry",
                "    Entry.value, 19 bytes: Value",
                "      Value.null_value = 0",
                "      Value.bool_value = 1",
                "      Value.number_value = 1.5",
                "      Value.list_value, 4 bytes: List",
                "        List.values, 2 bytes: Value",
                "          Value.bool_value = 0",
                "    Entry.field 3, unknown, 1 bytes",
                "    Entry.field 4, unknown, 4 bytes",
                "    Entry.field 5, unknown, 8 bytes",
            ],
            self.inside(b"\x12" + bytes([len(fields)]) + fields)[1:],
        )

    def test_otherWireTypes(self) -> None:
        """
        A field that is known, in a type that is not its own, is so many bytes.
        """
        self.assertEqual(
            [
                "Any.value, 4 bytes",
                "Any.type_url, 4 bytes",
                "Any.type_url, 8 bytes",
                "Any.type_url = 128",
                f"Any.type_url = {2**64 - 1}",
            ],
            self.inside(b"\x15abcd\x0dabcd\x09abcdefgh\x08\x80\x01\x08" + b"\xff" * 9 + b"\x01"),
        )
        value = b"\x0dabcd\x0a\x01x\x12\x01x"
        self.assertEqual(
            [
                "Value.null_value, 4 bytes",
                "Value.null_value, 1 bytes",
                "Value.number_value, 1 bytes",
            ],
            [
                one.strip()
                for one in self.inside(b"\x12" + _size(b"\x0a" + _size(b"\x12" + _size(value))))
            ][3:],
        )

    def test_wrong(self) -> None:
        """
        A row says what is wrong, and at which byte.
        """
        for body, why in (
            (b"\x0a\xff", "Any: a number that does not end (byte 9)"),
            (b"\x0a\x7fabc", "Any: type_url wants 127 bytes where 3 are left (byte 10)"),
            (b"\x0b", "Any: wire type 3 has no place here (byte 8)"),
            (b"\x08" + b"\xff" * 10, "Any: a number that does not end (byte 9)"),
            (b"\x08" + b"\xff" * 10 + b"\x01", "Any: a number that does not end (byte 9)"),
            (b"\x0a\x02a\xff", r"Any.type_url = not UTF-8 at byte 1: b'a\xff'"),
        ):
            self.assertEqual([why], self.inside(body))

    def test_nestedTooDeep(self) -> None:
        """
        It stops where protobuf does.
        """
        value = b"\x1a\x01x"
        for _ in range(60):
            value = b"\x32" + _size(b"\x0a" + _size(value))
        said = self.inside(b"\x12" + _size(b"\x0a" + _size(b"\x12" + _size(value))))
        self.assertEqual("Value: nested more than 100 deep", said[-1].strip())

    def test_cutOff(self) -> None:
        self.assertEqual([], self.said(b""))
        self.assertEqual(["magic, cut off after 2 of 4 bytes"], self.said(TINY[:2]))
        self.assertEqual(["magic"], self.said(TINY[:4]))
        self.assertEqual(["magic", "length, cut off after 1 of 4 bytes"], self.said(TINY[:5]))
        self.assertEqual(
            ["magic", "length 4294967295, but only 0 bytes follow"],
            self.said(HEADER.pack(MAGIC, 0xFFFFFFFF)),
        )
        self.assertEqual(
            [
                "magic",
                "length 136, but only 3 bytes follow",
                "Any: type_url wants 42 bytes where 1 are left (byte 10)",
            ],
            self.said(TINY[:11]),
        )

    def test_noPrefix(self) -> None:
        self.assertEqual(["not a prefix: byte 0 is not the magic's"], self.said(b"GET /"))
        self.assertEqual(["not a prefix: byte 1 is not the magic's"], self.said(b"=x"))

    def test_render(self) -> None:
        """
        Lines have the offset, the meaning and the bytes, of which only the first are shown.
        """
        lines = list(render(annotate(TINY), width=4))
        self.assertEqual(f"000000  {'magic':64}  3d 23 04 67", lines[0])
        self.assertTrue(lines[2].endswith("  0a 2a 74 79 ..."), lines[2])
        exact, more = render([Row(0, bytes(32), 0, ""), Row(0, bytes(33), 0, "")])
        self.assertEqual(exact + " ...", more)
        self.assertTrue(lines[4].startswith("000036    Struct.fields, 54 bytes: Entry "), lines[4])

    def test_document(self) -> None:
        """
        The documentation shows what is printed.
        """
        lines = "".join(f"    {line}\n" for line in render(annotate(TINY), width=6))
        self.assertIn(f"\n{lines}\n", DOCUMENT.read_text(encoding="utf-8"))


def _size(body: bytes) -> bytes:
    """
    A body with its length in front, as a varint.
    """
    size, out = len(body), b""
    while size > 0x7F:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size]) + body
