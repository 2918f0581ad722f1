"""
What Envoy's messages say of their own fields: C{validate.proto}, the rules that Envoy checks a
configuration by before it looks at it.

The rules are part of the messages' descriptors, so they are those of the installed
xds-protos; here is only what a rule's name means.  Values are those of
L{mxproxy.config.envoy.check}, a duration as seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from fractions import Fraction
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, OneofDescriptor
from google.protobuf.duration_pb2 import Duration

from .registry import FIELD_RULES, ONEOF_REQUIRED

#: A rule's name: whether a value is right, and what is wrong with one that is not.
_RULES: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "const": (lambda value, bound: value == bound, "has to be {}"),
    "gt": (lambda value, bound: value > bound, "has to be above {}"),
    "gte": (lambda value, bound: value >= bound, "has to be at least {}"),
    "lt": (lambda value, bound: value < bound, "has to be below {}"),
    "lte": (lambda value, bound: value <= bound, "has to be at most {}"),
    "in": (lambda value, bound: value in bound, "has to be one of {}"),
    "not_in": (lambda value, bound: value not in bound, "has to be another one"),
    "min_len": (lambda value, bound: len(value) >= bound, "needs at least {} characters"),
    "max_len": (lambda value, bound: len(value) <= bound, "has to have at most {} characters"),
    "max_bytes": (
        lambda value, bound: len(value.encode()) <= bound,
        "has to have at most {} bytes",
    ),
    "min_items": (lambda value, bound: len(value) >= bound, "needs at least {}"),
    "max_items": (lambda value, bound: len(value) <= bound, "has to have at most {}"),
    # What the enum has no name for is refused when it is read.
    "defined_only": (lambda value, bound: True, ""),
    # Of presence, not of a value: see isRequired.
    "required": (lambda value, bound: True, ""),
}


def rulesOf(field: FieldDescriptor) -> Any:
    """
    @return: the field's C{validate.FieldRules}, empty where there are none.
    """
    return field.GetOptions().Extensions[FIELD_RULES]


def isRequired(field: FieldDescriptor) -> bool:
    """
    Whether the message cannot be without this field.
    """
    rules = rulesOf(field)
    return bool(rules.message.required or rules.duration.required or rules.any.required)


def isRequiredOneof(oneof: OneofDescriptor) -> bool:
    """
    Whether one of its fields has to be there.
    """
    return bool(oneof.GetOptions().Extensions[ONEOF_REQUIRED])


def violations(rules: Any, value: Any) -> Iterator[tuple[str, str]]:
    """
    @param rules: L{rulesOf} a field.
    @param value: the field's.
    @return: what is wrong: where in the value, as C{"[1]"}, and what.
    """
    for kind, detail in rules.ListFields():
        if kind.name == "repeated" and detail.HasField("items"):
            for index, item in enumerate(value):
                for where, text in violations(detail.items, item):
                    yield f"[{index}]{where}", text
        if kind.name == "map":
            for key in value:
                for _, text in violations(detail.keys, key):
                    yield "", f"the key {key!r} {text}"
            continue
        for rule, bound in detail.ListFields():
            if rule.name == "items":
                continue
            right, text = _RULES[rule.name]
            plain, said = bound, bound
            if isinstance(bound, Duration):
                plain = seconds(bound)
                said = f"{plain:g}s"
            if not right(value, plain):
                yield "", "is empty" if _isEmpty(value, rule.name, bound) else text.format(said)


def _isEmpty(value: object, rule: str, bound: object) -> bool:
    return rule in ("min_len", "min_items") and isinstance(value, Sized) and bound == 1


def seconds(duration: Duration) -> float:
    """
    A duration's length.
    """
    return float(duration.seconds + Fraction(duration.nanos, 10**9))
