"""
Client and server: one C program, C{main.c}, run twice.

In C because two proxies, a client and a server share what is often two cores, and the less the
latter two need, the more it is the proxies that are measured.  The program has no dependencies
and one thread; its C{server} does what the first bytes of a connection ask for, its clients print
what they have measured as JSON.

What keeps it honest: both ends of bulk compare how many bytes there were, and a difference is an
error; an answer that is too long is one, too; requests at a fixed rate are measured from when they
should have been sent; whatever hangs is ended by an alarm.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..processes import END, Failed, _withParent, cpuSeconds, readLine

_HERE = Path(__file__).parent

#: Seconds that a client may take beyond those that it was asked to.
_GRACE = 60


def build() -> Path:
    """
    The program, compiled unless it is there.

    @raise Failed: it cannot be.
    """
    sources = sorted(_HERE.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    program = (
        Path(tempfile.gettempdir()) / f"mxproxy-benchmarks-{os.getuid()}" / f"load-{digest[:16]}"
    )
    if program.exists():
        return program
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Failed("no C compiler for the load generator: scripts/install-benchmark-peers")
    program.parent.mkdir(mode=0o700, exist_ok=True)
    if program.parent.stat().st_uid != os.getuid():
        raise Failed(f"{program.parent} is somebody else's")
    made = program.with_suffix(f".{os.getpid()}")
    files = [str(source) for source in sources if source.suffix == ".c"]
    command = [compiler, "-O2", "-std=gnu11", "-Wall", "-o", str(made), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {done.stderr}")
    made.rename(program)
    return program


def _prefix(cpus: Sequence[int]) -> list[str]:
    return ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []


class Server:
    """
    The application behind the proxies.
    """

    def __init__(self, program: Path, cpus: Sequence[int] = ()) -> None:
        self._child = subprocess.Popen(
            [*_prefix(cpus), str(program), "server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=_withParent,
        )
        assert self._child.stdout is not None
        self.port: int = json.loads(readLine(self._child.stdout, "the server", 10))["port"]

    def cpu(self) -> float:
        """CPU seconds so far."""
        return cpuSeconds(self._child.pid)

    def stop(self) -> None:
        """It ends when its input does."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.close()
        try:
            self._child.wait(END)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(END)
        self._child.stdout.close()


class Client:
    """
    Makes clients, one for each measurement.

    @ivar seconds: for how long to count.
    @ivar warm: for how long to run before that.
    """

    def __init__(
        self, program: Path, seconds: float, warm: float, cpus: Sequence[int] = ()
    ) -> None:
        self.seconds = seconds
        self.warm = warm
        self._program = program
        self._cpus = cpus

    def _start(
        self, kind: str, port: int, connections: int, rate: float, request: int, response: int
    ) -> subprocess.Popen[bytes]:
        words = (kind, "127.0.0.1", port, connections, self.warm, self.seconds, rate)
        deadline = int(self.warm + self.seconds + _GRACE)
        return subprocess.Popen(
            [*_prefix(self._cpus), str(self._program), *map(str, words)]
            + [str(request), str(response), str(deadline)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=_withParent,
        )

    def run(
        self,
        kind: str,
        port: int,
        connections: int,
        rate: float = 0,
        request: int = 0,
        response: int = 0,
    ) -> dict[str, Any]:
        """
        One measurement.

        @param rate: requests per second, or 0 for as many as there can be.
        @param request: bytes.
        @param response: bytes.
        @return: what the client printed.
        @raise Failed: it could not finish.
        """
        child = self._start(kind, port, connections, rate, request, response)
        limit = self.warm + self.seconds + _GRACE + 5
        try:
            output, errors = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            child.kill()
            output, errors = child.communicate()
        if child.returncode:
            why = errors.decode("utf-8", "replace").strip()
            raise Failed(why or f"the client did not finish (status {child.returncode})")
        answer: dict[str, Any] = json.loads(output)
        return answer

    @contextmanager
    def idle(self, port: int, connections: int, request: int, response: int) -> Iterator[None]:
        """
        Connections that have carried one request each, and now nothing, for as long as the
        context lasts.
        """
        child = self._start("idle", port, connections, 0, request, response)
        assert child.stdout is not None
        try:
            readLine(child.stdout, f"{connections} connections", _GRACE)
            yield
        finally:
            try:
                _, errors = child.communicate(timeout=END)
            except subprocess.TimeoutExpired:
                child.kill()
                _, errors = child.communicate()
        if child.returncode:
            raise Failed(errors.decode("utf-8", "replace").strip() or "the client did not finish")
