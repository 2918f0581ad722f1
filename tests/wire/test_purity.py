"""
wire/ is pure: no Twisted, no I/O, no clock, in any of its modules.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mxproxy.wire
from tests.wire.helpers import python

FOLDER = Path(mxproxy.wire.__file__).parent
MODULES = sorted(FOLDER.glob("*.py"))

# What no module may import itself, whatever else it loads.
BANNED = {
    "asyncio", "datetime", "fcntl", "http", "io", "logging", "multiprocessing", "os", "pathlib",
    "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl", "subprocess",
    "tempfile", "threading", "time", "twisted", "urllib", "zope",
}  # fmt: skip
BANNED_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}

# What importing a module may not load, by whatever way. (protobuf loads time, os and threading.)
NEVER_LOADED = ["asyncio", "select", "selectors", "_socket", "socket", "ssl", "twisted", "zope"]

PROBE = """
import importlib, json, sys
import mxproxy
before = {name.partition(".")[0] for name in sys.modules} - {"twisted", "zope"}
importlib.import_module(sys.argv[1])
after = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(after - before)))
"""


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def called(tree: ast.AST) -> set[str]:
    return {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


class PurityTests(SynchronousTestCase):
    """
    Checked for every module that is there, so a new one cannot be forgotten.
    """

    def test_source(self) -> None:
        """
        No module's source imports or calls what does I/O or knows the time.
        """
        self.assertIn("exchange.py", {path.name for path in MODULES})
        for path in MODULES:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            used = imported(tree) & BANNED | called(tree) & BANNED_CALLS
            self.assertEqual(set(), used, path.name)

    def test_imports(self) -> None:
        """
        Importing a module alone, in a fresh interpreter, loads neither Twisted nor a socket.
        """
        for path in MODULES:
            name = "mxproxy.wire" + ("" if path.stem == "__init__" else f".{path.stem}")
            done = python("-c", PROBE, name)
            self.assertEqual("", done.stderr)
            loaded = set(json.loads(done.stdout))
            self.assertEqual(set(), loaded & set(NEVER_LOADED), name)

    def test_catches(self) -> None:
        """
        The two readers of sources do see what they are to see.
        """
        tree = ast.parse("import os.path\ndef f():\n    from time import sleep\n    open('x')\n")
        self.assertEqual(({"os", "time"}, {"open"}), (imported(tree), called(tree)))
