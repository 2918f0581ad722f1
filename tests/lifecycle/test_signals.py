"""
A signal reaches the reactor, and where it is meant to whoever handled it before.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.lifecycle.signals import STOP_SIGNALS, SignalHandler, StopSignals


class Calls:
    """
    Stands for a reactor: keeps what is to be called in it.
    """

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def callFromThread(self, call: Callable[[], None]) -> None:
        self.calls.append(call)


class SignalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        self.reactor = Calls()
        self.signal = SignalHandler(signal.SIGUSR1, self.reopen, self.reactor, chain=True)

    def reopen(self) -> None:
        raise AssertionError("called in the signal handler")

    def raiseSignal(self) -> None:
        # Python runs the handler before this returns: it is the main thread's own signal.
        os.kill(os.getpid(), signal.SIGUSR1)

    def test_later(self) -> None:
        """
        The handler itself touches nothing; the reactor reopens.
        """
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self.signal.install()
        self.raiseSignal()
        self.assertEqual(self.reactor.calls, [self.reopen])

    def test_chained(self) -> None:
        """
        twistd's handler, which rotates twistd's own log, goes on working; and is back when
        this one is removed.
        """
        seen: list[int] = []

        def rotate(number: int, frame: Any) -> None:
            seen.append(number)

        signal.signal(signal.SIGUSR1, rotate)
        self.signal.install()
        self.raiseSignal()
        self.assertEqual((seen, self.reactor.calls), ([signal.SIGUSR1], [self.reopen]))
        self.signal.remove()
        self.assertIs(signal.getsignal(signal.SIGUSR1), rotate)

    def test_alone(self) -> None:
        """
        One that takes the place of another does not call it.
        """

        def other(number: int, frame: Any) -> None:
            raise AssertionError("called")

        signal.signal(signal.SIGUSR1, other)
        alone = SignalHandler(signal.SIGUSR1, self.reopen, self.reactor)
        alone.install()
        self.raiseSignal()
        self.assertEqual(self.reactor.calls, [self.reopen])
        alone.remove()
        self.assertIs(signal.getsignal(signal.SIGUSR1), other)

    def test_default(self) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self.signal.install()
        self.signal.remove()
        self.assertIs(signal.getsignal(signal.SIGUSR1), signal.SIG_DFL)

    def test_anotherOnTop(self) -> None:
        """
        Whoever came later stays.
        """

        def later(number: int, frame: Any) -> None:
            pass

        self.signal.install()
        signal.signal(signal.SIGUSR1, later)
        self.signal.remove()
        self.assertIs(signal.getsignal(signal.SIGUSR1), later)

    def test_notInTheMainThread(self) -> None:
        """
        Python refuses handlers of other threads; that is no reason not to start.
        """
        before = signal.getsignal(signal.SIGUSR1)
        failed: list[ValueError] = []

        def install() -> None:
            try:
                self.signal.install()
            except ValueError as error:
                failed.append(error)

        thread = threading.Thread(target=install)
        thread.start()
        thread.join()
        self.assertEqual(failed, [])
        self.assertEqual(signal.getsignal(signal.SIGUSR1), before)
        self.signal.remove()
        self.assertEqual(signal.getsignal(signal.SIGUSR1), before)


class StopSignalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.firsts: list[int] = []
        for number in STOP_SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            signal.signal(number, lambda number, frame: self.firsts.append(number))
        self.reactor = Calls()
        self.signals = StopSignals(self.again, self.reactor)
        self.signals.install()

    def again(self) -> None:
        raise AssertionError("called in the signal handler")

    def test_first(self) -> None:
        """
        It is the reactor's.
        """
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual((self.firsts, self.reactor.calls), ([signal.SIGTERM], []))

    def test_second(self) -> None:
        """
        Whichever it is, and however soon.
        """
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGINT:
            os.kill(os.getpid(), number)
        self.assertEqual((self.firsts, self.reactor.calls), ([signal.SIGINT], [self.again] * 2))

    def test_stoppingAnyway(self) -> None:
        self.signals.stopping = True
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual((self.firsts, self.reactor.calls), ([], [self.again]))

    def test_ignored(self) -> None:
        """
        What is ignored stays so: by workers, which a terminal signals, too.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ignoring = StopSignals(self.again, self.reactor)
        ignoring.install()
        os.kill(os.getpid(), signal.SIGINT)
        self.assertEqual((self.firsts, self.reactor.calls), ([], []))
