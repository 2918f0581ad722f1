"""
Fuzz one target: C{run.py TARGET [--seconds N]}, or run one input: C{run.py TARGET FILE}.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mxproxy"]):
    from targets import TARGETS


def main() -> None:
    """
    Ends with libFuzzer's own status: 0 when nothing was found.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("input", nargs="?", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    function, seeds = TARGETS[arguments.target]
    if arguments.input is not None:
        function(arguments.input.read_bytes())
        print(f"{arguments.target}: {arguments.input} is fine")
        return
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            for size in (b"\0", b"\1", b"\x85"):
                Path(corpus, f"seed-{number}-{size.hex()}").write_bytes(size + seed)
        options = [f"-max_total_time={arguments.seconds}", "-timeout=10", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, "-max_len=4096", corpus], function)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
