"""
A PROXY header, of either version, is taken off the stream whole, or the connection is.
"""

from __future__ import annotations

import ipaddress
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire.handshake import Outcome
from mxproxy.wire.proxyprotocol import (
    MAX_V1,
    MAX_V2,
    Address,
    Command,
    NoProxyHeader,
    ProxyHeader,
    ProxyProtocolDecoder,
    TLVType,
    Transport,
    _crc32c,
    encodeV1,
    encodeV2,
)
from tests.wire.helpers import Ran, bytewise, cutAt, feedEveryWay, run

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
ADDRESSES = b"\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x00\x02"
SOURCE, DESTINATION = ("1.2.3.4", 1), ("5.6.7.8", 2)
LINE = b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"


def v2(
    command: int = 0x21,
    family: int = 0x11,
    block: bytes = ADDRESSES,
    length: int | None = None,
) -> bytes:
    size = len(block) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + block


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def permissive() -> ProxyProtocolDecoder:
    return ProxyProtocolDecoder(allowRequestsWithoutProxyProtocol=True)


class DecoderTests(SynchronousTestCase):
    """
    What L{DecodeV1Tests} and L{DecodeV2Tests} share.
    """

    def found(self, data: bytes, expected: ProxyHeader) -> None:
        """
        The header is found with its last byte, and every byte behind it goes on.
        """
        ran = feedEveryWay(self, ProxyProtocolDecoder, data)
        self.assertEqual(Ran(expected, final=True), ran)
        self.assertIsNone(ProxyProtocolDecoder().feed(data[:-1]))

    def refused(self, data: bytes, needed: int, reason: str) -> None:
        """
        This is the reason, given with that many bytes and with no byte less.
        """
        ran = feedEveryWay(self, ProxyProtocolDecoder, data)
        self.assertEqual(Ran(abort=reason, final=True), ran)
        decoder = ProxyProtocolDecoder()
        answers = [decoder.feed(byte) is not None for byte in bytewise(data)]
        self.assertEqual(needed, answers.index(True) + 1, reason)


class DecodeV1Tests(DecoderTests):
    """
    Section 2.1.
    """

    def test_addresses(self) -> None:
        """
        Both families; an address comes out in the form of RFC 5952.
        """
        self.found(LINE, ProxyHeader(1, Command.PROXY, SOURCE, DESTINATION))
        for sent, expected in (
            (b"FD00:0:0::1", "fd00::1"),
            (b"0:0:0:0:0:0:0:1", "::1"),
            (b"::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            (b"::ffff:102:304", "::ffff:1.2.3.4"),
        ):
            self.found(
                b"PROXY TCP6 %s 2001:db8::2 65535 0\r\n" % sent,
                ProxyHeader(1, Command.PROXY, (expected, 65535), ("2001:db8::2", 0)),
            )

    def test_unknown(self) -> None:
        """
        Of UNKNOWN all is ignored up to the CRLF.
        """
        expected = ProxyHeader(1, transport=Transport.UNSPEC)
        for rest in (b"", b" ", b" a b c", b" a\nb\rc\n", b" " + b"a" * 91):
            self.found(b"PROXY UNKNOWN%s\r\n" % rest, expected)

    def test_longest(self) -> None:
        """
        107 bytes with the CRLF, and not one more.
        """
        address = b":".join([b"fdff"] * 8)
        line = b"PROXY TCP6 %s %s 65535 65535\r\n" % (address, address)
        self.assertEqual(104, len(line))
        end = (address.decode(), 65535)
        self.found(line, ProxyHeader(1, Command.PROXY, end, end))
        reason = "byte 107: no CRLF in 107 bytes"
        self.refused(b"PROXY UNKNOWN " + b"a" * 92 + b"\r\n", MAX_V1, reason)
        self.refused(b"PROXY TCP4 " + b"a" * 200, MAX_V1, reason)

    def test_signature(self) -> None:
        """
        Another protocol's bytes are refused at the first that differs from both signatures.
        """
        for data, at in (
            (b"GET / HTTP/1.1\r\n", 0),
            (b"\x16\x03\x01", 0),
            (b"POST /", 1),
            (b"PROXX", 4),
            (b"PROXY\tTCP4", 5),
            (b"\r\nGET", 2),
            (SIGNATURE[:11] + b"\r", 11),
        ):
            self.refused(data, at + 1, f"byte {at}: 0x{data[at]:02x} is in no PROXY signature")

    def test_lineFeed(self) -> None:
        """
        A line feed alone is refused at once; a CR alone is part of a field.
        """
        self.refused(
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\nGET /\r\n",
            31,
            "byte 30: a line feed without its carriage return",
        )
        self.refused(b"PROXY UNKNOWN\n", 14, "byte 13: a line feed without its carriage return")
        self.refused(b"PROXY \n", 7, "byte 6: a line feed without its carriage return")
        self.refused(b"PROXY \t\n", 8, "byte 7: a line feed without its carriage return")
        self.refused(LINE[:-2] + b"\r\r\n", 33, "byte 29: port b'2\\r'")

    def test_fields(self) -> None:
        """
        Exactly these fields with exactly one space between them.
        """
        for line, reason in (
            (b"PROXY \r\n", "byte 6: protocol b''"),
            (b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "byte 6: protocol b''"),
            (b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", "byte 6: protocol b'UDP4'"),
            (b"PROXY UNKNOWNX\r\n", "byte 6: protocol b'UNKNOWNX'"),
            (b"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", "byte 6: protocol b'tcp4'"),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "byte 28: 5 fields, not 6"),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", "byte 31: 7 fields, not 6"),
            (b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", "byte 30: 7 fields, not 6"),
        ):
            self.refused(line, len(line), reason)

    def test_wrongAddresses(self) -> None:
        """
        An address is one of its family that a connection can have; a port has no leading zero.
        """
        for line, reason in (
            (b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", "byte 11: b'1.2.3' is no b'TCP4' address"),
            (b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", "byte 11: b'01.2.3.4' is no b'TCP4' address"),
            (b"PROXY TCP4 ::1 ::2 1 2\r\n", "byte 11: b'::1' is no b'TCP4' address"),
            (b"PROXY TCP4 1.2.3.4 ::2 1 2\r\n", "byte 19: b'::2' is no b'TCP4' address"),
            (b"PROXY TCP4 \xff 5.6.7.8 1 2\r\n", "byte 11: b'\\xff' is no b'TCP4' address"),
            (b"PROXY TCP6 1.2.3.4 ::2 1 2\r\n", "byte 11: b'1.2.3.4' is no b'TCP6' address"),
            (b"PROXY TCP6 fe80::1%lo ::2 1 2\r\n", "byte 11: b'fe80::1%lo' is no b'TCP6' address"),
            (b"PROXY TCP4 0.0.0.0 5.6.7.8 1 2\r\n", "byte 11: 0.0.0.0 is not a connection's address"),
            (b"PROXY TCP4 1.2.3.4 224.0.0.1 1 2\r\n", "byte 19: 224.0.0.1 is not a connection's address"),
            (b"PROXY TCP4 255.255.255.255 1.2.3.4 1 2\r\n", "byte 11: 255.255.255.255 is not a connection's address"),
            (b"PROXY TCP6 ::1 ff02::1 1 2\r\n", "byte 15: ff02::1 is not a connection's address"),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", "byte 27: port b'01'"),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", "byte 29: port b'65536'"),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", "byte 27: port b'+1'"),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n", "byte 29: port b''"),
        ):  # fmt: skip
            self.refused(line, len(line), reason)


class DecodeV2Tests(DecoderTests):
    """
    Section 2.2.
    """

    def test_addresses(self) -> None:
        """
        Every family, streams and datagrams.
        """
        self.found(v2(), ProxyHeader(2, Command.PROXY, SOURCE, DESTINATION))
        self.found(
            v2(family=0x12),
            ProxyHeader(2, Command.PROXY, SOURCE, DESTINATION, transport=Transport.DGRAM),
        )
        mapped = bytes(10) + b"\xff\xff\x01\x02\x03\x04"
        self.found(
            v2(family=0x21, block=bytes(15) + b"\x01" + mapped + b"\xff\xff\x00\x00"),
            ProxyHeader(2, Command.PROXY, ("::1", 65535), ("::ffff:1.2.3.4", 0)),
        )
        self.found(
            v2(family=0x31, block=b"/run/aX".ljust(108, b"\0") + b"\0abstractX".ljust(108, b"\0")),
            ProxyHeader(2, Command.PROXY, b"/run/aX", b"\0abstractX"),
        )

    def test_local(self) -> None:
        """
        LOCAL is taken whatever its block is, and the block is discarded.
        """
        expected = ProxyHeader(2, Command.LOCAL, transport=Transport.UNSPEC)
        for family, block in ((0, b""), (0x11, ADDRESSES), (0xFF, b"junk"), (0x21, b"")):
            self.found(v2(0x20, family, block), expected)

    def test_unspecified(self) -> None:
        """
        Addresses that are not specified are no reason to refuse, and are not looked at.
        """
        expected = ProxyHeader(2, Command.PROXY, transport=Transport.UNSPEC)
        for family, block in (
            (0, b""),
            (0, b"junk"),
            (0x10, ADDRESSES),
            (0x01, b""),
            (0x30, bytes(216)),
        ):
            self.found(v2(0x21, family, block), expected)

    def test_tlvs(self) -> None:
        """
        TLVs come in order, empty, repeated and unknown ones too.
        """
        tlvs = ((0x04, b"\0\0"), (TLVType.AUTHORITY, b"a.example"), (0xEA, b""), (0xEA, b"\1x"))
        block = ADDRESSES + b"".join(tlv(*each) for each in tlvs)
        self.found(v2(block=block), ProxyHeader(2, Command.PROXY, SOURCE, DESTINATION, tlvs))

    def test_types(self) -> None:
        """
        The types registered in section 2.2.
        """
        self.assertEqual([0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30], list(TLVType))

    def test_checksum(self) -> None:
        """
        A CRC32C is checked over the header with zeroes in its place.
        """
        # Computed bit by bit from RFC 4960 appendix B, apart from the table that is tested.
        block = ADDRESSES + tlv(TLVType.CRC32C, bytes(4)) + tlv(0xEA, b"x")
        crc = 0xFFFFFFFF
        for byte in v2(block=block):
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
        value = (crc ^ 0xFFFFFFFF).to_bytes(4, "big")
        self.found(
            v2(block=block.replace(bytes(4), value)),
            ProxyHeader(
                2, Command.PROXY, SOURCE, DESTINATION, ((TLVType.CRC32C, value), (0xEA, b"x"))
            ),
        )
        right = f"0x{crc ^ 0xFFFFFFFF:08x}"
        self.refused(v2(block=block), 16 + len(block), f"byte 31: a wrong CRC32C, {right} is right")

    def test_knownChecksum(self) -> None:
        """
        The checksum is CRC-32C: its published check value (RFC 3720 appendix B.4).
        """
        self.assertEqual(0x8A9136AA, _crc32c(bytes(32)))
        self.assertEqual(0xE3069283, _crc32c(b"123456789"))

    def test_wrongChecksumTLV(self) -> None:
        """
        A CRC32C has 4 bytes and comes once.
        """
        shape = "a CRC32C that is not 4 bytes, or a second one"
        short = v2(block=ADDRESSES + tlv(TLVType.CRC32C, b"abc"))
        self.refused(short, len(short), f"byte 28: {shape}")
        twice = v2(block=ADDRESSES + 2 * tlv(TLVType.CRC32C, b"abcd"))
        self.refused(twice, len(twice), f"byte 35: {shape}")

    def test_fixed(self) -> None:
        """
        Version, command, family and length are judged as they come.
        """
        for byte in (0x22, 0x11, 0x31, 0x00):
            self.refused(v2(byte), 13, f"byte 12: version and command 0x{byte:02x}")
        for byte in (0x13, 0x41, 0x03, 0xF1):
            self.refused(v2(0x21, byte), 14, f"byte 13: family and transport 0x{byte:02x}")
        self.refused(v2(length=11), 16, "byte 14: 11 bytes for INET addresses")
        self.refused(v2(family=0x21, length=35), 16, "byte 14: 35 bytes for INET6 addresses")
        self.refused(v2(family=0x32, length=215), 16, "byte 14: 215 bytes for UNIX addresses")

    def test_wrongAddresses(self) -> None:
        """
        An address is one that a connection can have.
        """
        self.refused(
            v2(block=bytes(4) + ADDRESSES[4:]), 28, "byte 16: 0.0.0.0 is not a connection's address"
        )
        self.refused(
            v2(family=0x21, block=bytes(15) + b"\x01" + b"\xff\x02" + bytes(14) + bytes(4)),
            52,
            "byte 32: ff02:: is not a connection's address",
        )

    def test_wrongTLVs(self) -> None:
        """
        TLVs fill the header exactly.
        """
        for tail, reason in (
            (b"\x01", "byte 28: a TLV without its length"),
            (b"\x01\x00", "byte 28: a TLV without its length"),
            (b"\x01\x00\x02x", "byte 28: a TLV of 2 bytes, 1 are left"),
            (tlv(1, b"x") + b"\x01\x00\x01", "byte 32: a TLV of 1 bytes, 0 are left"),
        ):
            data = v2(block=ADDRESSES + tail)
            self.refused(data, len(data), reason)

    def test_longest(self) -> None:
        """
        As long as the field can say, or as maxSize says, and not a byte more.
        """
        value = bytes(0xFFFF - len(ADDRESSES) - 3)
        data = v2(block=ADDRESSES + tlv(TLVType.NOOP, value))
        self.assertEqual(MAX_V2, len(data))
        outcome = ProxyProtocolDecoder().feed(data)
        expected = ProxyHeader(2, Command.PROXY, SOURCE, DESTINATION, ((TLVType.NOOP, value),))
        self.assertEqual(Outcome(expected), outcome)
        block = ADDRESSES + tlv(TLVType.NOOP, bytes(200 - 16 - len(ADDRESSES) - 3))
        self.assertEqual(200, len(v2(block=block)))
        fits = ProxyProtocolDecoder(maxSize=200).feed(v2(block=block))
        assert fits is not None
        self.assertEqual("", fits.abort)
        for command in (0x21, 0x20):
            self.assertEqual(
                Outcome(abort="byte 14: a header of 200 bytes, 199 are allowed"),
                ProxyProtocolDecoder(maxSize=199).feed(v2(command, block=block)[:16]),
            )


class OptionTests(SynchronousTestCase):
    """
    Envoy's options, and the ends.
    """

    def test_allowed(self) -> None:
        """
        Without a header the stream passes as it is, from the first byte that tells.
        """
        for data in (b"G", b"GET / HTTP/1.1\r\n", b"PROXYING", b"PROXX", b"\r\n\r\nx", b"\x00"):
            ran = feedEveryWay(self, permissive, data)
            self.assertEqual(Ran(NoProxyHeader("absent"), forwarded=data, final=True), ran)
        ran = feedEveryWay(self, permissive, LINE)
        self.assertEqual(ProxyHeader(1, Command.PROXY, SOURCE, DESTINATION), ran.result)
        self.assertEqual(
            "byte 6: protocol b'x'", feedEveryWay(self, permissive, b"PROXY x\r\n").abort
        )

    def test_disallowed(self) -> None:
        """
        A version that is not allowed is refused at its first byte, or passes as no header.
        """
        for version, data in ((1, LINE), (2, v2())):
            make = partial(ProxyProtocolDecoder, disallowedVersions=[version])
            ran = feedEveryWay(self, make, data)
            self.assertEqual(f"byte 0: 0x{data[0]:02x} is in no PROXY signature", ran.abort)
            make = partial(make, allowRequestsWithoutProxyProtocol=True)
            ran = feedEveryWay(self, make, data)
            self.assertEqual(Ran(NoProxyHeader("absent"), forwarded=data, final=True), ran)
            other = ProxyProtocolDecoder(disallowedVersions=[3 - version]).feed(data)
            assert other is not None
            self.assertEqual("", other.abort)

    def test_values(self) -> None:
        """
        What is found is a value, which can be a key.
        """
        found = {ProxyHeader(1): 1, NoProxyHeader("absent"): 2}
        self.assertEqual((found[ProxyHeader(1)], found[NoProxyHeader("absent")]), (1, 2))

    def test_wrongOptions(self) -> None:
        """
        Options that leave nothing to accept are refused.
        """
        for versions in ([1, 2], [3], [0, 1]):
            error = self.assertRaises(ValueError, ProxyProtocolDecoder, disallowedVersions=versions)
            self.assertEqual(f"disallowedVersions {versions} leaves no version 1 or 2", str(error))
        for size in (MAX_V1 - 1, MAX_V2 + 1):
            error = self.assertRaises(ValueError, ProxyProtocolDecoder, maxSize=size)
            self.assertEqual(f"maxSize {size} is not within 107 to 65551", str(error))
        ProxyProtocolDecoder(maxSize=MAX_V1)

    def test_opening(self) -> None:
        """
        The receiver of a header says nothing.
        """
        self.assertEqual(b"", ProxyProtocolDecoder().opening())

    def test_end(self) -> None:
        """
        The end of the stream or of the time, before the header's, aborts.
        """
        for data in (b"", b"PRO", LINE[:-1], v2()[:20]):
            ran = feedEveryWay(self, ProxyProtocolDecoder, data, eof=True)
            reason = f"byte {len(data)}: the stream ended before the PROXY header did"
            self.assertEqual(Ran(abort=reason, final=True, atEnd=True), ran)
            late = ProxyProtocolDecoder()
            late.feed(data)
            reason = f"byte {len(data)}: the time was over before the PROXY header did"
            self.assertEqual(Outcome(abort=reason), late.timeout())

    def test_endAllowed(self) -> None:
        """
        Where a header may be absent, fewer bytes than a signature are the application's; more
        are a header that is broken.
        """
        for data in (b"", b"PRO", SIGNATURE[:11]):
            ran = feedEveryWay(self, permissive, data, eof=True)
            self.assertEqual(Ran(NoProxyHeader("eof"), forwarded=data, final=True, atEnd=True), ran)
            late = permissive()
            late.feed(data)
            self.assertEqual(Outcome(NoProxyHeader("timeout"), forward=data), late.timeout())
        self.assertIn("the stream ended", feedEveryWay(self, permissive, LINE[:9], eof=True).abort)

    def test_afterwards(self) -> None:
        """
        A decoder that has finished forwards, or goes on refusing; nothing comes twice, or is kept.
        """
        header = ProxyHeader(1, Command.PROXY, SOURCE, DESTINATION)
        decoder = ProxyProtocolDecoder()
        self.assertEqual(Outcome(header, forward=b"a"), decoder.feed(LINE + b"a"))
        self.assertEqual(Outcome(header, forward=b"b"), decoder.feed(b"b"))
        self.assertEqual((Outcome(header), Outcome(header)), (decoder.eof(), decoder.timeout()))
        self.assertEqual(b"", decoder._seen)
        decoder = ProxyProtocolDecoder()
        refused = decoder.feed(b"x")
        self.assertEqual([refused] * 3, [decoder.feed(LINE), decoder.eof(), decoder.timeout()])

    def test_repr(self) -> None:
        """
        It says how far it is, and then what came of it.
        """
        decoder = ProxyProtocolDecoder()
        self.assertEqual("<ProxyProtocolDecoder: no signature yet, 0 bytes>", repr(decoder))
        decoder.feed(LINE[:10])
        self.assertEqual("<ProxyProtocolDecoder: version 1, 10 bytes>", repr(decoder))
        decoder.feed(b"\n")
        self.assertEqual(
            "<ProxyProtocolDecoder: byte 10: a line feed without its carriage return>",
            repr(decoder),
        )
        decoder = permissive()
        decoder.feed(b"x")
        self.assertEqual("<ProxyProtocolDecoder: NoProxyHeader(reason='absent')>", repr(decoder))


class EncodeTests(SynchronousTestCase):
    """
    Headers to bytes.
    """

    def test_v1(self) -> None:
        """
        A line; the version in the header is not looked at.
        """
        self.assertEqual(LINE, encodeV1(ProxyHeader(2, Command.PROXY, SOURCE, DESTINATION)))
        self.assertEqual(
            b"PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 65535 0\r\n",
            encodeV1(
                ProxyHeader(1, Command.PROXY, ("2001:DB8:0::1", 65535), ("::ffff:102:304", 0))
            ),
        )

    def test_v1Unknown(self) -> None:
        """
        What a line cannot say is UNKNOWN.
        """
        for header in (
            ProxyHeader(1),
            ProxyHeader(1, Command.LOCAL, SOURCE, DESTINATION),
            ProxyHeader(1, Command.PROXY, b"/a", b"/b"),
            ProxyHeader(1, Command.PROXY, SOURCE, DESTINATION, transport=Transport.DGRAM),
            ProxyHeader(1, Command.PROXY, SOURCE, DESTINATION, transport=Transport.UNSPEC),
        ):
            self.assertEqual(b"PROXY UNKNOWN\r\n", encodeV1(header))

    def test_v2(self) -> None:
        """
        Each family, with TLVs; LOCAL and unknown addresses without.
        """
        tlvs = ((TLVType.AUTHORITY, b"a.example"), (0xEA, b""))
        self.assertEqual(
            v2(block=ADDRESSES + tlv(2, b"a.example") + tlv(0xEA, b"")),
            encodeV2(ProxyHeader(1, Command.PROXY, SOURCE, DESTINATION, tlvs)),
        )
        self.assertEqual(
            v2(family=0x22, block=bytes(15) + b"\x01" + bytes(15) + b"\x02\x00\x01\x00\x02"),
            encodeV2(
                ProxyHeader(2, Command.PROXY, ("::1", 1), ("::2", 2), transport=Transport.DGRAM)
            ),
        )
        self.assertEqual(
            v2(family=0x31, block=b"/a".ljust(108, b"\0") + b"b" * 108),
            encodeV2(ProxyHeader(2, Command.PROXY, b"/a", b"b" * 108)),
        )
        local = ProxyHeader(2, Command.LOCAL, SOURCE, DESTINATION, tlvs)
        self.assertEqual(v2(0x20, 0, b""), encodeV2(local, checksum=True))
        self.assertEqual(v2(0x21, 0, b""), encodeV2(ProxyHeader(2, tlvs=tlvs)))

    def test_scope(self) -> None:
        """
        An address's scope stays at home.
        """
        header = ProxyHeader(1, Command.PROXY, ("fe80::1%eth0", 1), ("fe80::2%3", 2))
        self.assertEqual(b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n", encodeV1(header))

    def test_checksum(self) -> None:
        """
        A CRC32C is added on request; one that is there is made right, in its place.
        """
        header = ProxyHeader(2, Command.PROXY, SOURCE, DESTINATION, ((0xEA, b"x"),))
        outcome = ProxyProtocolDecoder().feed(encodeV2(header, checksum=True))
        assert outcome is not None and isinstance(outcome.result, ProxyHeader), outcome
        self.assertEqual([0xEA, TLVType.CRC32C], [kind for kind, _ in outcome.result.tlvs])
        relayed = ProxyHeader(
            2, Command.PROXY, DESTINATION, SOURCE, ((TLVType.CRC32C, b"old"), (0xEA, b"x"))
        )
        for checksum in (False, True):
            outcome = ProxyProtocolDecoder().feed(encodeV2(relayed, checksum=checksum))
            assert outcome is not None and isinstance(outcome.result, ProxyHeader), outcome
            self.assertEqual([TLVType.CRC32C, 0xEA], [kind for kind, _ in outcome.result.tlvs])

    def test_wrong(self) -> None:
        """
        What no header can say is refused, with the reason.
        """
        kind = "are not of one family"
        for source, destination, reason in (
            (SOURCE, ("::1", 1), f"('1.2.3.4', 1) and ('::1', 1) {kind}"),
            (SOURCE, None, f"('1.2.3.4', 1) and None {kind}"),
            (None, SOURCE, f"None and ('1.2.3.4', 1) {kind}"),
            (b"/a", SOURCE, f"b'/a' and ('1.2.3.4', 1) {kind}"),
            (("0.0.0.0", 1), SOURCE, "0.0.0.0 is not a connection's address"),
            (SOURCE, ("ff02::1", 1), "ff02::1 is not a connection's address"),
            (("a.example", 1), SOURCE, "'a.example' does not appear to be an IPv4 or IPv6 address"),
            (("1.2.3.4", 65536), SOURCE, "port 65536"),
            (("1.2.3.4", -1), SOURCE, "port -1"),
            (b"a" * 109, b"", "a path of 109 bytes"),
        ):
            header = ProxyHeader(2, Command.PROXY, source, destination)
            for encode in (encodeV1, encodeV2):
                self.assertEqual(reason, str(self.assertRaises(ValueError, encode, header)))

    def test_wrongTLVs(self) -> None:
        """
        TLVs that do not fit their fields are refused.
        """
        for tlvs, reason in (
            ([(1, bytes(0x10000))], "a TLV of 65536 bytes"),
            ([(1, bytes(0xFFFF))], "a header of 65566 bytes"),
            ([(1, bytes(0x10000 - 12 - 3))], "a header of 65552 bytes"),
            ([(TLVType.CRC32C, bytes(4))] * 2, "two CRC32C TLVs"),
            ([(256, b"")], "bytes must be in range(0, 256)"),
        ):
            header = ProxyHeader(2, Command.PROXY, SOURCE, DESTINATION, tuple(tlvs))
            self.assertEqual(reason, str(self.assertRaises(ValueError, encodeV2, header)))
        longest = ((1, bytes(0xFFFF - 12 - 3)),)
        self.assertEqual(
            MAX_V2, len(encodeV2(ProxyHeader(2, Command.PROXY, SOURCE, DESTINATION, longest)))
        )


def _unicast(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    broadcast = ip == ipaddress.IPv4Address("255.255.255.255")
    return not (ip.is_multicast or ip.is_unspecified or broadcast)


def anyAddress(version: int) -> st.SearchStrategy[tuple[str, int]]:
    # A mapped address is written as RFC 5952 has it, by every Python.
    ips = (
        st.ip_addresses(v=version)
        .filter(_unicast)
        .filter(lambda ip: ip.version == 4 or ip.ipv4_mapped is None)
    )
    return st.tuples(ips.map(str), st.integers(0, 0xFFFF))


def pairOf(one: st.SearchStrategy[Address]) -> st.SearchStrategy[tuple[Address, Address]]:
    return st.tuples(one, one)


paths = st.binary(max_size=108).map(lambda path: path.rstrip(b"\0"))
anyTLVs = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda kind: kind != 3), st.binary(max_size=40)),
    max_size=5,
).map(tuple)


class PropertyTests(SynchronousTestCase):
    """
    What holds for any header and any bytes.
    """

    @given(
        pairOf(anyAddress(4)) | pairOf(anyAddress(6)),
        st.binary(max_size=20),
        st.lists(st.integers(0, 200), max_size=5),
    )
    def test_v1(self, ends: tuple[Address, Address], rest: bytes, cuts: list[int]) -> None:
        """
        What was encoded is decoded, in any split, and the rest goes on.
        """
        header = ProxyHeader(1, Command.PROXY, *ends)
        line = encodeV1(header)
        self.assertLessEqual(len(line), MAX_V1)
        ran = run(ProxyProtocolDecoder(), cutAt(line + rest, cuts))
        self.assertEqual(Ran(header, forwarded=rest, final=True), ran)

    @given(
        pairOf(anyAddress(4)) | pairOf(anyAddress(6)) | pairOf(paths),
        anyTLVs,
        st.sampled_from([Transport.STREAM, Transport.DGRAM]),
        st.booleans(),
        st.binary(max_size=20),
        st.lists(st.integers(0, 600), max_size=5),
    )
    def test_v2(
        self,
        ends: tuple[Address, Address],
        tlvs: tuple[tuple[int, bytes], ...],
        transport: Transport,
        checksum: bool,
        rest: bytes,
        cuts: list[int],
    ) -> None:
        """
        What was encoded is decoded, in any split, and the rest goes on.
        """
        header = ProxyHeader(2, Command.PROXY, *ends, tlvs, transport)
        ran = run(ProxyProtocolDecoder(), cutAt(encodeV2(header, checksum=checksum) + rest, cuts))
        assert isinstance(ran.result, ProxyHeader), ran
        kept = tuple(each for each in ran.result.tlvs if each[0] != TLVType.CRC32C)
        self.assertEqual(header, ProxyHeader(2, Command.PROXY, *ends, kept, ran.result.transport))
        self.assertEqual(len(ran.result.tlvs), len(tlvs) + checksum)
        self.assertEqual(rest, ran.forwarded)
        # And again: a relayed header is the same header.
        self.assertEqual(encodeV2(ran.result), encodeV2(header, checksum=checksum))

    @given(st.binary(min_size=1), st.data())
    def test_damagedChecksum(self, value: bytes, data: st.DataObject) -> None:
        """
        No byte of a header with a checksum changes unnoticed.
        """
        header = ProxyHeader(2, Command.PROXY, SOURCE, DESTINATION, ((0xEA, value),))
        encoded = bytearray(encodeV2(header, checksum=True))
        at = data.draw(st.integers(16, len(encoded) - 1))
        encoded[at] ^= data.draw(st.integers(1, 255))
        outcome = ProxyProtocolDecoder().feed(bytes(encoded))
        if outcome is not None and not outcome.abort:
            # The one way: the checksum's own type was changed, so it is none any more.
            result = outcome.result
            assert isinstance(result, ProxyHeader)
            self.assertNotIn(TLVType.CRC32C, [kind for kind, _ in result.tlvs])

    @given(
        st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", SIGNATURE, v2()[:16]]),
        st.binary(max_size=150),
        st.booleans(),
        st.booleans(),
    )
    def test_anyBytes(self, start: bytes, data: bytes, allowed: bool, eof: bool) -> None:
        """
        Any bytes are an outcome, or too few; what is forwarded is what was read.
        """
        stream = start + data
        ran = feedEveryWay(
            self,
            lambda: ProxyProtocolDecoder(allowRequestsWithoutProxyProtocol=allowed),
            stream,
            eof=eof,
        )
        self.assertTrue(stream.endswith(ran.forwarded))
        if isinstance(ran.result, NoProxyHeader):
            self.assertEqual(stream, ran.forwarded)
