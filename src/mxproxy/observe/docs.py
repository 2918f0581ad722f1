"""
The tables of statistics in the documentation, made of their declaration::

    python -m mxproxy.observe.docs --write docs/observability.md
    python -m mxproxy.observe.docs --check docs/observability.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .stats import ISTIO, STATS

BEGIN = "<!-- begin: python -m mxproxy.observe.docs -->\n"
END = "<!-- end: python -m mxproxy.observe.docs -->\n"


def tables() -> str:
    """
    Markdown: Istio's metrics, and all others.
    """
    lines = ["| Istio's metric | |", "| --- | --- |"]
    lines += [f"| `{metric.name}` | {metric.help} |" for metric in ISTIO]
    lines += ["", "| in `/stats` | in `/stats/prometheus` | |", "| --- | --- | --- |"]
    for stat in STATS:
        labels = ", ".join(stat.prometheusLabels)
        family = f"`{stat.family}`" if stat.prometheus else "not there"
        if labels:
            family += f" `{{{labels}}}`"
        kind = "" if stat.kind.value == "counter" else " (a gauge)"
        lines.append(f"| `{stat.name}` | {family} | {stat.help}{kind} |")
    return "\n".join(lines) + "\n"


def replaceTables(text: str) -> str:
    """
    Put the tables between the two markers of a document.

    @raise ValueError: the markers are not there, each once and in order.
    """
    before, begin, behind = text.partition(BEGIN)
    _, end, after = behind.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise ValueError(f"the markers {BEGIN.strip()} and {END.strip()} are wanted once, in order")
    return f"{before}{begin}{tables()}{end}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Check or write the tables in a document.

    @return: the exit status; 1 when a check finds others than those of the declaration.
    """
    parser = argparse.ArgumentParser(prog="python -m mxproxy.observe.docs", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", type=Path, metavar="FILE", help="compare, change nothing")
    what.add_argument("--write", type=Path, metavar="FILE", help="replace the tables")
    options = parser.parse_args(arguments)
    path: Path = options.check or options.write
    text = path.read_text(encoding="utf-8")
    try:
        wanted = replaceTables(text)
    except ValueError as error:
        parser.error(f"{path}: {error}")
    if options.check and wanted != text:
        sys.stderr.write(f"{path}: not the declared statistics; run --write\n")
        return 1
    if options.write:
        path.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
