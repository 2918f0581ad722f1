"""
A fresh virtual environment with mxproxy in it, and a wheel of the example distribution.

It is made once for a process: that takes seconds, and nobody changes it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.packaging.environment import ROOT, Environment, copySource, run
from tests.packaging.test_install import requirements

EXAMPLE = ROOT / "examples" / "mxproxy-example-filters"


def copyExample(destination: Path) -> Path:
    """
    The distribution as it is in the repository, without what an earlier build has left there.
    """
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dropin.cache")
    shutil.copytree(EXAMPLE, destination, ignore=ignore)
    return destination


@cache
def installed() -> Environment:
    """
    The environment.
    """
    directory = Path(tempfile.mkdtemp(prefix="examples-", dir=os.getcwd())).resolve()
    environment = Environment(directory / "venv")
    environment.link(requirements())
    # As an editable install leaves it; tests/packaging sees to the ways to install mxproxy.
    mxproxy = copySource(directory / "mxproxy")
    (environment.packages / "mxproxy.pth").write_text(f"{mxproxy / 'src'}\n")
    wheels = directory / "wheels"
    run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
        + ["--no-build-isolation", "--wheel-dir", str(wheels)]
        + [str(copyExample(directory / "example"))],
        directory,
        quiet=False,
    )
    environment.install(*map(str, wheels.glob("*.whl")))
    return environment
