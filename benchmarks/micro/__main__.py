"""
C{python -m benchmarks.micro}: pyperf's command line; C{--only} picks what to run.
"""

from __future__ import annotations

from typing import Any

import pyperf

from . import path, wire


def main() -> None:
    """
    Run them.
    """

    def passOn(command: list[str], options: Any) -> None:
        command += ["--only", options.only]

    runner = pyperf.Runner(
        program_args=("-m", "benchmarks.micro"), add_cmdline_args=passOn, values=3
    )
    runner.argparser.add_argument("--only", default="", metavar="TEXT", help="names that have it")
    only = runner.parse_args().only
    for module in (wire, path):
        prefix = f"{module.__name__.rpartition('.')[2]}: "
        if only and not (only.startswith(prefix) or prefix.startswith(only)):
            continue
        for name, function in module.benchmarks():
            if only in name:
                runner.bench_func(name, function)


if __name__ == "__main__":
    main()
