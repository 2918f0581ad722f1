"""
The documentation's list of what is implemented, out of L{mxproxy.config.envoy.subset}.

    python -m mxproxy.config.envoy.docs --check docs/configuration.md
    python -m mxproxy.config.envoy.docs --write docs/configuration.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from ...generated import Generated
from .subset import SUBSET, Field


def listing() -> str:
    """
    Each message in Markdown: its fields, and what is to be said of them.
    """
    lines: list[str] = []
    for name, fields in SUBSET.items():
        lines += [f"#### `{name}`", ""]
        plain = [f"`{field}`" for field, known in fields.items() if not _remark(known)]
        lines += [", ".join(plain) or ("As below:" if fields else "No fields."), ""]
        remarks = [f"- `{field}`: {_remark(known)}" for field, known in fields.items()]
        remarks = [line for line in remarks if not line.endswith(": ")]
        if remarks:
            lines += [*remarks, ""]
    return "\n".join(lines)


def _remark(field: Field) -> str:
    return "; ".join(_parts(field))


def _parts(field: Field) -> Iterator[str]:
    if field.required:
        yield "required"
    if field.only:
        yield "only " + ", ".join(f"`{_json(value)}`" for value in field.only)
    if field.note:
        yield field.note
    if field.types:
        yield "one of " + ", ".join(f"`{name}`" for name in field.types)


def _json(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


PART = Generated(
    "mxproxy.config.envoy.docs", "the list of what is implemented", lambda: f"\n{listing()}\n"
)


if __name__ == "__main__":
    sys.exit(PART.main())
