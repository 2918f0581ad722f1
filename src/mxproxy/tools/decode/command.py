"""
C{mxproxy decode}'s arguments, its exit statuses, and reading what is to be decoded.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ...config.errors import oneLine
from ...wire.peerstate import PeerState
from ...wire.prefix import DEFAULT_MAX_SIZE, HEADER_SIZE
from ..page import Page
from ..verdict import FIELDS, Verdict, judge
from .capture import MAX_STREAMS, Capture, CaptureError, Stream, readCapture
from .forms import Form, decode, detect
from .show import showCapture, showPrefix

EXIT_FOUND: Final = 0
EXIT_LOCAL: Final = 1
EXIT_NONE: Final = 3
EXIT_BROKEN: Final = 4

_AUTO: Final = "auto"

# A stream's head is all that is needed; of a file that is no capture no more is read.
_MAX_INPUT: Final = 64 << 20

_DESCRIPTION = """\
Takes a metadata exchange's prefix apart, byte for byte: from a file, from standard input, from the
command line, or from the streams of a capture. Says at which byte it is cut off or wrong.
"""

_EPILOG = f"""\
exit status:
  0  a whole prefix was found, or in a capture at least one, and none that is broken
  1  the input cannot be read
  2  a wrong command line
  3  there is no prefix: the bytes, or all streams of a capture, begin with something else
  4  a prefix is cut off, too large, or no metadata

Captures are read with Wireshark's tshark (3.6 or later). TLS in them is decrypted with --keylog, a file in
the form of SSLKEYLOGFILE, as twistd mxproxy --tls-keylog FILE writes it; pcapng files may have the
secrets inside. The first {MAX_STREAMS} TCP streams with data are looked at, or those named by --stream.

examples:
  mxproxy decode 3d23046700000088...
  xxd first-bytes | mxproxy decode
  mxproxy decode capture.pcapng --keylog keys.log
"""


def run(argv: Sequence[str]) -> int:
    """
    @return: the exit status.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    if given.input is None and sys.stdin.isatty():
        parser.error(
            "say FILE, or the prefix itself in hex or base64, or give it to standard input"
        )
    page = Page(sys.stdout)
    try:
        source, data, form = _read(given.input, given.format)
        capture = None
        prefix = b""
        if form is not Form.CAPTURE:
            prefix = decode(data, form)
        elif not os.path.isfile(source):
            raise ValueError("a capture has to be a file: tshark reads it twice")
        else:
            limit = HEADER_SIZE + given.max_size
            path = os.path.abspath(source)
            capture = readCapture(path, limit, given.keylog, given.stream)
    except OSError as error:
        return _fail(f"cannot read {error.filename!r}: {error.strerror}")
    except (CaptureError, ValueError) as error:
        return _fail(str(error))
    if capture is not None:
        return _decodeCapture(capture, given, page)
    verdict = judge(prefix, given.max_size)
    if given.json:
        _print({"source": source, "form": form.value, **describe(verdict, prefix)})
    else:
        showPrefix(verdict, prefix, page, everything=given.all)
    return _status(verdict)


def _fail(why: str) -> int:
    sys.stderr.write(f"mxproxy decode: {oneLine(why)}\n")
    return EXIT_LOCAL


def _read(given: str | None, form: str) -> tuple[str, bytes, Form]:
    """
    @return: where it is from, the bytes, and their form.
    """
    if given is None or given == "-":
        data = sys.stdin.buffer.read(_MAX_INPUT)
        return "standard input", data, detect(data) if form == _AUTO else Form(form)
    if not os.path.exists(given):
        text = given.encode("utf-8", "surrogateescape")
        found = detect(text) if form == _AUTO else Form(form)
        if found in (Form.HEX, Form.BASE64):
            return "command line", text, found
        raise ValueError(f"there is no file {given!r}, nor is that a prefix in hex or base64")
    with open(given, "rb") as file:
        data = file.read(_MAX_INPUT)
    found = detect(data) if form == _AUTO else Form(form)
    return given, data, found


# -- captures --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """
    What one side of a stream has said first.
    """

    stream: Stream
    who: str
    verdict: Verdict

    @property
    def isPrefix(self) -> bool:
        """Whether it begins as one does."""
        cutOff = self.verdict.state is PeerState.CLOSED and self.verdict.size < HEADER_SIZE
        return self.verdict.state is not PeerState.BAD_MAGIC and not cutOff


def saidIn(capture: Capture, maxSize: int) -> Iterator[Said]:
    """
    Clients before servers.
    """
    for stream in capture.streams:
        for who in stream.client, stream.server:
            yield Said(stream, who, judge(stream.head(who), maxSize))


def _decodeCapture(capture: Capture, given: argparse.Namespace, page: Page) -> int:
    every = list(saidIn(capture, given.max_size))
    if given.json:
        for said in every:
            _print(_describeSaid(said))
    else:
        showCapture(
            capture,
            [(one.stream, one.who, one.verdict, one.isPrefix) for one in every],
            page,
            everything=given.all,
        )
    prefixes = [said.verdict for said in every if said.isPrefix]
    return max(map(_status, prefixes), default=EXIT_NONE)


def _describeSaid(said: Said) -> dict[str, object]:
    stream = said.stream
    return {
        "stream": stream.number,
        "from": said.who,
        "to": stream.server if said.who == stream.client else stream.client,
        "side": "client" if said.who == stream.client else "server",
        "tls": stream.tls,
        "decrypted": stream.decrypted,
        "alpn_offered": list(stream.offered),
        "alpn": stream.negotiated or None,
        "server_name": stream.sni or None,
        **describe(said.verdict, stream.head(said.who)),
    }


# -- for scripts -----------------------------------------------------------------------------


def describe(verdict: Verdict, data: bytes) -> dict[str, object]:
    """
    For C{--json}.  The keys are a contract: more may come, none will go.
    """
    metadata = verdict.metadata
    return {
        "state": verdict.state.value,
        "prefix_bytes": verdict.size,
        "rest_bytes": len(data) - verdict.size,
        "fault_at_byte": verdict.fault,
        "reason": verdict.reason or None,
        "metadata": metadata
        and {name: getattr(metadata, name) or None for name in FIELDS}
        | {"labels": dict(metadata.labels)},
        "other_fields": dict(verdict.others),
    }


def _print(described: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(described) + "\n")


def _status(verdict: Verdict) -> int:
    if verdict.state is PeerState.FOUND:
        return EXIT_FOUND
    return EXIT_NONE if verdict.state is PeerState.BAD_MAGIC else EXIT_BROKEN


# -- the command line ------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mxproxy decode",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        *("input",),
        nargs="?",
        metavar="FILE|TEXT",
        help="a file, or a prefix in hex or base64; - or nothing is standard input",
    )
    add(
        *("--format",),
        choices=[_AUTO, *(form.value for form in Form)],
        default=_AUTO,
        help="how it is written; auto finds out, dumps of xxd and hexdump -C among them",
    )
    add("--keylog", metavar="FILE", type=_file, help="TLS secrets for a capture")
    add(
        *("--stream",),
        metavar="N",
        type=_number,
        action="append",
        default=[],
        help="look at this TCP stream of a capture only, by Wireshark's number; repeatable",
    )
    add(
        "--max-size",
        metavar="BYTES",
        type=_number,
        default=DEFAULT_MAX_SIZE,
        help="see --mx-max-size",
    )
    add("--all", action="store_true", help="each of protobuf's fields on a line of its own")
    add("--json", action="store_true", help="print an object of JSON, for each side of a stream")
    return parser


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)


def _file(text: str) -> str:
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return os.path.abspath(text)
