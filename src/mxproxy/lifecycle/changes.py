"""
What has changed from one generation to the next, for people: one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .generation import Generation

#: So many names are said of one kind; the rest is a number.
NAMES = 10


def changes(before: Generation, after: Generation) -> str:
    """
    >>> changes(one, other)
    'the node changed; listener web changed; clusters a, b new'

    A listener whose own plan is the same is called changed when a cluster's or the node's is not:
    it is another one for its filters, which begin to count anew.
    """
    said = ["the node changed"] if before.plan.node != after.plan.node else []
    said += _compare(
        "listener",
        {listener.plan.name: listener for listener in before.listeners},
        {listener.plan.name: listener for listener in after.listeners},
    )
    said += _compare("cluster", before.clusters, after.clusters)
    if before.plan.admin != after.plan.admin:
        said.append("the admin address stays until the next start")
    return "; ".join(said) or "nothing has changed"


def _compare(kind: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    new = [name for name in after if name not in before]
    gone = [name for name in before if name not in after]
    changed = [name for name in after if name in before and after[name] is not before[name]]
    return [
        f"{_names(kind, names)} {what}"
        for names, what in ((changed, "changed"), (new, "new"), (gone, "gone"))
        if names
    ]


def _names(kind: str, names: Iterable[str]) -> str:
    names = list(names)
    said = ", ".join(names[:NAMES])
    if len(names) > NAMES:
        said += f" and {len(names) - NAMES} more"
    return f"{kind}{'s' if len(names) > 1 else ''} {said}"
