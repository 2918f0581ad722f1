"""
What the tests of terminals that answer by themselves share.
"""

from __future__ import annotations

from typing import Any

from mxproxy.testing import Bench
from mxproxy.testing.bench import Wrap


def terminal(settings: Any) -> Wrap:
    """
    @return: makes a chain of nothing but a terminal.
    """
    return lambda inner, context: settings.terminal(context)


def played(settings: Any, script: str, **more: Any) -> Bench:
    """
    Play a transcript, and let the connection break if it is still there.
    """
    bench = Bench(terminal(settings), **more)
    bench.play(script)
    if not bench.transport.closed:
        bench.transport.lose()
    assert bench.reactor.getDelayedCalls() == []
    assert not bench.peer.open
    return bench
