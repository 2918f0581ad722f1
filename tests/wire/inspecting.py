"""
What the tests of wire/'s inspectors share: one way to feed them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.trial.unittest import SynchronousTestCase

from tests.wire.helpers import TRAILING, bytewise


class Inspector(Protocol):
    """
    A machine of wire/, as mxproxy.interfaces.IInspector has it.
    """

    def feed(self, data: bytes) -> object: ...

    def eof(self) -> object: ...

    def timeout(self) -> object: ...


def inspect(inspector: Inspector, chunks: Sequence[bytes]) -> object:
    """
    @return: the last answer to the chunks.
    """
    answer: object = None
    for chunk in chunks:
        answer = inspector.feed(chunk)
    return answer


def inspectEveryWay(
    test: SynchronousTestCase, make: Callable[[], Inspector], data: bytes
) -> object:
    """
    Invariant: how a stream is cut into reads changes no answer, and once there is one, nothing
    that follows does.

    @param make: makes a fresh inspector.
    @return: the answer to the data, None when it needs more.
    """
    whole = inspect(make(), [data])
    test.assertEqual(whole, inspect(make(), bytewise(data)), "byte by byte")
    test.assertEqual(whole, inspect(make(), [b"", data, b""]), "with empty reads")
    if whole is not None:
        test.assertEqual(whole, inspect(make(), [data + TRAILING]), "trailing, in one read")
        test.assertEqual(whole, inspect(make(), [data, TRAILING]), "trailing, in the next")
        test.assertEqual(whole, inspect(make(), bytewise(data + TRAILING)), "trailing, bytes")
        inspector = make()
        inspector.feed(data)
        test.assertEqual((whole, whole), (inspector.eof(), inspector.timeout()), "at the end")
    return whole


def decidedAt(inspector: Inspector, data: bytes) -> int:
    """
    @return: how many bytes the inspector needed; one more than there are when it needs more.
    """
    for seen, byte in enumerate(bytewise(data), 1):
        if inspector.feed(byte) is not None:
            return seen
    return len(data) + 1
