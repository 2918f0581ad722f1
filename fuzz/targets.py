"""
What is fuzzed: for each decoder of C{wire/}, and for the whole inbound chain (L{chain}), a
function that takes bytes and fails when the invariant does not hold.

The first byte of an input chooses how the rest is cut into reads, where a decoder is fed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from chain import chain, conversations
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct as WellKnown

from mxproxy.wire.annotate import annotate, render
from mxproxy.wire.clienthello import ClientHelloInspector
from mxproxy.wire.exchange import Exchange, PeerState
from mxproxy.wire.http import HTTPInspector
from mxproxy.wire.metadata import MalformedMetadata, Metadata, decodeMetadata
from mxproxy.wire.prefix import HEADER_SIZE, encodePrefix
from mxproxy.wire.proxyprotocol import ProxyProtocolDecoder
from mxproxy.wire.structwire import Struct

TESTS = Path(__file__).resolve().parent.parent / "tests"

#: A cap that inputs can reach.
MAX_SIZE = 1024


def pieces(data: bytes) -> Iterator[bytes]:
    """
    The reads that an input asks for: of one size, from one byte to all at once.
    """
    size = data[0] or len(data) if data else 1
    for start in range(1, len(data), size):
        yield data[start : start + size]


def _inspect(make: Callable[[], ClientHelloInspector | HTTPInspector], data: bytes) -> None:
    """
    Invariant: how a stream is cut into reads changes no answer; at its end there is one.
    """
    whole, cut = make(), make()
    expected = whole.feed(data[1:])
    found = None
    for piece in pieces(data):
        found = cut.feed(piece)
    assert found == expected, (found, expected)
    assert whole.eof() == cut.eof() is not None


def clienthello(data: bytes) -> None:
    """See L{_inspect}."""
    _inspect(lambda: ClientHelloInspector(MAX_SIZE), data)


def http(data: bytes) -> None:
    """See L{_inspect}."""
    _inspect(lambda: HTTPInspector(MAX_SIZE), data)


def proxyprotocol(data: bytes) -> None:
    """
    Invariant: every byte is the header's or goes on, however the stream is cut; or the
    connection is closed with a reason.
    """
    results = []
    for reads in ([data[1:]], list(pieces(data))):
        decoder = ProxyProtocolDecoder(allowRequestsWithoutProxyProtocol=bool(data[:1] > b"\x7f"))
        forwarded = b""
        outcome = None
        for read in reads:
            if outcome is not None:
                forwarded += read
            else:
                outcome = decoder.feed(read)
                forwarded += outcome.forward if outcome is not None else b""
        if outcome is None:
            outcome = decoder.eof()
            forwarded += outcome.forward
        assert data.endswith(forwarded)
        results.append((outcome.result, outcome.abort) + (() if outcome.abort else (forwarded,)))
    assert results[0] == results[1], results


def exchange(data: bytes) -> None:
    """
    Invariant: bytes out are bytes in minus the prefix, or the connection is aborted with a
    reason; however the stream is cut, and wherever the time is up.
    """
    results = []
    for reads in ([data[1:]], list(pieces(data))):
        machine = Exchange(
            b"", decodeMetadata, speaksFirst=bool(data[:1] > b"\x7f"), maxSize=MAX_SIZE
        )
        forwarded = b""
        aborted = ""
        final = False
        for read in reads:
            if final:
                forwarded += read
                continue
            outcome = machine.feed(read)
            assert machine.buffered <= HEADER_SIZE + MAX_SIZE
            if outcome is not None:
                forwarded, final, aborted = forwarded + outcome.forward, True, outcome.abort
            if aborted:
                break
        if not final:
            outcome = machine.eof()
            forwarded += outcome.forward
        assert machine.state is not PeerState.PENDING
        assert aborted or data[1:].endswith(forwarded)
        results.append((machine.state, aborted, forwarded))
    assert results[0] == results[1], results


def metadata(data: bytes) -> None:
    """
    Invariant: a payload is understood, or refused as malformed; and what was understood can
    be shown.
    """
    try:
        found = decodeMetadata(data, ("role", "app"))
    except MalformedMetadata:
        found = None
    assert found is None or isinstance(found, Metadata)
    _show(encodePrefix(data))


def structwire(data: bytes) -> None:
    """
    Invariant: what protobuf's own Struct understands ours does, and the other way round; and
    ours writes again what it has read.
    """
    # Protobuf's parsers are no Python; by this one the fuzzer sees which shapes are new.
    _show(encodePrefix(Any(type_url="", value=data).SerializeToString()))
    ours, theirs = Struct(), WellKnown()
    understood = []
    for message in (ours, theirs):
        try:
            message.ParseFromString(data)
            understood.append(True)
        except DecodeError:
            understood.append(False)
    assert understood[0] == understood[1], understood
    if understood[0]:
        written = ours.SerializeToString()
        again = Struct()
        again.ParseFromString(written)
        assert again.SerializeToString() == written


def annotation(data: bytes) -> None:
    """
    Invariant: every byte is in one row, in order, and every row can be shown.
    """
    _show(data)


def _show(data: bytes) -> None:
    rows = list(annotate(data))
    assert b"".join(row.data for row in rows) == data
    assert [row.offset for row in rows] == [
        sum(len(row.data) for row in rows[:number]) for number in range(len(rows))
    ]
    assert all(line.isprintable() for line in render(rows))


def _hellos() -> Iterator[bytes]:
    for path in sorted((TESTS / "wire" / "hellos").glob("*.bin")):
        yield path.read_bytes()


def _vectors() -> Iterator[bytes]:
    for case in json.loads((TESTS / "vectors" / "mx_vectors.json").read_text()):
        for step in case["steps"]:
            if step.get("hex") and len(step["hex"]) < 4096:
                yield bytes.fromhex(step["hex"])


def _headers() -> Iterator[bytes]:
    yield b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\nGET / HTTP/1.1\r\n\r\n"
    yield b"PROXY UNKNOWN\r\n"
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    yield signature + b"\x21\x11\x00\x0c" + bytes(12) + b"rest"
    yield signature + b"\x20\x00\x00\x00"
    yield signature + b"\x21\x21\x00\x2b" + bytes(36) + b"\x04\x00\x04" + bytes(4)


def _lines() -> Iterator[bytes]:
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"POST /x HTTP/1.0\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _payloads() -> Iterator[bytes]:
    for seed in _vectors():
        yield seed[HEADER_SIZE:]


def _structs() -> Iterator[bytes]:
    for payload in _payloads():
        yield payload.partition(b"google.protobuf.Struct")[2][2:]


def _cut(seeds: Callable[[], Iterable[bytes]]) -> Callable[[], Iterator[bytes]]:
    """
    Each of them whole, byte by byte, and in reads of a size between.
    """
    return lambda: (size + seed for seed in seeds() for size in (b"\0", b"\1", b"\x85"))


class Target(NamedTuple):
    """
    @ivar function: takes an input.
    @ivar seeds: inputs to begin with, beside those in C{corpus/}.
    """

    function: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]


TARGETS: dict[str, Target] = {
    "annotate": Target(annotation, _vectors),
    "chain": Target(chain, conversations),
    "clienthello": Target(clienthello, _cut(_hellos)),
    "exchange": Target(exchange, _cut(_vectors)),
    "http": Target(http, _cut(_lines)),
    "metadata": Target(metadata, _payloads),
    "proxyprotocol": Target(proxyprotocol, _cut(_headers)),
    "structwire": Target(structwire, _structs),
}
