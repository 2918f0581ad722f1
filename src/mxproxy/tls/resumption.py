"""
TLS sessions that are taken up again, where that is asked for.

A resumed session spares both sides their signatures, and most of a handshake's time.  What it
brings is not a certificate but the memory of one, and not OpenSSL but we have to see to it that
nobody gets in by that who would not get in without (CVE-2025-23419):

  - A session is good for the context that it was made by: that of one chain, with one
    generation of certificate, CAs and lists.  Tickets are sealed with keys that a context
    makes for itself, and name a session id context that is random.  Another chain, and the
    same chain after a renewal, cannot open them, and shakes hands in full.
  - What was verified then is judged once more now, before anything of the connection is
    connected: L{mxproxy.tls.verify.Verifier.again}.
  - A session is good for L{LIFETIME} only.  (With TLS 1.3 each resumption brings a new one, so
    that a client which keeps coming keeps its session, for as long as the generation lasts.)

A server keeps nothing: the client holds its session, as a ticket.  A client keeps the newest
session for each address of a bounded number.
"""

from __future__ import annotations

import socket as sockets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

from mxproxy.tls.verify import recordOf

#: Seconds.  What cannot be judged again, because a ticket does not hold it, is the chain
#: between the peer's certificate and the CA: one that expires is believed by TLS 1.2 so long at
#: most, and by TLS 1.3 of a client that never stays away for so long.
LIFETIME = 300

#: How many hosts a client remembers a session of.
MAX_SESSIONS = 256


#: pyOpenSSL has no call of its own for it; C{None} where its binding is not what it was.
_session_reused: Any = getattr(getattr(SSL, "_lib", None), "SSL_session_reused", None)


class SessionRefused(SSL.Error):
    """
    The session was taken up, but its certificate is not accepted any more.
    """


class Sessions:
    """
    A client's sessions, by whom they are with; those used last.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[object, SSL.Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, peer: object) -> SSL.Session | None:
        """
        The newest session with a peer.
        """
        return self._kept.get(peer)

    def keep(self, peer: object, session: SSL.Session) -> None:
        """
        There is a newer one.
        """
        self._kept[peer] = session
        self._kept.move_to_end(peer)
        if len(self._kept) > MAX_SESSIONS:
            self._kept.popitem(last=False)

    def drop(self, peer: object) -> None:
        """
        It was refused.
        """
        self._kept.pop(peer, None)


class ResumableConnection(SSL.Connection):
    """
    A connection whose handshake is finished when a resumed session has been judged, too.

    @ivar shaken: whether that is so.
    @ivar peer: whom it is with, as far as that is known.
    @ivar sessions: where a client's sessions go; C{None} for a server's connection.
    """

    shaken = False
    peer: object = None
    sessions: Sessions | None = None
    _again: Callable[[SSL.Connection], bool] | None = None

    @classmethod
    def make(
        cls,
        context: SSL.Context,
        socket: sockets.socket | None,
        again: Callable[[SSL.Connection], bool] | None,
        sessions: Sessions | None = None,
    ) -> ResumableConnection:
        """
        @param again: judges a certificate again, and says whether it is accepted; C{None}
            where nobody's is looked at.
        """
        connection = cls(context, socket)
        connection._again = again
        if sessions is not None:
            connection.sessions = sessions
            connection.peer = _peerOf(socket)
        return connection

    def offer(self) -> None:
        """
        Have a client take up its newest session with the peer, if there is one.
        """
        session = self.sessions.of(self.peer) if self.sessions is not None else None
        if session is not None:
            self.set_session(session)

    @property
    def reused(self) -> bool:
        """
        Whether a session was taken up; C{False} also where that cannot be known.
        """
        try:
            return bool(_session_reused(self._ssl))
        except (AttributeError, TypeError):
            return False

    def do_handshake(self) -> None:
        """
        As L{SSL.Connection.do_handshake}.

        @raise SessionRefused: it has resumed a session which is not good any more.
        """
        super().do_handshake()
        if self.shaken:
            return
        # In a full handshake the verification callback has been called; in a resumed one, never.
        if self._again is not None and recordOf(self).identities is None:
            if not self._again(self):
                if self.sessions is not None:
                    self.sessions.drop(self.peer)
                raise SessionRefused([("mxproxy", "", "session refused")])
        self.shaken = True


def collect(connection: SSL.Connection, where: int, result: int) -> None:
    """
    Keep a client's sessions as they come.  An info callback: OpenSSL calls it for every step of
    a handshake, and of what comes behind.

    With TLS 1.2 there is a session when the handshake is done; with TLS 1.3 it comes later, in
    messages of the server's, which end like a handshake.
    """
    if where != SSL.SSL_CB_CONNECT_EXIT or result != 1:
        return
    if not isinstance(connection, ResumableConnection) or connection.sessions is None:
        return
    if not connection.shaken and connection.get_protocol_version() == SSL.TLS1_3_VERSION:
        return
    session = connection.get_session()
    if session is not None:
        connection.sessions.keep(connection.peer, session)


def _peerOf(socket: sockets.socket | None) -> object:
    try:
        return None if socket is None else socket.getpeername()
    except OSError:
        return None
