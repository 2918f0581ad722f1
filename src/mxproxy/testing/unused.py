"""
For paths that a test says are never taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn


def mustNotBeUsed(why: str) -> Callable[..., NoReturn]:
    """
    Stand in for a collaborator that the code under test has to leave alone.

    @param why: what it is and why it is not to be called: C{"no upstream is asked for before the
        peer is known"}.
    @return: raises L{AssertionError} with that text when it is called.
    """

    def unused(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError(f"must not be used: {why}")

    return unused
