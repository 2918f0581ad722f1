"""
What a parent gives its workers, as lines of JSON: what to run, and the files that it is made of.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: The descriptors that a worker begins with.  Listening sockets follow.
CHANNEL, LOCK, STANDARD_ERROR, FIRST_SOCKET = 3, 4, 5, 6


@dataclass(frozen=True)
class Start:
    """
    The first line on a worker's channel.

    @ivar number: which worker it is, from 1.
    @ivar reactor: the module of the parent's reactor.
    @ivar arguments: mxproxy's, without C{--workers}; files have absolute paths.
    @ivar files: see L{pack}.
    @ivar sockets: descriptors by L{mxproxy.lifecycle.listening.key}.
    """

    number: int
    reactor: str
    arguments: Sequence[str]
    files: Mapping[str, str]
    sockets: Mapping[str, int]

    def line(self) -> bytes:
        """As it is written."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Start:
        """
        @param line: what L{line} has made.
        """
        return cls(**json.loads(line))


def pack(files: Mapping[str, bytes]) -> dict[str, str]:
    """
    Contents of files, by path, as JSON has them.
    """
    return {path: base64.b64encode(data).decode("ascii") for path, data in files.items()}


def unpack(files: Mapping[str, Any]) -> dict[str, bytes]:
    """
    @param files: what L{pack} has made.
    """
    return {path: base64.b64decode(text) for path, text in files.items()}
