"""
Those who talk: the application behind the inbound sidecar, and clients that come to it with
a sidecar, with its own TLS, or with nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from ..observe.access_log import formatAddress

HOST = "127.0.0.1"

#: Seconds that a conversation may take.
TALK_TIMEOUT = 10.0

GREETING = b"Hello, this is the greeter.\n"


class Greeter(Resource):
    """
    The application: plain HTTP, and no idea of sidecars.  It greets who asks, and sends
    back what is posted.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """Greet."""
        request.setHeader(b"Content-Type", b"text/plain")
        return GREETING

    def render_POST(self, request: Request) -> bytes:
        """Echo."""
        request.setHeader(b"Content-Type", b"application/octet-stream")
        posted: Any = request.content
        content: bytes = posted.read()
        return content


def makeApplication() -> Site:
    """
    What listens for the application.
    """
    resource: Resource = Greeter()  # type: ignore[no-untyped-call]
    site = Site(resource)
    site.noisy = False
    return site


def get() -> bytes:
    """
    A request, as its client's bytes: HTTP/1.0, so that the answer's end is the connection's.
    """
    return b"GET / HTTP/1.0\r\n\r\n"


def post(content: bytes) -> bytes:
    """
    The same with content.
    """
    return b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)


class Reply(NamedTuple):
    """
    What came of a conversation.

    @ivar address: the client's own, as access logs write it.
    @ivar data: all that it received, TLS aside.
    """

    address: str
    data: bytes

    @property
    def status(self) -> str:
        """The first line, of HTTP's."""
        return self.data.partition(b"\r\n")[0].decode("ascii", "backslashreplace")

    @property
    def body(self) -> bytes:
        """What follows HTTP's header."""
        return self.data.partition(b"\r\n\r\n")[2]


class _Client(Protocol):
    """
    Sends its request and receives until the end, be it a good one or not.
    """

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.address = ""
        self.received: list[bytes] = []
        self.ended: Deferred[None] = Deferred(lambda _: self._abort())

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def connectionMade(self) -> None:
        """Speak."""
        transport: Any = self.transport
        self.address = formatAddress(transport.getHost()) or ""
        transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        """Listen."""
        self.received.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """That was it."""
        if not self.ended.called:
            self.ended.callback(None)


@implementer(IOpenSSLClientConnectionCreator)
class ClientTLS:
    """
    Stock OpenSSL, as any client has it.
    """

    def __init__(self, authorities: Path, own: tuple[Path, Path] | None = None, alpn: str = ""):
        """
        @param authorities: the file of the CA to trust.
        @param own: the files of a certificate and its key.
        @param alpn: the protocol to offer.
        """
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.load_verify_locations(str(authorities))
        self._context.set_verify(SSL.VERIFY_PEER)
        if own is not None:
            certificate, key = own
            self._context.use_certificate_chain_file(str(certificate))
            self._context.use_privatekey_file(str(key))
        if alpn:
            self._context.set_alpn_protos([alpn.encode("ascii")])

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """See L{IOpenSSLClientConnectionCreator}."""
        return SSL.Connection(self._context, None)


async def talk(reactor: Any, port: int, request: bytes, tls: ClientTLS | None = None) -> Reply:
    """
    Connect, send C{request}, and receive until the connection ends.

    @raise twisted.internet.error.ConnectError: nobody listens.
    @raise twisted.internet.defer.TimeoutError: it has not ended in L{TALK_TIMEOUT}.
    """
    endpoint: Any = TCP4ClientEndpoint(reactor, HOST, port)
    if tls is not None:
        endpoint = wrapClientTLS(tls, endpoint)
    client = _Client(request)
    await connectProtocol(endpoint, client)
    await client.ended.addTimeout(TALK_TIMEOUT, reactor)
    return Reply(client.address, b"".join(client.received))
