"""
python -m tests.mutation [MODULE ...]: mutate modules, say which mutants survive.

Ends with 1 if fewer than 90 % of a module's mutants are killed, or if one survives that
explained.toml does not explain.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import tomllib

from .mutants import Mutant, mutants
from .running import passes, preload, spent
from .subjects import ROOT, SUBJECTS

#: Of a module's mutants, at least.
SHARE = 0.9

EXPLAINED = Path(__file__).with_name("explained.toml")


class Score(NamedTuple):
    """
    A module's.
    """

    module: str
    killed: int
    explained: int
    survivors: list[Mutant]
    seconds: float

    @property
    def all(self) -> int:
        return self.killed + self.explained + len(self.survivors)

    def __str__(self) -> str:
        share = 100 * self.killed / self.all if self.all else 100
        return (
            f"{self.module:24} {self.all:5} mutants  {self.killed:5} killed ({share:5.1f} %)"
            f"  {self.explained:3} explained  {len(self.survivors):3} not  {self.seconds:5.0f} s"
        )


def explanations() -> dict[tuple[str, str, str], str]:
    """
    @return: why a mutant means nothing, by module and changed lines, before and after.  Not by
        the line's number, which changes with every other change.
    """
    found = tomllib.loads(EXPLAINED.read_text())
    return {
        (module, one["before"], after): one["why"]
        for module, all in found.items()
        for one in all
        for after in ([one["after"]] if isinstance(one["after"], str) else one["after"])
    }


def tree(folder: Path) -> Path:
    """
    Copy what is needed to run tests, so that nobody sees a mutant in the working tree.
    """
    for name in ("src", "tests", "twisted", "docs", "examples", "proto"):
        shutil.copytree(
            ROOT / name,
            folder / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
        )
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


def score(module: str, root: Path, only: str) -> Score:
    """
    Mutate one module.
    """
    path = root / "src" / "mxproxy" / module
    source = path.read_text()
    tests = SUBJECTS[module]
    begun, before = time.monotonic(), spent()
    if not passes(root, tests, 300, show=True):
        raise SystemExit(f"the tests of {module} fail without a mutant: {' '.join(tests)}")
    seconds = 2 + 2 * (spent() - before)
    known = explanations()
    killed = explained = 0
    survivors = []
    for mutant in mutants(source):
        if only not in mutant.before:
            continue
        path.write_text(mutant.source)
        try:
            if not passes(root, tests, seconds):
                killed += 1
            elif (module, mutant.before, mutant.after) in known:
                explained += 1
            else:
                survivors.append(mutant)
                print(f"src/mxproxy/{module}, {mutant}", flush=True)
        finally:
            path.write_text(source)
    return Score(module, killed, explained, survivors, time.monotonic() - begun)


def main() -> int:
    """
    @return: the exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", nargs="*", choices=[[], *SUBJECTS], help="all, without")
    parser.add_argument("--only", default="", metavar="TEXT", help="lines with that in them")
    arguments = parser.parse_args()
    # Hypothesis then tries the same examples in every run.
    os.environ["CI"] = "true"
    preload()
    scores = []
    with tempfile.TemporaryDirectory(prefix="mxproxy-mutation-") as folder:
        root = tree(Path(folder))
        for module in arguments.module or SUBJECTS:
            scores.append(score(module, root, arguments.only))
            print(scores[-1], flush=True)
    total = Score(
        "all",
        sum(one.killed for one in scores),
        sum(one.explained for one in scores),
        [mutant for one in scores for mutant in one.survivors],
        sum(one.seconds for one in scores),
    )
    print("-" * 100, *scores, total, sep="\n")
    bad = [one.module for one in scores if one.survivors or one.killed < SHARE * one.all]
    if bad:
        print(f"to be looked at: {', '.join(bad)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
