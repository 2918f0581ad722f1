"""
C{mxproxy demo}: two sidecars on this machine, and what they learn of each other.

Nothing here is told in advance: what is printed was read from the sidecars' access logs and
off the wire, and what is not as it should be makes the demo fail.  C{story} is the order of
events, C{processes} and C{clients} are those who take part, C{page} and C{dissect} are how
it is shown.  Nothing else of mxproxy imports this package.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

#: A shell's status for what was ended by SIGINT.
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """
    @param argv: what follows C{mxproxy demo}.
    @return: the exit status: 0, 1 when something was not as it should be (standard error
        says what), 130 when it was interrupted before its end.
    """
    parser = argparse.ArgumentParser(
        prog="mxproxy demo",
        description="Starts an application and two sidecars on this machine, sends traffic "
        "through them, shows what they learn of each other and what becomes of clients that "
        "have no sidecar. Takes a few seconds and leaves nothing behind.",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave all of it running, until Ctrl-C, and print commands to try by hand",
    )
    options = parser.parse_args(argv)
    try:
        # Takes some tenths of a second, and may be interrupted too.
        from .story import run

        return run(keep=options.keep, stdout=sys.stdout, stderr=sys.stderr)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
