"""
What cosmic-ray does not change: statements, results, members of enumerations, texts.

And which of its own operators are used.  It has eleven others for each binary operator; that
C{a + b} is not C{a ** b} is noticed by every test that runs the line, so one is enough, and the
share of killed mutants means more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import parso
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator, operator_names

Position = tuple[tuple[int, int], tuple[int, int]]

_BINARY = {
    "Add_Sub", "Sub_Add", "Mul_Add", "Div_Mul", "FloorDiv_Mul", "Mod_Add",
    "RShift_LShift", "LShift_RShift", "BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd",
}  # fmt: skip
_COMPARISONS = {
    "Eq_NotEq", "Eq_GtE", "NotEq_Eq", "NotEq_Gt", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt",
    "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt", "Is_IsNot", "IsNot_Is",
}  # fmt: skip


class _Own(Operator):
    """
    One change of one kind of node.
    """

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        if self.fits(node):
            yield node.start_pos, node.end_pos

    def fits(self, node: Any) -> bool:
        raise NotImplementedError

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return ()


def _replaced(node: Any, code: str) -> Any:
    """A statement or an expression in the place of C{node}, with what stands before it."""
    return parso.parse(node.get_first_leaf().prefix + code)


class RemoveStatement(_Own):
    """
    A call or an assignment is not done.
    """

    def fits(self, node: Any) -> bool:
        if node.parent is None or node.parent.type != "simple_stmt":
            return False
        if node.type == "expr_stmt":
            # Without a value it only annotates.
            return any(child.type == "operator" for child in node.children) or any(
                child.type == "annassign" and len(child.children) > 2 for child in node.children
            )
        return node.type in ("atom_expr", "power", "del_stmt", "raise_stmt")

    def mutate(self, node: Any, index: int) -> Any:
        return _replaced(node, "pass")


class ReturnNothing(_Own):
    """
    C{return value} gives C{None}.
    """

    def fits(self, node: Any) -> bool:
        return node.type == "return_stmt" and node.children[1].get_code().strip() != "None"

    def mutate(self, node: Any, index: int) -> Any:
        return _replaced(node, "return None")


class AnotherMember(_Own):
    """
    C{State.FOUND} becomes the next member of C{State}, where the module defines that.
    """

    def fits(self, node: Any) -> bool:
        return self._next(node) is not None

    def mutate(self, node: Any, index: int) -> Any:
        code = f"{node.children[0].value}.{self._next(node)}"
        rest = "".join(child.get_code() for child in node.children[2:])
        return _replaced(node, code + rest)

    def _next(self, node: Any) -> str | None:
        if node.type not in ("atom_expr", "power") or node.children[0].type != "name":
            return None
        trailer = node.children[1]
        if trailer.type != "trailer" or trailer.children[0].value != ".":
            return None
        members = self._members(node.get_root_node(), node.children[0].value)
        name = trailer.children[1].value
        if name not in members or len(members) < 2:
            return None
        return members[(members.index(name) + 1) % len(members)]

    @staticmethod
    def _members(root: Any, name: str) -> list[str]:
        for definition in root.iter_classdefs():
            bases = definition.get_super_arglist()
            if definition.name.value == name and bases is not None and "Enum" in bases.get_code():
                return [
                    statement.children[0].children[0].value
                    for statement in definition.children[-1].children
                    if statement.type == "simple_stmt"
                    and statement.children[0].type == "expr_stmt"
                    and statement.children[0].children[0].type == "name"
                ]
        return []


class AnotherText(_Own):
    """
    A text or bytes have one character more.
    """

    def fits(self, node: Any) -> bool:
        if node.type == "fstring_string":
            return True
        if node.type != "string" or node.parent.type == "simple_stmt":
            return False
        return not node.value.endswith(('"""', "'''"))

    def mutate(self, node: Any, index: int) -> Any:
        if node.type == "fstring_string":
            node.value += "X"
        else:
            node.value = f"{node.value[:-1]}X{node.value[-1]}"
        return node


class ReplaceIn(_Own):
    """
    C{in} becomes C{not in}, and the other way round.
    """

    def fits(self, node: Any) -> bool:
        return node.type == "comparison" and self._operator(node) in ("in", "not in")

    def mutate(self, node: Any, index: int) -> Any:
        operator = " not in" if self._operator(node) == "in" else " in"
        node.children[1] = parso.parse(operator)
        return node

    @staticmethod
    def _operator(node: Any) -> str:
        return " ".join(node.children[1].get_code().split())


class _Operators:
    OWN: ClassVar[tuple[type[_Own], ...]] = (
        RemoveStatement,
        ReturnNothing,
        AnotherMember,
        AnotherText,
        ReplaceIn,
    )


def operators() -> Iterable[tuple[str, Any]]:
    """
    @return: all that are used, with their names.
    """
    for name in operator_names():
        short = name.partition("/")[2]
        kind, _, change = short.partition("_")
        if kind == "ReplaceBinaryOperator" and change not in _BINARY:
            continue
        if kind == "ReplaceComparisonOperator" and change not in _COMPARISONS:
            continue
        operator = get_operator(name)
        if not operator.arguments():
            yield short, operator()
    for own in _Operators.OWN:
        yield own.__name__, own()
