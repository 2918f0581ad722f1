"""
The writer: lines come out whole and in order, the caller never waits, and what is lost is
counted and told at its place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.observe import writer as module
from mxproxy.observe.writer import (
    BLOCK_BYTES,
    QUEUE_BYTES,
    STDERR,
    STDOUT,
    Writer,
    checkWritable,
    openLog,
)

# Longer than any machine takes; no test waits for so long unless it fails.
PATIENCE = 30.0

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def loss(lines: int) -> bytes:
    return b"lost %d\n" % lines


class Threadless:
    """
    Stands for C{threading} where a test is the writer's thread itself.
    """

    Condition = threading.Condition
    Event = threading.Event

    class Thread:
        def __init__(self, target: Callable[[], None], name: str, daemon: bool) -> None:
            pass

        def start(self) -> None:
            pass


class ScriptedOS:
    """
    The C{os} module, but C{write} answers as it is told: takes so many bytes, or raises.
    Without an answer left it takes everything.

    @ivar sizes: how much it was offered each time.
    """

    def __init__(self, *answers: int | OSError) -> None:
        self.answers = list(answers)
        self.sizes: list[int] = []

    def write(self, file: int, data: memoryview) -> int:
        self.sizes.append(len(data))
        answer = self.answers.pop(0) if self.answers else len(data)
        if isinstance(answer, OSError):
            raise answer
        return os.write(file, data[:answer])

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


class WriterCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.said: list[tuple[LogLevel, str]] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: Any) -> None:
        if event.get("log_namespace") == "mxproxy.observe.writer.Writer":
            text = event["log_format"].format(**event)
            self.said.append((event["log_level"], text.replace(str(self.path), "LOG")))

    def write(self, writer: Writer, *lines: str) -> None:
        for line in lines:
            writer.write(f"{line}\n".encode())

    def end(self, writer: Writer) -> str:
        """
        @return: what is in the file when the thread has ended.
        """
        writer.stop()
        self.assertTrue(writer.join(PATIENCE), "the thread goes on")
        return self.path.read_text() if self.path.is_file() else ""


class ThreadTests(WriterCase):
    """
    With the thread: nothing waits but for it.
    """

    def start(self, **more: Any) -> Writer:
        writer = Writer(str(self.path), loss, **more)
        writer.start()
        return writer

    def test_inOrder(self) -> None:
        writer = self.start()
        lines = [f"{number:06}" for number in range(20_000)]
        self.write(writer, *lines)
        self.assertEqual(self.end(writer).split(), lines)
        self.assertEqual((writer.dropped, self.said), (0, []))

    def test_ends(self) -> None:
        """
        With nothing to write it ends too, and says so; it has closed the file.
        """
        file, stopped = [], []

        def open(path: str) -> int:
            file.append(openLog(path))
            return file[0]

        writer = self.start(open=open)
        writer.stop(lambda: stopped.append(threading.current_thread()))
        self.assertTrue(writer.join(PATIENCE))
        self.assertRaises(OSError, os.fstat, file[0])
        self.assertEqual([thread.name for thread in stopped], ["access log"])

    def test_daemon(self) -> None:
        """
        A file that blocks for ever does not keep the process.
        """
        writer = self.start()
        assert writer._thread is not None
        self.assertTrue(writer._thread.daemon)
        self.end(writer)

    def test_notOpened(self) -> None:
        writer = Writer(str(self.path / "gone"), loss)
        self.assertRaises(FileNotFoundError, writer.start)
        self.assertIsNone(writer._thread)

    def test_callerGoesOn(self) -> None:
        """
        A FIFO that nobody reads is opened all the same and fills up; the caller goes on.
        What does not fit in the queue is counted and told.  A reader that comes then gets
        whole lines in order.
        """
        os.mkfifo(self.path)
        checkWritable(str(self.path))
        limit = 100_000
        writer = self.start(limit=limit)
        lines = [b"%09d\n" % number for number in range(100_000)]
        for line in lines:
            writer.write(line)
        self.assertGreater(writer.dropped, 0)
        self.assertLessEqual(writer._size, limit)
        writer.stop()
        reader = os.open(self.path, os.O_RDONLY)
        self.addCleanup(os.close, reader)
        got = b""
        while not (got.endswith(b"\n") and b"\nlost " in got[-20:]):
            got += os.read(reader, 65536)
        self.assertTrue(writer.join(PATIENCE))
        *kept, last = got.splitlines(keepends=True)
        # Some were lost in the midst if the thread made room between two calls; each loss
        # is told where it is.
        position = 0
        for line in [*kept, last]:
            if line.startswith(b"lost "):
                position += int(line.split()[1])
            else:
                self.assertEqual(line, lines[position])
                position += 1
        self.assertEqual(position, len(lines))

    def test_nonBlocking(self) -> None:
        """
        A standard output that somebody has made non-blocking is waited for.
        """
        reader, file = os.pipe()
        self.addCleanup(os.close, reader)
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_NONBLOCK)
        refused = threading.Event()

        class Watched(ScriptedOS):
            def write(self, file: int, data: memoryview) -> int:
                try:
                    return super().write(file, data)
                except BlockingIOError:
                    refused.set()
                    raise

        self.patch(module, "os", Watched())
        writer = self.start(open=lambda path: file)
        lines = [b"%06d\n" % number for number in range(20_000)]
        for line in lines:
            writer.write(line)
        self.assertTrue(refused.wait(PATIENCE))
        got = bytearray()
        while len(got) < len(lines) * 7:
            got += os.read(reader, 65536)
        self.end(writer)
        self.assertEqual(bytes(got), b"".join(lines))


class StepTests(WriterCase):
    """
    Without the thread: a test says when it runs.
    """

    def start(self, *answers: int | OSError, limit: int = QUEUE_BYTES) -> Writer:
        """
        @param answers: see L{ScriptedOS}.
        """
        self.os = ScriptedOS(*answers)
        self.patch(module, "os", self.os)
        self.patch(module, "threading", Threadless)
        writer = Writer(str(self.path), loss, limit=limit)
        writer.start()
        self.addCleanup(lambda: os.close(writer._file))
        return writer

    def step(self, writer: Writer, *lines: str) -> str:
        """
        Write some lines and let the thread run.

        @return: what is in the file then.
        """
        self.write(writer, *lines)
        writer._pump()
        return self.path.read_text()

    # -- whole lines

    def test_appends(self) -> None:
        self.path.write_text("before\n")
        self.assertEqual(self.step(self.start(), "after"), "before\nafter\n")

    def test_shortWrites(self) -> None:
        """
        A file that takes a few bytes at a time gets them all.
        """
        writer = self.start(1, 2, 1, 3)
        self.assertEqual(self.step(writer, "one", "two", "three"), "one\ntwo\nthree\n")

    def test_blocks(self) -> None:
        """
        Many lines are one write; no write is more than a pipe takes at once, but for a line
        that is.
        """
        self.step(self.start(), *["x" * 999] * 100, "y" * BLOCK_BYTES, "z")
        self.assertEqual(self.os.sizes, [65_000, 35_000, BLOCK_BYTES + 1, 2])

    # -- the bound

    def test_full(self) -> None:
        """
        What does not fit is counted, and told where it is missing when there is room again.
        """
        writer = self.start(limit=8)
        self.write(writer, "aaa", "bbb", "lost", "lost")
        self.assertEqual(writer.dropped, 2)
        self.assertEqual(repr(writer), f"<Writer {self.path} 8 bytes waiting, 2 lines dropped>")
        writer._pump()
        self.assertEqual(self.step(writer, "ccc"), "aaa\nbbb\nlost 2\nccc\n")
        self.assertEqual(repr(writer), f"<Writer {self.path} 0 bytes waiting, 2 lines dropped>")

    def test_boundCountsWhatIsBeingWritten(self) -> None:
        """
        Room is made when a line is written, not when it is taken to be.
        """
        writer = self.start(limit=8)
        self.patch(self.os, "write", lambda file, data: self.write(writer, "ccc") or len(data))
        self.step(writer, "aaa", "bbb")
        self.assertEqual(writer.dropped, 1)

    def test_lossAtTheEnd(self) -> None:
        """
        What was lost last is told when the writer stops.
        """
        writer = self.start(limit=8)
        self.write(writer, "aaa", "bbb", "lost")
        writer.stop()
        self.assertEqual(self.step(writer), "aaa\nbbb\nlost 1\n")

    def test_late(self) -> None:
        """
        What comes after the stop is lost: the thread may have ended.
        """
        writer = self.start()
        writer.stop()
        self.assertEqual(self.step(writer, "late"), "")
        self.assertEqual(writer.dropped, 1)

    # -- a file that takes nothing

    def test_diskFull(self) -> None:
        """
        Said once; counted, and told when the file takes lines again.  The line that tells
        can be lost itself.
        """
        writer = self.start(FULL, FULL)
        self.assertEqual(self.step(writer, "lost", "lost"), "")
        self.assertEqual(self.step(writer, "lost"), "")
        self.assertEqual(writer.dropped, 3)
        self.assertEqual(self.step(writer, "aaa"), "lost 3\naaa\n")
        self.assertEqual(self.step(writer, "bbb"), "lost 3\naaa\nbbb\n")
        self.assertEqual(writer.dropped, 3)
        self.assertEqual(
            self.said,
            [
                (
                    LogLevel.error,
                    (
                        "access log LOG: cannot write: No space left on device; lines are lost until "
                        "it can be written"
                    ),
                ),
                (LogLevel.info, "access log LOG: is written again"),
            ],
        )

    def test_wholeLines(self) -> None:
        """
        The file fills up after the first line: that one is there.
        """
        writer = self.start(4, FULL)
        self.assertEqual(self.step(writer, "aaa", "lost"), "aaa\n")
        self.assertEqual(self.step(writer, "ccc"), "aaa\nlost 1\nccc\n")

    def test_halfALine(self) -> None:
        """
        A line of which the file took the beginning is finished before the next one, however
        often it takes to do so.
        """
        writer = self.start(6, FULL, FULL, 1, FULL)
        self.assertEqual(self.step(writer, "aaa", "bbb", "lost"), "aaa\nbb")
        self.assertEqual(self.step(writer, "lost"), "aaa\nbb")
        self.assertEqual(self.step(writer, "lost"), "aaa\nbbb")
        self.assertEqual(self.step(writer, "ccc"), "aaa\nbbb\nlost 3\nccc\n")
        self.assertEqual(writer.dropped, 3)

    # -- reopening

    def test_renamed(self) -> None:
        """
        Lines before it go to the old file, lines after it to a new one.
        """
        writer = self.start()
        old = Path(self.mktemp())
        self.step(writer, "aaa")
        self.path.rename(old)
        self.write(writer, "bbb")
        writer.reopen()
        self.assertEqual(self.step(writer, "ccc"), "ccc\n")
        self.assertEqual(old.read_text(), "aaa\nbbb\n")

    def test_cannotReopen(self) -> None:
        """
        The old file is written on, and that is said.
        """
        writer = self.start()
        old = Path(self.mktemp())
        self.path.rename(old)
        self.path.mkdir()
        writer.reopen()
        self.write(writer, "aaa")
        writer._pump()
        self.assertEqual(old.read_text(), "aaa\n")
        self.assertEqual(
            self.said,
            [
                (
                    LogLevel.error,
                    "access log LOG: cannot reopen: Is a directory; the old file is written on",
                )
            ],
        )

    def test_reopenedInALine(self) -> None:
        """
        A line whose beginning is in the old file counts as lost in the new one.
        """
        writer = self.start(2, FULL)
        old = Path(self.mktemp())
        self.assertEqual(self.step(writer, "aaa"), "aa")
        self.path.rename(old)
        writer.reopen()
        writer._pump()
        self.assertEqual(self.step(writer, "bbb"), "lost 1\nbbb\n")


class OpenTests(WriterCase):
    def test_standardOutput(self) -> None:
        """
        File descriptor 1, a copy of it: closing the log leaves it open.  The same of standard
        error.
        """
        for name, descriptor in ((STDOUT, 1), (STDERR, 2)):
            file = openLog(name)
            self.assertNotEqual(file, descriptor)
            self.assertTrue(os.path.sameopenfile(file, descriptor))
            os.close(file)
            os.fstat(descriptor)

    def test_newFile(self) -> None:
        """
        Anyone may read it, and nobody but the owner write.
        """
        self.addCleanup(os.umask, os.umask(0))
        os.close(openLog(str(self.path)))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o644)

    def test_checkMakesNothing(self) -> None:
        checkWritable(str(self.path))
        self.assertFalse(self.path.exists())
        self.path.write_text("before\n")
        checkWritable(str(self.path))
        self.assertEqual(self.path.read_text(), "before\n")
        checkWritable(self.path.name)

    def test_checkRefuses(self) -> None:
        self.path.write_text("")
        gone, inside = str(self.path.parent / "gone" / "log"), str(self.path / "log")
        self.assertRaises(IsADirectoryError, checkWritable, str(self.path.parent))
        self.assertRaises(FileNotFoundError, checkWritable, gone)
        self.assertRaises(NotADirectoryError, checkWritable, inside)

    def test_checkPermissions(self) -> None:
        """
        Whoever runs the tests may be root, who may do everything.
        """
        self.patch(module.os, "access", lambda path, mode: False)
        self.assertRaises(PermissionError, checkWritable, str(self.path))
        os.mkfifo(self.path)
        self.assertRaises(PermissionError, checkWritable, str(self.path))
