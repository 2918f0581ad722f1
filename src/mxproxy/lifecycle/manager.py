"""
Telling the service manager, systemd, how far we are: sd_notify(3).

It is a datagram to the socket that C{NOTIFY_SOCKET} names, with lines C{NAME=value}.  Where there is
no such variable nobody wants to know, and nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

#: A status is a line for people; systemctl shows no long one.
STATUS_LIMIT = 200


class ServiceManager:
    """
    The one that has started this process, if it has.
    """

    log = Logger()

    def __init__(self, clock: Any, environment: MutableMapping[str, str] | None = None) -> None:
        """
        @param clock: an L{IReactorTime<twisted.internet.interfaces.IReactorTime>}.
        @param environment: what is asked for, and taken out, so that no child of ours speaks
            for us; nothing is asked for by default.
        """
        environment = {} if environment is None else environment
        self._clock = clock
        self._address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        self._watchdog = 0.0
        if microseconds.isdecimal() and pid in ("", str(os.getpid())):
            # As often again as has to be, as sd_watchdog_enabled(3) advises.
            self._watchdog = int(microseconds) / 1e6 / 2
        self._timer: IDelayedCall | None = None
        self._failed = False

    def ready(self, status: str) -> None:
        """
        All is open, at start or after a reload.
        """
        self._send("READY=1", _status(status))
        if self._watchdog and self._timer is None:
            self._alive()

    def reloading(self) -> None:
        """
        The configuration is read again; L{ready} follows, whatever comes of it.
        """
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str, seconds: float) -> None:
        """
        @param seconds: what it may take, whatever C{TimeoutStopSec} says.
        """
        self._send("STOPPING=1", _status(status), f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def stopped(self) -> None:
        """All is done."""
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def _alive(self) -> None:
        """The reactor goes round."""
        self._send("WATCHDOG=1")
        self._timer = self._clock.callLater(self._watchdog, self._alive)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # An abstract socket is written with an @ instead of its first byte.
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            if not self._failed:
                self.log.warn("NOTIFY_SOCKET {address}: {error}", address=address, error=error)  # noqa: G010
            self._failed = True


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:STATUS_LIMIT]}"
