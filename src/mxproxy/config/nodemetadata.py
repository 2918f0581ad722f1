"""
The file of C{--node-metadata}: who we are, as JSON or YAML.

What peers are told are strings, so what travels has to be one here: a label C{1.10} that
YAML reads as the number 1.1 is refused, not sent as something else or left out in silence.
What does not travel may be anything (L{mxproxy.wire.metadata} knows which is which).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml

from ..wire.metadata import FIELD_KEYS, LABELS_KEY, OWNER_KEY
from .errors import ConfigurationError
from .files import readFile


def readNodeMetadata(path: str) -> dict[str, object]:
    """
    @raise ConfigurationError: the file cannot be read, is neither JSON nor YAML, or holds
        no mapping, or something that travels is not text.
    """
    metadata = _parse(path, _read(path))
    if not isinstance(metadata, dict):
        raise ConfigurationError(
            f"{path!r} holds {_describe(metadata)} where node metadata is a mapping, "
            "for instance {'NAME': 'web-1', 'NAMESPACE': 'shop'}"
        )
    _checkKeys(path, metadata)
    for key in (*FIELD_KEYS.values(), OWNER_KEY):
        _checkText(path, key, metadata.get(key, ""))
    labels = metadata.get(LABELS_KEY, {})
    if not isinstance(labels, dict):
        raise ConfigurationError(
            f"{path!r}: {LABELS_KEY} is {_describe(labels)} where it has to be a mapping of text"
        )
    _checkKeys(path, labels)
    for key, value in labels.items():
        _checkText(path, f"{LABELS_KEY}[{key!r}]", value)
    return metadata


def _read(path: str) -> str:
    try:
        return readFile(path).decode("utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the node metadata file {path!r}: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path!r} is not UTF-8 text: the byte at {error.start} is none of it"
        ) from error


def _parse(path: str, text: str) -> object:
    # JSON first: it is not quite a part of YAML (tabs), and is read a hundred times faster.
    try:
        return json.loads(text)
    except ValueError as error:
        notJSON = str(error)
    except RecursionError:
        raise _tooDeep(path) from None
    if path.endswith(".json"):
        raise ConfigurationError(f"{path!r} is not JSON: {notJSON}")
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigurationError(
            f"{path!r} is neither JSON nor YAML: {place}{error.problem}"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: a date such as 2026-13-45.
        raise ConfigurationError(f"{path!r} is neither JSON nor YAML: {error}") from error
    except RecursionError:
        raise _tooDeep(path) from None


def _tooDeep(path: str) -> ConfigurationError:
    return ConfigurationError(f"{path!r} is nested too deeply for node metadata")


def _checkKeys(path: str, mapping: Mapping[object, object]) -> None:
    for key in mapping:
        if not isinstance(key, str):
            raise ConfigurationError(
                f"{path!r}: the key {key!r} is {_describe(key)} where text is needed: put it "
                "in quotes"
            )


def _checkText(path: str, key: str, value: object) -> None:
    if not isinstance(value, str):
        raise ConfigurationError(
            f"{path!r}: {key} is {_describe(value)} where text is needed: put it in quotes"
        )


def _describe(value: object) -> str:
    """
    What a person would call the value.
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the truth value {value}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return f"a {type(value).__name__}"
