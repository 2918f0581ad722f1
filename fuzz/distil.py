"""
distil.py FOLDER: make the corpus in the repository of what run has kept in FOLDER.

Of a target's inputs, the smallest ones are taken that together go from line to line in every way
that any of them does.  libFuzzer's own -merge counts how often a line is reached, too, and
keeps ten times as many.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from targets import TARGETS

import mxproxy

CORPUS = Path(__file__).resolve().parent / "corpus"
SOURCE = str(Path(mxproxy.__file__).parent / "")

#: Bytes of one target's corpus, at most.
BUDGET = 3000

Ways = set[tuple[str, int, int]]


def ways(function: Callable[[bytes], None], data: bytes) -> Ways:
    """
    @return: from which line to which an input goes.
    """
    found: Ways = set()

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        last = 0

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            if event == "line":
                found.add((frame.f_code.co_filename, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    sys.settrace(enter)
    try:
        function(data)
    finally:
        sys.settrace(None)
    return found


def distil(name: str, kept: Path) -> list[bytes]:
    """
    @return: the inputs that are worth keeping.
    """
    target = TARGETS[name]
    seen: Ways = set()
    for seed in target.seeds():
        seen |= ways(target.function, seed)
    inputs = sorted(
        (path.read_bytes() for path in kept.iterdir()), key=lambda data: (len(data), data)
    )
    chosen: list[bytes] = []
    for data in inputs:
        if sum(map(len, chosen)) + len(data) > BUDGET:
            break
        new = ways(target.function, data) - seen
        if new:
            seen |= new
            chosen.append(data)
    return chosen


def main() -> None:
    """
    A file an input, named as libFuzzer names them.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name in sorted(TARGETS):
        kept = folder / name
        if not kept.is_dir():
            continue
        chosen = distil(name, kept)
        shutil.rmtree(CORPUS / name, ignore_errors=True)
        for data in chosen:
            path = CORPUS / name / hashlib.sha1(data, usedforsecurity=False).hexdigest()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        print(f"{name}: {len(chosen)} inputs, {sum(map(len, chosen))} bytes")


if __name__ == "__main__":
    main()
