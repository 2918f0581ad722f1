"""
What is printed, and how: 80 columns, colours and line drawing where they can be shown.

Only the looks of a text belong here.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

WIDTH: Final = 80

_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "cyan": "36"}

# What is drawn where the stream's encoding has no more than ASCII.
_PLAIN: Final = str.maketrans({"─": "-", "═": "=", "▶": ">", "✓": "+", "✗": "x", "…": "~"})


class Page:
    """
    A stream that people read.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        # https://no-color.org: when present and not empty.
        self._coloured = (
            stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        )
        try:
            "─═▶✓✗".encode(stream.encoding or "ascii")
            self._drawn = True
        except (LookupError, UnicodeEncodeError):
            self._drawn = False

    def style(self, text: str, *names: str) -> str:
        """
        @param names: C{bold}, C{dim}, C{red}, C{green}, C{cyan}.
        """
        if not self._coloured or not text:
            return text
        return f"\33[{';'.join(_CODES[name] for name in names)}m{text}\33[0m"

    def line(self, text: str = "") -> None:
        """
        Print a line, at once.
        """
        if not self._drawn:
            text = text.translate(_PLAIN).encode("ascii", "backslashreplace").decode("ascii")
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def heading(self, text: str) -> None:
        """
        Begin a section.
        """
        self.line()
        self.line(self.style(text, "bold"))
        self.line()

    def command(self, words: Sequence[str]) -> None:
        """
        Print a command line as it can be given to a shell.
        """
        for line in wrapCommand(words, WIDTH - 3):
            self.shell(line)

    def shell(self, line: str) -> None:
        """
        Print a line for a shell, however long it is.
        """
        self.line(f"   {self.style(line, 'cyan')}")


def nobodyReads(stream: TextIO) -> None:
    """
    Whoever read C{stream} has left (a pager, head): Python is not to say so once more at its end.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: str, limit: int = 200) -> str:
    r"""
    Somebody else's text as it can go to any terminal: one line of bounded length, nothing in it
    but what prints.

    >>> printable("a\nb\x1b[2J", 9)
    'a\\\\nb\\\\x1b…'
    """
    escaped = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii")
        for one in text[: limit + 1]
    )
    return escaped if len(escaped) <= limit else f"{escaped[: limit - 1]}…"


def wrapCommand(words: Sequence[str], width: int) -> list[str]:
    r"""
    A command's lines, each but the last with a backslash; a value stays beside its option.

    >>> wrapCommand(["cat", "-n", "--squeeze", "a file"], 18)
    ['cat -n \\', "    --squeeze 'a file'"]
    """
    phrases: list[str] = []
    for word in words:
        quoted = shlex.quote(word)
        if phrases and not word.startswith("-") and phrases[-1].startswith("-"):
            phrases[-1] += f" {quoted}"
        else:
            phrases.append(quoted)
    lines = [""]
    for phrase in phrases:
        longer = f"{lines[-1]} {phrase}" if lines[-1] else phrase
        if len(longer) + 2 <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines[-1] += " \\"
            lines.append(f"    {phrase}")
    return lines
