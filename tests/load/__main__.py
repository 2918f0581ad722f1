"""
python -m tests.load: see the package.
"""

from __future__ import annotations

import argparse
import sys

from .idle import idle, possible
from .proxy import filesAllowed
from .stalled import PROMISE, stalled


def main(arguments: list[str] | None = None) -> int:
    """
    @return: the exit status: 1 if something is worse than promised.
    """
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("--idle", type=int, default=10_000, metavar="CONNECTIONS")
    parser.add_argument("--stalled", type=int, default=2_000, metavar="HANDSHAKES")
    parser.add_argument("--seconds", type=float, default=20.0, help="of traffic beside them")
    options = parser.parse_args(arguments)
    files = filesAllowed()
    for echo in (False, True) if options.idle else ():
        most = possible(files, echo)
        connections = min(options.idle, most)
        if connections < options.idle:
            print(
                f"A process may have {files} files open here: {most} connections, not"
                f" {options.idle} (ulimit -H -n)"
            )
        print(idle(connections, echo), flush=True)
    bad = 0
    limits = (options.stalled // 2, 2 * options.stalled)
    for limit in limits if options.stalled else ():
        result = stalled(options.stalled, options.seconds, options.stalled / 10, limit)
        print(result, flush=True)
        if result.beside.worst > PROMISE:
            print(f"  worse than promised: p99 above {PROMISE * 1000:g} ms")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
