"""
Child processes: started, waited for with a bound, always ended; their CPU time and memory.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

_TICK = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1

#: Seconds that a proxy may take until it listens, and until it has ended.
START, END = 60.0, 5.0

#: Below what Linux gives to outgoing connections by default, so that no connection of anybody's
#: takes a port between its choice and its use.
_PORTS = range(10_000, 32_000)


class Failed(Exception):
    """
    A measurement came to nothing.  The text says why.
    """


def freePort() -> int:
    """
    A port of 127.0.0.1 on which nobody listens.
    """
    for port in random.sample(_PORTS, 1000):
        with socket.socket() as probe:
            # Other users' listening sockets conflict, connections that have ended do not.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failed("no free port")


def _withParent() -> None:
    # Whatever becomes of the benchmark, nothing is left.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _apart() -> None:
    # A process group, to be ended as a whole; not a session, to each of which Linux's autogroups
    # give the same share of the CPUs, so that nice(1) before the benchmark would do nothing.
    os.setpgid(0, 0)
    _withParent()


class Process:
    """
    A child, with its own children.

    @ivar log: what it says.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        cpus: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        words = [str(word) for word in command]
        if cpus:
            words = ["taskset", "--cpu-list", ",".join(map(str, cpus)), *words]
        with open(log, "wb") as output:
            self._child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                preexec_fn=_apart,
            )
        self.pid = self._child.pid

    def listens(self, port: int) -> None:
        """
        Wait until it accepts connections.

        @raise Failed: it does not, within L{START} seconds, or has ended.
        """
        end = time.monotonic() + START
        while time.monotonic() < end:
            if self._child.poll() is not None:
                raise Failed(f"ended with status {self._child.returncode}: {self.said()}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.001)
        raise Failed(f"does not listen after {START:g} s: {self.said()}")

    def said(self) -> str:
        """The last of it."""
        return self.log.read_text(errors="replace")[-1000:].strip() or "(said nothing)"

    def tree(self) -> Iterator[int]:
        """
        The process ids: its own, and those of all that descend from it.
        """
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    waiting += map(int, children.read_text().split())
                except OSError:
                    continue

    def cpu(self) -> float:
        """
        CPU seconds so far.
        """
        return sum(map(cpuSeconds, self.tree()))

    def memory(self) -> int:
        """
        Bytes of resident memory.  What several processes share is counted once for each.
        """
        return sum(_memory(pid) for pid in self.tree())

    def stop(self) -> None:
        """
        End it: by SIGTERM, and then by SIGKILL with all that it has started.
        """
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(END)
            except subprocess.TimeoutExpired:
                pass
        try:
            # Only what it has started is in its group.
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._child.wait(END)


def cpuSeconds(pid: int) -> float:
    """
    What a process has used, its ended threads included.  0 when it has gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def _memory(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def machineCPU() -> float:
    """
    CPU seconds that everybody has used, interrupts included.
    """
    user, nice, system, _, _, irq, soft, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) / _TICK


def readLine(stream: IO[bytes], what: str, seconds: float) -> bytes:
    """
    A line of a child's output.

    @raise Failed: there is none within C{seconds}.
    """
    ready, _, _ = select.select([stream], [], [], seconds)
    line = stream.readline() if ready else b""
    if not line:
        raise Failed(f"{what}: not there within {seconds:g} s")
    return line


def run(command: Sequence[str | Path], seconds: float = 20.0) -> str:
    """
    What a program prints, on standard error too.

    @raise Failed: it cannot be run, or takes too long.  Its exit status does not matter.
    """
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(str(error)) from error
    return done.stdout.decode("utf-8", "replace")
