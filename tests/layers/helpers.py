"""
What the tests of layers share.
"""

from __future__ import annotations

from mxproxy.wire.handshake import Outcome


class Greeting:
    """
    A handshake: each side says hello with a line, and the application's bytes follow.

    @cvar early: whether the timeout ends the hold only, and the greeting may come late.
    """

    LIMIT = 30
    early = False

    def __init__(self) -> None:
        self._line = b""

    def opening(self) -> bytes:
        return b"HELLO\n"

    def feed(self, data: bytes) -> Outcome | None:
        self._line += data
        line, newline, rest = self._line.partition(b"\n")
        if newline:
            return Outcome(line.decode(), b"THANKS\n", rest)
        if len(line) > self.LIMIT:
            return Outcome("nothing", abort="too_long: a greeting without an end")
        return None

    def eof(self) -> Outcome:
        return Outcome("nobody", forward=self._line)

    def timeout(self) -> Outcome:
        if self.early:
            return Outcome("late", final=False)
        return Outcome("silence", forward=self._line)


class LateGreeting(Greeting):
    early = True
