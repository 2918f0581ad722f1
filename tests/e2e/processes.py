"""
Child processes: started, listened to, and always ended, by process id.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

T = TypeVar("T")

#: Seconds for what takes a moment. A machine with two cores that does something else, too,
#: makes it a long one.
MOMENT = 20.0

#: Seconds for a whole application's work.
WHILE = 120.0

#: Where Debian keeps servers, which a user's PATH may lack.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def program(name: str) -> str:
    """
    The path of a program that C{scripts/install-e2e-packages} installs.
    """
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN)))
    if path is None:
        raise AssertionError(f"{name} is not installed: run scripts/install-e2e-packages")
    return path


async def soon(deferred: Deferred[T], what: Callable[[], str], seconds: float = MOMENT) -> T:
    """
    Wait for C{deferred}, for no more than C{seconds}.

    @param what: says what has not happened.
    """
    from twisted.internet import reactor

    deferred.addTimeout(seconds, reactor)  # type: ignore[arg-type]
    try:
        return await deferred
    except defer.TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what()}") from None


async def until(
    condition: Callable[[], T | None], what: Callable[[], str], seconds: float = MOMENT
) -> T:
    """
    Ask for C{condition} until it is true, for no more than C{seconds}.
    """
    from twisted.internet import reactor

    clock: Any = reactor
    end = clock.seconds() + seconds
    while not (answer := condition()):
        if clock.seconds() > end:
            raise AssertionError(f"not within {seconds:g} s: {what()}")
        await deferLater(clock, 0.01)
    return answer


class Child(ProcessProtocol):
    """
    A child process and all that it has said.

    @ivar output: its standard output so far.
    @ivar errors: its standard error so far.
    @ivar status: its exit status, negative for a signal; C{None} while it runs.
    """

    transport: IProcessTransport

    def __init__(self, command: Sequence[str | Path]) -> None:
        self.command = [str(word) for word in command]
        self.output = b""
        self.errors = b""
        self.status: int | None = None
        self.pid = 0
        self._changed: list[Deferred[None]] = []

    @classmethod
    def start(
        cls,
        command: Sequence[str | Path],
        directory: str | Path,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """
        Run C{command}, whose first word is a path, in C{directory}.
        """
        from twisted.internet import reactor

        child = cls(command)
        spawner: Any = reactor
        spawner.spawnProcess(
            child,
            child.command[0],
            child.command,
            env={**os.environ, **(environment or {})},
            path=str(directory),
        )
        return child

    # -- what it does

    def connectionMade(self) -> None:
        pid = self.transport.pid  # type: ignore[attr-defined]
        assert pid is not None
        self.pid = pid

    def outReceived(self, data: bytes) -> None:
        self.output += data
        self._change()

    def errReceived(self, data: bytes) -> None:
        self.errors += data
        self._change()

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        self.status = -value.signal if value.signal else value.exitCode
        self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, []
        for deferred in changed:
            deferred.callback(None)

    # -- what is asked of it

    async def _until(self, condition: Callable[[], T | None], what: str, seconds: float) -> T:
        from twisted.internet import reactor

        clock: Any = reactor
        end = clock.seconds() + seconds
        while not (answer := condition()):
            changed: Deferred[None] = Deferred()
            self._changed.append(changed)
            left = max(0.0, end - clock.seconds())
            await soon(changed, lambda: f"{what}\n{self}", left)
        return answer

    async def says(self, pattern: str, seconds: float = MOMENT) -> re.Match[str]:
        """
        Wait until its output, or what it says on standard error, matches C{pattern}.
        """

        def said() -> re.Match[str] | None:
            found = re.search(pattern, self.text)
            if found is None and self.status is not None:
                raise AssertionError(f"ended without having said {pattern!r}\n{self}")
            return found

        return await self._until(said, f"to say {pattern!r}", seconds)

    async def prints(self, size: int, seconds: float = MOMENT) -> bytes:
        """
        Wait until its standard output has C{size} bytes.
        """

        def printed() -> bool:
            if len(self.output) < size and self.status is not None:
                raise AssertionError(f"ended after {len(self.output)} of {size} bytes\n{self}")
            return len(self.output) >= size

        await self._until(printed, f"to print {size} bytes", seconds)
        return self.output

    async def ends(self, seconds: float = MOMENT) -> int:
        """
        Wait for its end.

        @return: its exit status.
        """
        await self._until(lambda: self.status is not None, "to end", seconds)
        assert self.status is not None
        return self.status

    def write(self, data: bytes) -> None:
        """
        Write to its standard input.
        """
        self.transport.writeToChild(0, data)

    def closeInput(self) -> None:
        """
        End its standard input.
        """
        self.transport.closeStdin()  # type: ignore[attr-defined]

    def signal(self, number: int) -> None:
        """
        Send it a signal, if it is still there.
        """
        try:
            self.transport.signalProcess(number)
        except ProcessExitedAlready:
            pass

    async def stop(self, seconds: float = MOMENT) -> int:
        """
        End it: by SIGTERM, and when it does not obey, by SIGKILL.

        @raise AssertionError: it did not obey.
        """
        self.signal(signal.SIGTERM)
        try:
            return await self.ends(seconds)
        except AssertionError:
            self.signal(signal.SIGKILL)
            await self.ends(seconds)
            raise

    @property
    def text(self) -> str:
        """
        All that it has said, as text.
        """
        return (self.output + self.errors).decode("utf-8", "replace")

    def __str__(self) -> str:
        state = "running" if self.status is None else f"exit {self.status}"
        return f"{' '.join(self.command)} ({state})\n{self.text[-4000:]}"
