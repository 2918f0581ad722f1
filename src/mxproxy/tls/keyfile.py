"""
Who but its owner may read or write a private key's file.

The rules are those of PostgreSQL and ssh, but a warning where these refuse: a proxy that does
not start after an upgrade does more harm than one that says what to mend.  Refused is a file
that everybody may write, since then the key is whosever they like.
"""

from __future__ import annotations

import os
import shlex
import stat

from mxproxy.tls.settings import PEM, TLSConfigurationError

_GROUP = stat.S_IRGRP | stat.S_IWGRP
_OTHERS = stat.S_IROTH | stat.S_IWOTH


def refuseWritable(source: PEM) -> None:
    """
    @raise TLSConfigurationError: everybody may write the key's file.
    """
    status = _status(source)
    if status is not None and status.st_mode & stat.S_IWOTH:
        raise TLSConfigurationError(
            f"everybody may write the key file {source.origin} (mode {_mode(status)}): "
            f"{_remedy(source)}, and have the key issued anew if it was so for long"
        )


def keyFileToWatch(source: PEM) -> tuple[str, ...]:
    """
    Warn of a key that others may read.

    A file of root's may be readable, not writable, for its group: that is how a key is
    given to a service that runs as somebody else (Kubernetes' C{fsGroup}, Debian's
    C{ssl-cert}).

    @return: no line or one.
    """
    status = _status(source)
    if status is None:
        return ()
    granted = status.st_mode & (_GROUP | _OTHERS)
    if status.st_uid == 0:
        granted &= ~stat.S_IRGRP
    if not granted:
        return ()
    who = "everybody" if granted & _OTHERS else "its group"
    what = "write" if granted & (stat.S_IWGRP | stat.S_IWOTH) else "read"
    return (
        f"{who} may {what} the key file {source.origin} (mode {_mode(status)}): {_remedy(source)}",
    )


def _status(source: PEM) -> os.stat_result | None:
    """
    The file that a path leads to, whatever links are on the way; C{None} for an inline key, or
    when it is gone since it was read.
    """
    if source.path is None:
        return None
    try:
        return os.stat(source.path)
    except OSError:
        return None


def _mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"


def _remedy(source: PEM) -> str:
    return f"chmod 600 {shlex.quote(source.path or '')}"
