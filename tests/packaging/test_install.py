"""
Whichever way mxproxy is installed, C{twistd mxproxy} is there, once, from any directory.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from twisted.trial.unittest import SynchronousTestCase

from tests.packaging.environment import ROOT, Environment, copySource, run

PLUGIN = "twisted/plugins/mxproxy_plugin.py"
EXTENSION = f"mxproxy/transports/_flows{sysconfig.get_config_var('EXT_SUFFIX')}"

#: Whether this machine has what the extension needs.
CAN_BUILD = (
    sys.platform.startswith("linux")
    and shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) is not None
    and Path(sysconfig.get_path("include"), "Python.h").exists()
)


def buildWheel(source: Path, destination: Path) -> Path:
    """
    The wheel that pip makes of a source tree or an sdist.
    """
    run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
        + ["--no-build-isolation", "--wheel-dir", str(destination), str(source)],
        destination.parent,
        quiet=False,
    )
    (wheel,) = destination.glob("*.whl")
    return wheel


class InstallTests(SynchronousTestCase):
    """
    Each test makes its own environment: trial's processes share nothing.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.source = copySource(self.directory / "source")

    def checkCommand(self, environment: Environment, *directories: Path) -> None:
        """
        From each directory twistd lists the plugin once, and the plugin shows its options.
        """
        for directory in directories:
            # Twice: the first run may write the plugin cache, the second one reads it.
            for _ in range(2):
                text = environment.run("twistd", "--help", cwd=directory)
                self.assertEqual(len(re.findall(r"(?m)^\s+mxproxy\s", text)), 1, text)
            text = environment.run("twistd", "mxproxy", "--help", cwd=directory)
            self.assertIn("--listen", text)

    def test_wheel(self) -> None:
        """
        A wheel, in an environment with only what it requires.
        """
        wheel = buildWheel(self.source, self.directory / "wheel")
        environment = Environment(self.directory / "venv")
        environment.link(requirements())
        environment.install(str(wheel))
        self.checkCommand(environment, self.directory)
        text = environment.run("mxproxy", "--help", cwd=self.directory)
        self.assertIn("demo", text)

    def test_editable(self) -> None:
        """
        C{pip install -e .} and no further option; in the checkout itself the plugin is not
        listed twice.
        """
        environment = Environment(self.directory / "venv")
        environment.link([*requirements(), "setuptools"])
        environment.install("--editable", str(self.source))
        self.checkCommand(environment, self.directory, self.source, self.source / "src")
        # Another module needs no other install.
        (self.source / "src/mxproxy/added.py").write_text("print('found')\n")
        text = environment.run("python", "-m", "mxproxy.added", cwd=self.directory)
        self.assertEqual(text, "found\n")

    def test_wheelContents(self) -> None:
        """
        The wheel has all modules, the admin page, the type marker and the plugin, and nothing that would hide
        Twisted or be stale there.
        """
        names = ZipFile(buildWheel(self.source, self.directory / "wheel")).namelist()
        modules = {
            str(file.relative_to(self.source / "src"))
            for file in (self.source / "src/mxproxy").rglob("*")
            if file.suffix in {".py", ".pyi", ".typed"} or file.parent.name == "static"
        }
        self.assertEqual(
            sorted(name for name in names if ".dist-info/" not in name),
            sorted({*modules, PLUGIN, *([EXTENSION] if CAN_BUILD else [])}),
        )
        self.assertIn("mxproxy/py.typed", names)

    def test_noCompiler(self) -> None:
        """
        The extension is optional; one that was built before, where there was a compiler, is not taken.
        """
        buildWheel(self.source, self.directory / "before")
        self.patch(os, "environ", {**os.environ, "CC": "false"})
        names = ZipFile(buildWheel(self.source, self.directory / "wheel")).namelist()
        self.assertIn("mxproxy/transports/flows.py", names)
        self.assertNotIn(EXTENSION, names)

    def test_sdist(self) -> None:
        """
        The sdist has the plugin once, as a file, and what is built of it is the same wheel.
        """
        run(
            [sys.executable, "-c"]
            + ["from setuptools import build_meta\nbuild_meta.build_sdist('../sdist')"],
            self.source,
            quiet=False,
        )
        (sdist,) = (self.directory / "sdist").glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            members = archive.getmembers()
        plugins = [member for member in members if member.name.endswith("_plugin.py")]
        self.assertEqual([plugin.isfile() for plugin in plugins], [True])
        ofSdist = ZipFile(buildWheel(sdist, self.directory / "wheel-of-sdist"))
        ofSource = ZipFile(buildWheel(self.source, self.directory / "wheel"))
        self.assertEqual(sorted(ofSdist.namelist()), sorted(ofSource.namelist()))
        self.assertEqual(ofSdist.read(PLUGIN), ofSource.read(PLUGIN))


def requirements() -> list[str]:
    """
    setup.cfg's C{install_requires}.
    """
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = parser["options"]["install_requires"].splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


class RequirementTests(SynchronousTestCase):
    """
    setup.cfg's ranges are those that are tested.
    """

    def test_lowest(self) -> None:
        """
        C{constraints-lowest.txt}, with which C{tox -e lowest} tests, has the lower ends.
        """
        lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
        constraints = dict(line.split("==") for line in lines if not line.startswith("#"))
        declared = [Requirement(text) for text in requirements()]
        self.assertEqual(sorted(constraints), sorted(requirement.name for requirement in declared))
        for requirement in declared:
            (lower,) = (s.version for s in requirement.specifier if s.operator == ">=")
            version = constraints[requirement.name]
            self.assertRegex(version, rf"^{re.escape(lower)}(\.0)*$", requirement.name)
            (upper,) = (s for s in requirement.specifier if s.operator == "<")
            self.assertIn(version, requirement.specifier, f"{version} is not {upper}")


class CheckoutTests(SynchronousTestCase):
    """
    What git keeps.
    """

    def test_noPackageHidesTwisted(self) -> None:
        """
        Neither C{twisted/} nor C{twisted/plugins/} is a package.
        """
        self.assertEqual([str(path) for path in (ROOT / "twisted").rglob("__init__.py*")], [])

    def test_pluginCacheIsIgnored(self) -> None:
        """
        An editable install makes twistd write its cache into the checkout; git ignores it.
        """
        if not (ROOT / ".git").exists():
            self.skipTest("not a checkout")
        for name in ("twisted/plugins/dropin.cache", "src/mxproxy.egg-info/PKG-INFO"):
            status = subprocess.call(["git", "check-ignore", "--quiet", name], cwd=ROOT)
            self.assertEqual(status, 0, name)
