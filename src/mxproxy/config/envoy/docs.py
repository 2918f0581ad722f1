"""
The documentation's list of what is implemented, out of L{mxproxy.config.envoy.subset}.

    python -m mxproxy.config.envoy.docs --check docs/configuration.md
    python -m mxproxy.config.envoy.docs --write docs/configuration.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .subset import SUBSET, Field

BEGIN = "<!-- begin: python -m mxproxy.config.envoy.docs -->\n"
END = "<!-- end: python -m mxproxy.config.envoy.docs -->\n"


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


def replaceListing(text: str) -> str:
    """
    Put the list between the two markers of a document.

    @raise ValueError: the markers are not there, each once and in order.
    """
    before, begin, behind = text.partition(BEGIN)
    _, end, after = behind.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise ValueError(f"the markers {BEGIN.strip()} and {END.strip()} are wanted once, in order")
    return f"{before}{begin}\n{listing()}\n{end}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Check or write the list in a document.

    @return: the exit status; 1 when a check finds another.
    """
    parser = argparse.ArgumentParser(
        prog="python -m mxproxy.config.envoy.docs",
        description="The list of what is implemented of Envoy's configuration.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", type=Path, metavar="FILE", help="compare, change nothing")
    what.add_argument("--write", type=Path, metavar="FILE", help="replace the list")
    options = parser.parse_args(arguments)
    path: Path = options.check or options.write
    text = path.read_text(encoding="utf-8")
    try:
        wanted = replaceListing(text)
    except ValueError as error:
        parser.error(f"{path}: {error}")
    if options.check and wanted != text:
        sys.stderr.write(f"{path}: the list is not that of subset.py; run --write\n")
        return 1
    if options.write:
        path.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
