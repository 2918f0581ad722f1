"""
Why an address cannot be listened on, and what can be done about it.
"""

from __future__ import annotations

import errno
import os

from twisted.internet.error import CannotListenError

_PORT = {
    errno.EADDRINUSE: "end what listens there (ss -ltnp tells what), or choose another port",
    errno.EACCES: "choose a port from 1024 on, or give the process CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}

_PATH = {
    errno.EADDRINUSE: "end what listens there (ss -lxp tells what), or remove the file if nobody does",
    errno.EACCES: "its directory has to be writable",
    errno.ENOENT: "its directory has to be there",
}


def whyNot(error: BaseException | None) -> str:
    """
    @param error: what an endpoint's C{listen} has failed with.
    @return: one line.
    """
    # The file beside a UNIX socket, by which Twisted knows whether somebody listens, fails as it is.
    cause, advice = error, _PATH
    if isinstance(error, CannotListenError):
        cause, advice = error.socketError, _PORT if isinstance(error.port, int) else _PATH
    if not isinstance(cause, OSError) or cause.errno is None:
        return " ".join(str(error).split())
    known = advice.get(cause.errno)
    return os.strerror(cause.errno) if known is None else f"{os.strerror(cause.errno)}: {known}"
