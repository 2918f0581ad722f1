"""
The diagram of the exchange's states, drawn from the table that runs it.

    python -m mxproxy.wire.diagram --check docs/wire.md
    python -m mxproxy.wire.diagram --write docs/wire.md

The functions here are as pure as the rest of C{wire/}; only L{main}, which is the command, opens
a file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mxproxy.wire.exchange import PEER_STATES, TRANSITIONS, State

BEGIN = "<!-- begin: python -m mxproxy.wire.diagram -->\n"
END = "<!-- end: python -m mxproxy.wire.diagram -->\n"


def stateDiagram() -> str:
    """
    The table as Mermaid's C{stateDiagram-v2}, in a Markdown code block; the same each time.

    An arrow is labelled with the event, the action and what is counted.
    """
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.READING_MAGIC.value}"]
    for (state, event), (target, action, counts) in TRANSITIONS.items():
        counted = "".join(f" +{counter.value}" for counter in counts)
        label = f"{event.value} / {action.value}{counted}"
        lines.append(f"    {state.value} --> {target.value}: {label}")
    sources = {state for state, _ in TRANSITIONS}
    lines += [f"    {state.value} --> [*]" for state in State if state not in sources]
    lines += ["```", "", "| state | peer_state |", "| --- | --- |"]
    lines += [f"| `{state.value}` | `{PEER_STATES[state].value}` |" for state in State]
    return "\n".join(lines) + "\n"


def replaceDiagram(text: str) -> str:
    """
    Put the diagram between the two markers of a document.

    @raise ValueError: the markers are not there, each once and in order.
    """
    before, begin, behind = text.partition(BEGIN)
    _, end, after = behind.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise ValueError(f"the markers {BEGIN.strip()} and {END.strip()} are wanted once, in order")
    return f"{before}{begin}{stateDiagram()}{end}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Check or write the diagram in a document.

    @return: the exit status; 1 when a check finds another diagram than the table's.
    """
    parser = argparse.ArgumentParser(prog="python -m mxproxy.wire.diagram", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", type=Path, metavar="FILE", help="compare, change nothing")
    what.add_argument("--write", type=Path, metavar="FILE", help="replace the diagram")
    options = parser.parse_args(arguments)
    path: Path = options.check or options.write
    text = path.read_text(encoding="utf-8")
    try:
        wanted = replaceDiagram(text)
    except ValueError as error:
        parser.error(f"{path}: {error}")
    if options.check and wanted != text:
        print(f"{path}: the state diagram is not that of the table; run --write", file=sys.stderr)
        return 1
    if options.write:
        path.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
