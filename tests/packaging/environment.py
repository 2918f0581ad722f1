"""
A fresh virtual environment in a second and without the network.

It holds what a distribution declares that it requires, and what that requires, linked from the
environment that runs the tests, and nothing else: an import of something undeclared fails here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def copySource(destination: Path) -> Path:
    """
    Copy of the checkout what a build reads, so that a build leaves nothing in the checkout and
    finds there nothing that an earlier one left (setuptools packs whatever lies in C{build/}).
    """
    destination.mkdir()
    for name in (
        "LICENSE",
        "MANIFEST.in",
        "README.md",
        "pyproject.toml",
        "setup.cfg",
        "setup.py",
        "src",
        "twisted",
    ):
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so", "dropin.cache")
            shutil.copytree(source, destination / name, symlinks=True, ignore=ignore)
        elif source.exists():
            shutil.copy(source, destination / name)
    return destination


def closure(requirements: Iterable[str]) -> dict[str, Distribution]:
    """
    The installed distributions that these requirements name, and those they require in turn.
    """
    found: dict[str, Distribution] = {}
    pending = [Requirement(requirement) for requirement in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        requirement = pending.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in seen:
            continue
        seen.add(key)
        found[key[0]] = installed = distribution(requirement.name)
        for text in installed.requires or ():
            child = Requirement(text)
            extras = {"", *requirement.extras}
            if child.marker is None or any(child.marker.evaluate({"extra": e}) for e in extras):
                pending.append(child)
    return found


class Environment:
    """
    A virtual environment under C{directory}.

    @ivar python: its interpreter.
    @ivar packages: its site-packages.
    """

    def __init__(self, directory: Path) -> None:
        venv.create(directory, symlinks=True)
        self.directory = directory
        self.python = directory / "bin" / "python"
        self.packages = next(directory.glob("lib/python*/site-packages"))

    def link(self, requirements: Iterable[str]) -> None:
        """
        Put the requirements' closure here: hard links, copies where the file system has none.
        """
        for name, installed in closure(requirements).items():
            files = installed.files
            if files is None:
                raise LookupError(f"{name} has no list of its files")
            for file in files:
                source = Path(str(file.locate()))
                if "__pycache__" in file.parts or not source.exists():
                    continue
                if file.parts[0] != "..":
                    target = self.packages / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    try:
                        os.link(source.resolve(), target)
                    except OSError:
                        shutil.copy(source, target)
                elif source.parent.name == "bin":
                    self._script(source)

    def _script(self, source: Path) -> None:
        first, _, rest = source.read_bytes().partition(b"\n")
        if first.startswith(b"#!") and b"python" in first:
            target = self.directory / "bin" / source.name
            target.write_bytes(b"#!" + bytes(self.python) + b"\n" + rest)
            target.chmod(0o755)

    def install(self, *arguments: str) -> None:
        """
        C{pip install}, with this test run's pip, of what needs no network.
        """
        run(
            [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"]
            + ["--no-deps", "--no-index", "--no-build-isolation", *arguments],
            self.directory,
            quiet=False,
        )

    def run(self, script: str, *arguments: str, cwd: Path) -> str:
        """
        The output of one of the environment's scripts.
        """
        return run([str(self.directory / "bin" / script), *arguments], cwd)


def run(command: Sequence[str], cwd: Path, *, quiet: bool = True) -> str:
    """
    The standard output of a command that has to succeed.

    @param quiet: whether it also has to print nothing on standard error.
    @raise AssertionError: when it does not, with what it printed.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE"))}
    process = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, check=False, text=True
    )
    if process.returncode or (quiet and process.stderr):
        raise AssertionError(
            f"{' '.join(command)}\nexit {process.returncode}\n{process.stderr}{process.stdout}"
        )
    return process.stdout
