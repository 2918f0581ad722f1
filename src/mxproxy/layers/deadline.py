"""
The time that all listener filters of a connection have together.

Whichever of them is at work when it is up has to decide on what there is; those after it
find it up already.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall

from ..connection import Connection, Key
from ..interfaces import IChainContext

#: Until when, on the chain's clock.
DEADLINE: Key[float] = Key("mxproxy.listener_filters_deadline", float)


def callAtDeadline(
    connection: Connection, context: IChainContext, call: Callable[[], None]
) -> IDelayedCall | None:
    """
    Call C{call} when the time of C{connection}'s listener filters is up.

    @return: to be cancelled when it is no longer wanted; C{None} if that time is without a
        bound (C{listener_filters_timeout: 0s}).
    """
    timeout = context.listener_filters_timeout
    if not timeout:
        return None
    clock = context.clock
    deadline = connection.get(DEADLINE)
    if deadline is None:
        deadline = float(clock.seconds() + timeout)
        connection.set(DEADLINE, deadline)
    # Never at once, even when it is up: what the filter before has in hand comes first.
    later: IDelayedCall = clock.callLater(max(0.0, deadline - clock.seconds()), call)
    return later
