"""
What happened, as text that is pleasant to read and fails as a diff.

How bytes are written and read in a transcript, and how two transcripts are compared,
belongs here.  What can happen in one is L{mxproxy.testing.bench}'s.

Bytes are words, separated by spaces::

    <prefix>             something that has a name
    <prefix>[:7]         a part of it, as Python slices
    'text\\x00'           anything else, as Python writes it
    'a' * 1000           the same byte, many times
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Mapping
from textwrap import dedent

_WORD = re.compile(
    r"""
    \s*(?:
        <(?P<name>[^>]+)>(?:\[(?P<start>-?\d*):(?P<stop>-?\d*)\])?
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?:\s*\*\s*(?P<times>\d+))?
    )\s*
    """,
    re.VERBOSE,
)

#: A run of one byte is written as a product from this length on.
_RUN = re.compile(rb"(.)\1{31,}", re.DOTALL)


class Symbols:
    """
    Names for bytes: a prefix, a certificate, a greeting.
    """

    def __init__(self, names: Mapping[str, bytes] | None = None) -> None:
        self.names = dict(names or {})

    def parse(self, text: str) -> bytes:
        """
        @param text: words, as this module's documentation has them.
        @raise ValueError: it is none, or a name is unknown.
        """
        data = b""
        position = 0
        while position < len(text):
            word = _WORD.match(text, position)
            if word is None:
                raise ValueError(f"not the bytes of a transcript: {text[position:]!r}")
            position = word.end()
            if word["text"] is not None:
                piece = ast.literal_eval("b" + word["text"])
                data += piece * int(word["times"] or 1)
                continue
            if word["name"] not in self.names:
                known = ", ".join(self.names) or "none"
                raise ValueError(f"nothing is called <{word['name']}>; there is: {known}")
            start, stop = (int(word[at]) if word[at] else None for at in ("start", "stop"))
            data += self.names[word["name"]][start:stop]
        return data

    def show(self, data: bytes) -> str:
        """
        @return: what L{parse} makes C{data} of: names where they fit whole, else text.
        """
        words: list[str] = []
        plain = 0
        position = 0
        while position < len(data):
            found = max(
                (
                    (len(value), name)
                    for name, value in self.names.items()
                    if value and data.startswith(value, position)
                ),
                default=None,
            )
            if found is None:
                position += 1
                continue
            words += _plain(data[plain:position])
            words.append(f"<{found[1]}>")
            position = plain = position + found[0]
        words += _plain(data[plain:])
        return " ".join(words) or "''"


def _plain(data: bytes) -> list[str]:
    words: list[str] = []
    position = 0
    for run in _RUN.finditer(data):
        if run.start() > position:
            words.append(repr(data[position : run.start()])[1:])
        words.append(f"{repr(run[0][:1])[1:]} * {len(run[0])}")
        position = run.end()
    if position < len(data):
        words.append(repr(data[position:])[1:])
    return words


class TranscriptDiffers(AssertionError):
    """
    What happened is not what was expected; the text shows where, line by line.
    """


class Transcript:
    """
    Lines, in the order in which things happened.

    @ivar symbols: how bytes are named.
    """

    def __init__(self, symbols: Symbols | None = None) -> None:
        self.symbols = symbols or Symbols()
        self._lines: list[tuple[str, bytes | None]] = []

    def note(self, line: str) -> None:
        """
        Something has happened.
        """
        self._lines.append((line, None))

    def bytes(self, tag: str, data: bytes) -> None:
        """
        Bytes went somewhere.  Those that follow each other are one line, however they were
        cut.

        @param tag: which way, e.g. C{"<<"}.
        """
        if self._lines:
            last, before = self._lines[-1]
            if last == tag and before is not None:
                self._lines[-1] = (tag, before + data)
                return
        self._lines.append((tag, data))

    @property
    def lines(self) -> list[str]:
        """The transcript."""
        return [
            tag if data is None else f"{tag} {self.symbols.show(data)}" for tag, data in self._lines
        ]

    def check(self, expected: str) -> None:
        """
        Compare with what was expected: a text whose indentation, empty lines and comments
        (C{# ...} at the begin of a line) do not count.

        @raise TranscriptDiffers: it is not what happened.
        """
        wanted = significant(expected)
        if wanted != self.lines:
            diff = difflib.ndiff(wanted, self.lines)
            raise TranscriptDiffers(
                "the transcript differs (-: expected, +: happened)\n\n"
                + "\n".join(line.rstrip() for line in diff if not line.startswith("?"))
            )

    def __str__(self) -> str:
        return "\n".join(self.lines)


def significant(text: str) -> list[str]:
    """
    @return: the lines of a transcript without what does not count.
    """
    lines = (line.strip() for line in dedent(text).splitlines())
    return [line for line in lines if line and not line.startswith("#")]
