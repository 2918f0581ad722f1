"""
Fuzz one target: run.py TARGET [--seconds N], or run one input: run.py TARGET FILE.

What is found on the way, inputs that reach new code, is kept where --keep says; distil.py
makes the corpus in the repository of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mxproxy"]):
    from targets import TARGETS

CORPUS = Path(__file__).resolve().parent / "corpus"


def main() -> None:
    """
    Ends with libFuzzer's own status: 0 when nothing was found.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("input", nargs="?", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a folder of folders")
    arguments = parser.parse_args()
    target = TARGETS[arguments.target]
    if arguments.input is not None:
        target.function(arguments.input.read_bytes())
        print(f"{arguments.target}: {arguments.input} is fine")
        return
    with tempfile.TemporaryDirectory() as temporary:
        found = (arguments.keep or Path(temporary)) / arguments.target
        found.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(target.seeds()):
            Path(found, f"seed-{number}").write_bytes(seed)
        known = CORPUS / arguments.target
        folders = [str(found), *([str(known)] if known.is_dir() else [])]
        options = [f"-max_total_time={arguments.seconds}", "-timeout=60", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, "-max_len=4096", *folders], target.function)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
