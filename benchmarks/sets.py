"""
What is put side by side: the peers, mxproxy's own settings, Pythons.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .peers.base import Peer
from .peers.mxproxy import Mxproxy
from .peers.registry import ALL, DIRECT

_ROOT = Path(__file__).parent.parent

#: Filters in a chain, each of which has left.
_FINISHED = 8

#: Where environments with other Pythons are kept.
_ENVIRONMENTS = _ROOT / ".bench"

_VERSIONS = ("3.10", "3.11", "3.12", "3.13")


def peers() -> list[Peer | None]:
    """
    What one could take instead, and the generator alone.
    """
    return [None, *ALL]


def itself() -> list[Peer | None]:
    """
    mxproxy, with one thing changed in each.
    """
    filters = {"PYTHONPATH": str(_ROOT / "benchmarks" / "filters")}
    finished = ["--filter", "bench.finished"] * _FINISHED
    return [
        None,
        Mxproxy("mxproxy"),
        # What the two offer by ALPN does not meet, so nothing is exchanged.
        Mxproxy("no-exchange", inbound=["--mx-alpn", "nobody-offers-this"]),
        Mxproxy(
            f"{_FINISHED}-filters",
            options=finished,
            environment=filters,
            note=f"{_FINISHED} times --filter bench.finished",
        ),
        Mxproxy("access-log", options=["--access-log", "%d/access.log"], note="--access-log FILE"),
        Mxproxy("metrics", options=["--admin", "unix:%d/admin"], note="--admin unix:PATH"),
        Mxproxy(
            "observed",
            options=["--access-log", "%d/access.log", "--admin", "unix:%d/admin"],
            note="--access-log FILE --admin unix:PATH",
        ),
    ]


def workers() -> list[Peer | None]:
    """
    mxproxy with one worker and two, to be run with C{--quota}.
    """
    return [
        None,
        Mxproxy("1-worker", options=["--workers", "1"]),
        Mxproxy("2-workers", options=["--workers", "2"]),
    ]


def pythons() -> list[Peer | None]:
    """
    mxproxy with each Python that is installed here; environments are made when they are missing,
    in C{.bench/}, which takes half a minute each.
    """
    return [None, *(Mxproxy(name, path) for name, path in _environments())]


def _environments() -> Iterator[tuple[str, Path]]:
    for interpreter in interpreters():
        label = _run([str(interpreter), "-c", _LABEL])
        if label is None:
            continue
        path = _ENVIRONMENTS / label
        if not (path / "bin" / "twistd").exists():
            print(f"{label}: making an environment for {interpreter}", file=sys.stderr)
            # Debian's have no ensurepip: the pip of this one installs.
            _run([str(interpreter), "-m", "venv", "--without-pip", str(path)])
            pip = [sys.executable, "-m", "pip", "--python", str(path / "bin" / "python")]
            _run([*pip, "install", "--quiet", "--editable", str(_ROOT)])
        yield label, path


#: With the patch level: a distribution's and pyenv's of one version are built differently, and
#: differ by a fifth.
_LABEL = "import platform; print('python' + platform.python_version())"


def interpreters() -> list[Path]:
    """
    Each different Python of a version that mxproxy supports: on the path, in C{/usr/bin}, pyenv's.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    folders += [Path("/usr/bin"), *sorted(pyenv.glob("*/bin"))]
    found: dict[Path, None] = {}
    for version in _VERSIONS:
        for folder in folders:
            program = folder / f"python{version}"
            # A shim of pyenv's is a script that finds another.
            if program.is_file() and program.read_bytes()[:4] == b"\x7fELF":
                found[program.resolve()] = None
    return list(found)


def _run(command: Sequence[str]) -> str | None:
    """
    @return: what it prints, or C{None} when it fails, which is told.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        print(f"{' '.join(command)}: {done.stderr.strip()[-500:]}", file=sys.stderr)
        return None
    return done.stdout.strip()


SETS: dict[str, Callable[[], list[Peer | None]]] = {
    "peers": peers,
    "self": itself,
    "workers": workers,
    "pythons": pythons,
}


def baseline(names: Sequence[str]) -> str | None:
    """
    What ratios are to.
    """
    for name in ("envoy", "mxproxy", "1-worker"):
        if name in names:
            return name
    return next((name for name in names if name != DIRECT), None)
