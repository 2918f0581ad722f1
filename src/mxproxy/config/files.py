"""
Reading the files that a configuration is made of, so that it can be made once more of the same.

A worker process makes its own plan of the same command line.  It may not be able to read what
its parent has read, when privileges were dropped since, and should not read what has been edited
since and not been asked for.  So the parent L{records<recording>} what it reads, and the worker
L{reads<replaying>} that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

#: Contents by path.
Files = MutableMapping[str, bytes]

_recordings: list[Files] = []
_replayed: list[Mapping[str, bytes]] = []


def readFile(path: str) -> bytes:
    """
    What is in a file that belongs to the configuration.

    @raise OSError: it cannot be read.
    @raise ValueError: no file has such a name.
    """
    for files in _replayed:
        if path in files:
            return files[path]
    with open(path, "rb") as file:
        data = file.read()
    for recording in _recordings:
        recording[path] = data
    return data


@contextmanager
def recording(files: Files | None = None) -> Iterator[Files]:
    """
    Keep what is read in here.

    @param files: where to keep it; a new dictionary if nothing is given.
    """
    kept: Files = {} if files is None else files
    _recordings.append(kept)
    try:
        yield kept
    finally:
        _recordings.pop()


@contextmanager
def replaying(files: Mapping[str, bytes]) -> Iterator[None]:
    """
    In here, files have these contents, whatever is in them now; those that are not among them
    are read.
    """
    _replayed.append(files)
    try:
        yield
    finally:
        _replayed.pop()
