"""
Bytes that go from one socket to another as they are, without Python.

A flow is one direction of two connections that are joined, with no layer left between their sockets.
For each chunk of it L{SocketTransport<mxproxy.transports.socket>} would do the same: read, hand to
the protocol, write.  Here that is done in C (C{flows.c}), where it was built; it is optional, and
nothing but speed depends on it.

Theory of operation.  A L{Flows} has an epoll of its own, which is a descriptor among others to the
reactor: when it is ready, one call of C{flows_run} serves all the flows that are.  A transport that
finds, after a few reads, that what it reads goes to another socket as it is moves there from the
reactor (L{Flowing}); C{reads} of its own end and C{writes} of the other one are set then.
Whatever would have Python do something else with the next chunk clears either: a pause, bytes that
are kept, an end, a loss.  Then the next event is the transport's again (C{PYTHON}), as is everything
that C finds and that is no byte read and written: the end, an error, a socket that is full.  So the
rules of a connection are in one place, C{socket.py}, and what is here is their shortest case.

What has moved is told to the protocol after each call, before anything else is done in Python, so that
nobody who asks for its counters sees them lag.

Where the reactor is Twisted's of epoll, such a call goes on for as long as the reactor would be told
of nobody else (C{flows_alone}), which spares its way through Python, some 20 us for each event.
Whatever else becomes ready, a signal and another thread's call among them, ends that at once; a
delayed call that is due does, too; and it is for L{STAY} at most.

A transport that waits for room to write waits with the reactor for everything: it tells of a reset
whom it was not asked to read for, and bytes that came before would be lost.

OpenSSL's functions are found through pyOpenSSL's binding (see L{mxproxy.transports.tls}); where they
are not, there are no flows.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .buffer import BUFFER, CHUNK, LARGEST, VIEW

log = Logger()

try:
    from . import _flows  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    _flows = None

#: How many bytes one connection may read, about, before others have their turn.
TURN = 2 * LARGEST

#: For how many milliseconds flows may go on without the reactor, at most.  Whoever waits for it ends
#: that anyway; this is for what nobody has thought of.  To tell all of what has moved takes a tenth of
#: a millisecond where there are many: of some thousand requests a second, one in a hundred had to wait
#: for it with 100 here.
STAY = 1000

#: The interface to C{flows.c}: changed in both with anything that is called or read here.
INTERFACE = 2

#: How many reads show that a connection is worth what it takes to make it flow.
READS = 4


def usable(extension: Any = _flows, binding: Any = SSL) -> bool:
    """
    Whether there can be flows: C{flows.c} was built, and OpenSSL's functions are found.
    """
    if extension is None:
        return False
    names = ("SSL_read", "SSL_write", "SSL_get_error", "SSL_pending")
    try:
        from cryptography.hazmat.bindings._rust import _openssl

        ffi = binding._ffi
        found = [ffi.cast("uintptr_t", ffi.addressof(_openssl.lib, name)) for name in names]
        # One that was built of another version's C is none.
        if extension.lib.INTERFACE != INTERFACE:
            return False
        extension.lib.flows_use(*map(int, found))
        return True
    except (ImportError, AttributeError, TypeError):
        return False


@implementer(IReadDescriptor)
class Flows:
    """
    All that flows with one reactor.
    """

    def __init__(self) -> None:
        """
        @raise OSError: there are too many open files.
        """
        flows = _lib.flows_open()
        if not flows:
            raise OSError(_ffi.errno, os.strerror(_ffi.errno))
        self._flows = _ffi.gc(flows, _lib.flows_close)
        self._epoll: int = flows.epoll
        self._transports: dict[int, Flowing] = {}
        self._reactor: Any = None
        self._reactorsEpoll = -1

    def fileno(self) -> int:
        """See L{IReadDescriptor}."""
        return self._epoll

    def logPrefix(self) -> str:
        """See L{ILoggingContext<twisted.internet.interfaces.ILoggingContext>}."""
        return "mxproxy"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has ended, or cannot have us: for all of them."""
        for transport in tuple(self._transports.values()):
            transport._serve(transport.connectionLost, reason)

    def addReader(self, transport: Flowing) -> None:
        """
        Serve C{transport} when it can be read.

        @raise OSError: it cannot be; L{removeReader} takes it back.
        """
        self._transports[transport.end.number] = transport
        if len(self._transports) == 1:
            self._reactor = transport.reactor
            self._reactorsEpoll = _epollOf(self._reactor)
            self._reactor.addReader(self)
        error = _lib.flows_add(self._flows, transport.end)
        if error:
            raise OSError(error, os.strerror(error))

    def removeReader(self, transport: Flowing) -> None:
        """
        Serve it no more.
        """
        _lib.flows_remove(self._flows, transport.end)
        del self._transports[transport.end.number]
        if not self._transports:
            self._reactor.removeReader(self)
            self._reactor = None

    def doRead(self) -> None:
        """Something can be read."""
        flows, transports, reactor = self._flows, self._transports, self._reactorsEpoll
        begin, stay = 1, self._stay() if reactor >= 0 else 0
        while True:
            what = _run(flows, _memory, TURN, begin, reactor, stay)
            touched = flows.touched
            if touched:
                for number, size in zip(
                    _unpack(flows.numbers, touched), _unpack(flows.moved, touched), strict=True
                ):
                    transport = transports.get(number)
                    if transport is not None:
                        transport._serve(transport.protocol.moved, size)
            if what == _DONE:
                return
            begin = stay = 0
            stopped = transports.get(flows.number)
            if stopped is not None:
                stopped.stopped(what, flows)

    def _stay(self) -> int:
        """For how many milliseconds the reactor has nothing to do that it knows of."""
        reactor = self._reactor
        # Whoever has told of these was served before us, and is not ready any more.
        if reactor.threadCallQueue or getattr(reactor, "_justStopped", False):
            return 0
        timeout = reactor.timeout()
        return STAY if timeout is None else min(STAY, int(1000 * timeout))


def _epollOf(reactor: Any) -> int:
    """
    The descriptor by which C{reactor} is told of everything; -1 where there is none that is known.
    """
    poller = getattr(reactor, "_poller", None)
    if isinstance(reactor, EPollReactor) and isinstance(poller, epoll) and not poller.closed:
        return poller.fileno()
    return -1


#: The reactors' that have any.
_of: weakref.WeakKeyDictionary[Any, Flows] = weakref.WeakKeyDictionary()


def flowsOf(reactor: Any) -> Flows:
    """
    @return: all that flows with C{reactor}.
    """
    flows = _of.get(reactor)
    if flows is None:
        flows = _of[reactor] = Flows()
    return flows


class Flowing:
    """
    What a L{SocketTransport<mxproxy.transports.socket.SocketTransport>} has of it.

    @ivar end: what C knows of it, if anything.
    """

    end: Any = None
    # What end.to points to lives for as long as it does.
    _to: Any = None
    #: How many more reads; 0: it never flows.
    _untilFlow = 0

    if TYPE_CHECKING:
        reactor: Any
        protocol: Any
        producer: Any
        fileno: Callable[[], int]
        streamingProducer: bool
        unsent: int
        disconnecting: int
        _poller: Any
        _channel: Any  # a FlowingChannel, once it has an end
        _control: Callable[[], None] | None
        _hasWritten: bool
        _accepting: bool
        _largest: int
        _paused: bool
        _readEnded: bool
        _registeredRead: bool
        _registeredWrite: bool
        _size: int
        _writeDisconnecting: bool
        doRead: Callable[[], Exception | None]
        startReading: Callable[[], None]
        stopReading: Callable[[], None]
        connectionLost: Callable[[Failure], None]
        _cannotRead: Callable[[Exception], Exception | None]
        _cannotWrite: Callable[[Exception], None]
        _keep: Callable[[bytes | memoryview], None]
        _nothingRead: Callable[[int], None]
        _readSoon: Callable[[], None]
        _serve: Callable[..., None]

    def _flowSoon(self) -> None:
        """Another read is over."""
        self._untilFlow -= 1
        if not self._untilFlow:
            self._untilFlow = 1 if self._flow() else READS

    def _flow(self) -> bool:
        """
        From now on what is read goes to another socket by itself, if that is all there is to it.
        """
        protocol = self.protocol
        sink = getattr(protocol, "sink", None)
        if (
            not isinstance(sink, Flowing)
            or sink.producer is not protocol
            or not sink.streamingProducer
            or not sink._accepting
            or sink.unsent
            or sink.disconnecting
            or sink._writeDisconnecting
            or self._paused
            or self._readEnded
            or self._control
            or self._registeredWrite
            or self._channel.waiting()
            or self._largest < CHUNK
            or not self._hasEnd()
            or not sink._hasEnd()
        ):
            return False
        try:
            self._pollWith(flowsOf(self.reactor))
        except OSError:
            # There are too many open files, or there is no memory.
            self._pollWith(self.reactor)
            return False
        end = self.end
        end.to = self._to = sink.end
        end.size, end.largest = self._size, self._largest
        end.reads = sink.end.writes = 1
        sink._hasWritten = True
        return True

    def _hasEnd(self) -> bool:
        # pyOpenSSL's documented calls do not tell it.
        address: int | None = getattr(self._channel, "address", None)
        if self.end is None and address is not None:
            self.end = end = _ffi.new("struct end *")
            end.number, end.fd, end.ssl = id(self), self.fileno(), _ffi.cast("void *", address)
        return self.end is not None

    def _stopFlow(self) -> None:
        """The next byte is not as the last one was, in either direction."""
        if self.end is not None:
            self.end.reads = self.end.writes = 0

    def _pollWith(self, poller: Any) -> None:
        if self._poller is not poller:
            reads = self._registeredRead
            self.stopReading()
            self._poller = poller
            if reads:
                self.startReading()

    def stopped(self, what: int, flows: Any) -> None:
        """
        A flow cannot go on by itself.

        @param what: why not: one of the constants below.
        @param flows: what is known of it.
        """
        self._serve(self._stopped, what, flows.offset, flows.left, flows.result, flows.error)

    def _stopped(
        self, what: int, offset: int, left: int, result: int, error: int
    ) -> Exception | None:
        protocol = self.protocol
        if what == PYTHON:
            return self.doRead()
        if what == SOON:
            self._readSoon()
        elif what in (UNSENT, WRITE_FAILED):
            sink = protocol.sink
            protocol.moved(left)
            if what == UNSENT:
                sink._keep(VIEW[offset : offset + left])
            else:
                sink._cannotWrite(sink._channel.writeError(result, error))
        else:
            try:
                got = self._channel.judge(result, error)
            except OSError as failed:
                return self._cannotRead(failed)
            if left:
                protocol.bufferReceived(VIEW[:left])
            if self._channel.waiting():
                return self.doRead()
            self._nothingRead(got)
        return None


#: Whether there are flows.
AVAILABLE = usable()

if AVAILABLE:
    from select import epoll

    from twisted.internet.epollreactor import EPollReactor

    _lib, _ffi = _flows.lib, _flows.ffi
    _run, _unpack = _lib.flows_run, _ffi.unpack
    _DONE = _lib.DONE
    _memory = _ffi.from_buffer(BUFFER)
    PYTHON, SOON = _lib.PYTHON, _lib.SOON
    UNSENT, WRITE_FAILED = _lib.UNSENT, _lib.WRITE_FAILED
