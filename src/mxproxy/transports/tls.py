"""
How bytes get through a socket: as records of TLS, which OpenSSL reads and writes by itself.

Theory of operation.  OpenSSL is given the socket (C{SSL_set_fd}).  It reads a record, never a byte
of the next (C{read_ahead} is off), and a record's plaintext is taken out whole; so nothing waits
inside of it that the socket does not know of, and a pause is a pause.  A chunk is as many records
as are there and have room.  What is written is cut into records by C{SSL_write} (partial writes: it
says after each how far it has come).  Each is a write(2) of OpenSSL's, which the kernel would send
on its own; where there are several, C{TCP_CORK} has it take them for one.

An end of TCP without a close_notify ends one direction only, and has to be told apart from one with
it.  By itself OpenSSL takes it for an error after which nothing can be written either; told to
ignore it (C{SSL_OP_IGNORE_UNEXPECTED_EOF}, L{mxproxy.tls.context}), it pretends a close_notify.  But
then it I{sets} the state that C{SSL_get_shutdown} tells, where a close_notify adds a bit to it: so a
bit of our own is put there first, and whether it has survived tells.

L{TLSChannel} uses pyOpenSSL's documented calls.  Those copy each record into a buffer made for it,
and raise an exception where there is nothing to read; L{DirectChannel} calls the same two functions
of OpenSSL through pyOpenSSL's own binding, without either.  That binding is nobody's interface:
L{usable} looks at whether all of it is there, and where it is not the first one is used.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

from .buffer import BLOCKED, BUFFER, LARGEST, RECORD, VIEW
from .channel import Broken, Truncated

Explain = Callable[[BaseException, SSL.Connection], str]

#: After a record that is shorter, there is not likely to be another one yet: it is delivered
#: without a look at the socket.
SHORT = 4096

#: A bit of C{SSL_get_shutdown} that means nothing to OpenSSL, which has two.
_MARK = 4

#: Linux's; 0 elsewhere.
TCP_CORK: int = getattr(socket, "TCP_CORK", 0)

TRUNCATED = "truncated: the stream ended without a close_notify"


class TLSChannel:
    """
    TLS on a socket, its handshake done.  See L{Channel<mxproxy.transports.channel.Channel>}.
    """

    #: After an error of the socket's, OpenSSL does nothing more on it.
    readsOn = False
    _corks = bool(TCP_CORK)

    def __init__(self, tls: SSL.Connection, explain: Explain) -> None:
        """
        @param tls: over the transport's socket.
        @param explain: why an error is one, in a few words.
        """
        tls.set_shutdown(_MARK)
        self._tls = tls
        self._explain = explain
        self._needsRoom = False
        self._next: int | Exception | None = None

    def receive(self, size: int) -> int:
        """Read records, as long as there are and there is room for a whole one."""
        if self._next is not None:
            return self._come()
        # One at the least: a small buffer is told of a record in parts.
        room, last = min(RECORD, size), size - RECORD
        total = 0
        while not total or total <= last:
            got = self._record(total, room)
            if got == BLOCKED:
                return total or BLOCKED
            if not got:
                return total or self._come()
            total += got
            if got < SHORT:
                break
        return total

    def _come(self) -> int:
        """What came behind the last bytes: the end, or an error."""
        coming, self._next = self._next, None
        assert coming is not None
        if isinstance(coming, Exception):
            try:
                raise coming
            finally:
                # Its traceback keeps this frame and our callers', which keep the connection.
                del coming
        return coming

    def _record(self, offset: int, size: int) -> int:
        """
        Read (part of) a record to its place in the buffer.

        @return: how many bytes; 0 if what there is instead is in C{_next}, or L{BLOCKED}.
        """
        self._needsRoom = False
        try:
            return self._tls.recv_into(VIEW[offset : offset + size], size)
        except SSL.Error as error:
            return self._judge(error)

    def _judge(self, error: SSL.Error) -> int:
        if isinstance(error, SSL.WantReadError):
            return BLOCKED
        if isinstance(error, SSL.WantWriteError):
            self._needsRoom = True
            return BLOCKED
        forgetErrors()
        if isinstance(error, SSL.ZeroReturnError):
            self._next = 0 if self._tls.get_shutdown() & _MARK else Truncated(TRUNCATED)
        elif isinstance(error, SSL.SysCallError):
            number = error.args[0] if error.args else -1
            self._next = Truncated(TRUNCATED) if number <= 0 else OSError(*error.args)
        else:
            self._next = Broken(self._explain(error, self._tls))
        return 0

    def send(self, data: bytes | memoryview) -> int:
        """Write as many records as there is room for."""
        if len(data) <= RECORD or not self._corks:
            return self._send(data)
        try:
            self._cork(1)
        except OSError:
            # It is a UNIX socket's.
            self._corks = False
            return self._send(data)
        try:
            return self._send(data)
        finally:
            self._cork(0)

    def _cork(self, on: int) -> None:
        self._tls.setsockopt(socket.IPPROTO_TCP, TCP_CORK, on)

    def _send(self, data: bytes | memoryview) -> int:
        size = len(data)
        view = memoryview(data)
        total = 0
        while total < size:
            try:
                total += self._tls.send(view[total:] if total else view)
            except (SSL.WantWriteError, SSL.WantReadError):
                return total or BLOCKED
            except SSL.SysCallError as error:
                forgetErrors()
                raise OSError(*error.args) from error
            except SSL.Error as error:
                forgetErrors()
                raise Broken(self._explain(error, self._tls)) from error
        return total

    def end(self) -> bool:
        """Send close_notify."""
        try:
            self._tls.shutdown()
        except (SSL.WantWriteError, SSL.WantReadError):
            return False
        except SSL.SysCallError as error:
            # The peer has reset the connection.  OpenSSL will say no more than that it does nothing
            # more on it, so this is what the next read is told.
            self._next = OSError(*error.args)
            forgetErrors()
        except SSL.Error:
            forgetErrors()  # The session is broken; there is nobody to be told.
        return True

    def waiting(self) -> bool:
        """What OpenSSL has read and not delivered."""
        return self._next is not None or self._tls.pending() > 0

    def readNeedsRoom(self) -> bool:
        """See L{Channel<mxproxy.transports.channel.Channel>}."""
        return self._needsRoom


_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)


def forgetErrors() -> None:
    """
    Empty OpenSSL's queue of errors, which is the thread's and not a connection's.

    OpenSSL 3 puts an error of the socket's there, pyOpenSSL raises without taking it out, and the
    next connection that has nothing to read would be told of it.
    """
    forget = getattr(_lib, "ERR_clear_error", None)
    if forget is not None:
        forget()


def usable(lib: Any = _lib, ffi: Any = _ffi) -> bool:
    """
    Whether L{DirectChannel} finds what it needs.
    """
    functions = ("SSL_read", "SSL_write", "SSL_get_error", "SSL_pending")
    constants = ("SSL_ERROR_WANT_READ", "SSL_ERROR_WANT_WRITE")
    return (
        all(callable(getattr(lib, name, None)) for name in functions)
        and all(isinstance(getattr(lib, name, None), int) for name in constants)
        and callable(getattr(ffi, "from_buffer", None))
        and callable(getattr(SSL.Connection, "_raise_ssl_error", None))
    )


class DirectChannel(TLSChannel):
    """
    The same, straight into and out of our own buffer.
    """

    def __init__(self, tls: SSL.Connection, explain: Explain) -> None:
        """
        @raise AttributeError: the binding is not what it was.
        """
        super().__init__(tls, explain)
        self._ssl = tls._ssl
        self.address = int(_ffi.cast("uintptr_t", self._ssl))

    def _record(self, offset: int, size: int) -> int:
        got: int = _SSL_read(self._ssl, _memory + offset, size)
        return got if got > 0 else self.judge(got, 0)

    def judge(self, result: int, error: int) -> int:
        """See L{FlowingChannel<mxproxy.transports.channel.FlowingChannel>}."""
        wanted = _SSL_get_error(self._ssl, result)
        self._needsRoom = wanted == _WANT_WRITE
        if wanted in (_WANT_READ, _WANT_WRITE):
            return BLOCKED
        return self._judge(self._raised(result))

    def _send(self, data: bytes | memoryview) -> int:
        size = len(data)
        memory = _from_buffer(data)
        total = 0
        while total < size:
            sent: int = _SSL_write(self._ssl, memory + total, size - total)
            if sent > 0:
                total += sent
                continue
            wanted = _SSL_get_error(self._ssl, sent)
            if wanted in (_WANT_READ, _WANT_WRITE):
                return total or BLOCKED
            raise self.writeError(sent, 0)
        return total

    def writeError(self, result: int, error: int) -> OSError | Broken:
        """See L{FlowingChannel<mxproxy.transports.channel.FlowingChannel>}."""
        raised = self._raised(result)
        if isinstance(raised, SSL.SysCallError):
            return OSError(*raised.args)
        return Broken(self._explain(raised, self._tls))

    def waiting(self) -> bool:
        """See L{TLSChannel.waiting}."""
        return self._next is not None or _SSL_pending(self._ssl) > 0

    def _raised(self, result: int) -> SSL.Error:
        """The exception that pyOpenSSL would have raised."""
        try:
            self._tls._raise_ssl_error(self._ssl, result)
        except SSL.Error as error:
            forgetErrors()
            # The traceback would make a cycle, of which our callers' views of memory are a part.
            return error.with_traceback(None)
        raise AssertionError(f"OpenSSL has answered {result}, and no error")


def channel(tls: SSL.Connection, explain: Explain) -> TLSChannel:
    """
    @return: the best one that there is.
    """
    return _best(tls, explain)


_best: Callable[[SSL.Connection, Explain], TLSChannel] = TLSChannel

if usable():
    _SSL_read, _SSL_write = _lib.SSL_read, _lib.SSL_write
    _SSL_get_error, _SSL_pending = _lib.SSL_get_error, _lib.SSL_pending
    _WANT_READ, _WANT_WRITE = _lib.SSL_ERROR_WANT_READ, _lib.SSL_ERROR_WANT_WRITE
    _from_buffer = _ffi.from_buffer
    _memory = _from_buffer(BUFFER)
    assert len(BUFFER) == LARGEST
    _best = DirectChannel
