"""
A socket as a transport: what Twisted's own is, with less in a byte's way.

Theory of operation.  A chunk is read into the one L{BUFFER<mxproxy.transports.buffer>} and handed
to the protocol as a view of it (C{bufferReceived}; C{dataReceived} gets a copy of its own).  What
is written is tried on the socket at once.  Mostly the kernel takes all of it, so that a chunk is
read and written in one turn and nothing is kept; only what it does not take is copied, waited
for, and the producer paused meanwhile.  So a connection's memory is what one read brings, times
two directions, whatever the speeds.  A read is of L{CHUNK<mxproxy.transports.buffer>} at first, and
of twice as much after each that was full and could be written whole; a pause is back to the first.

Where nothing is left between two sockets, and what is needed for it was built, C does that by itself
(L{mxproxy.transports.flows}) until there is something to be seen to.

Bytes pass through a L{Channel<mxproxy.transports.channel>}: the socket itself or, once a TLS layer
has said L{SocketTransport.secure}, OpenSSL on the socket.  Protocols do not see the difference.

How it differs from C{twisted.internet.tcp.Connection}, and why:

  - A pause is lazy: the reactor is told when there is something to be read in the meantime.  Most
    pauses are over sooner, and save two system calls.
  - A write that fails does not lose what the peer had sent before, without TLS: reading goes on to
    its end, which is then the connection's.  A server that answers and resets has answered.
  - An end of the stream is told once, also to who was paused.
  - Where the last byte is out already, closing does not wait for the socket to be writable.
  - Closing does not lose what was written to a reset because the peer is still sending
    (L{mxproxy.transports.lingering}).
"""

from __future__ import annotations

import socket as sockets
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IPushProducer,
    IReadWriteDescriptor,
    ISystemHandle,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from . import isCompiled
from .buffer import BLOCKED, CHUNK, LARGEST, RECORD, VIEW
from .channel import Broken, Channel, PlainChannel, Truncated
from .flows import AVAILABLE, READS, TURN, Flowing
from .lingering import Lingering
from .outstanding import unacknowledged, unread

log = Logger()

# SO_LINGER with a time of nought: closing sends a reset instead of an end.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_DONE = ConnectionDone()


@implementer(
    ITCPTransport,
    IConsumer,
    IPushProducer,
    IReadWriteDescriptor,
    IHalfCloseableDescriptor,
    ISystemHandle,
)
class SocketTransport(Flowing):
    """
    One end of a connection.

    @ivar protocol: who is told; looked up for each delivery, so that layers may leave.
    @ivar socket: it is not blocking, and ours.
    @ivar unsent: bytes that were written and that the kernel has not taken.
    """

    connected = 1
    disconnected = 0
    disconnecting = 0
    unsent = 0

    producer: Any = None
    streamingProducer = False
    producerPaused = False

    _largest = LARGEST
    _size = CHUNK
    _registeredRead = False
    _registeredWrite = False
    _paused = False
    _readEnded = False
    _peerEnded = False
    _readWaitsForRoom = False
    _hasWritten = False
    _accepting = True
    _writeDisconnecting = False
    _writeDisconnected = False
    _aborting = False
    _lingering: Lingering | None = None
    _control: Callable[[], None] | None = None
    _closing: Callable[[str], None] | None = None

    def __init__(
        self,
        socket: sockets.socket,
        protocol: Any,
        host: IAddress,
        peer: IAddress,
        reactor: Any,
    ) -> None:
        """
        @param socket: connected; this transport's from now on.
        @param host: our own address.
        @param peer: the other end's.
        @param reactor: an L{IReactorFDSet} and L{IReactorTime}.
        """
        if socket.gettimeout() != 0:
            socket.setblocking(False)
        self.socket = socket
        self.fileno: Callable[[], int] = socket.fileno
        self.protocol: Any = protocol
        self._host = host
        self._peer = peer
        self.reactor = reactor
        # Who says when it can be read.
        self._poller = reactor
        if AVAILABLE and isCompiled():
            self._untilFlow = READS
        self._kept: deque[bytes | memoryview] = deque()
        self._channel: Channel = PlainChannel(socket)

    # -- TLS

    def control(self, ready: Callable[[], None] | None) -> None:
        """
        Neither read nor write: C{ready} is called when the socket is ready for what
        L{startReading} and L{startWriting} have asked for, and uses it itself.

        @param ready: C{None}: go on as before.
        """
        self._control = ready
        self._stopFlow()

    def secure(self, channel: Channel, closing: Callable[[str], None]) -> None:
        """
        From now on bytes go through C{channel}.

        @param closing: called with the reason when the channel ends out of order.
        """
        self._control = None
        self.end = None
        self._channel = channel
        self._closing = closing
        self.stopWriting()
        if not self._paused:
            self.startReading()

    # -- reading

    @property
    def bufferSize(self) -> int:
        """Bytes that are read at once, at most."""
        return self._largest

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self._largest = size
        self._size = min(CHUNK, size)

    # The reactor takes an exception, whatever the interface says.
    def doRead(self) -> Exception | None:  # type: ignore[override]
        """The socket can be read."""
        left = TURN
        while left > 0:
            if self._control is not None:
                # Later, whoever was delivered to has taken it: to put TLS on the socket, say.
                if left == TURN:
                    self._control()
                return None
            if self._paused or self._readEnded:
                self.stopReading()
                return None
            size = self._size
            try:
                got = self._channel.receive(size)
            except (OSError, Truncated, Broken) as error:
                return self._cannotRead(error)
            if got <= 0:
                self._nothingRead(got)
                return None
            protocol = self.protocol
            receive = getattr(protocol, "bufferReceived", None)
            if receive is not None:
                receive(VIEW[:got])
            else:
                protocol.dataReceived(bytes(VIEW[:got]))
            if got < size and not self._channel.waiting():
                break
            left -= got
            if got > size - RECORD and not self._paused:
                self._size = min(2 * self._size, self._largest)
        else:
            if self._channel.waiting():
                self._readSoon()
        if self._untilFlow:
            self._flowSoon()
        return None

    def _nothingRead(self, what: int) -> None:
        if not what:
            self._endReading()
        elif self._channel.readNeedsRoom():
            self._readWaitsForRoom = True
            self.startWriting()

    def _readSoon(self) -> None:
        """There is something to be read that the socket does not know of."""
        self.reactor.callLater(0, self._readNow)

    def _readNow(self) -> None:
        if not self.disconnected:
            self._serve(self.doRead)

    def _serve(self, what: Callable[..., Exception | None], *args: Any) -> None:
        try:
            why = what(*args)
        except Exception as error:  # noqa: BLE001 - as the reactor does
            log.failure("{transport!r}: its protocol has failed", transport=self)
            why = error
        if why is not None and not self.disconnected:
            try:
                self.connectionLost(Failure(why))
            except Exception:  # noqa: BLE001
                log.failure("{transport!r}: its protocol has failed", transport=self)

    def _cannotRead(self, error: Exception) -> Exception | None:
        if isinstance(error, Truncated):
            self._say(str(error))
            self._endReading()
            return None
        if isinstance(error, Broken):
            self._say(error.reason)
            self._readEnded = True
            self.stopReading()
            self._failWrites()
            self._loseSoon(_DONE)
            return None
        return ConnectionLost()

    def _endReading(self) -> None:
        self._readEnded = self._peerEnded = True
        self._stopFlow()
        self.stopReading()
        if not self._accepting and not self._writeDisconnected:
            # Nothing can be written any more either.
            self._loseSoon(ConnectionLost())
            return
        protocol: Any = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self._loseSoon(_DONE)
            return
        try:
            protocol.readConnectionLost()
        except Exception:  # noqa: BLE001 - as Twisted's does
            log.failure("{protocol!r} has failed at the end of the stream", protocol=protocol)
            self.connectionLost(Failure())

    def readConnectionLost(self, reason: Failure) -> None:
        """The reactor has seen the end before we have read it, and forgotten that we read."""
        self.stopReading()
        if self._control is not None:
            self._control()
        elif not self._readEnded and not self._paused:
            self._endReading()

    def writeConnectionLost(self, reason: Failure) -> None:
        """See L{IHalfCloseableDescriptor}; no reactor has ever called it."""
        self.connectionLost(reason)

    def pauseProducing(self) -> None:
        """See L{IPushProducer}; what was not read stays in the kernel."""
        self._paused = True
        self._size = min(CHUNK, self._largest)
        self._stopFlow()

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        self._paused = False
        if self.connected and not self._readEnded:
            self.startReading()
            if self._channel.waiting():
                self._readSoon()

    def stopProducing(self) -> None:
        """See L{IPushProducer}."""
        self.loseConnection()

    # -- writing

    def write(self, data: bytes) -> None:
        """See L{ITransport<twisted.internet.interfaces.ITransport>}."""
        if data:
            self.writeBuffer(data)

    def writeBuffer(self, data: bytes | memoryview) -> None:
        """
        Write what is the caller's: it may change as soon as this returns.

        @param data: not empty.
        """
        if not self._accepting:
            return
        self._hasWritten = True
        if not self.unsent:
            try:
                sent = self._channel.send(data)
            except (OSError, Broken) as error:
                self._cannotWrite(error)
                return
            if sent == len(data):
                if self.producer is not None and not self.streamingProducer:
                    self.startWriting()
                return
            if sent > 0:
                data = memoryview(data)[sent:]
        self._keep(data)

    def _keep(self, data: bytes | memoryview) -> None:
        self._kept.append(bytes(data))
        self.unsent += len(data)
        self._stopFlow()
        self.startWriting()
        if self.streamingProducer and not self.producerPaused and self.producer is not None:
            self.producerPaused = True
            self.producer.pauseProducing()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """See L{ITransport<twisted.internet.interfaces.ITransport>}."""
        self.write(b"".join(iovec))

    def doWrite(self) -> Exception | None:  # type: ignore[override]
        """There is room."""
        if self._control is not None:
            self._control()
            return None
        kept = self._kept
        while kept:
            data = kept[0]
            try:
                sent = self._channel.send(data)
            except (OSError, Broken) as error:
                self._cannotWrite(error)
                return None
            if sent == BLOCKED:
                return None
            self.unsent -= sent
            if sent < len(data):
                kept[0] = memoryview(data)[sent:]
                return None
            kept.popleft()
        self.stopWriting()
        if self._readWaitsForRoom:
            self._readWaitsForRoom = False
            why = self.doRead()
            if why is not None:
                return why
        return self._flushed()

    def _flushed(self) -> Exception | None:
        if self.producer is not None and (not self.streamingProducer or self.producerPaused):
            self.producerPaused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            if self._mayClose():
                return _DONE
        elif self._writeDisconnecting and not self._writeDisconnected:
            self._endWriting()
        return None

    def _cannotWrite(self, error: Exception) -> None:
        over = self._readEnded or self.disconnecting or not self._channel.readsOn
        if isinstance(error, Broken):
            self._say(error.reason)
        self._failWrites()
        if over:
            self._readEnded = True
            self._loseSoon(ConnectionLost())
        # Otherwise what the peer had sent before is read first; then comes the end, or an error.

    def _failWrites(self) -> None:
        """Nothing can be written any more."""
        self._accepting = False
        self._kept.clear()
        self.unsent = 0
        self._stopFlow()
        self.stopWriting()
        if self.streamingProducer and not self.producerPaused and self.producer is not None:
            self.producerPaused = True
            self.producer.pauseProducing()

    # -- ends

    def loseWriteConnection(self) -> None:
        """End the writing direction, once everything written is flushed."""
        if self._writeDisconnecting or not self.connected:
            return
        self._writeDisconnecting = True
        self._stopFlow()
        if not self.unsent and not self.disconnecting:
            self._endWriting()

    def _endWriting(self) -> None:
        if self._accepting and not self._ended():
            return
        self._accepting = False
        self._writeDisconnected = True
        try:
            self.socket.shutdown(sockets.SHUT_WR)
        except OSError:
            pass  # It is gone; reading will tell.
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is not None:
            protocol.writeConnectionLost()

    def _ended(self) -> bool:
        """Has the channel said its end?  If not, it is tried again when there is room."""
        if not self._accepting or self._channel.end():
            return True
        self.startWriting()
        return False

    def loseConnection(self) -> None:
        """Close, once everything written is flushed."""
        if not self.connected or self.disconnecting:
            return
        self.disconnecting = 1
        self._readEnded = True
        self._stopFlow()
        self._control = None
        self.stopReading()
        if not self.unsent and not self.producerPaused:
            self.reactor.callLater(0, self._close)

    def _close(self) -> None:
        if self.connected and not self.unsent and self._mayClose():
            self.connectionLost(Failure(_DONE))

    def _mayClose(self) -> bool:
        """Is all that was written out?  If not, this is asked again when it is."""
        if self._lingering is not None or not self._ended():
            return False
        if self._peerEnded or not (
            unacknowledged(self.socket) or (self._hasWritten and unread(self.socket))
        ):
            return True
        self._accepting = False
        try:
            self.socket.shutdown(sockets.SHUT_WR)
        except OSError:
            return True  # The peer is gone.
        # The reactor knows one object for a descriptor.
        self.stopReading()
        self.stopWriting()
        self._lingering = Lingering(self.socket, self.reactor, self._lingered)
        return False

    def _lingered(self) -> None:
        self.connectionLost(Failure(_DONE))

    def abortConnection(self) -> None:
        """
        Drop the connection at once: the peer sees a reset.  Where only the kernel has something left
        to be sent, there is nothing to drop: nobody waits for it any longer.
        """
        if not self.disconnected and not self._aborting:
            self._aborting = self._readEnded = True
            self._accepting = False
            self._control = None
            self._stopFlow()
            self.stopReading()
            self.stopWriting()
            if self._lingering is not None:
                self._lingering.stop()
            self._loseSoon(ConnectionAborted())

    def _loseSoon(self, error: Exception) -> None:
        self.reactor.callLater(0, self.connectionLost, Failure(error))

    def connectionLost(self, reason: Failure) -> None:
        """Both directions are gone; called by the reactor, too."""
        if self.disconnected:
            return
        if self._lingering is not None:
            self._lingering.stop()
        # The reactor, if it is the one who calls, has forgotten us already.
        self._stopFlow()
        self.stopReading()
        self.stopWriting()
        if self._control is not None and not self._aborting:
            # Whoever is in control sees for himself, and says why.
            control, self._control = self._control, None
            try:
                control()
            except Exception:  # noqa: BLE001 - it is lost all the same
                log.failure("{transport!r}: a handshake has failed", transport=self)
            if not self.connected:
                return
            self._control = None
            self.stopReading()
            self.stopWriting()
        if (
            self._paused
            and self._channel.readsOn
            and not self._readEnded
            and not self.disconnecting
            and isinstance(reason.value, ConnectionLost)
        ):
            # The kernel says so because we write; what came before can still be read.
            self._failWrites()
            return
        self.disconnected = 1
        self.connected = 0
        self._accepting = False
        self._kept.clear()
        self.unsent = 0
        if self.producer is not None:
            producer, self.producer = self.producer, None
            producer.stopProducing()
        self._closeSocket(reason)
        protocol = self.protocol
        # A cycle would outlive the connection.
        del self.protocol, self.socket, self.fileno, self._channel, self._poller
        self.end = self._to = None
        self._closing = self._lingering = None
        protocol.connectionLost(reason)

    def _closeSocket(self, reason: Failure) -> None:
        socket = self.socket
        if isinstance(reason.value, ConnectionAborted) and self._lingering is None:
            try:
                socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                pass  # It is gone already.
        # Nobody else has it, so that this ends both directions (Twisted's own has a shutdown(2)
        # before, against descriptors that children inherit).
        socket.close()

    def _say(self, reason: str) -> None:
        if self._closing is not None:
            self._closing(reason)

    # -- IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See L{IConsumer}."""
        if self.producer is not None:
            raise RuntimeError(f"{self.producer!r} is registered already; not {producer!r}")
        if self.disconnected:
            producer.stopProducing()
            return
        self._stopFlow()
        self.producer = producer
        self.streamingProducer = streaming
        self.producerPaused = False
        if not streaming:
            producer.resumeProducing()
        elif self.unsent:
            self.producerPaused = True
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """See L{IConsumer}."""
        self._stopFlow()
        self.producer = None
        self.producerPaused = False
        if self.connected and self.disconnecting and not self.unsent:
            self.reactor.callLater(0, self._close)

    # -- the reactor

    def startReading(self) -> None:
        """Wait for something to be read."""
        if not self._registeredRead and not self.disconnected:
            self._registeredRead = True
            self._poller.addReader(self)

    def stopReading(self) -> None:
        """See L{startReading}."""
        if self._registeredRead:
            self._registeredRead = False
            self._poller.removeReader(self)

    def startWriting(self) -> None:
        """Wait for room to write."""
        if not self._registeredWrite and not self.disconnected:
            self._registeredWrite = True
            self._pollWith(self.reactor)
            self.reactor.addWriter(self)

    def stopWriting(self) -> None:
        """See L{startWriting}."""
        if self._registeredWrite:
            self._registeredWrite = False
            self.reactor.removeWriter(self)

    def logPrefix(self) -> str:
        """See L{ILoggingContext<twisted.internet.interfaces.ILoggingContext>}."""
        return "mxproxy"

    # -- the socket

    def getHandle(self) -> sockets.socket:
        """See L{ISystemHandle}."""
        return self.socket

    def getHost(self) -> Any:
        """Our own address."""
        return self._host

    def getPeer(self) -> Any:
        """The other end's address."""
        return self._peer

    def getTcpNoDelay(self) -> bool:
        """See L{ITCPTransport}."""
        return bool(self.socket.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See L{ITCPTransport}."""
        self._setOption(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """See L{ITCPTransport}."""
        return bool(self.socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See L{ITCPTransport}."""
        self._setOption(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, enabled)

    def _setOption(self, level: int, name: int, enabled: bool) -> None:
        try:
            self.socket.setsockopt(level, name, enabled)
        except OSError:
            pass  # It is a UNIX socket, or gone already: reading will tell.

    def __repr__(self) -> str:
        if self.disconnected:
            return "<SocketTransport closed>"
        words = ["controlled" if self._control else "paused" if self._paused else "reading"]
        if self.unsent:
            words.append(f"{self.unsent} bytes to send")
        if self.disconnecting:
            words.append("closing")
        return f"<SocketTransport {self._host} {self._peer} {', '.join(words)}>"
