"""
The tables of statistics in the documentation, made of their declaration::

    python -m mxproxy.observe.docs --write docs/observability.md
    python -m mxproxy.observe.docs --check docs/observability.md
"""

from __future__ import annotations

import sys

from ..generated import Generated
from .stats import ISTIO, STATS


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


PART = Generated("mxproxy.observe.docs", "the tables of statistics", tables)


if __name__ == "__main__":
    sys.exit(PART.main())
