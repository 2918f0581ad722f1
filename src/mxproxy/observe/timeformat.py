"""
Moments as Envoy's access log writes them: C{strftime}, and what Envoy adds to it.

What belongs here is the language of C{%START_TIME(...)%} and the like.  A format is taken apart
once; what is left for a line is put together from parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone

# Where none is given, in local time; as RFC 3339, but for a colon in the zone.
_DEFAULT_LOCAL = "%Y-%m-%dT%H:%M:%S.%3f%z"

# Envoy's own are %s, and %f with a number of digits, nine unless said; the rest of what is here
# is of Abseil's FormatTime, which Envoy leaves the remainder to.
_OURS = re.compile(
    r"%(?:(?P<epoch>\d*s)|(?P<digits>[1-9]?)f|E(?P<fraction>\d+|\*)(?P<what>[Sf])|(?P<zone>E\*?|:)z|"
    r"E4Y|(?P<other>%|[^%]))",
    re.DOTALL,
)

# Envoy refuses a line's end inside of a moment, in each of the forms that strftime knows.
_NEWLINE = re.compile(r"%[-_0^#]*[1-9]*[EO]?n")

_MICROSECONDS = 6


def compileTime(format: str = "", *, local: bool = False) -> Callable[[float], str]:
    """
    @param format: empty for Envoy's default: RFC 3339 with milliseconds.
    @param local: in the machine's time zone, instead of UTC.
    @return: makes text of seconds since the epoch.
    @raise ValueError: the format would write the end of a line.
    """
    if _NEWLINE.search(format) or "\n" in format:
        raise ValueError("a moment cannot contain the end of a line")
    if not format and not local:
        return _default
    pieces = _pieces(format or _DEFAULT_LOCAL)
    zone = None if local else timezone.utc

    def render(seconds: float) -> str:
        moment = datetime.fromtimestamp(seconds, zone)
        if zone is None:
            moment = moment.astimezone()
        return "".join([piece(moment) for piece in pieces])

    return render


def _default(seconds: float) -> str:
    """What most lines begin with, in a fifth of the time."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


_Piece = Callable[[datetime], str]


def _pieces(format: str) -> list[_Piece]:
    """
    Runs of what strftime does, and between them what it does not.
    """
    pieces: list[_Piece] = []
    run = ""
    position = 0
    for match in _OURS.finditer(format):
        run += format[position : match.start()]
        position = match.end()
        if match["other"] is not None:
            run += match[0]
            continue
        if run:
            pieces.append(_strftime(run))
            run = ""
        pieces.append(_own(match))
    run += format[position:]
    if run:
        pieces.append(_strftime(run))
    return pieces


def _strftime(format: str) -> _Piece:
    return lambda moment: moment.strftime(format)


def _own(match: re.Match[str]) -> _Piece:
    if match["epoch"] is not None:
        return lambda moment: str(int(moment.timestamp()))
    if match["digits"] is not None:
        return _fraction(int(match["digits"] or 9))
    if match["what"] == "S":
        return _seconds(match["fraction"])
    if match["what"] == "f":
        return _fraction(match["fraction"])
    if match["zone"] is not None:
        long = match["zone"] == "E*"
        return lambda moment: f"{moment:%z}"[:3] + ":" + f"{moment:%z}"[3:5] + (":00" * long)
    return lambda moment: f"{moment.year:04}"


def _digits(moment: datetime, count: int) -> str:
    return f"{moment.microsecond:06}".ljust(count, "0")[:count]


def _fraction(count: int | str) -> _Piece:
    if count == "*":
        return lambda moment: _digits(moment, _MICROSECONDS).rstrip("0") or "0"
    return lambda moment: _digits(moment, int(count))


def _seconds(count: str) -> _Piece:
    def render(moment: datetime) -> str:
        if count == "*":
            fraction = _digits(moment, _MICROSECONDS).rstrip("0")
        else:
            fraction = _digits(moment, int(count))
        return f"{moment.second:02}.{fraction}" if fraction else f"{moment.second:02}"

    return render
