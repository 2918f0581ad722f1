"""
A fault: what a peer does, and where.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(str, enum.Enum):
    """
    @cvar NOTHING: all goes well.
    @cvar CLOSE: close(2): the end of its stream, and whatever comes is answered by a reset.
    @cvar END: the end of its stream; it goes on reading.
    @cvar RESET: a reset (RST), behind what it has sent.
    @cvar STALL: it sends no more, reads no more, and stays.
    @cvar CORRUPT: one bit of one byte is another; all else goes on.
    """

    NOTHING = "nothing"
    CLOSE = "close"
    END = "end"
    RESET = "reset"
    STALL = "stall"
    CORRUPT = "corrupt"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Fault:
    """
    @ivar phase: in which phase of the connection; C{peers.py} names them.
    @ivar offset: before, or in, which byte of those that the peer sends in this phase.
    """

    kind: Kind = Kind.NOTHING
    phase: str = ""
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.kind} at {self.phase}+{self.offset}" if self.phase else str(self.kind)


#: All goes well.
NOTHING = Fault()
