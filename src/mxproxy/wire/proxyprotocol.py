"""
The PROXY protocol, versions 1 and 2: who really connected, said before the first byte.

The header's two formats live here, both ways, and the machine that takes a header off the
start of a stream.  Whether a sender may be believed does not: the protocol authenticates
nobody, so a listener that expects it must be reachable by trusted proxies only (section 2).

"Section" is one of HAProxy's proxy-protocol.txt, "The PROXY protocol, Versions 1 & 2",
2020/03/05.  The receiver keeps to it where Envoy 1.40 is laxer (Envoy takes a trailing space,
leading zeroes in a port, an address with a scope, a line of 108 bytes and a wrong CRC32C),
and agrees with Envoy where it leaves a choice, but that AF_UNIX and AF_UNSPEC, which Envoy
refuses, are taken.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mxproxy.wire.handshake import Outcome

__all__ = [
    "MAX_V1",
    "MAX_V2",
    "TLV",
    "Address",
    "Command",
    "NoProxyHeader",
    "ProxyHeader",
    "ProxyProtocolDecoder",
    "TLVType",
    "Transport",
    "encodeV1",
    "encodeV2",
]

# Section 2.1: the longest line, its CRLF included.
MAX_V1: Final = 107
# Section 2.2: 16 bytes and as many as its length field can say; what Envoy takes.  HAProxy's
# own bound is its buffer (tune.bufsize, 16384).
MAX_V2: Final = 16 + 0xFFFF

_SIGNATURE_V1: Final = b"PROXY "  # section 2.1: "PROXY", and exactly one space
_SIGNATURE_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"  # section 2.2
_SIGNATURES: Final = {1: _SIGNATURE_V1, 2: _SIGNATURE_V2}
_FIXED_V2: Final = 16  # the bytes before the addresses
_UNIX_PATH: Final = 108  # section 2.2: exactly 108 bytes each

# Section 2.1: no leading zero.
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")

Address = tuple[str, int] | bytes
"""An IP address in RFC 5952's form with its port, or the path of a UNIX socket."""

TLV = tuple[int, bytes]
"""A type and its value, as in section 2.2; the types known are those of L{TLVType}."""


class Command(enum.Enum):
    """Section 2.2, the 13th byte."""

    LOCAL = 0
    PROXY = 1


class Transport(enum.Enum):
    """Section 2.2, the lowest bits of the 14th byte."""

    UNSPEC = 0
    STREAM = 1
    DGRAM = 2


class TLVType(enum.IntEnum):
    """The types registered in section 2.2."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    NETNS = 0x30


class _Family(enum.Enum):
    """Section 2.2, the highest bits of the 14th byte, and how long the addresses are."""

    UNSPEC = 0, 0
    INET = 1, 2 * 4 + 2 * 2
    INET6 = 2, 2 * 16 + 2 * 2
    UNIX = 3, 2 * _UNIX_PATH

    def __init__(self, code: int, length: int) -> None:
        self.code = code
        self.length = length


@dataclass(frozen=True)
class ProxyHeader:
    """
    What a PROXY header says.

    @ivar version: 1 or 2: the format it came in.
    @ivar command: C{LOCAL} when the proxy speaks for itself, a health check for one; the
        connection's own addresses are then the true ones.
    @ivar source: the client's address; C{None} when the sender does not know it (C{UNKNOWN},
        C{AF_UNSPEC}, C{LOCAL}): the connection's own address is to be used.
    @ivar destination: the address the client connected to; C{None} with C{source}.
    @ivar tlvs: version 2's extensions in the sender's order, padding and checksum too; a
        type may occur more than once.
    @ivar transport: what the client speaks to the sender.
    """

    version: int
    command: Command = Command.PROXY
    source: Address | None = None
    destination: Address | None = None
    tlvs: tuple[TLV, ...] = ()
    transport: Transport = Transport.STREAM


@dataclass(frozen=True)
class NoProxyHeader:
    """
    The stream has no PROXY header, and that is allowed here.

    @ivar reason: C{absent}: other bytes came; C{eof} or C{timeout}: too few came to say.
    """

    reason: str


class ProxyProtocolDecoder:
    """
    Takes a PROXY header off the start of a stream; an L{mxproxy.interfaces.IHandshake}.

    The result is a L{ProxyHeader} or, where that is allowed, a L{NoProxyHeader}; what follows
    the header is forwarded.  A wrong header aborts, at the first byte that no header can
    have there; the reason names that byte, counted from 0.  It keeps the header's bytes, at
    most C{maxSize}; its work is linear in the bytes fed, in any split.
    """

    def __init__(
        self,
        *,
        allowRequestsWithoutProxyProtocol: bool = False,
        disallowedVersions: Iterable[int] = (),
        maxSize: int = MAX_V2,
    ) -> None:
        """
        @param allowRequestsWithoutProxyProtocol: let a stream without a header pass as it
            is.  Section 2 forbids it ("MUST not try to guess"), because then whoever can
            connect can choose the address he is taken for.
        @param disallowedVersions: the versions, of 1 and 2, whose headers are refused; with
            C{allowRequestsWithoutProxyProtocol} they pass as a stream without a header.
            Both options are Envoy's, as are their names.
        @param maxSize: how many bytes a header may have, its TLVs included.
        @raise ValueError: no version is left, or the size admits no header of one that is.
        """
        self._allowAbsence = allowRequestsWithoutProxyProtocol
        refused = frozenset(disallowedVersions)
        self._versions = tuple(version for version in (1, 2) if version not in refused)
        if not self._versions or not refused <= {1, 2}:
            raise ValueError(f"disallowedVersions {sorted(refused)} leaves no version 1 or 2")
        if not MAX_V1 <= maxSize <= MAX_V2:
            raise ValueError(f"maxSize {maxSize} is not within {MAX_V1} to {MAX_V2}")
        self._maxSize = maxSize
        self._seen = bytearray()
        self._version = 0  # 0 until the signature is complete
        self._outcome: Outcome | None = None

    def __repr__(self) -> str:
        if self._outcome is not None:
            state = self._outcome.abort or repr(self._outcome.result)
        else:
            version = f"version {self._version}" if self._version else "no signature yet"
            state = f"{version}, {len(self._seen)} bytes"
        return f"<ProxyProtocolDecoder: {state}>"

    def opening(self) -> bytes:
        """@return: nothing: only the client's side of a connection sends a header."""
        return b""

    def feed(self, data: bytes) -> Outcome | None:
        """
        @param data: the next bytes of the stream.
        @return: what has come of it, or C{None} while more bytes are needed.
        """
        if self._outcome is not None:
            # Finished, and the layer still here: the rest is the application's.
            return Outcome(
                self._outcome.result,
                forward=b"" if self._outcome.abort else data,
                abort=self._outcome.abort,
            )
        self._seen += data
        try:
            if not self._version:
                self._readSignature()
            if self._version == 1:
                self._readV1()
            elif self._version == 2:
                self._readV2()
        except _Wrong as wrong:
            self._outcome = Outcome(abort=str(wrong))
        if self._outcome is not None:
            self._seen.clear()
        return self._outcome

    def eof(self) -> Outcome:
        """@return: what has come of it when the stream has ended."""
        return self._giveUp("eof", "the stream ended")

    def timeout(self) -> Outcome:
        """@return: what has come of it when the peer has been silent for long enough."""
        return self._giveUp("timeout", "the time was over")

    def _giveUp(self, reason: str, what: str) -> Outcome:
        if self._outcome is not None:
            return Outcome(self._outcome.result, abort=self._outcome.abort)
        if self._allowAbsence and not self._version:
            # Fewer bytes than a signature are no header yet, and are the application's.
            self._finish(NoProxyHeader(reason), 0)
        else:
            self._outcome = Outcome(
                abort=f"byte {len(self._seen)}: {what} before the PROXY header did"
            )
        assert self._outcome is not None
        return self._outcome

    def _finish(self, result: ProxyHeader | NoProxyHeader, end: int) -> None:
        self._outcome = Outcome(result, forward=bytes(self._seen[end:]))

    def _readSignature(self) -> None:
        seen = self._seen
        best = 0
        for version in self._versions:
            signature = _SIGNATURES[version]
            if seen.startswith(signature):
                self._version = version
                return
            if signature.startswith(seen):
                return
            same = next(at for at, byte in enumerate(signature) if seen[at] != byte)
            best = max(best, same)
        if self._allowAbsence:
            self._finish(NoProxyHeader("absent"), 0)
        else:
            raise _Wrong(best, f"0x{seen[best]:02x} is in no PROXY signature")

    # -- version 1 -------------------------------------------------------------------------

    def _readV1(self) -> None:
        # No further than the bound, so that what is behind it costs nothing.
        head = bytes(self._seen[:MAX_V1])
        # Section 2.1: neither CR nor LF alone ends the line; but of UNKNOWN "the receiver
        # must ignore anything presented before the CRLF is found".
        lineFeed = head.find(b"\n")
        bare = lineFeed >= 0 and head[lineFeed - 1] != 0x0D
        if bare and not head.startswith(b"PROXY UNKNOWN "):
            raise _Wrong(lineFeed, "a line feed without its carriage return")
        end = head.find(b"\r\n")
        if end >= 0:
            self._finish(_decodeV1(head[:end]), end + 2)
        elif len(head) == MAX_V1:
            raise _Wrong(MAX_V1, f"no CRLF in {MAX_V1} bytes")

    # -- version 2 -------------------------------------------------------------------------

    def _readV2(self) -> None:
        seen = self._seen
        if len(seen) > 12 and seen[12] not in (0x20, 0x21):
            raise _Wrong(12, f"version and command 0x{seen[12]:02x}")
        if len(seen) < 14:
            return
        command = Command(seen[12] & 0x0F)
        # Section 2.2, LOCAL: "discard the protocol block including the family".
        local = command is Command.LOCAL
        family, transport = (_Family.UNSPEC, Transport.UNSPEC) if local else _familyOf(seen[13])
        if len(seen) < _FIXED_V2:
            return
        size = _FIXED_V2 + int.from_bytes(seen[14:16], "big")
        if size > self._maxSize:
            raise _Wrong(14, f"a header of {size} bytes, {self._maxSize} are allowed")
        if size < _FIXED_V2 + family.length:
            raise _Wrong(14, f"{size - _FIXED_V2} bytes for {family.name} addresses")
        if len(seen) < size:
            return
        result = ProxyHeader(2, command, transport=Transport.UNSPEC)
        if family is not _Family.UNSPEC and transport is not Transport.UNSPEC:
            block = bytes(seen[:size])
            source, destination = _decodeAddresses(block, family)
            tlvs = _decodeTLVs(block, _FIXED_V2 + family.length)
            result = ProxyHeader(2, command, source, destination, tlvs, transport)
        self._finish(result, size)


class _Wrong(Exception):
    """These bytes are no PROXY header.  Never leaves this module."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(f"byte {at}: {what}")


# -- version 1 -----------------------------------------------------------------------------


def _decodeV1(line: bytes) -> ProxyHeader:
    """
    Section 2.1.

    @param line: without its CRLF; starts with the signature.
    """
    parts = line.split(b" ")
    name = parts[1]
    if name == b"UNKNOWN":
        return ProxyHeader(1, transport=Transport.UNSPEC)
    # Where each part starts, and where a part that is missing would.
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + len(part) + 1)
    if name not in (b"TCP4", b"TCP6"):
        raise _Wrong(starts[1], f"protocol {name!r}")
    if len(parts) != 6:
        at = starts[6] if len(parts) > 6 else len(line)
        raise _Wrong(at, f"{len(parts)} fields, not 6")
    tcp4 = name == b"TCP4"
    ips, ports = [], []
    for index in (2, 3):
        try:
            text = parts[index].decode("ascii")
            ips.append(ipaddress.IPv4Address(text) if tcp4 else _parseIPv6(text))
        except ValueError:
            raise _Wrong(starts[index], f"{parts[index]!r} is no {name!r} address") from None
        _checkUnicast(ips[-1], starts[index])
    for index in (4, 5):
        if not _PORT.fullmatch(parts[index]) or int(parts[index]) > 0xFFFF:
            raise _Wrong(starts[index], f"port {parts[index]!r}")
        ports.append(int(parts[index]))
    source, destination = zip(map(_formatIP, ips), ports, strict=True)
    return ProxyHeader(1, Command.PROXY, source, destination)


def encodeV1(header: ProxyHeader) -> bytes:
    """
    A header as a line (section 2.1).

    What the line cannot say, C{LOCAL}, a UNIX socket, a datagram, no addresses, becomes
    C{UNKNOWN}; TLVs are left out.  C{header.version} is not looked at.

    @raise ValueError: an address is none that a connection can have, or the two are not of
        one family.
    """
    family, block = _encodeAddresses(header)
    if header.transport is not Transport.STREAM or family not in (_Family.INET, _Family.INET6):
        return b"PROXY UNKNOWN\r\n"
    width = 4 if family is _Family.INET else 16
    source, destination = (
        _formatIP(ipaddress.ip_address(block[at : at + width])) for at in (0, width)
    )
    ports = 2 * width
    fromPort, toPort = (int.from_bytes(block[at : at + 2], "big") for at in (ports, ports + 2))
    name = "TCP4" if family is _Family.INET else "TCP6"
    return f"PROXY {name} {source} {destination} {fromPort} {toPort}\r\n".encode("ascii")


# -- version 2 -----------------------------------------------------------------------------


def _familyOf(byte: int) -> tuple[_Family, Transport]:
    for family in _Family:
        for transport in Transport:
            if byte == family.code << 4 | transport.value:
                return family, transport
    # Section 2.2: "must be rejected as invalid by receivers".
    raise _Wrong(13, f"family and transport 0x{byte:02x}")


def _decodeAddresses(header: bytes, family: _Family) -> tuple[Address, Address]:
    at, half = _FIXED_V2, family.length // 2
    if family is _Family.UNIX:
        source, destination = header[at : at + half], header[at + half : at + 2 * half]
        return source.rstrip(b"\0"), destination.rstrip(b"\0")
    width = half - 2
    ports = at + 2 * width
    found = []
    for index in (0, 1):
        start = at + index * width
        ip = ipaddress.ip_address(header[start : start + width])
        _checkUnicast(ip, start)
        port = header[ports + 2 * index : ports + 2 * index + 2]
        found.append((_formatIP(ip), int.from_bytes(port, "big")))
    return found[0], found[1]


def _decodeTLVs(header: bytes, at: int) -> tuple[TLV, ...]:
    found = []
    checksumAt = 0
    while at < len(header):
        kind, start = header[at], at + 3
        if start > len(header):
            raise _Wrong(at, "a TLV without its length")
        end = start + int.from_bytes(header[at + 1 : start], "big")
        if end > len(header):
            raise _Wrong(at, f"a TLV of {end - start} bytes, {len(header) - start} are left")
        found.append((kind, header[start:end]))
        if kind == TLVType.CRC32C:
            if end - start != 4 or checksumAt:
                raise _Wrong(at, "a CRC32C that is not 4 bytes, or a second one")
            checksumAt = start
        at = end
    if checksumAt:
        # Section 2.2.3: over the header with zeroes in place of the checksum.
        end = checksumAt + 4
        right = _crc32c(header[:checksumAt] + bytes(4) + header[end:])
        if header[checksumAt:end] != right.to_bytes(4, "big"):
            raise _Wrong(checksumAt, f"a wrong CRC32C, 0x{right:08x} is right")
    return tuple(found)


def encodeV2(header: ProxyHeader, *, checksum: bool = False) -> bytes:
    """
    A header in binary (section 2.2).

    C{LOCAL} and unknown addresses are sent without TLVs.  C{header.version} is not looked at.

    @param checksum: add a CRC32C TLV.  One that is among the TLVs already is made right.
    @raise ValueError: an address is none that a connection can have, the two are not of one
        family, or something is too long for its field.
    """
    family, block = _encodeAddresses(header)
    if family is _Family.UNSPEC:
        return _fixedV2(header.command, family, Transport.UNSPEC, 0)
    tlvs = list(header.tlvs)
    if checksum and all(kind != TLVType.CRC32C for kind, _ in tlvs):
        tlvs.append((TLVType.CRC32C, b""))
    checksumAt = 0
    for kind, value in tlvs:
        if kind == TLVType.CRC32C:
            if checksumAt:
                raise ValueError("two CRC32C TLVs")
            checksumAt = _FIXED_V2 + len(block) + 3
            value = bytes(4)
        if len(value) > 0xFFFF:
            raise ValueError(f"a TLV of {len(value)} bytes")
        block += bytes((kind,)) + len(value).to_bytes(2, "big") + value
    if len(block) > 0xFFFF:
        raise ValueError(f"a header of {_FIXED_V2 + len(block)} bytes")
    encoded = _fixedV2(header.command, family, header.transport, len(block)) + block
    if checksumAt:
        crc = _crc32c(encoded).to_bytes(4, "big")
        encoded = encoded[:checksumAt] + crc + encoded[checksumAt + 4 :]
    return encoded


def _fixedV2(command: Command, family: _Family, transport: Transport, length: int) -> bytes:
    codes = (0x20 | command.value, family.code << 4 | transport.value)
    return _SIGNATURE_V2 + bytes(codes) + length.to_bytes(2, "big")


def _encodeAddresses(header: ProxyHeader) -> tuple[_Family, bytes]:
    source, destination = header.source, header.destination
    if header.command is Command.LOCAL or header.transport is Transport.UNSPEC:
        return _Family.UNSPEC, b""
    if source is None and destination is None:
        return _Family.UNSPEC, b""
    if isinstance(source, bytes) and isinstance(destination, bytes):
        for path in (source, destination):
            if len(path) > _UNIX_PATH:
                raise ValueError(f"a path of {len(path)} bytes")
        padded = (path.ljust(_UNIX_PATH, b"\0") for path in (source, destination))
        return _Family.UNIX, b"".join(padded)
    if not isinstance(source, tuple) or not isinstance(destination, tuple):
        raise ValueError(f"{source!r} and {destination!r} are not of one family")
    ips = []
    for host, _ in (source, destination):
        # A scope ("%eth0") means nothing on another host; what is packed has none.
        ip = ipaddress.ip_address(host)
        if not _isUnicast(ip):
            raise ValueError(f"{ip} is not a connection's address")
        ips.append(ip)
    if ips[0].version != ips[1].version:
        raise ValueError(f"{source!r} and {destination!r} are not of one family")
    ports = b""
    for _, port in (source, destination):
        if not 0 <= port <= 0xFFFF:
            raise ValueError(f"port {port}")
        ports += port.to_bytes(2, "big")
    family = _Family.INET if ips[0].version == 4 else _Family.INET6
    return family, ips[0].packed + ips[1].packed + ports


# -- addresses and checksum ----------------------------------------------------------------

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


def _parseIPv6(text: str) -> ipaddress.IPv6Address:
    if "%" in text:
        raise ValueError("a scope")
    return ipaddress.IPv6Address(text)


def _formatIP(ip: _IP) -> str:
    # RFC 5952 section 5 and inet_ntop(3); str() does so from Python 3.13 on only.
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return f"::ffff:{ip.ipv4_mapped}"
    return str(ip)


def _isUnicast(ip: _IP) -> bool:
    # As Envoy's isUnicastAddress: TCP has no other endpoints.
    return not (ip.is_unspecified or ip.is_multicast or ip == _BROADCAST)


_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")


def _checkUnicast(ip: _IP, at: int) -> None:
    if not _isUnicast(ip):
        raise _Wrong(at, f"{ip} is not a connection's address")


def _crcTable() -> tuple[int, ...]:
    # RFC 4960 appendix B, the polynomial 0x1EDC6F41 with its bits reflected.
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE: Final = _crcTable()


def _crc32c(data: bytes) -> int:
    # 65551 bytes, the longest header, take 4 ms: no reason for a dependency.
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
