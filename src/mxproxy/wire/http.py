"""
Is it HTTP, and which: the first line of a stream, and nothing of HTTP beyond it.

The machine looks at a plaintext stream's first bytes, consumes none of them, and answers
C{http/1.0}, C{http/1.1} or C{h2c}, the names that Envoy's http_inspector gives filter chain
matches, or "not HTTP": always a value, never an exception.

What is HTTP is what Envoy 1.40's http_inspector calls so; it was asked, by sending it the
same lines.  That is laxer than RFC 9112 section 3: gaps of any length separate the parts of
the line, an unknown method is fine, a version other than 1.1 and a missing one (HTTP/0.9)
count as 1.0.  "Not HTTP" is said no later than Envoy says it, which waits for the end of the
line once the method looks well; here one byte that no request line holds is enough.  Known
differences, all of them in lines that no HTTP client sends:

  - A control character other than tab and CR is not HTTP here; to Envoy it may be a gap.
  - "GET /HTTP/1.1", without a version, is 1.0 here; Envoy looks at the end of the line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["MAX_REQUEST_LINE", "HTTPFound", "HTTPInspector", "NotHTTP"]

# Bytes of the first line, its end included.  Envoy's http_inspector: MAX_INSPECT_SIZE; it
# takes a line of 65536 bytes and closes on 65536 bytes without an end.
MAX_REQUEST_LINE: Final = 65536

# RFC 9113 section 3.4.
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# RFC 9110 section 5.6.2: the bytes of a token, which a method is.
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_GAP: Final = re.compile(rb"[\t\r ]")
_ALLOWED: Final = b"\t\r" + bytes(range(0x20, 0x7F))

# Envoy's isUrlValid (balsa_parser.cc): a path or an asterisk, else scheme://host, or for
# CONNECT a host alone; then path and query.
_HOST: Final = rb"(?:[!$%&'()*+,\-.0-9:;=@A-Z\[\]_a-z~])*"
_PATH: Final = rb"(?:[/?][\x21-\x7e]*)?"
_TARGET: Final = re.compile(rb"[/*][\x21-\x7e]*|[A-Za-z]+://(?P<host>" + _HOST + rb")" + _PATH)
_AUTHORITY: Final = re.compile(rb"[/*][\x21-\x7e]*|(?P<host>" + _HOST + rb")" + _PATH)
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")

Reason = Literal["not_http", "too_large", "eof", "timeout"]


@dataclass(frozen=True)
class HTTPFound:
    """
    The stream starts with an HTTP request.

    @ivar protocol: C{http/1.0}, C{http/1.1} or C{h2c}, as in C{application_protocols}.
    """

    protocol: Literal["http/1.0", "http/1.1", "h2c"]


@dataclass(frozen=True)
class NotHTTP:
    """
    No HTTP request, and why.

    @ivar reason: a short word for metrics.  Envoy goes on without an application protocol
        after C{not_http}; it closes after C{too_large} (no end of line within the limit)
        and C{eof}; after C{timeout} it closes or goes on, as
        C{continue_on_listener_filters_timeout} says.
    @ivar detail: what was wrong, for people.
    """

    reason: Reason
    detail: str


class HTTPInspector:
    """
    Watches the start of a stream for a request; an L{mxproxy.interfaces.IInspector}.

    Once it has answered it gives the same answer again, whatever it is fed.  It keeps the
    first line, at most C{maxSize} bytes; its work is linear in the bytes fed, in any split.
    """

    def __init__(self, maxSize: int = MAX_REQUEST_LINE) -> None:
        """
        @param maxSize: how many bytes the first line may have, its end included.
        @raise ValueError: no HTTP/2 preface would fit.
        """
        if maxSize < len(_PREFACE):
            raise ValueError(f"maxSize {maxSize} is less than {len(_PREFACE)}")
        self._maxSize = maxSize
        self._verdict: HTTPFound | NotHTTP | None = None
        self._seen = bytearray()
        self._mayBePreface = True
        self._inMethod = True

    def __repr__(self) -> str:
        state = repr(self._verdict) if self._verdict else f"{len(self._seen)} bytes, no line yet"
        return f"<HTTPInspector: {state}>"

    def feed(self, data: bytes) -> HTTPFound | NotHTTP | None:
        """
        @param data: the next bytes of the stream.
        @return: the answer, or C{None} while more bytes are needed.
        """
        if self._verdict is None and data:
            old = len(self._seen)
            self._seen += data[: self._maxSize - old]
            self._verdict = self._decide(old)
        return self._verdict

    def eof(self) -> HTTPFound | NotHTTP:
        """@return: the answer when the stream has ended."""
        return self._giveUp("eof", "the stream ended")

    def timeout(self) -> HTTPFound | NotHTTP:
        """@return: the answer when the peer has been silent for long enough."""
        return self._giveUp("timeout", "the time was over")

    def _giveUp(self, reason: Reason, what: str) -> HTTPFound | NotHTTP:
        if self._verdict is None:
            self._verdict = NotHTTP(reason, f"{what} after {len(self._seen)} bytes of a line")
        return self._verdict

    def _decide(self, old: int) -> HTTPFound | NotHTTP | None:
        seen = self._seen
        if self._mayBePreface:
            # The preface holds line ends of its own: nothing else is asked until it is
            # complete or has failed, and then all of what was held back is looked at.
            if seen.startswith(_PREFACE):
                return HTTPFound("h2c")
            if _PREFACE.startswith(seen):
                return None
            self._mayBePreface = False
            old = 0
        end = seen.find(b"\n", old)
        new = bytes(seen[old:end] if end >= 0 else seen[old:])
        if self._inMethod:
            gap = _GAP.search(new, 0 if old else 1)  # a gap in the first place is no method
            method = new if gap is None else new[: gap.start()]
            if bad := method.translate(None, _TOKEN):
                return NotHTTP("not_http", f"byte 0x{bad[0]:02x} in the method")
            self._inMethod = gap is None
        if bad := new.translate(None, _ALLOWED):
            return NotHTTP("not_http", f"byte 0x{bad[0]:02x} in the first line")
        if end >= 0:
            return _decideLine(bytes(seen[:end]))
        if len(seen) >= self._maxSize:
            return NotHTTP("too_large", f"no end of line in {len(seen)} bytes")
        return None


def _decideLine(line: bytes) -> HTTPFound | NotHTTP:
    refused = NotHTTP("not_http", f"no request line: {line[:64]!r}")
    # Only gaps and visible bytes are left in it, and it starts with a token or is empty.
    method, *rest = line.split() or [b""]
    if not 1 <= len(rest) <= 2:
        return refused
    target = (_AUTHORITY if method == b"CONNECT" else _TARGET).fullmatch(rest[0])
    if target is None or b"@@" in (target["host"] or b""):
        return refused
    version = rest[1] if len(rest) == 2 else b"HTTP/0.9"
    if not _VERSION.fullmatch(version):
        return refused
    return HTTPFound("http/1.1" if version == b"HTTP/1.1" else "http/1.0")
