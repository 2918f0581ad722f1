"""
Reading a filter's options: C{NAME:key=value:...} as typed values.

For filter authors, so that every filter answers a wrong option alike: one line that says
which option, what is wrong with it and what would be right.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Mapping, Sequence

from ..config.files import readFile


class OptionError(ValueError):
    """An option is unknown, missing or wrong; the text is one line, for a person."""


class Options:
    """
    Takes options out of a mapping, one by one; L{finish} refuses what is left.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._left = dict(options)
        self._known: list[str] = []

    def _take(self, name: str) -> str | None:
        self._known.append(name)
        return self._left.pop(name, None)

    def text(self, name: str, default: str | None = None) -> str:
        """
        @param default: C{None} if the option has to be given.
        """
        value = self._take(name)
        if value is None:
            if default is None:
                raise OptionError(f"{name} is missing: give {name}=...")
            return default
        return value

    def number(
        self,
        name: str,
        default: float | None = None,
        above: float = -math.inf,
        least: float = -math.inf,
    ) -> builtins.float:
        """
        @param above: the value has to be greater than this.
        @param least: it has to be this or more.
        """
        text = self.text(name, None if default is None else str(default))
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (above < value < math.inf and value >= least):
            bound = "" if above == -math.inf else f" above {above:g}"
            bound += "" if least == -math.inf else f" of at least {least:g}"
            raise OptionError(f"{name}={text!r} has to be a number{bound}")
        return value

    def integer(self, name: str, default: int | None = None, above: float = -math.inf) -> int:
        """
        @param above: the value has to be greater than this.
        """
        text = self.text(name, None if default is None else str(default))
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value <= above:
            bound = "" if above == -math.inf else f" above {above:g}"
            raise OptionError(f"{name}={text!r} has to be a whole number{bound}")
        return value

    def file(self, name: str) -> bytes:
        """
        What is in the file that the option names; it has to be given.
        """
        path = self.text(name)
        try:
            return readFile(path)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise OptionError(f"{name}={path!r} cannot be read: {why}") from error

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """
        @param choices: what is allowed; the first is the default.
        """
        value = self.text(name, choices[0])
        if value not in choices:
            raise OptionError(f"{name}={value!r} has to be one of {', '.join(choices)}")
        return value

    def list(self, name: str) -> tuple[str, ...]:
        """A comma-separated list; empty by default."""
        return tuple(item.strip() for item in self.text(name, "").split(",") if item.strip())

    def finish(self) -> None:
        """
        @raise OptionError: something was given that nobody asked for.
        """
        if self._left:
            unknown = ", ".join(sorted(self._left))
            known = ", ".join(self._known) or "none"
            raise OptionError(f"unknown option {unknown}; there is: {known}")
