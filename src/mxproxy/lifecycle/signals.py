"""
Signals: SIGUSR1 opens the logs again, SIGHUP reads the configuration again, and a second SIGTERM
or SIGINT, while the first one drains, ends at once.

The first SIGTERM or SIGINT is Twisted's: the reactor stops its services, and twistd ends by that
signal when they have stopped.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class SignalHandler:
    """
    Calls a function in the reactor when a signal comes, between L{install} and L{remove}.
    """

    def __init__(
        self,
        number: int,
        call: Callable[[], object],
        reactor: Any,
        *,
        chain: bool = False,
    ) -> None:
        """
        @param reactor: an L{twisted.internet.interfaces.IReactorFromThreads}.
        @param chain: whether whoever handles the signal already is to be called, too, as
            twistd, which on SIGUSR1 rotates the log that it writes to a file.
        """
        self._number = number
        self._call = call
        self._reactor = reactor
        self._chain = chain
        self._previous: Any = None

    def install(self) -> None:
        """
        Handle the signal from now on.

        Python takes signal handlers in the main thread only; with the reactor in another
        one the signal is left alone.
        """
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(self._number, self._handle)

    def remove(self) -> None:
        """
        Handle it no longer, unless another handler has been put on top of this one.
        """
        if signal.getsignal(self._number) == self._handle:
            # None: a handler that was not installed from Python cannot be put back.
            signal.signal(self._number, self._previous or signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._chain and callable(self._previous):
            self._previous(number, frame)
        # Not here: the signal may have come while this thread holds a lock.
        self._reactor.callFromThread(self._call)


#: What tells a proxy to stop.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """
    Leaves the first of L{STOP_SIGNALS} to the reactor; what comes after it, or once it is said that
    all is stopping anyway, is a wish to be quicker.

    @ivar stopping: whether that is so.
    """

    def __init__(self, again: Callable[[], object], reactor: Any) -> None:
        """
        @param again: called in the reactor.
        @param reactor: see L{SignalHandler}.
        """
        self.stopping = False
        self._again = again
        self._reactor = reactor
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """
        Handle them from now on; to be called when the reactor runs, which has installed its own
        by then.
        """
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous[number]
        if previous is signal.SIG_IGN:
            return
        if not self.stopping and callable(previous):
            self.stopping = True
            previous(number, frame)
        else:
            self._reactor.callFromThread(self._again)
