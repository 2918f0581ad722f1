"""
Files that both refuse: Envoy when it validates, mxproxy by lines that say where and why.

Each file's first lines say what is wrong with it, and behind C{path:} where mxproxy has to say
that it is.
"""

from __future__ import annotations

import io
import re
import string
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from mxproxy.cli import main
from tests.e2e.processes import Child
from tests.sidebyside.certificates import certificates
from tests.sidebyside.differences import STARTS, unexplained
from tests.sidebyside.harness import HERE
from tests.sidebyside.proxies import ENVOY, MXPROXY, check

BROKEN = HERE / "broken"

_PATH = re.compile(r"^# path:(.*)$", re.MULTILINE)


class BrokenTests(TestCase):
    """
    A method a file.
    """

    timeout = 120

    def write(self, name: str) -> Path:
        """
        The file, with its placeholders filled in.
        """
        file = Path(self.mktemp()).absolute() / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        text = (BROKEN / file.name).read_text()
        file.write_text(string.Template(text).substitute(certificates().placeholders()))
        return file

    async def refused(self, name: str) -> None:
        """
        Both refuse it, unless the list of differences says something else.
        """
        file = self.write(name)
        envoy = Child.start(check(ENVOY, file), file.parent)
        self.addCleanup(envoy.stop)
        # In this process: to import all there is takes longer than to check a file.
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            ours = main(["validate", str(file)])
        theirs = await envoy.ends()
        differs = [STARTS] if (theirs == 0) != (ours == 0) else []
        told = f"{envoy.text[-1000:]}\n{said.getvalue()}"
        self.assertEqual(unexplained(f"broken/{name}", differs), [], told)
        if ours != 0:
            self.assertEqual(ours, 1)
            self.checkWords(said.getvalue(), file)

    def checkWords(self, text: str, file: Path) -> None:
        """
        A line for each fault: the file, where in it, and why; one of them is the one.
        """
        found = _PATH.search(file.read_text())
        assert found is not None, "the file has to say where it is wrong"
        path = found[1].strip()
        start = f"{file}: "
        lines = text.splitlines()
        for line in lines:
            self.assertTrue(line.startswith(start), line)
        wanted = re.compile(rf"{re.escape(path)}(: |, column \d+: )." if path else "[a-z]")
        told = [line for line in lines if wanted.match(line[len(start) :])]
        self.assertEqual(len(told), 1, f"no line that begins with {path}:\n{text}")

    async def test_asProcess(self) -> None:
        """
        The command says what its function says, and exits by it.
        """
        file = self.write("unknown_field")
        child = Child.start(check(MXPROXY, file), file.parent)
        self.addCleanup(child.stop)
        self.assertEqual(await child.ends(), 1)
        self.checkWords(child.text, file)


def _method(name: str) -> Callable[[BrokenTests], Any]:
    return lambda self: self.refused(name)


for _file in sorted(BROKEN.glob("*.yaml")):
    setattr(BrokenTests, f"test_{_file.stem}", _method(_file.stem))


class FilesTests(TestCase):
    def test_count(self) -> None:
        self.assertGreaterEqual(len(list(BROKEN.glob("*.yaml"))), 30)
