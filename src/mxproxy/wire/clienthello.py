"""
What a TLS client says first: server name, ALPN and versions out of a ClientHello.

Everything that decides "this stream is TLS" lives here, and nothing that speaks TLS: the
machine looks at a stream's first bytes, consumes none of them, and answers a value, never
an exception.  It says "not TLS" at the first field that makes a ClientHello impossible, so
a plaintext client is rarely held up.

The formats are those of RFC 8446 sections 4.1.2 and 5.1 (TLS 1.2: RFC 5246 sections 7.4.1.2
and 6.2.1), RFC 6066 section 3 (server name) and RFC 7301 section 3.1 (ALPN).  Where the
RFCs leave room, Envoy 1.40's tls_inspector was asked, by sending it the same bytes: what it
calls TLS is TLS here, and what it passes on as raw bytes is C{not_tls}.  Known differences:

  - Envoy looks at five bytes at the least, and then at whole records and messages.  Here each
    field is judged when it has come, so the answer comes earlier, and also where Envoy would
    wait for bytes that never come.
  - An SSLv2-compatible hello (RFC 5246 appendix E.2) is not TLS here; RFC 6176 section 3
    forbids clients to send it.
  - An alert before the hello is not TLS here; Envoy skips up to four warnings.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "MAX_CLIENT_HELLO",
    "ClientHello",
    "ClientHelloInspector",
    "NotTLS",
]

# Bytes of the stream, record headers included, that a hello may take.  Envoy's
# tls_inspector: max_client_hello_size, default and upper limit 16384, lower limit 256.
MAX_CLIENT_HELLO: Final = 16384
MIN_CLIENT_HELLO: Final = 256

# The handshake message without its four bytes of header.  BoringSSL: kMaxMessageLen.
MAX_MESSAGE: Final = 16384

# RFC 8446 section 5.1 allows 2^14; BoringSSL, and so Envoy, judges the header of a record by
# the longest encrypted one (SSL3_RT_MAX_ENCRYPTED_LENGTH).
MAX_RECORD: Final = 16384 + 256 + 64

# RFC 8446 section 5.1 forbids empty handshake records, RFC 5246 did not.  BoringSSL takes
# this many in a row: kMaxEmptyRecords.
MAX_EMPTY_RECORDS: Final = 32

# RFC 6066 section 3 sets no limit of its own; BoringSSL: TLSEXT_MAXLEN_host_name, the
# length of the longest DNS name (RFC 1035 section 2.3.4).
MAX_HOST_NAME: Final = 255

MAX_SESSION_ID: Final = 32  # RFC 8446 section 4.1.2: legacy_session_id<0..32>

_RECORD_HEADER: Final = 5
_MESSAGE_HEADER: Final = 4

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_HOST_NAME: Final = 0
_SERVER_NAME: Final = 0
_ALPN: Final = 16
_SUPPORTED_VERSIONS: Final = 43

_TLS_1_0: Final = 0x0301
_TLS_1_3: Final = 0x0304

Reason = Literal["not_tls", "too_large", "invalid_version", "eof", "timeout"]


@dataclass(frozen=True)
class ClientHello:
    """
    What a TLS client asked for.  Nothing of it is proven.

    Names are decoded as Latin-1: any bytes a client sends come out as they were, one
    character a byte, and ASCII as itself.

    @ivar server_name: the host name of the C{server_name} extension, in lower case as Envoy
        matches it; C{None} when the client sent none.
    @ivar alpn: the protocols offered, in the client's order; empty when the extension is
        missing, or malformed: Envoy leaves that one for the TLS stack to complain of.
    @ivar versions: the versions offered, in the client's order, as on the wire (C{0x0304} is
        TLS 1.3), without GREASE (RFC 8701): those of C{supported_versions}, else the one in
        C{legacy_version}.
    @ivar size: how many bytes of the stream the hello takes, record headers included.
    """

    server_name: str | None
    alpn: tuple[str, ...]
    versions: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class NotTLS:
    """
    No ClientHello, and why.

    @ivar reason: a short word for metrics.  Envoy goes on with the raw bytes after
        C{not_tls}; it closes after C{too_large} (longer than the limit),
        C{invalid_version} (a sound hello of a TLS that does not exist) and C{eof};
        after C{timeout} it closes or goes on, as C{continue_on_listener_filters_timeout}
        says.
    @ivar detail: what was wrong, for people.
    """

    reason: Reason
    detail: str


class ClientHelloInspector:
    """
    Watches the start of a stream for a ClientHello; an L{mxproxy.interfaces.IInspector}.

    Once it has answered it gives the same answer again, whatever it is fed.  It keeps the
    hello's bytes, at most C{maxSize}; its work is linear in the bytes fed, in any split.
    """

    def __init__(self, maxSize: int = MAX_CLIENT_HELLO) -> None:
        """
        @param maxSize: how many bytes of the stream a hello may take, 256 to 16384.
        @raise ValueError: it is outside that range.
        """
        if not MIN_CLIENT_HELLO <= maxSize <= MAX_CLIENT_HELLO:
            raise ValueError(
                f"maxSize {maxSize} is not within {MIN_CLIENT_HELLO} to {MAX_CLIENT_HELLO}"
            )
        self._maxSize = maxSize
        self._verdict: ClientHello | NotTLS | None = None
        # The record layer.
        self._header = bytearray()
        self._records = 0
        self._emptyRecords = 0
        self._promised = 0  # handshake bytes in all records whose headers were read
        # The handshake layer.
        self._message = bytearray()
        self._messageEnd = 0  # 0 until the message's length is known
        self._offset = 0  # where the next field starts
        self._fields = self._readMessage()
        self._wanted = next(self._fields)  # the length of the next field

    def __repr__(self) -> str:
        if self._verdict is not None:
            return f"<ClientHelloInspector: {self._verdict!r}>"
        return (
            f"<ClientHelloInspector: record {self._records}, "
            f"{len(self._message)} of {self._messageEnd or '?'} bytes of the hello>"
        )

    def feed(self, data: bytes) -> ClientHello | NotTLS | None:
        """
        @param data: the next bytes of the stream.
        @return: the answer, or C{None} while more bytes are needed.
        """
        at = 0
        try:
            while self._verdict is None and at < len(data):
                left = self._promised - len(self._message)
                if left:
                    self._message += data[at : at + left]
                    at += left
                    self._readFields()
                else:
                    self._readHeader(data[at])
                    at += 1
        except _Impossible as impossible:
            self._verdict = NotTLS(impossible.reason, impossible.detail)
        return self._verdict

    def eof(self) -> ClientHello | NotTLS:
        """@return: the answer when the stream has ended."""
        return self._giveUp("eof", "the stream ended")

    def timeout(self) -> ClientHello | NotTLS:
        """@return: the answer when the peer has been silent for long enough."""
        return self._giveUp("timeout", "the time was over")

    def _giveUp(self, reason: Reason, what: str) -> ClientHello | NotTLS:
        if self._verdict is None:
            seen = self._records * _RECORD_HEADER + len(self._header) + len(self._message)
            self._verdict = NotTLS(reason, f"{what} after {seen} bytes")
        return self._verdict

    # -- records ---------------------------------------------------------------------------

    def _readHeader(self, byte: int) -> None:
        header = self._header
        header.append(byte)
        match len(header):
            case 1 if byte != _HANDSHAKE:
                raise _Impossible(f"content type {byte} of record {self._records + 1}")
            case 2 if byte != 3:
                # The minor version is anything, as RFC 8446 section 5.1 asks ("MUST be
                # ignored") and BoringSSL does.
                raise _Impossible(f"major version {byte} of record {self._records + 1}")
            case 4 if byte > MAX_RECORD >> 8:
                raise _Impossible(f"a record of {byte << 8} bytes or more")
            case 5:
                length = int.from_bytes(header[3:5], "big")
                header.clear()
                self._records += 1
                self._promise(length)

    def _promise(self, length: int) -> None:
        if length > MAX_RECORD:
            raise _Impossible(f"a record of {length} bytes")
        if length:
            self._emptyRecords = 0
        else:
            self._emptyRecords += 1
            if self._emptyRecords > MAX_EMPTY_RECORDS:
                raise _Impossible(f"{self._emptyRecords} empty records in a row")
        self._promised += length
        self._checkSize()

    def _checkSize(self) -> None:
        """What is announced has to fit: the records the message, and both the limit."""
        size = self._records * _RECORD_HEADER + self._promised
        if self._messageEnd:
            missing = self._messageEnd - self._promised
            if missing < 0:
                # BoringSSL: EXCESS_HANDSHAKE_DATA; a ClientHello is the end of a flight.
                raise _Impossible(f"{-missing} handshake bytes after the hello")
            if missing:
                size += _RECORD_HEADER + missing
        if size > self._maxSize:
            raise _Impossible(
                f"the hello takes {size} bytes or more, {self._maxSize} are allowed", "too_large"
            )

    # -- the message -----------------------------------------------------------------------

    def _readFields(self) -> None:
        while len(self._message) - self._offset >= self._wanted:
            start, self._offset = self._offset, self._offset + self._wanted
            try:
                self._wanted = self._fields.send(bytes(self._message[start : self._offset]))
            except StopIteration as finished:
                self._verdict = finished.value
                return

    def _readMessage(self) -> Generator[int, bytes, ClientHello]:
        """
        The message, field by field: yields how many bytes the next field has and is sent
        just those.  A field is only asked for when the message has room for it.
        """
        (kind,) = yield 1
        if kind != _CLIENT_HELLO:
            raise _Impossible(f"handshake type {kind}")
        length = int.from_bytes((yield 3), "big")
        if length > MAX_MESSAGE:
            # BoringSSL: EXCESSIVE_MESSAGE_SIZE, which Envoy takes for raw bytes.
            raise _Impossible(f"a hello of {length} bytes")
        self._messageEnd = _MESSAGE_HEADER + length
        self._checkSize()

        version = int.from_bytes((yield self._room(2, "legacy_version")), "big")
        yield self._room(32, "random")
        (length,) = yield self._room(1, "legacy_session_id")
        if length > MAX_SESSION_ID:
            raise _Impossible(f"a session id of {length} bytes")
        yield self._room(length, "legacy_session_id")
        length = int.from_bytes((yield self._room(2, "cipher_suites")), "big")
        if length < 2 or length % 2:
            raise _Impossible(f"cipher suites of {length} bytes")
        yield self._room(length, "cipher_suites")
        (length,) = yield self._room(1, "legacy_compression_methods")
        if not length:
            raise _Impossible("no compression method")
        yield self._room(length, "legacy_compression_methods")

        serverName, alpn, versions = yield from self._readExtensions()
        # Last, because a hello that is broken as well is raw bytes to Envoy, and this one
        # is closed (its metadata says ClientHelloInvalidTlsVersion).
        if not _TLS_1_0 <= version <= _TLS_1_3:
            raise _Impossible(f"legacy_version 0x{version:04x}", "invalid_version")
        size = self._records * _RECORD_HEADER + self._promised
        return ClientHello(serverName, alpn, versions or (version,), size)

    def _readExtensions(
        self,
    ) -> Generator[int, bytes, tuple[str | None, tuple[str, ...], tuple[int, ...]]]:
        """The end of the message: server name, ALPN and versions, as far as they are there."""
        serverName: str | None = None
        alpn: tuple[str, ...] = ()
        versions: tuple[int, ...] = ()
        seen = set()
        # TLS 1.2 and before: a hello may end here (RFC 5246 section 7.4.1.2).
        if self._left():
            length = int.from_bytes((yield self._room(2, "extensions")), "big")
            if length != self._left():
                raise _Impossible(f"extensions of {length} bytes, {self._left()} are left")
        while self._left():
            kind = int.from_bytes((yield self._room(2, "an extension's type")), "big")
            if kind in seen:
                raise _Impossible(f"extension {kind} twice")
            seen.add(kind)
            length = int.from_bytes((yield self._room(2, f"extension {kind}")), "big")
            body = yield self._room(length, f"extension {kind}")
            if kind == _SERVER_NAME:
                serverName = _hostName(body)
            elif kind == _ALPN:
                alpn = _protocols(body)
            elif kind == _SUPPORTED_VERSIONS:
                versions = _versions(body)
        return serverName, alpn, versions

    def _left(self) -> int:
        return self._messageEnd - self._offset

    def _room(self, length: int, what: str) -> int:
        if length > self._left():
            raise _Impossible(f"{what} has {length} bytes, {self._left()} are left")
        return length


class _Impossible(Exception):
    """These bytes begin no hello that we take.  Never leaves this module."""

    def __init__(self, detail: str, reason: Reason = "not_tls") -> None:
        self.reason: Reason = reason
        self.detail = detail


def _hostName(body: bytes) -> str:
    # One entry, of type host_name: BoringSSL (extract_sni) and OpenSSL refuse any other,
    # and so nobody sends one, although RFC 6066 section 3 has a list.
    end = len(body)
    if (
        end < 5
        or int.from_bytes(body[0:2], "big") != end - 2
        or body[2] != _HOST_NAME
        or int.from_bytes(body[3:5], "big") != end - 5
    ):
        raise _Impossible("a server name extension that is not one host name")
    name = body[5:]
    if not name or len(name) > MAX_HOST_NAME or 0 in name:
        raise _Impossible(f"a server name of {len(name)} bytes, or with a zero in it")
    # bytes.lower() is ASCII's, as absl::AsciiStrToLower in Envoy; str.lower() is not.
    return name.lower().decode("latin-1")


def _protocols(body: bytes) -> tuple[str, ...]:
    if int.from_bytes(body[0:2], "big") != len(body) - 2:
        return ()
    names = []
    at = 2
    while at < len(body):
        start, at = at + 1, at + 1 + body[at]
        if at == start or at > len(body):
            return ()
        names.append(body[start:at].decode("latin-1"))
    return tuple(names)


def _versions(body: bytes) -> tuple[int, ...]:
    # A malformed list is no reason to say "not TLS": Envoy leaves it to the TLS stack.
    if len(body) < 3 or body[0] != len(body) - 1 or body[0] % 2:
        return ()
    found = (int.from_bytes(body[at : at + 2], "big") for at in range(1, len(body), 2))
    return tuple(version for version in found if not _isGrease(version))


def _isGrease(version: int) -> bool:
    # RFC 8701 section 2: 0x0A0A, 0x1A1A, ... 0xFAFA.
    return version & 0x0F0F == 0x0A0A and version >> 8 == version & 0xFF
