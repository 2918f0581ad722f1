"""
What keeps an object that should be gone.
"""

from __future__ import annotations

import gc
from types import CellType, FrameType, ModuleType


def findCycle(thing: object) -> list[str]:
    """
    The types of the objects of a cycle that keeps C{thing}: its own, or one that leads to it.
    """
    holders: list[object] = [thing]
    seen = {id(thing), id(holders)}
    for held in holders:
        path = [] if _isPlain(held) else _pathBack(held)
        if path:
            return path
        for holder in gc.get_referrers(held):
            if id(holder) not in seen and not isinstance(holder, (FrameType, ModuleType)):
                seen.add(id(holder))
                holders.append(holder)
        if len(holders) > 1000:
            break
    return [type(thing).__name__, "something"]


def _pathBack(start: object) -> list[str]:
    """From C{start} to itself, by the references that objects keep."""
    ways: list[tuple[object, list[str]]] = [(start, [])]
    seen: set[int] = set()
    for held, path in ways:
        for kept in gc.get_referents(held):
            if kept is start:
                return [*_named(path, held), type(start).__name__]
            if id(kept) in seen or isinstance(kept, (type, ModuleType)) or len(ways) > 5000:
                continue
            seen.add(id(kept))
            ways.append((kept, _named(path, held)))
    return []


def _named(path: list[str], thing: object) -> list[str]:
    return path if _isPlain(thing) else [*path, type(thing).__name__]


def _isPlain(thing: object) -> bool:
    """What is only in between, an object's dictionary say, is not worth a name."""
    return isinstance(thing, (dict, list, tuple, set, CellType))
