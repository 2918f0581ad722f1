"""
Gives memory back to the system when a crowd has gone.

What connections were made of is free then, but lies between what is still in use, and the C
library keeps it: of 54 MB of 1500 idle connections over TLS, all of which had ended, the process
kept 54 MB, and 9 MB after C{malloc_trim}.  It looks like a leak, and on a small machine it is one
for the others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

#: How many connections are a crowd: some 20 MB of them.
CROWD = 500


def _find() -> Callable[[int], int] | None:
    # glibc's alone (malloc_trim(3)).
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


_trim = _find()


class Crowd:
    """
    How many there are, and whether many have gone.
    """

    def __init__(self, trim: Callable[[int], object] | None = _trim) -> None:
        """
        @param trim: called with 0 to give memory back.
        """
        self._trim = trim
        self.number = 0
        self._most = 0

    def came(self) -> None:
        """There is one more."""
        self.number += 1
        self._most = max(self._most, self.number)

    def went(self) -> None:
        """There is one less."""
        self.number -= 1
        if self._most >= CROWD and self.number <= self._most // 2:
            # Each time that half of them have gone: seldom enough for what it costs, some
            # milliseconds for each hundred megabytes.
            self._most = self.number
            if self._trim is not None:
                self._trim(0)
