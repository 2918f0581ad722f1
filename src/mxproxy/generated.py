"""
A part of a document that is made of the code that it describes, between two markers, and the
command of a module that keeps it so::

    python -m MODULE --check FILE
    python -m MODULE --write FILE
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


class Generated:
    """
    Such a part.

    @ivar begin: the line before it.
    @ivar end: the line behind it.
    """

    def __init__(self, module: str, what: str, make: Callable[[], str]) -> None:
        """
        @param module: whose command it is.
        @param what: what is made, for people: C{the state diagram}.
        @param make: makes it, the same each time: Markdown, with a newline at its end.
        """
        self._command = f"python -m {module}"
        self._what = what
        self._make = make
        self.begin = f"<!-- begin: {self._command} -->\n"
        self.end = f"<!-- end: {self._command} -->\n"

    def replaced(self, text: str) -> str:
        """
        @return: a document, with what is between the markers made anew.
        @raise ValueError: the markers are not there, each once and in order.
        """
        begin, end = self.begin, self.end
        before, begun, behind = text.partition(begin)
        _, ended, after = behind.partition(end)
        if not begun or not ended or begin in after or end in before + after:
            raise ValueError(
                f"the markers {begin.strip()} and {end.strip()} are wanted once, in order"
            )
        return f"{before}{begin}{self._make()}{end}{after}"

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """
        The command.

        @return: the exit status; 1 when a check finds something else than what is made.
        """
        parser = argparse.ArgumentParser(
            prog=self._command, description=f"Keeps {self._what} in a document as the code has it."
        )
        options = parser.add_mutually_exclusive_group(required=True)
        options.add_argument("--check", type=Path, metavar="FILE", help="compare, change nothing")
        options.add_argument("--write", type=Path, metavar="FILE", help=f"replace {self._what}")
        chosen = parser.parse_args(arguments)
        path: Path = chosen.check or chosen.write
        text = path.read_text(encoding="utf-8")
        try:
            wanted = self.replaced(text)
        except ValueError as error:
            parser.error(f"{path}: {error}")
        if chosen.write:
            path.write_text(wanted, encoding="utf-8")
        elif wanted != text:
            sys.stderr.write(f"{path}: not {self._what} that the code has; run --write\n")
            return 1
        return 0
