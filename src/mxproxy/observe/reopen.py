"""
SIGUSR1: open the log files again, for whoever has renamed them (logrotate), as Envoy does.

twistd has its own handler for that signal when it writes its log to a file.  Both are called.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class ReopenSignal:
    """
    Calls a function in the reactor when the signal comes, between L{install} and
    L{remove}.
    """

    def __init__(self, reopen: Callable[[], None], reactor: Any) -> None:
        """
        @param reactor: an L{twisted.internet.interfaces.IReactorFromThreads}.
        """
        self._reopen = reopen
        self._reactor = reactor
        self._previous: Any = None

    def install(self) -> None:
        """
        Handle the signal from now on, together with whoever does already.

        Python takes signal handlers in the main thread only; with the reactor in another
        one the signal is left alone.
        """
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGUSR1, self._handle)

    def remove(self) -> None:
        """
        Handle it no longer, unless another handler has been put on top of this one.
        """
        if signal.getsignal(signal.SIGUSR1) == self._handle:
            # None: a handler that was not installed from Python cannot be put back.
            signal.signal(signal.SIGUSR1, self._previous or signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if callable(self._previous):
            self._previous(number, frame)
        # Not here: the signal may have come while this thread holds a lock.
        self._reactor.callFromThread(self._reopen)
