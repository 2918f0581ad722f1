"""
What all parts of a translation share: the file's faults, its names, and small conversions of
protobuf's values.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format

from ...files import readFile
from ..faults import Faults, Path
from ..rules import seconds


@dataclass
class Scope:
    """
    What is known while a file is translated.

    @ivar faults: where everything that is wrong goes.
    @ivar clusters: the clusters' C{lb_policy} by their names.
    @ivar secrets: C{static_resources.secrets} by their names, with their places.
    @ivar directory: what the names of files are relative to.  twistd changes its own
        (C{--rundir}) before they are read again.
    @ivar tries: whether certificates are read and tried, so that what is wrong with them is a
        fault with its place.
    @ivar exchanges: ALPN names that stand for a metadata exchange of the file's, or of
        Istio's.
    """

    faults: Faults
    clusters: Mapping[str, str] = field(default_factory=dict)
    secrets: dict[str, tuple[Any, Path]] = field(default_factory=dict)
    exchanges: frozenset[str] = frozenset()
    directory: str = field(default_factory=os.getcwd)
    tries: bool = True


def secondsOf(message: Any, name: str, default: float) -> float:
    """
    A duration's length; C{default} if it is not there.
    """
    return seconds(getattr(message, name)) if message.HasField(name) else default


def wrapped(message: Any, name: str, default: Any) -> Any:
    """
    What a wrapper (C{UInt32Value}, C{BoolValue}, ...) holds; C{default} if it is not there.
    """
    return getattr(message, name).value if message.HasField(name) else default


def enumName(message: Any, name: str) -> str:
    """
    An enum's value by its name.
    """
    value: str = (
        message.DESCRIPTOR.fields_by_name[name]
        .enum_type.values_by_number[getattr(message, name)]
        .name
    )
    return value


def structValues(struct: Any) -> dict[str, object]:
    """
    A C{google.protobuf.Struct} as plain values; a whole number is an C{int}, as in JSON, and
    names are in alphabetical order: of another, a C{Struct} knows nothing.
    """
    values: dict[str, object] = _plain(json_format.MessageToDict(struct))
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in sorted(value.items())}
    return value


def sourceBytes(source: Any, path: Path, faults: Faults) -> bytes | None:
    """
    What a C{DataSource} holds or names; C{None}, and a fault, if it cannot be had.
    """
    kind = source.WhichOneof("specifier")
    if kind == "inline_string":
        text: str = source.inline_string
        return text.encode()
    if kind == "inline_bytes":
        return bytes(source.inline_bytes)
    if kind == "environment_variable":
        value = os.environb.get(source.environment_variable.encode())
        if value is None:
            faults.add(
                path / kind, f"there is no environment variable {source.environment_variable!r}"
            )
        return value
    try:
        return readFile(source.filename)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        faults.add(path / "filename", f"cannot read {source.filename!r}: {why}")
        return None
