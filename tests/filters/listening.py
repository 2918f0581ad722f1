"""
What the tests of listener filters share.
"""

from __future__ import annotations

from typing import Any

from mxproxy.testing import Bench
from mxproxy.testing.bench import Wrap

#: The two ways in which a listener's time can end.
GOES_ON = {"listener_filters_timeout": 1.0, "continue_on_listener_filters_timeout": True}
CLOSES = {"listener_filters_timeout": 1.0}


def played(filter: Any, script: str, **more: Any) -> Bench:
    """
    Play a transcript, with the bytes as they come and one by one.

    @return: the last bench.
    """
    for chunks in (None, 1):
        bench = Bench(filter, **{"context": GOES_ON, **more}, chunks=chunks)
        bench.play(script)
        assert bench.reactor.getDelayedCalls() == []
        assert bench.application.unexpected == []
    return bench


def together(*filters: Any) -> Wrap:
    """
    @param filters: in the order in which a listener has them.
    @return: what wraps all of them around a chain.
    """

    def wrap(inner: Any, context: Any) -> Any:
        for filter in reversed(filters):
            inner = filter.wrap(inner, context)
        return inner

    return wrap
