"""
Why a handshake failed, in one line for a person.

Only words belong here.  Each reason begins with a token that stays the same over
releases, so that it can be searched, counted and alerted on.
"""

from __future__ import annotations

from OpenSSL import SSL

from mxproxy.tls.context import recordOf


def explain(error: BaseException, connection: SSL.Connection) -> str:
    """
    One line: C{token: what happened}.
    """
    failure = recordOf(connection).failure
    if failure is not None:
        return f"certificate_rejected: {failure}"
    return f"tls_error: {error!r}"
