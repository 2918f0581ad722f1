"""
C{mxproxy decode}: what a prefix says, byte for byte.

The path of a byte: C{command} reads it from wherever it is, C{forms} makes bytes of hex and
base64, C{capture} takes streams out of a capture with C{tshark}, L{mxproxy.tools.verdict} judges,
C{show} prints.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..page import nobodyReads


def main(argv: Sequence[str]) -> int:
    """
    @param argv: what follows C{mxproxy decode}.
    @return: the exit status; C{mxproxy decode --help} has the list.
    """
    from .command import EXIT_LOCAL, run

    try:
        return run(argv)
    except BrokenPipeError:
        nobodyReads(sys.stdout)
        return EXIT_LOCAL
