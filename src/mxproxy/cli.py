"""
The C{mxproxy} command: everything around a sidecar that is not running one.

A subcommand is one entry of L{COMMANDS}: a word, a line of help, and the module whose
C{main(argv)} is called with what follows the word; it is imported when the word is given.
(C{twistd mxproxy} is L{mxproxy.tap}.)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from . import __version__


@dataclass(frozen=True)
class Command:
    """
    A subcommand.

    @ivar module: the name of a module with C{main(argv: list[str]) -> int | None}, which
        returns or raises the exit status; its own parser answers C{--help}.
    """

    word: str
    help: str
    module: str


COMMANDS = (
    Command("demo", "two sidecars on this machine, and what they learn", "mxproxy.demo"),
    Command(
        "probe", "what a sidecar is: its TLS, its certificate, its metadata", "mxproxy.tools.probe"
    ),
    Command("decode", "what a prefix says, byte for byte", "mxproxy.tools.decode"),
    Command(
        "validate",
        "what is wrong with a file for --config, or OK",
        "mxproxy.config.envoy.validate",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """
    @param argv: the arguments, without the program's name.
    @return: the exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    word = parser.parse_args(arguments[:1]).command
    if word == "version":
        if len(arguments) > 1:
            parser.error(f"version takes no arguments: {' '.join(arguments[1:])}")
        print(_version())
        return 0
    module = next(command.module for command in COMMANDS if command.word == word)
    return import_module(module).main(arguments[1:]) or 0


def _version() -> str:
    return f"mxproxy {__version__}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mxproxy",
        description="Tools around mxproxy's sidecars. A sidecar itself is run by twistd mxproxy.",
        epilog="mxproxy COMMAND --help says more of a command.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        # Its options are its own parser's.
        commands.add_parser(command.word, help=command.help, add_help=False)
    commands.add_parser("version", help="print the version", add_help=False)
    return parser
