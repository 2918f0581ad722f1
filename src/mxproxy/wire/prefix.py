"""
The frame that a metadata exchange's prefix is sent in: magic, length, payload.

Only the eight bytes of the header belong here, and the bounds of what may follow them.  What
the payload says is L{mxproxy.wire.metadata}'s; how a prefix is recognised in a stream is
L{mxproxy.wire.exchange}'s.  The layout is that of Envoy's network filter
C{metadata_exchange} and is written down in docs/wire.md.
"""

from __future__ import annotations

import struct
from typing import Final

MAGIC: Final = 0x3D230467
"""The first four bytes of a prefix, read as a big-endian number."""

MAGIC_BYTES: Final = MAGIC.to_bytes(4, "big")

HEADER: Final = struct.Struct(">II")
"""Magic and payload length, both unsigned and big-endian."""

HEADER_SIZE: Final = HEADER.size
"""Bytes in front of the payload."""

# 64 KiB is a hundred times what a workload needs: the nodes in Istio's own test data take 200 to
# 500 bytes, Kubernetes caps a label's value at 63 characters and a name at 253, and Envoy's
# default cap for all the headers of a request is 60 KiB.
DEFAULT_MAX_SIZE: Final = 65536
"""The longest payload that is accepted, in bytes, unless the configuration says otherwise."""


def encodePrefix(payload: bytes) -> bytes:
    """
    Put the header in front of a payload.

    @param payload: a serialized C{google.protobuf.Any}, see
        L{mxproxy.wire.metadata.encodeMetadata}.
    @return: the prefix, ready to be the first bytes that a side sends.
    @raise ValueError: the payload is longer than four bytes can say.
    """
    if len(payload) > 0xFFFFFFFF:
        raise ValueError(f"a payload of {len(payload)} bytes does not fit a 32-bit length")
    return HEADER.pack(MAGIC, len(payload)) + payload
