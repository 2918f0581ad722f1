"""
TLS secrets for a debugger: whoever has them can read what was captured.

The file's format is that of NSS, C{SSLKEYLOGFILE}, which Wireshark and C{mxproxy decode} read: a
line for each secret.  Nothing is written unless an option says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from OpenSSL import SSL
from twisted.logger import Logger

log = Logger()


def keyLogger(path: str) -> Callable[[SSL.Connection, bytes], None]:
    """
    Make the callback of a context.

    The file is made with its first line, for its owner only, and appended to: several contexts
    and processes share it, and it may be moved away at any time.  What cannot be written is said once, and hinders no connection.
    """
    failed = False

    def write(connection: SSL.Connection, line: bytes) -> None:
        nonlocal failed
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                # In one piece, so that lines of several processes do not mix.
                os.write(descriptor, line + b"\n")
            finally:
                os.close(descriptor)
        except OSError as error:
            if not failed:
                failed = True
                log.error(
                    "cannot write TLS secrets to {path!r}: {why}", path=path, why=error.strerror
                )

    return write


def warningOf(path: str) -> str:
    """
    What has to be said at the start.
    """
    return (
        f"TLS SECRETS ARE WRITTEN to {path!r}: whoever reads it can decrypt this proxy's traffic; "
        "for debugging only"
    )
