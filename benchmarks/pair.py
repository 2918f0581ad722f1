"""
Two proxies of one kind, running.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from .peers.base import SIDES, Credentials, Peer, Place
from .processes import START, Failed, Process, freePort
from .quota import Quota

#: A port may be taken between its choice and its use.
_ATTEMPTS = 3

#: Seconds without work that are taken for the end of starting.
_QUIET = 0.2


class Pair:
    """
    An outbound and an inbound proxy before a server.

    @ivar port: where clients connect to.
    @ivar started: seconds from the start of each to its first connection, by side.
    """

    def __init__(
        self,
        peer: Peer | None,
        directory: Path,
        credentials: Credentials,
        server: int,
        *,
        resumption: bool = False,
        cpus: dict[str, list[int]] | None = None,
        between: Callable[[int], int] | None = None,
        quota: Quota | None = None,
    ) -> None:
        """
        Start them.

        @param peer: C{None} for no proxies.
        @param server: its port.
        @param cpus: for each side the CPUs that it may use.
        @param between: called with the inbound proxy's port; answers the one that the outbound
            proxy is to connect to.
        @param quota: of each process.
        @raise Failed: one of them does not start.
        """
        self.processes: dict[str, Process] = {}
        self.started: dict[str, float] = {}
        self.port = server
        if peer is None:
            return
        try:
            for side in reversed(SIDES):
                self._start(peer, side, directory, credentials, resumption, (cpus or {}).get(side))
                if between is not None and side == "inbound":
                    self.port = between(self.port)
            self._settle()
            if quota is not None:
                for process in self.processes.values():
                    quota.limit(process)
        except BaseException:
            self.stop()
            raise

    def _start(
        self,
        peer: Peer,
        side: str,
        directory: Path,
        credentials: Credentials,
        resumption: bool,
        cpus: list[int] | None,
    ) -> None:
        for attempt in range(_ATTEMPTS):
            own = directory / f"{side}-{attempt}"
            own.mkdir(parents=True)
            place = Place(side, freePort(), self.port, own, credentials, resumption)
            command = peer.command(place)
            start = time.monotonic()
            process = self.processes[side] = Process(
                command, own / "log", cpus or (), peer.environment
            )
            try:
                process.listens(place.listen)
            except Failed:
                process.stop()
                if attempt + 1 == _ATTEMPTS:
                    raise
                continue
            self.started[side] = time.monotonic() - start
            self.port = place.listen
            return

    def _settle(self) -> None:
        """
        Wait until they are done with starting: of several workers the first one answers, and the
        others are not there yet.
        """
        end = time.monotonic() + START
        before = -1.0
        while time.monotonic() < end:
            now = sum(self.cpu().values())
            # One tick of the kernel's clock, for timers.
            if now - before <= 0.01 and before >= 0:
                return
            before = now
            time.sleep(_QUIET)

    def cpu(self) -> dict[str, float]:
        """
        CPU seconds so far, by side.
        """
        return {side: process.cpu() for side, process in self.processes.items()}

    def memory(self) -> dict[str, int]:
        """
        Bytes of resident memory, by side.
        """
        return {side: process.memory() for side, process in self.processes.items()}

    def said(self) -> str:
        """
        The last of what they have said, for the message of a failure.
        """
        return "; ".join(f"{side}: {process.said()}" for side, process in self.processes.items())

    def stop(self) -> None:
        """
        End both.
        """
        for process in self.processes.values():
            process.stop()
