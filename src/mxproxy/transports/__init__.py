"""
Transports of our own, on sockets: the fast path (docs/architecture.md).

L{mxproxy.transports.socket} says how it works.  What listens (L{mxproxy.transports.accept}) and
what dials (L{mxproxy.transports.dial}) make them, where the reactor's descriptors are sockets of
the system.  Everything else runs on whatever transport it is given.
"""

from __future__ import annotations

import sys

from twisted.logger import Logger

log = Logger()

#: C{--data-path}: TLS on the socket itself; the same without C (L{mxproxy.transports.flows}); or
#: Twisted's transports with TLS over memory BIOs.
DIRECT = "direct"
PYTHON = "python"
LAYERED = "layered"

_current = DIRECT


def use(path: str) -> None:
    """
    Choose for this process, as it chooses its reactor: before anything listens or dials.

    @param path: L{DIRECT}, L{PYTHON} or L{LAYERED}.
    """
    global _current  # noqa: PLW0603
    _current = path


def inUse() -> str:
    """
    @return: what this process does: L{DIRECT} only where there is the extension.
    """
    from . import flows

    return PYTHON if _current == DIRECT and not flows.AVAILABLE else _current


def isDirect() -> bool:
    """
    Whether sockets get transports of our own.
    """
    return _current != LAYERED


def isCompiled() -> bool:
    """
    Whether C may take bytes from one socket to another, where it was built.
    """
    return _current == DIRECT


def tellMissing() -> None:
    """
    Say so where C could take the bytes, and was not built, or not for what is installed now.
    """
    if sys.platform.startswith("linux") and _current != inUse():
        log.info(
            "without the extension, and slower (docs/performance.md): it is built when mxproxy is"
            " installed, where there are gcc and Python's headers"
        )
