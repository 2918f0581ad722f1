"""
What some bytes are as the head of a stream: a prefix, or why they are none, and at which byte.

The machine that sidecars run (L{mxproxy.wire.exchange}) decides; this only finds words.  Everything
that the Struct says is kept here, also what a sidecar passes over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage

from ..wire.annotate import annotate
from ..wire.exchange import DEFAULT_MAX_SIZE, Exchange
from ..wire.metadata import (
    FIELD_KEYS,
    LABELS_KEY,
    OWNER_KEY,
    PEER_ID_KEY,
    PEER_METADATA_KEY,
    MalformedMetadata,
    Metadata,
    decodeMetadata,
)
from ..wire.peerstate import PeerState
from ..wire.prefix import HEADER_SIZE, MAGIC_BYTES
from ..wire.structwire import Struct

# The fields that say who a workload is, the telling ones first.
FIELDS: Final = (
    "workload",
    "namespace",
    "type",
    "name",
    "cluster",
    "service",
    "revision",
    "app",
    "version",
    "identity",
    "region",
    "availability_zone",
    "id",
)


@dataclass(frozen=True)
class Verdict:
    """
    What the bytes are.

    @ivar state: C{FOUND}, C{BAD_MAGIC}, C{CLOSED} (cut off), C{TOO_LARGE} or C{MALFORMED}.
    @ivar size: how many bytes the prefix has; what is behind it is the application's.
    @ivar metadata: what a sidecar learns, with every label; C{None} unless it is found.
    @ivar others: what the Struct says besides, C{KEY.KEY} with what it is.
    @ivar fault: where the first byte is that is wrong or missing; C{None} when none is.
    @ivar reason: what is wrong there; empty when nothing is.
    """

    state: PeerState
    size: int
    metadata: Metadata | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    fault: int | None = None
    reason: str = ""


def judge(data: bytes, maxSize: int = DEFAULT_MAX_SIZE) -> Verdict:
    """
    @param data: the head of a stream, as far as it came.
    @param maxSize: the longest payload that would be accepted, in bytes.
    """
    read: list[Verdict] = []

    def decode(payload: bytes) -> Metadata:
        size = HEADER_SIZE + len(payload)
        try:
            metadata, others = _understand(payload)
        except MalformedMetadata as error:
            fault = _faultOf(data[:size])
            read.append(Verdict(PeerState.MALFORMED, size, fault=fault, reason=_brief(error)))
            raise
        read.append(Verdict(PeerState.FOUND, size, metadata, others))
        return metadata

    machine = Exchange(b"", decode, speaksFirst=False, maxSize=maxSize)
    # A magic with nothing behind it is not judged before the stream's end.
    if machine.feed(data) is None:
        machine.eof()
    if read:
        return read[0]
    if machine.state is PeerState.BAD_MAGIC:
        return _notThePrefix(data)
    length = int.from_bytes(data[len(MAGIC_BYTES) : HEADER_SIZE], "big")
    if machine.state is PeerState.TOO_LARGE:
        return Verdict(
            PeerState.TOO_LARGE,
            HEADER_SIZE,
            fault=len(MAGIC_BYTES),
            reason=f"it announces {length} bytes, over the cap of {maxSize}",
        )
    return Verdict(PeerState.CLOSED, len(data), fault=len(data), reason=_cutOff(data, length))


def _notThePrefix(data: bytes) -> Verdict:
    fault = next(i for i, byte in enumerate(data) if byte != MAGIC_BYTES[i])
    found, wanted = data[fault], MAGIC_BYTES[fault]
    reason = f"it is 0x{found:02x} where the magic has 0x{wanted:02x}"
    return Verdict(PeerState.BAD_MAGIC, 0, fault=fault, reason=reason)


def _cutOff(data: bytes, length: int) -> str:
    if not data:
        return "there is no byte at all"
    if len(data) < len(MAGIC_BYTES):
        return f"it ends inside the magic, after {len(data)} of {len(MAGIC_BYTES)} bytes"
    if len(data) < HEADER_SIZE:
        return f"it ends inside the length, after {len(data) - len(MAGIC_BYTES)} of 4 bytes"
    return f"it ends inside the payload, after {len(data) - HEADER_SIZE} of {length} bytes"


def _faultOf(prefix: bytes) -> int:
    """
    Where a payload that is no metadata goes wrong: the bytes themselves, or what they mean.
    """
    for row in annotate(prefix):
        if row.fault is not None:
            return row.fault
    return HEADER_SIZE


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())


# -- everything that a Struct says -----------------------------------------------------------


def _understand(payload: bytes) -> tuple[Metadata, dict[str, str]]:
    """
    @raise MalformedMetadata: it is not an Any that holds a Struct.
    """
    decodeMetadata(payload)
    struct = Struct.FromString(AnyMessage.FromString(payload).value)
    said = dict(_flat(struct, ()))
    labels = [path[2] for path in said if path[:2] == (PEER_METADATA_KEY, LABELS_KEY) and path[2:]]
    others = {".".join(path): text for path, text in said.items() if not _isKnown(path)}
    return decodeMetadata(payload, labels), others


def _isKnown(path: tuple[str, ...]) -> bool:
    """
    Whether L{Metadata} has a place for it.
    """
    if path[0] != PEER_METADATA_KEY:
        return path == (PEER_ID_KEY,)
    if len(path) == 2:
        return path[1] in FIELD_KEYS.values() or path[1] in (OWNER_KEY, LABELS_KEY)
    return path[1:2] == (LABELS_KEY,) and len(path) == 3


def _flat(struct: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """
    Each value with the keys that lead to it.  Protobuf's own limit bounds the depth.
    """
    for entry in struct.fields:
        path = (*above, entry.key)
        if entry.value.WhichOneof("oneof") == "struct_value" and entry.value.struct_value.fields:
            yield from _flat(entry.value.struct_value, path)
        else:
            yield path, _text(entry.value)


def _text(value: Any) -> str:
    """
    A value as JSON would have it, text as it is.
    """
    kind = value.WhichOneof("oneof")
    if kind == "string_value":
        return str(value.string_value)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "number_value":
        return f"{value.number_value:g}"
    if kind == "struct_value":
        inner = ", ".join(f"{e.key}: {_text(e.value)}" for e in value.struct_value.fields)
        return f"{{{inner}}}"
    if kind == "list_value":
        return f"[{', '.join(_text(one) for one in value.list_value.values)}]"
    return "null"
