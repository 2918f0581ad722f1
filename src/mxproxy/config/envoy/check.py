"""
Checks a configuration's plain values against Envoy's messages and against what of them is
implemented, and lists every fault, not only the first.

What JSON's mapping of protobuf allows is allowed here, and what Envoy's reader allows
beside it: C{snake_case} and C{lowerCamelCase}, numbers and truth values in quotes, an
enum's names in any case, one value where a list of one is meant.  The result has one
spelling for everything, and is what L{google.protobuf.json_format} then has the last word
on.

Nothing in here knows what a field means.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from . import subset
from .faults import Faults, Path
from .registry import descriptorOf, messageClass
from .rules import isRequired, isRequiredOneof, rulesOf, violations
from .subset import SUBSET, Field

_TYPE = "@type"
_PREFIX = "type.googleapis.com/"

_DURATION = re.compile(r"-?[0-9]+(\.[0-9]{1,9})?s")
# google/protobuf/duration.proto: some 10,000 years.
_LONGEST = 315_576_000_000

_DIGITS = re.compile(r"-?[0-9]{1,40}")
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: range(-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_INT64: range(-(2**63), 2**63),
    FieldDescriptor.CPPTYPE_UINT32: range(2**32),
    FieldDescriptor.CPPTYPE_UINT64: range(2**64),
}
_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


class Unusable(ValueError):
    """
    A value is not what its field needs; the text says what would be.
    """


def checkDocument(document: object, name: str, faults: Faults) -> Message | None:
    """
    @param document: plain values, as L{mxproxy.config.envoy.document} reads them.
    @param name: the full name of the message that they have to be.
    @param faults: where everything that is wrong goes.
    @return: the message, or C{None} if there are faults.
    """
    descriptor = descriptorOf(name)
    values = _Checker(faults).message(descriptor, document, Path())
    if faults:
        return None
    message: Message = messageClass(name)()
    try:
        json_format.ParseDict(values, message)
    except (json_format.ParseError, ValueError) as error:
        # Whatever has been overlooked above is refused by protobuf all the same.
        faults.add("", str(error))
        return None
    return message


#: How much of a text is quoted in a fault, in characters.
QUOTED = 40


def describe(value: object) -> str:
    """
    What a person would call a value.
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        # It may be a whole file that is none of ours, a private key among them.
        return f"the text {value[:QUOTED]!r}{'...' if len(value) > QUOTED else ''}"
    return "a list" if isinstance(value, list) else "a mapping"


# -- one value, without what is in it


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    quotes = ": put it in quotes" if isinstance(value, (bool, int, float)) else ""
    raise Unusable(f"{describe(value)} where text is needed{quotes}")


def _truth(value: object) -> bool:
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    if isinstance(value, bool):
        return value
    raise Unusable(f"{describe(value)} where true or false is needed")


def _float(value: object) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise Unusable(f"{describe(value)} where a number is needed")


def _integer(value: object, allowed: range) -> int:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        number: float = int(value)
    elif isinstance(value, int):
        number = value
    else:
        number = _float(value)
    if isinstance(value, bool) or number != int(number):
        raise Unusable(f"{describe(value)} where a whole number is needed")
    if number not in allowed:
        raise Unusable(f"{number} is not from {allowed[0]} to {allowed[-1]}")
    return int(number)


def _bytes(value: object) -> str:
    text = _text(value)
    try:
        base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unusable("not base64, in which bytes are written") from None
    return text


def _enum(value: object, field: FieldDescriptor) -> str:
    kind = field.enum_type
    assert kind is not None
    if isinstance(value, str):
        for name in kind.values_by_name:
            if name.lower() == value.lower():
                return name
    try:
        known = kind.values_by_number.get(_integer(value, _INTEGERS[FieldDescriptor.CPPTYPE_INT32]))
    except Unusable:
        known = None
    if known is not None:
        return known.name
    said = repr(value) if isinstance(value, str) else describe(value)
    raise Unusable(f"{said} is none of {', '.join(kind.values_by_name)}")


def _duration(value: object) -> str:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise Unusable(f"{describe(value)} where a duration is needed, as in 1.5s")
    if abs(float(value[:-1])) > _LONGEST:
        raise Unusable(f"{value} is longer than a duration can be")
    if value.startswith("-"):
        # Protobuf allows it; Envoy says "Expected positive duration".
        raise Unusable(f"{value} is below 0")
    return value


def _struct(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Unusable(f"{describe(value)} where a mapping is needed")
    return value


_WELL_KNOWN: Mapping[str, Callable[[object], object]] = {
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
}
_WRAPPERS = {
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Int32", "Int64", "UInt32", "UInt64", "Float", "Double", "String", "Bytes")
}


def _scalar(value: object, field: FieldDescriptor) -> object:
    if field.cpp_type in _INTEGERS:
        return _integer(value, _INTEGERS[field.cpp_type])
    if field.cpp_type in _FLOATS:
        return _float(value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _truth(value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return _enum(value, field)
    return _bytes(value) if field.type == FieldDescriptor.TYPE_BYTES else _text(value)


# -- with what is in it


class _Checker:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def message(self, descriptor: Descriptor, value: object, path: Path) -> dict[str, object]:
        """
        @return: the fields that can be used, by the names that the message has for them.
        """
        if not isinstance(value, dict):
            self._faults.add(path, f"{describe(value)} where a mapping is needed")
            return {}
        implemented = SUBSET[descriptor.full_name]
        spellings = {field.json_name: field for field in descriptor.fields}
        spellings.update(descriptor.fields_by_name)
        given: dict[str, object] = {}
        for key, item in value.items():
            if item is None:
                # In protobuf's JSON: as if it were not there.
                continue
            field = spellings.get(key)
            if field is None:
                self._faults.add(path / key, _unknown(key, descriptor))
                continue
            name = field.name
            if name in given:
                self._faults.add(path / key, f"the same field as {name}, which is there, too")
                continue
            self._faults.spelt(path / name, path / key)
            given[name] = None
            if name not in implemented:
                self._faults.add(path / name, "not implemented by mxproxy")
                continue
            try:
                given[name] = self._field(field, implemented[name], item, path / name)
            except Unusable as error:
                self._faults.add(path / name, str(error))
        self._checkPresence(descriptor, given, path)
        return {name: item for name, item in given.items() if item is not None}

    def _checkPresence(self, descriptor: Descriptor, given: Iterable[str], path: Path) -> None:
        for oneof in descriptor.oneofs:
            names = [field.name for field in oneof.fields]
            chosen = [name for name in names if name in given]
            if len(chosen) > 1:
                self._faults.add(path / chosen[1], f"excludes {chosen[0]}, which is there, too")
            if not chosen and isRequiredOneof(oneof):
                table = SUBSET[descriptor.full_name]
                there = [name for name in names if name in table]
                self._faults.add(path / there[0] if len(there) == 1 else path, _missing(there))
        for name, known in SUBSET[descriptor.full_name].items():
            field = descriptor.fields_by_name[name]
            if name in given:
                continue
            if known.required or (isRequired(field) and field.containing_oneof is None):
                self._faults.add(path / name, "is required")
            elif field.containing_oneof is None and not field.is_repeated:
                self._checkDefault(field, path / name)
            elif field.is_repeated:
                self._checkRules(field, [], path / name)

    def _checkDefault(self, field: FieldDescriptor, path: Path) -> None:
        # A field without presence that is not there has a value all the same, and Envoy's
        # rules are about that.
        if field.message_type is None and not field.has_presence:
            if any(True for _ in violations(rulesOf(field), field.default_value)):
                self._faults.add(path, "is required")

    def _checkRules(self, field: FieldDescriptor, value: object, path: Path) -> bool:
        """
        @return: whether something is wrong.
        """
        wrong = False
        for where, text in violations(rulesOf(field), value):
            self._faults.add(path + where, text)
            wrong = True
        return wrong

    def _field(self, field: FieldDescriptor, known: Field, value: object, path: Path) -> object:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return self._map(field, known, value, path)
        if not field.is_repeated:
            return self._one(field, known, value, path)
        items = value if isinstance(value, list) else [value]
        if not isinstance(value, (list, dict)):
            raise Unusable(f"{describe(value)} where a list is needed")
        result = []
        for place, item in zip(path.each(items), items, strict=True):
            try:
                result.append(self._one(field, known, item, place, ruled=False))
            except Unusable as error:
                self._faults.add(place, str(error))
        if len(result) == len(items):
            self._checkRules(field, result, path)
        return result

    def _map(self, field: FieldDescriptor, known: Field, value: object, path: Path) -> object:
        entries = _struct(value)
        assert field.message_type is not None
        kind = field.message_type.fields_by_name["value"]
        self._checkRules(field, entries, path)
        return {
            key: self._one(kind, known, item, Path(f"{path}[{key!r}]"))
            for key, item in entries.items()
        }

    def _one(
        self, field: FieldDescriptor, known: Field, value: object, path: Path, ruled: bool = True
    ) -> object:
        """
        A field's value, or one of a list's.
        """
        kind = field.message_type
        if kind is None:
            result = _scalar(value, field)
        elif kind.full_name == "google.protobuf.Any":
            return self._any(known, value, path)
        elif kind.full_name in _WELL_KNOWN:
            result = _WELL_KNOWN[kind.full_name](value)
        elif kind.full_name in _WRAPPERS:
            result = _scalar(value, kind.fields_by_name["value"])
        else:
            return self.message(kind, value, path)
        if ruled and self._checkRules(field, _ruled(field, result), path):
            return result
        if known.only and result not in known.only:
            there = ", ".join(_jsonText(one) for one in known.only)
            raise Unusable(f"{_jsonText(result)} is not implemented by mxproxy; there is: {there}")
        return result

    # -- Any

    def _any(self, known: Field, value: object, path: Path) -> object:
        fields = dict(_struct(value))
        name = self._typeName(fields, _TYPE, path)
        if name in subset.TYPED_STRUCTS:
            unwrapped = self._unwrap(fields, path)
            if unwrapped is None:
                return {}
            name, fields = unwrapped
            self._checkType(name, known, path / "type_url")
            self._faults.spelt(path, path / "value")
        elif name is not None:
            self._checkType(name, known, path / _TYPE)
        if name is None or name not in known.types:
            return {}
        if name == subset.STRUCT:
            return {_TYPE: _PREFIX + name, "value": _struct(fields.get("value", {}))}
        descriptor = descriptorOf(name)
        return {_TYPE: _PREFIX + name, **self.message(descriptor, fields, path)}

    def _unwrap(
        self, fields: dict[str, object], path: Path
    ) -> tuple[str, dict[str, object]] | None:
        """
        What a TypedStruct holds: the name of the message's type, and its fields.
        """
        if "typeUrl" in fields:
            fields["type_url"] = fields.pop("typeUrl")
        name = self._typeName(fields, "type_url", path)
        inner = fields.pop("value", None)
        for key in fields:
            self._faults.add(path / key, "unknown field: a TypedStruct has type_url and value")
        if name is None:
            return None
        return name, dict(_struct({} if inner is None else inner))

    def _typeName(self, fields: dict[str, object], key: str, path: Path) -> str | None:
        """
        Take the type out of a message's fields.
        """
        url = fields.pop(key, None)
        if url is None:
            self._faults.add(path / key, "is required: it says what this is")
            return None
        host, _, name = _text(url).rpartition("/")
        if not host or not name:
            self._faults.add(path / key, f"{url!r} is not of the form {_PREFIX}NAME")
            return None
        return name

    def _checkType(self, name: str, known: Field, path: Path) -> None:
        if name not in known.types:
            there = ", ".join(known.types)
            self._faults.add(path, f"{name} is not implemented by mxproxy here; there is: {there}")


def _ruled(field: FieldDescriptor, value: Any) -> object:
    """
    A value as its field's rules are about it.
    """
    if field.enum_type is not None:
        return field.enum_type.values_by_name[value].number
    if field.message_type is not None and field.message_type.full_name.endswith(".Duration"):
        return float(value[:-1])
    return value


def _jsonText(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unknown(key: str, descriptor: Descriptor) -> str:
    near = difflib.get_close_matches(key, SUBSET[descriptor.full_name], 1)
    guess = f"; did you mean {near[0]}?" if near else ""
    return f"unknown field: {descriptor.full_name} has none of that name{guess}"


def _missing(names: list[str]) -> str:
    return "is required" if len(names) == 1 else f"one of {', '.join(names)} is required"
