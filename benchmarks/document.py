"""
The tables of docs/performance.md, out of the results that are committed.

    python -m benchmarks.document --check docs/performance.md
    python -m benchmarks.document --write docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .micro.compare import time
from .summary import METRICS, Metric
from .table import number

RESULTS = Path(__file__).parent / "results"

#: CPUs that others may use before it has to be said what comes of it.
_BUSY = 0.1

#: What each set's tables have; the terminal has all of it.
_COLUMNS = {
    "peers": None,
    "self": ("bulk, MB/s", "CPU seconds", "requests/s", "new connections/s", "of one proxy"),
    "workers": ("bulk, MB/s", "requests/s", "new connections/s"),
    "pythons": ("bulk, MB/s", "requests/s", "new connections/s", "of one proxy"),
}


def tables(report: Mapping[str, Any], sections: Sequence[str] | None) -> Iterator[str]:
    """
    Lines of Markdown: a table for each section, a row for each peer.
    """
    figures, compared = report["figures"], report["baseline"]
    chosen: dict[str, list[Metric]] = {}
    for metric in METRICS:
        wanted = sections is None or metric.section.startswith(tuple(sections))
        if metric.name in figures and wanted:
            chosen.setdefault(metric.section, []).append(metric)
    for section, metrics in chosen.items():
        yield f"| {section} | {' | '.join(metric.title for metric in metrics)} |"
        yield f"| --- |{' ---: |' * len(metrics)}"
        for peer in report["peers"]:
            cells = [_cell(figures[metric.name].get(peer)) for metric in metrics]
            if any(cells):
                yield f"| {peer} | {' | '.join(cells)} |"
        yield ""
    machine, settings = report["machine"], report["settings"]
    yield (
        f"{machine['date'][:10]}, {machine['cpus']} CPUs ({machine['cpu']}), {machine['kernel']}; "
        f"medians of {settings['rounds']} rounds of {settings['seconds']:g} s"
        + (f", each process of a proxy with {settings['quota']:g} CPU" if settings["quota"] else "")
        + f"; in brackets the ratio to {compared}. Others used {machine['others_cpus']:.2f} CPUs "
        "meanwhile"
        + (
            ", so all are slower than they would be alone."
            if machine["others_cpus"] > _BUSY
            else "."
        )
    )
    yield ""
    for peer, version in report["versions"].items():
        tls = report["tls"].get(peer)
        yield f"- {peer}: {version}" + (f"; {tls}" if tls else "")


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    text = f"{number(found['median'])} ±{found['spread']:.0%}"
    return text if found["ratio"] is None else f"{text} ({found['ratio']:.2f})"


def _micro(report: Mapping[str, Any]) -> Iterator[str]:
    yield "| | time |"
    yield "| --- | ---: |"
    for name, found in report["figures"].items():
        yield f"| {name} | {time(found['median'])} ±{found['spread']:.0%} |"
    yield ""
    yield f"{report['machine']['date'][:10]}, Python {report['python']}, {report['machine']['cpu']}."


def replaced(text: str, results: Path = RESULTS) -> str:
    """
    @param text: a document, with C{<!-- begin: benchmarks NAME -->} and C{end} around what is
        generated of the results C{NAME}.
    @raise ValueError: a marker has no end, or there are no such results.
    """

    def fill(found: re.Match[str]) -> str:
        name = found[1]
        path = results / f"{name}.json"
        if not path.exists():
            raise ValueError(f"no results: {path}")
        report = json.loads(path.read_text(encoding="utf-8"))
        lines = _micro(report) if name == "micro" else tables(report, _COLUMNS[name])
        return "\n".join([_marker("begin", name), *lines, _marker("end", name)])

    pattern = r"<!-- begin: benchmarks (\w+) -->.*?<!-- end: benchmarks \1 -->"
    made, count = re.subn(pattern, fill, text, flags=re.DOTALL)
    if count != text.count("<!-- begin: benchmarks "):
        raise ValueError("a begin without its end")
    return made


def _marker(edge: str, name: str) -> str:
    return f"<!-- {edge}: benchmarks {name} -->"


def main(argv: Sequence[str]) -> int:
    """
    @return: the exit status: 0, or 1 when the document is not current.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.document")
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--check", type=Path, metavar="FILE")
    group.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    path: Path = options.check or options.write
    text = path.read_text(encoding="utf-8")
    made = replaced(text)
    if options.write:
        path.write_text(made, encoding="utf-8")
    elif made != text:
        print(f"{path} is not current: python -m benchmarks.document --write {path}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
