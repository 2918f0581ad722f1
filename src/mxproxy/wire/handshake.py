"""
What every handshake machine answers with.

This module belongs to everyone who writes a pure handshake (see
L{mxproxy.interfaces.IHandshake}): the machine takes bytes and answers values, and it
never sees a transport, a clock or a reactor.  Like everything in C{wire/} it imports
nothing but the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """
    What a handshake has come to.

    @ivar result: the fact that was learnt; its type is the machine's own.  C{None}: none.
    @ivar send: bytes for the peer, to be written before anything of the application.
    @ivar forward: bytes that were read and belong to the application; they go on, in
        order, to whatever is above.
    @ivar final: C{True} when the machine is finished and its layer may leave;
        C{False} when the hold ends but the machine wants to see what is read (a prefix
        may still come late).
    @ivar abort: empty, or the reason why the connection has to be closed at once, as logs
        have it, C{"token: detail"}; nothing is then sent or forwarded.
    """

    result: object = None
    send: bytes = b""
    forward: bytes = b""
    final: bool = True
    abort: str = ""
