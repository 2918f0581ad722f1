"""
Requests and answers, as values: what a path is asked, and what it says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

TEXT = "text/plain; charset=UTF-8"
JSON = "application/json"

#: A longer regular expression is refused.
PATTERN_LIMIT = 200

#: One with more than so many parts of any length is refused.
REPEAT_LIMIT = 3

# What makes Python's matcher try the same text in exponentially many ways, or refers to it.
_HEAVY = re.compile(r"\)[*+?{]|\(\?[^:]|\\[1-9]")
_REPEATS = re.compile(r"(?<!\\)[*+{]")


class BadRequest(ValueError):
    """
    A request makes no sense; the text, one line, says why.
    """


@dataclass(frozen=True)
class Query:
    """
    What a path is asked.

    @ivar parameters: those behind the question mark; of one that comes twice, the last.
    @ivar accept: which content types are wanted.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    accept: str = ""

    def flag(self, name: str) -> bool:
        """
        A parameter that needs no value, as in C{?usedonly}.
        """
        return self.parameters.get(name, "false") not in ("false", "0", "no")

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """
        One of a few words; the first unless the request says otherwise.

        @raise BadRequest: it is none of them.
        """
        value = self.parameters.get(name, choices[0])
        if value not in choices:
            raise BadRequest(f"{name} has to be one of {', '.join(choices)}")
        return value

    def number(self, name: str, default: int, most: int) -> int:
        """
        A whole number from 0 on.

        @raise BadRequest: it is none, or more than C{most}.
        """
        text = self.parameters.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) > most:
            raise BadRequest(f"{name} has to be a number from 0 to {most}")
        return int(text)

    def pattern(self, name: str) -> Callable[[str], object]:
        """
        A regular expression that has to be found in a text; without one, everything matches.

        Envoy has RE2 for it, which is linear.  Python's matcher can be made to take for ever, so
        only expressions that cannot do that are taken: no repeated groups, no references, a few
        repeats.

        @raise BadRequest: it is no such expression.
        """
        text = self.parameters.get(name, "")
        if not text:
            return lambda text: True
        repeats = len(_REPEATS.findall(text))
        if len(text) > PATTERN_LIMIT or _HEAVY.search(text) or repeats > REPEAT_LIMIT:
            raise BadRequest(
                f"{name} has to be a simple regular expression: no repeated groups, no "
                f"references, at most {REPEAT_LIMIT} repeats"
            )
        try:
            return re.compile(text).search
        except re.error as error:
            raise BadRequest(f"{name} is no regular expression: {error}") from None


@dataclass(frozen=True)
class Answer:
    """
    What a path says.
    """

    body: bytes
    type: str = TEXT
    status: int = 200


def text(body: str, status: int = 200) -> Answer:
    """
    An answer for people, and for shell scripts.
    """
    return Answer(body.encode("utf-8", "backslashreplace"), TEXT, status)


def asJSON(value: Any) -> Answer:
    """
    An answer for programs.
    """
    return Answer(json.dumps(value, indent=1).encode() + b"\n", JSON)
