"""
The files of tests/sidebyside: one that Envoy takes is taken, or refused as not implemented.

What they do when they run is compared there; here is that none of them ends in something else.
"""

from __future__ import annotations

import re
import string
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mxproxy.config.envoy import RefusedFile, readPlan
from mxproxy.config.errors import ConfigurationError
from tests.packaging.environment import ROOT

SIDE_BY_SIDE = ROOT / "tests" / "sidebyside"


def render(source: Path, directory: Path, certificates: dict[str, str]) -> None:
    """
    Write a template's file, with a port for each name that it does not know.
    """
    text = source.read_text()
    values = {"dir": str(directory), **certificates}
    for number, name in enumerate(re.findall(r"\$\{(\w+)\}", text)):
        values.setdefault(name, str(20000 + number))
    (directory / source.name).write_text(string.Template(text).substitute(values))


class ScenarioTests(SynchronousTestCase):
    def setUp(self) -> None:
        try:
            from tests.sidebyside.certificates import certificates
        except ImportError:
            raise SkipTest("tests/sidebyside is not there") from None
        # Short: a unix socket's path has at most 107 bytes.
        temporary = tempfile.TemporaryDirectory(prefix="mxproxy-")
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.certificates = certificates().placeholders()

    def files(self, kind: str) -> list[Path]:
        sources = sorted((SIDE_BY_SIDE / kind).glob("*"))
        if not sources:
            raise SkipTest(f"no files in tests/sidebyside/{kind}")
        for source in sources:
            render(source, self.directory, self.certificates)
        # Others belong to one of these.
        return [self.directory / one.name for one in sources if one.name.count(".") == 1]

    def test_good(self) -> None:
        for file in self.files("scenarios"):
            try:
                readPlan(str(file))
            except RefusedFile as refused:
                for fault in refused.faults:
                    self.assertIn("not implemented by mxproxy", str(fault), file.name)
                    self.assertTrue(fault.path, file.name)

    def test_broken(self) -> None:
        for file in self.files("broken"):
            error = self.assertRaises(ConfigurationError, readPlan, str(file))
            self.assertIn(str(file), str(error))
