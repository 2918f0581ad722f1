"""
What the tests of wire/ share: one way to feed a decoder, and hypothesis' settings.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from hypothesis import settings
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire.handshake import Outcome

# Importing a test module selects the profile. A run in CI repeats exactly; one by hand explores.
settings.register_profile("local", deadline=None, max_examples=100)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

TRAILING = b"and what the application said next\r\n"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """
    Run a fresh interpreter that finds what this one finds, wherever trial runs it.
    """
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    )


class Decoder(Protocol):
    """
    A machine of wire/, as mxproxy.interfaces.IHandshake has it.
    """

    def feed(self, data: bytes) -> Outcome | None: ...

    def eof(self) -> Outcome: ...


class Ran(NamedTuple):
    """
    What a decoder came to, and every byte that came out of it.

    @ivar result: the last outcome's result; None when there was no outcome.
    @ivar sent: all bytes for the peer.
    @ivar forwarded: all bytes for the application; after the decoder was final, those that were
        read without it.
    @ivar abort: why the connection was to be closed.
    @ivar final: the decoder said it was finished.
    @ivar atEnd: it said so at the end of the stream only.
    """

    result: object = None
    sent: bytes = b""
    forwarded: bytes = b""
    abort: str = ""
    final: bool = False
    atEnd: bool = False


def run(decoder: Decoder, chunks: Sequence[bytes], eof: bool = False) -> Ran:
    """
    Do with a decoder what a layer does.
    """
    ran = Ran()
    for chunk in chunks:
        if ran.abort:
            break
        if ran.final:
            ran = ran._replace(forwarded=ran.forwarded + chunk)
        else:
            ran = _add(ran, decoder.feed(chunk))
    if eof and not ran.final:
        ran = _add(ran, decoder.eof())._replace(atEnd=True)
    return ran


def _add(ran: Ran, outcome: Outcome | None) -> Ran:
    if outcome is None:
        return ran
    return Ran(
        outcome.result,
        ran.sent + outcome.send,
        ran.forwarded + outcome.forward,
        outcome.abort,
        outcome.final,
    )


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def cutAt(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """
    Data in pieces: the cuts are taken modulo its length, so any numbers will do.
    """
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in pairwise(at)]


def feedEveryWay(
    test: SynchronousTestCase, make: Callable[[], Decoder], data: bytes, *, eof: bool = False
) -> Ran:
    """
    Invariant: how a stream is cut into reads changes nothing, and what follows is untouched.

    Runs a fresh decoder with the data whole, byte by byte, and, if it needed no end of stream
    to finish, with something behind it in the same read and in the next one.

    @param make: makes a fresh decoder.
    @param eof: whether the stream ends behind the data.
    @return: what each of them came to.
    """
    whole = run(make(), [data], eof)
    test.assertEqual(whole, run(make(), bytewise(data), eof), "byte by byte")
    if whole.final and not whole.atEnd:
        followed = whole._replace(forwarded=whole.forwarded + (b"" if whole.abort else TRAILING))
        test.assertEqual(followed, run(make(), [data + TRAILING], eof), "trailing, in one read")
        test.assertEqual(followed, run(make(), [data, TRAILING], eof), "trailing, in the next")
        test.assertEqual(followed, run(make(), bytewise(data + TRAILING), eof), "trailing, bytes")
    return whole
