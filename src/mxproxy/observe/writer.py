"""
Writes lines to a file from a thread of its own, so that a slow disk, a full pipe or a file
server that is away never stops the reactor.

Whoever writes a line only appends it to a queue in memory.  The queue is bounded: what does
not fit is dropped and counted, and so is what the file does not take; a line at the place of
the gap says how many are missing.  Lines are written whole, in order: one that the file took
half of is finished before the next.  What a line says is not known here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from twisted.logger import Logger

#: What stands for standard output, and for standard error, in place of a path.
STDOUT, STDERR = "-", "!"

# Some ten thousand access log lines.  Envoy's file logger has no bound at all, it only
# begins to write when 64 KiB have come together (access_log flush_log_size); its operators
# know of it as memory that grows while a disk hangs.
QUEUE_BYTES = 8 * 1024 * 1024

# One write(2) for many lines; a pipe takes no more than this at once on Linux (pipe(7)).
BLOCK_BYTES = 64 * 1024

#: Seconds in which lines come together before they are written.  To wake the thread for each would
#: take the reactor's thread longer than to make the line.
GATHER = 0.05

# As Envoy creates its log files.
_FILE_MODE = 0o644

_DESCRIPTORS = {STDOUT: 1, STDERR: 2}

# A file that whoever writes to the same logs locks meanwhile, if other processes do.
_locks: list[int] = []


def shareWith(lock: int, standardError: int) -> None:
    """
    Other processes write to the same logs: whoever writes keeps the others from it until its
    lines are out.  A regular file needs no such thing (C{O_APPEND}), but a pipe takes no more than
    4 KiB at once that is not mixed with others', and standard output may be one.

    @param lock: a file that all of them have; locks are the processes' (POSIX record locks).
    @param standardError: what takes the place of descriptor 2.
    """
    _locks[:] = [lock]
    _DESCRIPTORS[STDERR] = standardError


@contextmanager
def _alone(path: str) -> Iterator[None]:
    if not _locks:
        yield
        return
    (lock,) = _locks
    # A byte for each log, that one of them may be stuck.
    place = zlib.crc32(os.fsencode(path))
    fcntl.lockf(lock, fcntl.LOCK_EX, 1, place)
    try:
        yield
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN, 1, place)


def openLog(path: str) -> int:
    """
    Open a file for appending, and make it if it does not exist.

    Standard output is file descriptor 1, not C{sys.stdout}, and standard error 2: twistd puts
    its own log in the place of those.

    @return: a file descriptor, the caller's to close.
    @raise OSError: it cannot be opened.
    """
    if path in _DESCRIPTORS:
        return os.dup(_DESCRIPTORS[path])
    if _isFIFO(path):
        # For reading too: that never waits for a reader, and there is no broken pipe while
        # one reader goes and the next comes.
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)


def checkWritable(path: str) -> None:
    """
    See whether a file could be opened for appending; make and change nothing.

    @raise OSError: it could not.
    """
    if not os.path.exists(path):
        directory = os.path.dirname(path) or os.curdir
        if not stat.S_ISDIR(os.stat(directory).st_mode):
            raise _error(errno.ENOTDIR, directory)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise _error(errno.EACCES, directory)
    elif not _isFIFO(path):
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
    elif not os.access(path, os.R_OK | os.W_OK):
        raise _error(errno.EACCES, path)


def _isFIFO(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


class _Line(NamedTuple):
    """
    A line in the queue.

    @ivar text: with its newline.
    @ivar told: 0, or how many missing lines it tells of; lost with it, they are untold again.
    """

    text: bytes
    told: int = 0


class Writer:
    """
    A file, a queue of lines for it, and the thread between them.

    @ivar path: the file, L{STDOUT} or L{STDERR}.
    """

    log = Logger()

    def __init__(
        self,
        path: str,
        describeLoss: Callable[[int], bytes],
        *,
        limit: int = QUEUE_BYTES,
        open: Callable[[str], int] = openLog,
    ) -> None:
        """
        @param describeLoss: makes the line, newline included, that says how many are missing.
        @param limit: how many bytes may wait, those that are just being written among them.
        @param open: opens C{path} and returns a file descriptor, as L{openLog}.
        """
        self.path = path
        self._describeLoss = describeLoss
        self._limit = limit
        self._open = open
        # Guards what follows, and is only ever held for a few instructions.
        self._changed = threading.Condition()
        self._queue: list[_Line | None] = []  # None: reopen the file at this place.
        self._size = 0
        self._missing = 0
        self._told = 0
        self._stopping = False
        # Set: lines are not to come together any longer.
        self._hurry = threading.Event()
        # The thread's own.
        self._file = -1
        self._rest: _Line | None = None
        self._failing = False
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Writer {self.path} {self._size} bytes waiting, {self.dropped} lines dropped>"

    @property
    def dropped(self) -> int:
        """How many lines have been lost so far."""
        return self._missing + self._told

    def start(self) -> None:
        """
        Open the file and begin to write.

        @raise OSError: it cannot be opened; nothing was started.
        """
        self._file = self._open(self.path)
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """
        Have a line written; never waits and never raises.

        @param line: with its newline.
        """
        with self._changed:
            if self._stopping or self._size + len(line) > self._limit:
                self._missing += 1
                return
            self._tellLoss()
            self._append(_Line(line))

    def reopen(self) -> None:
        """
        Close the file and open its path again, because the file was renamed: lines written
        so far go to the old one, later ones to the new one.  If it cannot be opened, the old
        one is kept.

        Takes a lock, so not for a signal handler: that may run in the midst of L{write}.
        """
        with self._changed:
            self._queue.append(None)
            self._changed.notify()

    def stop(self, stopped: Callable[[], None] = lambda: None) -> None:
        """
        Write out what waits, close the file and end the thread.  Does not wait for that.

        @param stopped: called in the thread at its end.
        """
        with self._changed:
            self._tellLoss()
            self._stopped = stopped
            self._stopping = True
            self._changed.notify()
        self._hurry.set()

    def join(self, timeout: float | None = None) -> bool:
        """
        Wait for the thread's end after L{stop}.

        @return: whether it has ended.
        """
        assert self._thread is not None, "not started"
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- with the lock held

    def _append(self, line: _Line) -> None:
        self._queue.append(line)
        self._size += len(line.text)
        # Costs nothing while nobody waits.
        self._changed.notify()
        if 2 * self._size > self._limit:
            self._hurry.set()

    def _tellLoss(self) -> None:
        # May pass the limit by one line, which saves it from being lost itself.
        if self._missing:
            missing, self._missing = self._missing, 0
            self._told += missing
            self._append(_Line(self._describeLoss(missing), missing))

    def _lose(self, line: _Line) -> None:
        self._missing += line.told or 1
        self._told -= line.told

    # -- in the thread

    def _run(self) -> None:
        while self._wait():
            self._pump()
        os.close(self._file)
        self._stopped()

    def _wait(self) -> bool:
        """
        Wait for something to do.

        @return: C{False}: this is the end.
        """
        with self._changed:
            while not self._queue and not self._stopping:
                self._changed.wait()
        if not self._stopping:
            self._hurry.wait(GATHER)
            self._hurry.clear()
        return bool(self._queue)

    def _pump(self) -> None:
        """
        Do what there is to do now.
        """
        with self._changed:
            queue, self._queue = self._queue, []
        lines: list[_Line] = []
        size = 0
        for line in queue:
            if line is None or size + len(line.text) > BLOCK_BYTES:
                self._put(lines)
                lines, size = [], 0
            if line is None:
                self._reopen()
            else:
                lines.append(line)
                size += len(line.text)
        self._put(lines)

    def _put(self, lines: Sequence[_Line]) -> None:
        """
        Write some lines, after the rest of an earlier one if there is any.
        """
        if not lines:
            return
        begun = [] if self._rest is None else [self._rest]
        block = memoryview(b"".join(line.text for line in (*begun, *lines)))
        written = 0
        try:
            with _alone(self.path):
                while written < len(block):
                    written += self._writeSome(block[written:])
        except OSError as error:
            self._failed((*begun, *lines), written, error)
        else:
            self._rest = None
            if self._failing:
                self._failing = False
                self.log.info("access log {path}: is written again", path=self.path)
        with self._changed:
            self._size -= sum(len(line.text) for line in lines)

    def _writeSome(self, data: memoryview) -> int:
        try:
            return os.write(self._file, data)
        except BlockingIOError:
            # Standard output may be shared with a program that has made it non-blocking;
            # this is the thread that may wait.
            poll = select.poll()
            poll.register(self._file, select.POLLOUT)
            poll.poll()
            return 0

    def _failed(self, lines: Sequence[_Line], written: int, error: OSError) -> None:
        """
        Give lines up, but for the rest of one whose beginning is in the file.
        """
        begun = self._rest is not None
        self._rest = None
        for line in lines:
            done = min(written, len(line.text))
            written -= done
            if done == len(line.text):
                pass
            elif done or begun:
                self._rest = line._replace(text=line.text[done:])
            else:
                with self._changed:
                    self._lose(line)
            begun = False
        if not self._failing:
            self._failing = True
            self.log.error(
                "access log {path}: cannot write: {reason}; lines are lost until it can be written",
                path=self.path,
                reason=error.strerror,
            )

    def _reopen(self) -> None:
        try:
            file = self._open(self.path)
        except OSError as error:
            self.log.error(
                "access log {path}: cannot reopen: {reason}; the old file is written on",
                path=self.path,
                reason=error.strerror,
            )
            return
        os.close(self._file)
        self._file = file
        if self._rest is not None:
            # Its beginning is in the file that is gone.
            rest, self._rest = self._rest, None
            with self._changed:
                self._lose(rest)
