"""
Ports that the kernel chose, kept until the test's end, so that two tests never share one.
"""

from __future__ import annotations

import socket
from pathlib import Path

_LISTEN = "0A"


class Ports:
    """
    A port for each name that is asked for.

    A reserved port's socket is bound but does not listen: a proxy can listen there, because both
    sides reuse addresses; the kernel gives the port to nobody else; and who connects while
    nobody listens is refused.
    """

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def __getitem__(self, name: str) -> int:
        if name not in self._sockets:
            reserved = socket.socket()
            for option in socket.SO_REUSEADDR, socket.SO_REUSEPORT:
                reserved.setsockopt(socket.SOL_SOCKET, option, 1)
            reserved.bind(("127.0.0.1", 0))
            self._sockets[name] = reserved
        port: int = self._sockets[name].getsockname()[1]
        return port

    def release(self, name: str) -> int:
        """
        Give a port up, to whom needs it for himself; for one who does not reuse addresses.
        """
        port = self[name]
        self._sockets.pop(name).close()
        return port

    def names(self) -> list[str]:
        """
        All that have been asked for.
        """
        return list(self._sockets)

    def close(self) -> None:
        """
        Give up all of them.
        """
        for reserved in self._sockets.values():
            reserved.close()
        self._sockets.clear()


def listening() -> set[int]:
    """
    The TCP ports that somebody listens on.

    Read from the kernel, since a connection to find out would be one that a backend sees.
    """
    ports = set()
    for table in "/proc/net/tcp", "/proc/net/tcp6":
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
