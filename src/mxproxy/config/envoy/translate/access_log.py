"""
Access logs: Envoy's C{accesslog.v3.AccessLog}.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path as File
from typing import Any

from ....observe.format import FormatError, compileFormat
from ....observe.writer import STDOUT
from ...plan import AccessLogPlan
from .. import subset
from ..faults import Faults, Path
from ..registry import unpack
from .scope import sourceBytes, structValues

#: A plan's path for standard error.
STDERR = "!"

# Istio's files have its log there.
_DEVICES = {"/dev/stdout": STDOUT, "/dev/stderr": STDERR}


def translateAccessLogs(
    messages: Iterable[Any],
    path: Path,
    faults: Faults,
    on_connected: bool = False,
    flush_interval: float = 0.0,
) -> tuple[AccessLogPlan, ...]:
    """
    @return: one for each.
    """
    found = []
    for index, message in enumerate(messages):
        place = path.item(index) / "typed_config"
        name = message.typed_config.TypeName()
        config = unpack(message.typed_config)
        if name == subset.FILE_ACCESS_LOG:
            where = _DEVICES.get(config.path) or str(File(config.path).absolute())
        else:
            where = STDOUT if name == subset.STDOUT_ACCESS_LOG else STDERR
        text, values = _format(config.log_format, place / "log_format", faults)
        log = AccessLogPlan(
            where,
            json_format=values,
            text_format=text,
            omit_empty_values=config.log_format.omit_empty_values,
            on_connected=on_connected,
            flush_interval=flush_interval,
        )
        with faults.at(place / "log_format", FormatError):
            compileFormat(log)
        found.append(log)
    return tuple(found)


def _format(
    message: Any, path: Path, faults: Faults
) -> tuple[str | None, dict[str, object] | None]:
    kind = message.WhichOneof("format")
    if kind == "json_format":
        return None, structValues(message.json_format)
    if kind == "text_format":
        return message.text_format, None
    if kind == "text_format_source":
        data = sourceBytes(message.text_format_source, path / kind, faults)
        with faults.at(path / kind):
            return None if data is None else data.decode("utf-8"), None
    return None, None
