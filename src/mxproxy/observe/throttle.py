"""
Bounds what others can make us log.

What hostile or broken peers do is logged, but not as often as they do it: a disk that they can
fill, or a log in which nothing else can be found, is theirs.  Nothing is lost but words: the
access log has its line for every connection, and everything is counted.
"""

from __future__ import annotations

from collections.abc import Callable

#: So many lines of a kind ...
LINES = 10

#: ... in so many seconds.
PERIOD = 10.0


class Throttle:
    """
    Lines of one kind: a few at once, and then no more until the period is over.

    No timer: what was left out is said with the next line that is not.
    """

    __slots__ = ("_begun", "_lines", "_omitted", "_seconds")

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        @param seconds: says what time it is.
        """
        self._seconds = seconds
        self._begun = seconds()
        self._lines = 0
        self._omitted = 0

    def line(self) -> str | None:
        """
        There is something to log.

        @return: C{None}: leave it out.  Otherwise what to put at its end: how many lines of the
            kind were left out before it, or nothing.
        """
        now = self._seconds()
        if now - self._begun >= PERIOD:
            self._begun, self._lines = now, 0
        if self._lines >= LINES:
            self._omitted += 1
            return None
        self._lines += 1
        omitted, self._omitted = self._omitted, 0
        return f" (and {omitted} more like it before)" if omitted else ""
