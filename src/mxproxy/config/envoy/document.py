"""
A configuration file's text as plain values: mappings, lists, text, numbers, truth values.

YAML is read as Envoy reads it (C{source/common/protobuf/yaml_utility.cc}), which is neither
YAML 1.1 nor 1.2: C{y}, C{no} and C{off} are truth values; C{1.10} and dates stay the text
that they are written as, and become numbers only where a field is one; a number too large
for 32 bits is text, which a field takes just as well.  So a version label C{1.10} is the
same in both.  What differs: a key that is given twice is refused, where Envoy takes one of
the two.

Nothing in here knows what the values mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path as File
from typing import Any, NoReturn

import yaml

from ..errors import ConfigurationError
from ..files import readFile

#: More than any file that a person or a control plane has written; aliases of aliases can
#: make a file of a few lines as large as memory.
MAX_VALUES = 1_000_000

# yaml-cpp, src/convert.cpp: all lower case, all upper case, or with a capital.
_TRUE = {"y", "yes", "true", "on"}
_TRUTH = {
    form: name in _TRUE
    for name in [*_TRUE, "n", "no", "false", "off"]
    for form in (name, name.upper(), name.capitalize())
}
_NULL = {"", "~", "null", "Null", "NULL"}

# As C++ streams read integers when no base is set.
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_INT32 = range(-(2**31), 2**31)
_INT64 = range(-(2**63), 2**63)

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def readDocument(path: str) -> object:
    """
    Read a file: YAML if it is called C{.yaml} or C{.yml}, JSON if it is called C{.json}, and
    otherwise whichever it is.

    @raise ConfigurationError: it cannot be read or is neither; one line, with its place.
    """
    text = _read(path)
    suffix = File(path).suffix.lower()
    if suffix == ".json":
        return parseJSON(text, path)
    if suffix in (".yaml", ".yml") or not text.lstrip().startswith(("{", "[")):
        return parseYAML(text, path)
    try:
        return parseJSON(text, path)
    except ConfigurationError as notJSON:
        # YAML may begin with a brace, too.
        try:
            return parseYAML(text, path)
        except ConfigurationError:
            raise notJSON from None


def _read(path: str) -> str:
    try:
        return readFile(path).decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path!r} is not UTF-8, at byte {error.start}") from error
    except ValueError as error:  # a path with a NUL
        raise ConfigurationError(f"cannot read {path!r}: {error}") from error


# -- JSON


def parseJSON(text: str, path: str) -> object:
    """
    @param path: what the file is called, for an error's text.
    @raise ConfigurationError: it is not JSON, or says something twice.
    """

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in items:
            if key in found:
                raise ConfigurationError(f"{path}: the key {key!r} is there twice")
            found[key] = value
        return found

    def constant(name: str) -> NoReturn:
        raise ConfigurationError(f"{path}: {name} is no number in JSON")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise _wrong(path, error.lineno, error.colno, f"not JSON: {error.msg}") from error
    except RecursionError:
        raise ConfigurationError(f"{path}: nested too deeply") from None


# -- YAML


def parseYAML(text: str, path: str) -> object:
    """
    @param path: what the file is called, for an error's text.
    @raise ConfigurationError: it is not YAML, or says something twice.
    """
    try:
        # Parsed to nodes only: what their text means is decided here.
        node = yaml.compose(text, Loader=_LOADER)
        return None if node is None else _Values(path).of(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = f"not YAML: {error.problem or error.context}"
        if mark is None:
            raise ConfigurationError(f"{path}: {why}") from error
        raise _wrong(path, mark.line + 1, mark.column + 1, why) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not YAML: {error}") from error
    except RecursionError:
        raise ConfigurationError(f"{path}: nested too deeply") from None


class _Values:
    """
    Nodes of YAML as values.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._count = 0
        self._open: list[yaml.Node] = []

    def of(self, node: yaml.Node) -> object:
        self._count += 1
        if self._count > MAX_VALUES:
            raise ConfigurationError(f"{self._path}: more than {MAX_VALUES} values")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if node in self._open:
            raise self._wrong(node, "an alias of what it is a part of")
        self._open.append(node)
        if isinstance(node, yaml.SequenceNode):
            value: object = [self.of(item) for item in node.value]
        else:
            value = self._mapping(node.value)
        self._open.pop()
        return value

    def _mapping(self, items: Iterable[tuple[yaml.Node, yaml.Node]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in items:
            if key.tag == "!ignore":
                # Envoy's way of having a place for anchors in a file.
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise self._wrong(key, "a key has to be text")
            if key.value == "<<" and not key.style:
                raise self._wrong(key, "a merge key, which Envoy does not know: write it out")
            if key.value in found:
                raise self._wrong(key, f"the key {key.value!r} is there twice")
            found[key.value] = self.of(value)
        return found

    def _wrong(self, node: yaml.Node, why: str) -> ConfigurationError:
        mark = node.start_mark
        return _wrong(self._path, mark.line + 1, mark.column + 1, why)


def _scalar(node: yaml.ScalarNode) -> object:
    text: str = node.value
    # Tags (!!str) count for nothing; quotes do.
    if node.style:
        return text
    if text in _NULL:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if _INTEGER.fullmatch(text):
        number = _integer(text)
        if number in _INT32:
            return number
        if number in _INT64:
            return str(number)
    return text


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    if digits[:2] in ("0x", "0X"):
        number = int(digits, 16)
    elif digits.startswith("0"):
        number = int(digits, 8)
    else:
        number = int(digits)
    return -number if text.startswith("-") else number


def _wrong(path: str, line: int, column: int, why: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: line {line}, column {column}: {why}")
