"""
C{mxproxy probe}: what a sidecar is, as one who talks to it learns.

The path of a fact: C{command} makes a request of the arguments, C{conversation} talks, with
C{looking} for TLS, and writes a C{finding}; C{show} and C{--json} print it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ...config.errors import oneLine
from ..page import nobodyReads

#: Something is wrong on our side.
EXIT_LOCAL = 1

#: A shell's status for what was ended by SIGINT.
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """
    @param argv: what follows C{mxproxy probe}.
    @return: the exit status; C{mxproxy probe --help} has the list.
    """
    from .command import parse
    from .run import run

    try:
        return run(parse(argv), sys.stdout, sys.stderr)
    except BrokenPipeError:
        nobodyReads(sys.stdout)
        return EXIT_LOCAL
    except (ValueError, OSError) as error:
        sys.stderr.write(f"mxproxy probe: {oneLine(str(error))}\n")
        return EXIT_LOCAL
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
