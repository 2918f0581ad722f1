"""
What was read while privileged, and cannot be read again since.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from twisted.logger import Logger

log = Logger()


def warnUnreadable(paths: Iterable[str]) -> None:
    """
    Say so, in one line, once privileges are dropped: a proxy that runs well today will not have
    tomorrow's certificate.

    @param paths: the files of the configuration.
    """
    effective = os.access in os.supports_effective_ids
    unreadable = [path for path in paths if not os.access(path, os.R_OK, effective_ids=effective)]
    if unreadable:
        more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        log.warn(  # noqa: G010
            "user {user} cannot read {path!r}{more}, which was read before privileges were "
            "dropped: what is renewed there is not seen, and SIGHUP changes nothing, until the "
            "next start; let its group read it (docs/operations.md)",
            user=os.geteuid(),
            path=unreadable[0],
            more=more,
        )
