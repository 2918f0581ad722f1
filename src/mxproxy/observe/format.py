"""
Access log formats: texts, and JSON, in which C{%OPERATORS%} are filled in.

What belongs here is the grammar and the filling in; what an operator says is
L{mxproxy.observe.operators}.  A format is compiled once, and everything that is wrong with it is
found then; a line costs no parsing.

The grammar is Envoy's: C{%NAME%}, C{%NAME(PARAMETERS)%}, C{%NAME(PARAMETERS):LENGTH%}, and C{%%}
for a percent sign.  Lines of text are written as they are, with the end that they have; a
JSON line is one object without spaces, its names in order, and has an end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..config.plan import AccessLogPlan
from .operators import ABSENT, Operator, OperatorError, Record, compileOperator

#: What Envoy writes where no format is given.
ENVOY_TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"'
    " %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION%"
    ' %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%"'
    ' "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)

#: What Istio's sidecars write where no format is given, for TCP as for HTTP.
ISTIO_TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"'
    " %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%"
    ' "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION%'
    ' %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%"'
    ' "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW%'
    " %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%"
    " %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)

#: Formats by name, for who does not want to write one.
NAMED = {"envoy": ENVOY_TEXT, "istio": ISTIO_TEXT}

# As in Envoy, parameters end at the first parenthesis that a length or a percent sign follows.
_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::(\d+))?%")

#: Whole numbers that JSON's readers, and protobuf's, know exactly.
_EXACT = 2**53

#: Whom constants are asked of.
_NOBODY: Any = None

Render = Callable[[Record], bytes]


class FormatError(ValueError):
    """
    A format cannot be used; the text, one line, says why and where.

    @ivar position: of the operator in its text, from 0; -1 where there is no text.
    """

    def __init__(self, message: str, position: int = -1) -> None:
        super().__init__(message)
        self.position = position


def compileFormat(plan: AccessLogPlan) -> Render | None:
    """
    @return: makes a line; C{None} where the plan has no format.
    @raise FormatError: it cannot be used.
    """
    if plan.json_format is not None:
        return compileJSON(plan.json_format, plan.omit_empty_values)
    if plan.text_format is not None:
        return compileText(plan.text_format, plan.omit_empty_values)
    return None


def compileText(format: str, omitEmpty: bool = False) -> Render:
    """
    @param omitEmpty: what is not known is nothing, instead of a dash.
    @return: makes a line.
    @raise FormatError: an operator is unknown, or not written as it has to be.
    """
    fill = _join(_parse(format), omitEmpty)
    # What is not UTF-8 in the format itself; peers' texts are ASCII by now.
    return lambda record: fill(record).encode("utf-8", "backslashreplace")


def compileJSON(format: Mapping[str, object], omitEmpty: bool = False) -> Render:
    """
    @param format: names with texts, numbers, booleans, C{None}, and lists and mappings of these.
    @param omitEmpty: what is not known is left out, instead of null.
    @return: makes a line.
    @raise FormatError: some value of it is of another type, or an operator in it is wrong; the
        text begins with the way to it.
    """
    build = _mapping(format, omitEmpty, "json_format")

    def render(record: Record) -> bytes:
        # Escaped to ASCII: no line separators, no control characters.
        return json.dumps(build(record) or {}, separators=(",", ":")).encode("ascii") + b"\n"

    return render


# -- texts ---------------------------------------------------------------------------------


def _parse(format: str) -> list[str | Operator]:
    """
    A text's parts: what is written as it is, and operators.
    """
    parts: list[str | Operator] = []
    literal = ""
    position = 0
    while position < len(format):
        percent = format.find("%", position)
        if percent < 0:
            break
        literal += format[position:percent]
        if format.startswith("%%", percent):
            literal += "%"
            position = percent + 2
            continue
        if literal:
            parts.append(literal)
            literal = ""
        operator, position = _operatorAt(format, percent)
        parts.append(operator)
    literal += format[position:]
    if literal:
        parts.append(literal)
    return parts


def _operatorAt(format: str, position: int) -> tuple[Operator, int]:
    match = _OPERATOR.match(format, position)
    if match is None:
        raise FormatError(
            f"position {position}: {format[position : position + 40]!r} is no operator; write %% for"
            " a percent sign",
            position,
        )
    name, parameters, length = match.groups()
    try:
        return compileOperator(
            name, parameters, None if length is None else int(length)
        ), match.end()
    except OperatorError as error:
        raise FormatError(f"position {position}: {error}", position) from None


def _join(parts: list[str | Operator], omitEmpty: bool) -> Callable[[Record], str]:
    absent = "" if omitEmpty else ABSENT

    def filled(operator: Operator) -> Callable[[Record], str]:
        text = operator.text

        def fill(record: Record) -> str:
            found = text(record)
            return absent if found is None else found

        return fill

    # Half of a usual format speaks of HTTP, and need not be asked again for each line.
    pieces: list[str | Callable[[Record], str]] = []
    for part in parts:
        if not isinstance(part, str):
            if not part.constant:
                pieces.append(filled(part))
                continue
            part = filled(part)(_NOBODY)
        last = pieces[-1] if pieces else None
        if isinstance(last, str):
            pieces[-1] = last + part
        else:
            pieces.append(part)
    return lambda record: "".join(
        [piece if isinstance(piece, str) else piece(record) for piece in pieces]
    )


# -- JSON ----------------------------------------------------------------------------------

_Build = Callable[[Record], Any]


def _value(format: object, omitEmpty: bool, where: str) -> _Build:
    if isinstance(format, str):
        return _string(format, omitEmpty, where)
    if isinstance(format, Mapping):
        return _mapping(format, omitEmpty, where)
    if isinstance(format, (list, tuple)):
        return _list(format, omitEmpty, where)
    if format is None or isinstance(format, (bool, int, float)):
        constant = format
        if isinstance(constant, float) and constant.is_integer() and abs(constant) < _EXACT:
            constant = int(constant)
        return lambda record: constant
    raise FormatError(f"{where}: {type(format).__name__} is no value of JSON")


def _string(format: str, omitEmpty: bool, where: str) -> _Build:
    """
    A lone operator keeps its type.
    """
    try:
        parts = _parse(format)
    except FormatError as error:
        raise FormatError(f"{where}: {error}", error.position) from None
    if len(parts) == 1 and isinstance(parts[0], Operator):
        return parts[0].value
    return _join(parts, omitEmpty)


def _mapping(format: Mapping[Any, object], omitEmpty: bool, where: str) -> _Build:
    builds = [
        (str(name), _value(format[name], omitEmpty, f"{where}.{name}"))
        for name in sorted(format, key=str)
    ]

    def build(record: Record) -> dict[str, Any] | None:
        # As Envoy does, a mapping of nothing is nothing, and a list of nothing is a list.
        values = [(name, value(record)) for name, value in builds]
        if not omitEmpty:
            return dict(values)
        return {name: value for name, value in values if value is not None} or None

    return build


def _list(format: list[object] | tuple[object, ...], omitEmpty: bool, where: str) -> _Build:
    builds = [_value(value, omitEmpty, f"{where}[{index}]") for index, value in enumerate(format)]

    def build(record: Record) -> list[Any]:
        values = [value(record) for value in builds]
        return [value for value in values if value is not None] if omitEmpty else values

    return build
