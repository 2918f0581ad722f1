"""
C{mxproxy validate FILE}: what C{envoy --mode validate} does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ...service import ProxyService
from ..errors import ConfigurationError, oneLine
from . import readPlan
from .faults import RefusedFile


def main(argv: Sequence[str]) -> int:
    """
    @return: the exit status: 0 when the file can be used, 1 when it cannot, and standard error
        has a line for each reason.
    """
    parser = argparse.ArgumentParser(
        prog="mxproxy validate",
        description="Says whether twistd mxproxy --config would run FILE: an Envoy bootstrap, in "
        "YAML or JSON. Prints everything that is wrong with it, each with its place in the file.",
    )
    parser.add_argument("file", metavar="FILE")
    path = parser.parse_args(argv).file
    from twisted.internet import reactor

    try:
        plan = readPlan(path)
    except RefusedFile as refused:
        sys.stderr.write("".join(f"{line}\n" for line in refused.lines))
        return 1
    except ConfigurationError as error:
        sys.stderr.write(f"{oneLine(str(error))}\n")
        return 1
    try:
        # Only built: nothing listens, and no file is opened to be written.
        ProxyService(plan, reactor)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{oneLine(f'{path}: {error}')}\n")
        return 1
    # Word for word as Envoy does.
    sys.stdout.write(f"configuration '{path}' OK\n")
    return 0
