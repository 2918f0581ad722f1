"""
How a configuration is refused: one exception, whose text is one line for a person.

What is wrong on the command line itself is a L{twisted.python.usage.UsageError}; what is
wrong in a file that it names is a L{ConfigurationError}.
"""

from __future__ import annotations

# Much longer than any line that we write ourselves; a refused value may be as long as the
# system lets a command line be.
LINE_LIMIT = 1000


class ConfigurationError(ValueError):
    """
    A file cannot be read or used.  The text says which one, what is wrong, what to do.
    """


def oneLine(text: str) -> str:
    """
    A message as it can go to any terminal: one line, nothing but what prints.

    >>> oneLine("a\\n  b\\x1b")
    'a b\\\\x1b'
    """
    line = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in " ".join(text.split())
    )
    return line if len(line) <= LINE_LIMIT else f"{line[: LINE_LIMIT - 1]}…"


def reasons(error: str | Exception) -> list[str]:
    """
    @param error: why a configuration is refused.
    @return: that, a line for each thing that is wrong with it; a file may have several.
    """
    lines: list[str] | None = getattr(error, "lines", None)
    return [oneLine(str(error))] if lines is None else lines
