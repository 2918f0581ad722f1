"""
The diagram of the exchange's states, drawn from the table that runs it.

    python -m mxproxy.wire.diagram --check docs/wire.md
    python -m mxproxy.wire.diagram --write docs/wire.md
"""

from __future__ import annotations

import sys

from mxproxy.generated import Generated
from mxproxy.wire.exchange import PEER_STATES, TRANSITIONS, State


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


PART = Generated("mxproxy.wire.diagram", "the state diagram", stateDiagram)


if __name__ == "__main__":
    sys.exit(PART.main())
