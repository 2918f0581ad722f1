"""
The state of some objects as a value: equal states are equal values.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

_ATOMS: tuple[type, ...] = (
    type(None), bool, int, float, str, bytes, type, FunctionType, BuiltinFunctionType,
)  # fmt: skip


def frozen(thing: Any, constants: tuple[type, ...] = ()) -> Hashable:
    """
    Walk everything that is reachable from C{thing}: whatever an object keeps is a part of its
    state, so nothing is forgotten that is added to a layer later.  Which object is which is
    kept too, as its number in the order of the walk.

    @param constants: classes of what never changes.
    """
    return _Walk(constants).walk(thing)


class _Walk:
    def __init__(self, constants: tuple[type, ...]) -> None:
        self._atoms = frozenset((*_ATOMS, *constants))
        self._seen: dict[int, int] = {}

    def walk(self, thing: Any) -> Hashable:
        kind = type(thing)
        if kind in self._atoms:
            return thing  # type: ignore[no-any-return]
        if kind is bytearray:
            return bytes(thing)
        if isinstance(thing, enum.Enum):
            return thing
        if id(thing) in self._seen:
            return ("again", self._seen[id(thing)])
        self._seen[id(thing)] = len(self._seen)
        if isinstance(thing, (tuple, list)):
            return (kind, *map(self.walk, thing))
        if isinstance(thing, Mapping):
            keys = tuple(map(self.walk, thing))
            return (kind, keys, *map(self.walk, thing.values()))
        if kind is MethodType:
            return (thing.__func__, self.walk(thing.__self__))
        state = vars(thing)
        return (kind, tuple(state), *map(self.walk, state.values()))
