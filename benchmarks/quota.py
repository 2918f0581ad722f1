"""
A share of a CPU for each process, by Linux's control groups.

What two workers bring cannot be seen where one worker on each side already keeps all CPUs busy.  It
can when each process is given less than a whole one: then two have twice as much to spend as one,
and what is left over is enough for the load generator.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from .processes import Failed, Process

_ROOT = Path("/sys/fs/cgroup")

#: Microseconds within which a share is given: short, so that a throttled process waits briefly.
_PERIOD = 10_000


class Quota:
    """
    @param share: of one CPU.
    @raise Failed: there are no control groups of CPUs here, or not for us.
    """

    def __init__(self, share: float) -> None:
        self._quota = int(share * _PERIOD)
        self._made: list[Path] = []
        # Version 2 has one tree, version 1 one for each controller.
        self._unified = (_ROOT / "cgroup.controllers").exists()
        top = (_ROOT if self._unified else _ROOT / "cpu") / f"mxproxy-benchmarks-{os.getpid()}"
        self._top = top
        try:
            if self._unified:
                (_ROOT / "cgroup.subtree_control").write_text("+cpu")
            self._make(top)
            # A group has by default no more weight than a single other process has.
            if self._unified:
                (top / "cgroup.subtree_control").write_text("+cpu")
                (top / "cpu.weight").write_text("10000")
            else:
                (top / "cpu.shares").write_text("100000")
        except OSError as error:
            raise Failed(f"a quota needs root, and control groups of CPUs: {error}") from error

    def _make(self, path: Path) -> None:
        path.mkdir()
        self._made.append(path)

    def limit(self, process: Process) -> None:
        """
        Give each process of a tree its share.
        """
        for pid in process.tree():
            own = self._top / str(pid)
            self._make(own)
            if self._unified:
                (own / "cpu.max").write_text(f"{self._quota} {_PERIOD}")
            else:
                (own / "cpu.cfs_period_us").write_text(str(_PERIOD))
                (own / "cpu.cfs_quota_us").write_text(str(self._quota))
            (own / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """
        When all processes have ended.
        """
        for path in reversed(self._made):
            for _ in range(100):
                try:
                    path.rmdir()
                    break
                except OSError:
                    # The last process is not yet gone from it.
                    time.sleep(0.01)
        self._made.clear()
