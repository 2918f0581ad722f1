"""
The configuration that runs, without its secrets.

The plan (L{mxproxy.config.plan}) is dumped, whichever way it was written down: fields are those
of its classes, each with its class under C{@type}.  Texts of keys, and options of filters whose
names sound like a secret, are C{[redacted]}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from ...tls.settings import PEM

if TYPE_CHECKING:
    from ...service import ProxyService

REDACTED = "[redacted]"

_SECRET = re.compile(r"secret|passw|token|credential|private|api_?key|\bkey$", re.IGNORECASE)

#: Nobody nests deeper, and what does is no configuration.
_DEPTH = 40


def take(service: ProxyService, arguments: Mapping[str, Any]) -> Any:
    """
    @return: the plan.
    """
    return dump(service.plan)


def merge(values: Sequence[Any], arguments: Mapping[str, Any]) -> Any:
    """
    Workers run the same.
    """
    return values[0]


def dump(value: Any, depth: int = 0) -> Any:
    """
    What JSON has of a value.
    """
    if depth > _DEPTH:
        return "…"
    if isinstance(value, PEM):
        return {"filename": value.path} if value.path is not None else _inline(value)
    if isinstance(value, Enum):
        return dump(value.value, depth)
    if is_dataclass(value) and not isinstance(value, type):
        return {
            "@type": type(value).__name__,
            **{
                field.name: dump(getattr(value, field.name), depth + 1)
                for field in fields(value)
                if not field.name.startswith("_")
            },
        }
    if isinstance(value, Mapping):
        return {
            str(key): REDACTED if _SECRET.search(str(key)) else dump(one, depth + 1)
            for key, one in value.items()
        }
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Sequence, set, frozenset)):
        return [dump(one, depth + 1) for one in value]
    # Of somebody else's class, what it holds is not for us to show.
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _inline(pem: PEM) -> dict[str, str]:
    text = pem.text or b""
    if b"PRIVATE KEY" in text:
        return {"inline_string": REDACTED}
    return {"inline_string": text.decode("utf-8", "backslashreplace")}
