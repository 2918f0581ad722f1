"""
PROXY protocol headers, as haproxy's specification has them: made for clients to send, and read
from what a backend received, so that they can be compared without the ports of the day.

Not mxproxy's own, which is under test.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Mapping, Sequence

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

Address = tuple[str, int]


def v1(source: Address, destination: Address) -> bytes:
    """
    A header of version 1.
    """
    family = "TCP6" if ":" in source[0] else "TCP4"
    text = f"PROXY {family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n"
    return text.encode("ascii")


def v2(
    source: Address,
    destination: Address,
    tlvs: Sequence[tuple[int, bytes]] = (),
    *,
    command: int = 1,
    transport: int = 1,
) -> bytes:
    """
    A header of version 2.

    @param command: 0 is LOCAL, 1 is PROXY.
    @param transport: 1 is a stream's.
    """
    addresses = [ipaddress.ip_address(address).packed for address, _ in (source, destination)]
    family = 1 if len(addresses[0]) == 4 else 2
    body = b"".join(addresses) + struct.pack("!HH", source[1], destination[1])
    for kind, value in tlvs:
        body += struct.pack("!BH", kind, len(value)) + value
    head = struct.pack("!BBH", 0x20 | command, family << 4 | transport, len(body))
    return SIGNATURE + head + body


def split(data: bytes, names: Mapping[int, str]) -> tuple[str, bytes]:
    """
    Take a header off what a backend received.

    @param names: what to call a port.
    @return: the header in words, empty if there is none, and what is behind it.
    """
    if data.startswith(SIGNATURE) and len(data) >= 16:
        return _splitV2(data, names)
    found = re.match(rb"PROXY (TCP[46]) (\S+) (\S+) (\d+) (\d+)\r\n", data)
    if found:
        family, source, destination = (word.decode() for word in found.groups()[:3])
        ports = [int(port) for port in found.groups()[3:]]
        ends = _name(source, ports[0], names), _name(destination, ports[1], names)
        return f"v1 {family} {' > '.join(ends)}", data[found.end() :]
    found = re.match(rb"PROXY [^\r]*\r\n", data)
    if found:
        return f"v1 {found[0][6:-2].decode()}", data[found.end() :]
    return "", data


def begins(data: bytes) -> bool:
    """
    Whether these may be the first bytes of a header that has not come whole.
    """
    return data.startswith(b"PROXY ") or SIGNATURE.startswith(data[:12])


def _splitV2(data: bytes, names: Mapping[int, str]) -> tuple[str, bytes]:
    command, family, length = struct.unpack("!BBH", data[12:16])
    body, rest = data[16 : 16 + length], data[16 + length :]
    size = {1: 4, 2: 16}.get(family >> 4, 0)
    words = ["v2", {0x20: "LOCAL", 0x21: "PROXY"}.get(command, f"{command:#x}"), f"{family:#04x}"]
    if size:
        addresses = [str(ipaddress.ip_address(body[i * size : (i + 1) * size])) for i in (0, 1)]
        ports = struct.unpack("!HH", body[2 * size : 2 * size + 4])
        words.append(" > ".join(_name(*end, names) for end in zip(addresses, ports)))
        body = body[2 * size + 4 :]
    while len(body) >= 3:
        kind, length = struct.unpack("!BH", body[:3])
        words.append(f"{kind:#04x}={body[3 : 3 + length]!r}")
        body = body[3 + length :]
    return " ".join(words), rest


def _name(address: str, port: int, names: Mapping[int, str]) -> str:
    return f"{address} {names.get(port, str(port))}"
