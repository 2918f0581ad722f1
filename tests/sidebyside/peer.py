"""
One end of a connection, plain or TLS, and all that it saw.

TLS is OpenSSL on memory, driven here: what Twisted's TLS keeps to itself is what has to be
compared: alerts by name, a close_notify or none, a reset or a FIN behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.sidebyside.certificates import certificates

#: RFC 8446, section 6; RFC 5246, section 7.2.
ALERTS = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    22: "record_overflow",
    40: "handshake_failure",
    41: "no_certificate",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    90: "user_canceled",
    109: "missing_extension",
    112: "unrecognized_name",
    116: "certificate_required",
    120: "no_application_protocol",
}

_READ_ALERT = 0x4004

_RECORD = 1 << 14

#: Seconds between two pieces of what is sent piece by piece.
_PIECE = 0.001


@dataclass(frozen=True)
class Tls:
    """
    How one end speaks TLS.

    @ivar certificate: whose it shows: a name of L{certificates}.
    @ivar alpn: what a client offers, or what a server takes.
    @ivar sni: what a client asks for.
    @ivar piece: a client's ClientHello is written in pieces of so many bytes.
    @ivar record: a client's ClientHello is cut into TLS records of so many bytes.
    """

    sni: str = ""
    alpn: tuple[str, ...] = ()
    certificate: str = ""
    least: str = ""
    most: str = ""
    piece: int = 0
    record: int = 0

    def context(self, server: bool) -> SSL.Context:
        """
        OpenSSL's.  Nobody is verified: that is for the proxy to do.
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
        for version, limit in (
            (self.least, context.set_min_proto_version),
            (self.most, context.set_max_proto_version),
        ):
            if version:
                limit(getattr(SSL, f"{version}_VERSION"))
        if {self.least, self.most} & {"TLS1", "TLS1_1"}:
            context.set_cipher_list(b"DEFAULT@SECLEVEL=0")
        if self.certificate:
            context.use_certificate_chain_file(certificates().file(f"{self.certificate}.crt"))
            context.use_privatekey_file(certificates().file(f"{self.certificate}.key"))
        if server:
            context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        elif self.alpn:
            context.set_alpn_protos([name.encode() for name in self.alpn])
        return context


def refragment(flight: bytes, size: int) -> bytes:
    """
    A ClientHello's records, cut into smaller ones.
    """
    message, rest = b"", flight
    while rest:
        length = int.from_bytes(rest[3:5], "big")
        message += rest[5 : 5 + length]
        rest = rest[5 + length :]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(flight[:3] + len(part).to_bytes(2, "big") + part for part in parts)


def hello(tls: Tls) -> bytes:
    """
    A ClientHello, for whoever wants to send a part of one.
    """
    connection = SSL.Connection(tls.context(False), None)
    connection.set_connect_state()
    if tls.sni:
        connection.set_tlsext_host_name(tls.sni.encode())
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        pass
    return connection.bio_read(1 << 20)


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """
    @ivar received: the application's bytes so far; C{wire}: what this end has written before
        its handshake was done, as it went out.
    @ivar facts: what TLS has found out: C{version}, C{alpn}, C{certificate}, C{sni}, C{offered}.
    @ivar ends: how the other side's direction ended, in order: C{close_notify},
        C{alert NAME}, C{fin}, C{reset}.
    @ivar made: when it was connected; C{since}: when this end last did something; C{first} and C{ended}: when the first byte
        came, and the first of C{ends}.
    @ivar lost: the connection is gone; C{aborted}: by this end's reset; C{stayed}: it was found
        open when it was to be looked at.
    """

    transport: Any

    def __init__(self, tls: Tls | None = None, server: bool = False, before: bytes = b"") -> None:
        self.tls = tls
        self.server = server
        self.before = before
        self.received = bytearray()
        self.wire = b""
        self.facts: dict[str, Any] = {}
        self.ends: list[str] = []
        self.since = 0.0
        self.first: float | None = None
        self.ended: float | None = None
        self.made = 0.0
        self.port = 0
        self.lost = False
        self.stayed = False
        self.aborted = False
        self.finished = False
        self.ready = False
        self.onReady: Callable[[], None] = lambda: None
        self.onData: Callable[[bytes], None] = lambda data: None
        self.onEnd: Callable[[], None] = lambda: None
        self._ssl: Any = None
        self._helloed = False
        self._changed: list[Deferred[None]] = []

    # -- events

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.touch()
        self.made = self.since
        self.port = getattr(self.transport.getHost(), "port", 0)
        if self.before:
            self.transport.write(self.before)
        if self.tls is None:
            self._ready()
        else:
            self._ssl = self._startTLS(self.tls)
            self._pump()
        self._change()

    def _startTLS(self, tls: Tls) -> Any:
        context = tls.context(self.server)
        context.set_info_callback(self._info)
        if self.server:
            context.set_alpn_select_callback(self._selectALPN)
        connection = SSL.Connection(context, None)
        if self.server:
            connection.set_accept_state()
        else:
            if tls.sni:
                connection.set_tlsext_host_name(tls.sni.encode())
            connection.set_connect_state()
        return connection

    def _selectALPN(self, _: Any, offered: list[bytes]) -> Any:
        assert self.tls is not None
        self.facts["offered"] = [name.decode("latin-1") for name in offered]
        for name in self.tls.alpn:
            if name.encode() in offered:
                return name.encode()
        return SSL.NO_OVERLAPPING_PROTOCOLS

    def _info(self, _: Any, where: int, value: int) -> None:
        if where & _READ_ALERT == _READ_ALERT and value & 0xFF:
            self._end(f"alert {ALERTS.get(value & 0xFF, value & 0xFF)}")

    def dataReceived(self, data: bytes) -> None:
        if self._ssl is None:
            self._deliver(data)
        else:
            self._ssl.bio_write(data)
            self._pump()
        self._change()

    def readConnectionLost(self) -> None:
        self._end("fin")
        self.onEnd()
        self._change()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        if not self.aborted and not reason.check(ConnectionDone):
            self._end("reset")
        if self.ended is None:
            self.ended = self._now()
        self._change()

    # -- TLS

    def _pump(self) -> None:
        try:
            if not self.ready:
                self._ssl.do_handshake()
                self._flush()
                self._learn()
                self._ready()
            while True:
                self._deliver(self._ssl.recv(1 << 16))
        except SSL.WantReadError:
            self._flush()
        except SSL.ZeroReturnError:
            self._flush()
            self._end("close_notify")
            self.onEnd()
        except SSL.Error as error:
            self._flush()
            # An alert of theirs has been noted by name; this is our own reason.
            if not self.ends and error.args and error.args[0]:
                self.facts["failure"] = error.args[0][-1][-1]

    def _flush(self) -> None:
        try:
            data = self._ssl.bio_read(1 << 24)
        except SSL.WantReadError:
            return
        if not self.server and self.tls is not None and not self._helloed:
            self._helloed = True
            if self.tls.record:
                data = refragment(data, self.tls.record)
            self.wire = data
            if self.tls.piece:
                Deferred.fromCoroutine(self._writePieces(data, self.tls.piece))
                return
        self.transport.write(data)

    async def _writePieces(self, data: bytes, size: int) -> None:
        from twisted.internet import reactor

        for at in range(0, len(data), size):
            self.transport.write(data[at : at + size])
            await deferLater(reactor, _PIECE)  # type: ignore[arg-type]
        self.touch()

    def _learn(self) -> None:
        self.facts["version"] = self._ssl.get_protocol_version_name()
        self.facts["alpn"] = self._ssl.get_alpn_proto_negotiated().decode("latin-1")
        theirs = self._ssl.get_peer_certificate(as_cryptography=True)
        if theirs is not None:
            self.facts["certificate"] = certificates().name(theirs.public_bytes(Encoding.DER))
        if self.server:
            self.facts["sni"] = (self._ssl.get_servername() or b"").decode("latin-1")

    # -- what it is told to do

    def say(self, data: bytes) -> None:
        """
        Send it.
        """
        self.touch()
        if self.lost:
            return
        if self._ssl is None:
            self.transport.write(data)
            return
        try:
            for at in range(0, len(data), _RECORD):
                self._ssl.send(data[at : at + _RECORD])
        except SSL.Error:
            # It has ended by what came from the other side, which is noted.
            pass
        self._flush()

    async def write(self, data: bytes, piece: int = 0) -> None:
        """
        Send it, all at once or in pieces; with TLS a piece is a record.
        """
        from twisted.internet import reactor

        for at in range(0, len(data), piece or len(data) or 1):
            self.say(data[at : at + piece] if piece else data)
            if piece:
                await deferLater(reactor, _PIECE)  # type: ignore[arg-type]

    def finish(self, tcp: bool = False) -> None:
        """
        Say that this was the last byte, and go on reading: by a close_notify where it is TLS.

        @param tcp: by a FIN alone, also where it is TLS.
        """
        self.touch()
        self.finished = True
        if self.lost:
            return
        if self._ssl is None or tcp:
            self.transport.loseWriteConnection()
            return
        try:
            self._ssl.shutdown()
        except SSL.Error:
            pass
        self._flush()

    def close(self) -> None:
        """
        End both directions.
        """
        if not self.lost:
            if self._ssl is not None and self.ready and not self.finished:
                self.finish()
            self.transport.loseConnection()

    def reset(self) -> None:
        """
        End both directions by a RST.
        """
        self.touch()
        self.aborted = True
        if not self.lost:
            self.transport.abortConnection()

    @property
    def over(self) -> bool:
        """
        The other side says nothing any more.
        """
        return bool(self.ends) or self.lost or "failure" in self.facts

    def ending(self, abrupt: bool = False) -> str:
        """
        How it ended, in words: C{ends}, without what is a race.

        @param abrupt: this end may have written into a connection that was being closed.
        """
        alerts = [end for end in self.ends if end.startswith("alert")]
        if not alerts and not abrupt:
            return ", ".join(self.ends)
        rest = [end for end in self.ends if end not in ("fin", "reset", *alerts)]
        return ", ".join([*alerts, *rest, "closed"])

    def touch(self) -> None:
        """
        Now is when this end has last done something, while the other side was there.
        """
        if not self.over:
            self.since = self._now()

    # -- what is waited for

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """
        Wait until something is true.

        @return: whether it is.
        """
        from twisted.internet import reactor

        clock: Any = reactor
        limit = clock.seconds() + seconds
        while not condition():
            left = limit - clock.seconds()
            if left <= 0:
                return False
            changed: Deferred[None] = Deferred()
            self._changed.append(changed)
            call = clock.callLater(left, self._change)
            await changed
            if call.active():
                call.cancel()
        return True

    # -- inside

    def _ready(self) -> None:
        self.ready = True
        self.onReady()

    def _deliver(self, data: bytes) -> None:
        if self.first is None:
            self.first = self._now()
        self.received += data
        self.onData(data)

    def _end(self, how: str) -> None:
        if self.ended is None:
            self.ended = self._now()
        if how not in self.ends:
            self.ends.append(how)

    def _change(self) -> None:
        changed, self._changed = self._changed, []
        for deferred in changed:
            deferred.callback(None)

    @staticmethod
    def _now() -> float:
        from twisted.internet import reactor

        clock: Any = reactor
        seconds: float = clock.seconds()
        return seconds
