"""
A writer for tests of what makes the lines.
"""

from __future__ import annotations

from mxproxy.observe.writer import Writer


class Lines(Writer):
    """
    Keeps the lines instead of writing them.
    """

    def __init__(self) -> None:
        super().__init__("nowhere", lambda missing: b"")
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)
