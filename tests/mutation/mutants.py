"""
All mutants of a source text, without those that cannot mean anything.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from .operators import operators


class Mutant(NamedTuple):
    """
    One change.

    @ivar operator: what was done.
    @ivar line: where, from 1.
    @ivar before: the changed lines.
    @ivar after: what they have become.
    @ivar source: the whole mutated text.
    """

    operator: str
    line: int
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"line {self.line}, {self.operator}\n    - {self.before}\n    + {self.after}"


def mutants(source: str) -> Iterator[Mutant]:
    """
    @param source: a module's; its annotations have to be postponed
        (C{from __future__ import annotations}), as changes in them are left out.
    """
    ignored = list(_meaningless(ast.parse(source)))
    nodes = list(ast_nodes(get_ast(source)))
    seen = {source}
    for name, operator in operators():
        occurrence = -1
        for node in nodes:
            for start, end in operator.mutation_positions(node):
                occurrence += 1
                if any(first <= start and end <= last for first, last in ignored):
                    continue
                mutated = mutate_code(source, operator, occurrence)
                if mutated is None or mutated in seen:
                    continue
                seen.add(mutated)
                yield Mutant(name, start[0], *_changed(source, mutated), mutated)


def _changed(source: str, mutated: str) -> tuple[str, str]:
    before: list[str] = []
    after: list[str] = []
    for line in difflib.ndiff(source.splitlines(), mutated.splitlines()):
        if line[:2] == "- ":
            before.append(line[2:].strip())
        elif line[:2] == "+ ":
            after.append(line[2:].strip())
    return " ".join(before), " ".join(after)


_Range = tuple[tuple[int, int], tuple[int, int]]


def _meaningless(tree: ast.Module) -> Iterator[_Range]:
    """
    Where a change is none: annotations, which nobody evaluates, what only a type checker reads,
    C{Literal}s, and C{__all__}, which is for C{import *}.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) or (
            isinstance(node, ast.arg) and node.annotation is not None
        ):
            yield _range(node.annotation)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield _range(node.returns)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("cast", "TypeVar"):
            yield _range(node.args[0])
        elif (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING") or (
            isinstance(node, ast.Assign)
            and (
                getattr(node.targets[0], "id", "") == "__all__"
                or getattr(getattr(node.value, "value", None), "id", "") == "Literal"
            )
        ):
            yield _range(node)


def _range(node: ast.expr | ast.stmt) -> _Range:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
