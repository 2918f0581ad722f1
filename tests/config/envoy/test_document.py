"""
A file's text becomes the values that Envoy would read, or one line says what is wrong where.
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.envoy import document
from mxproxy.config.envoy.document import parseJSON, parseYAML, readDocument
from mxproxy.config.errors import ConfigurationError

# What Envoy 1.40 makes of "node: {id: ...}", told by its answers.
SCALARS: list[tuple[str, object]] = [
    ("1.10", "1.10"),
    ("0x10", 16),
    ("-0x10", -16),
    ("010", 8),
    ("09", "09"),
    ("0", 0),
    ("00", 0),
    ("+5", 5),
    ("1_000", "1_000"),
    ("1e3", "1e3"),
    ("0o17", "0o17"),
    ("0b1", "0b1"),
    (".nan", ".nan"),
    ("2147483647", 2147483647),
    ("2147483648", "2147483648"),
    ("-2147483649", "-2147483649"),
    ("99999999999999999999", "99999999999999999999"),
    ("2026-01-01", "2026-01-01"),
    ("y", True),
    ("Yes", True),
    ("ON", True),
    ("n", False),
    ("off", False),
    ("False", False),
    ("yEs", "yEs"),
    ("'yes'", "yes"),
    ('"5"', "5"),
    ("!!str yes", True),
    ("!!int 5", 5),
    ("~", None),
    ("null", None),
    ("nULL", "nULL"),
    ("''", ""),
    ("<<", "<<"),
]

WRONG_YAML = [
    ("a: 1\na: 2", "f: line 2, column 1: the key 'a' is there twice"),
    ("a: [1", "f: line 2, column 1: not YAML: did not find expected ',' or ']'"),
    ("a: &a [*a]", "f: line 1, column 4: an alias of what it is a part of"),
    (
        "a: &a {b: 1}\n<<: *a",
        "f: line 2, column 1: a merge key, which Envoy does not know: write it out",
    ),
    ("? [a]\n: 1", "f: line 1, column 3: a key has to be text"),
    ("---\na: 1\n---\nb: 1", "f: line 3, column 1: not YAML: but found another document"),
    ("a: \x07", "f: not YAML: unacceptable character #x0007: "),
    ("a: *b", "f: line 1, column 4: not YAML: found undefined alias"),
]

WRONG_JSON = [
    ('{"a": 1, "a": 2}', "f: the key 'a' is there twice"),
    ('{"a": }', "f: line 1, column 7: not JSON: Expecting value"),
    ('{"a": NaN}', "f: NaN is no number in JSON"),
    ("[" * 100_000, "f: nested too deeply"),
]


class YAMLTests(SynchronousTestCase):
    def test_scalars(self) -> None:
        found = [(text, parseYAML(f"a: {text}\n", "f")) for text, _ in SCALARS]
        self.assertEqual(found, [(text, {"a": value}) for text, value in SCALARS])

    def test_pure(self) -> None:
        """
        The same where PyYAML has no C library.
        """
        self.patch(document, "_LOADER", yaml.SafeLoader)
        self.test_scalars()

    def test_blocks(self) -> None:
        self.assertEqual(parseYAML("a: |\n  5\nb: >-\n  yes\n", "f"), {"a": "5\n", "b": "yes"})

    def test_structure(self) -> None:
        """
        Anchors are used as Envoy's files use them, and a key is text whatever it looks like.
        """
        text = "!ignore x: &x {yes: [1, ~]}\na: *x\nb: *x\n5: 6\n'<<': 7"
        shared = {"yes": [1, None]}
        self.assertEqual(parseYAML(text, "f"), {"a": shared, "b": shared, "5": 6, "<<": 7})

    def test_empty(self) -> None:
        self.assertIsNone(parseYAML("", "f"))
        self.assertIsNone(parseYAML("# nothing\n", "f"))

    def test_wrong(self) -> None:
        for text, line in WRONG_YAML:
            error = self.assertRaises(ConfigurationError, parseYAML, text, "f")
            self.assertEqual(str(error)[: len(line)], line)

    def test_noMark(self) -> None:
        """
        An error of YAML's that knows no place is told without.
        """

        def compose(*_: object, **__: object) -> None:
            raise yaml.MarkedYAMLError(problem="too odd")

        self.patch(yaml, "compose", compose)
        error = self.assertRaises(ConfigurationError, parseYAML, "a", "f")
        self.assertEqual(str(error), "f: not YAML: too odd")

    def test_deep(self) -> None:
        self.patch(document, "_LOADER", yaml.SafeLoader)
        error = self.assertRaises(ConfigurationError, parseYAML, "[" * 5000 + "]" * 5000, "f")
        self.assertEqual(str(error), "f: nested too deeply")

    def test_bounded(self) -> None:
        """
        Aliases of aliases are a large file; they are not let become one.
        """
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
        error = self.assertRaises(ConfigurationError, parseYAML, "\n".join(lines), "f")
        self.assertEqual(str(error), "f: more than 1000000 values")

    @given(st.text())
    def test_anything(self, text: str) -> None:
        """
        Any text is values, or a line.
        """
        for parse in (parseYAML, parseJSON):
            try:
                parse(text, "f")
            except ConfigurationError as error:
                self.assertTrue(str(error).startswith("f: "))


class JSONTests(SynchronousTestCase):
    def test_values(self) -> None:
        self.assertEqual(
            parseJSON('{"a": [1, 1.5, "1.10", true, null]}', "f"),
            {"a": [1, 1.5, "1.10", True, None]},
        )

    def test_wrong(self) -> None:
        for text, line in WRONG_JSON:
            error = self.assertRaises(ConfigurationError, parseJSON, text, "f")
            self.assertEqual(str(error), line)


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def read(self, name: str, text: str) -> object:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return readDocument(str(path))

    def refusal(self, name: str, text: str) -> str:
        error = self.assertRaises(ConfigurationError, self.read, name, text)
        return str(error).replace(str(self.directory) + os.sep, "")

    def test_suffix(self) -> None:
        """
        The name says what it is: in JSON, 1.10 is a number.
        """
        for name in ("a.yaml", "a.YML"):
            self.assertEqual(self.read(name, '{"a": 1.10}'), {"a": "1.10"})
        self.assertEqual(self.read("a.json", '{"a": 1.10}'), {"a": 1.1})
        self.assertIn("a.json: line 1, column 1: not JSON", self.refusal("a.json", "a: 1"))

    def test_content(self) -> None:
        """
        Without such a name the first character says it, and YAML may begin with a brace.
        """
        self.assertEqual(self.read("a.conf", '{"a": 1.10}'), {"a": 1.1})
        self.assertEqual(self.read("a.conf", "\ufeffa: 1.10"), {"a": "1.10"})
        self.assertEqual(self.read("a.conf", "{a: 1.10}"), {"a": "1.10"})
        self.assertIn("not JSON", self.refusal("a.conf", "{a: 1.10"))
        self.assertIn("not YAML", self.refusal("a.conf", "a: [1.10"))

    def test_unreadable(self) -> None:
        self.assertEqual(
            str(self.assertRaises(ConfigurationError, readDocument, "/nowhere/a.yaml")),
            "cannot read '/nowhere/a.yaml': No such file or directory",
        )
        self.assertIn("null", str(self.assertRaises(ConfigurationError, readDocument, "a\0b")))
        path = self.directory / "latin.yaml"
        path.write_bytes(b"a: \xe4")
        error = self.assertRaises(ConfigurationError, readDocument, str(path))
        self.assertEqual(str(error), f"{str(path)!r} is not UTF-8, at byte 3")
