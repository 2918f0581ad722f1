"""
The HTTP server of the administration interface: who may ask, and how much.

It is for the machine's own people and programs, and has no passwords.  What keeps others out:

  - It listens on the loopback interface unless somebody says otherwise.
  - A web page somewhere can make a browser on this machine send requests here, under a name of
    its own that leads to 127.0.0.1 (DNS rebinding).  So a request has to say the Host that it
    means: an IP address, C{localhost}, this machine's name, or one that was allowed.
  - Requests that a browser marks as coming from another site are refused, and so are those that
    change something without being a POST.
  - The page takes scripts and styles from here only (Content-Security-Policy), and may not be
    framed.

Bounds: so many connections, so much of a request; a client that does not go on is dropped.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from .. import __version__
from .page import PAGE
from .paths import BY_PATH, helpText
from .requests import Answer, BadRequest, Query, text
from .source import Source

#: More clients than this are not let in.  A browser has six connections, Prometheus one.
CONNECTION_LIMIT = 64

#: Seconds for which a client may be silent, or not take its answer; more than there are between
#: two scrapes of Prometheus, which keeps its connection.
TIMEOUT = 75.0

#: Nothing that can be asked has a body; this much is read and forgotten.
BODY_LIMIT = 64 * 1024

#: No path has so many.
PARAMETER_LIMIT = 20

HEADERS = {
    "Cache-Control": "no-cache, max-age=0",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": f"mxproxy/{__version__}",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class AdminRequest(Request):
    """
    A request of bounded size.

    @ivar length: bytes of its body.
    """

    length = 0

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body."""
        self.length += len(data)
        if self.length > BODY_LIMIT:
            self.channel.forceAbortClient()
        else:
            HTTPRequest.handleContentChunk(self, data)


class Admin(Resource):
    """
    Answers every path.
    """

    isLeaf = True
    log = Logger()

    def __init__(self, source: Source, hosts: Iterable[str] = ()) -> None:
        """
        @param hosts: names that it may be asked by, beside addresses, C{localhost} and this
            machine's name.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._source = source
        self._hosts = {"localhost", socket.gethostname().lower(), *map(str.lower, hosts)}

    def render(self, request: AdminRequest) -> Any:
        """See L{Resource.render}."""
        for name, value in HEADERS.items():
            request.setHeader(name, value)  # type: ignore[no-untyped-call]
        refused = self._refuse(request)
        if refused is not None:
            return _write(request, refused)
        path = request.path.decode("ascii", "replace")
        static = PAGE.get(path)
        if static is not None and request.method in (b"GET", b"HEAD"):
            return _write(request, static)
        answering = Deferred.fromCoroutine(self._answer(path, request))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(self._failed)
        answering.addCallback(_finish, request)
        return NOT_DONE_YET

    async def _answer(self, path: str, request: Request) -> Answer:
        entry = BY_PATH.get(path)
        if entry is None:
            return text(f"invalid path. {helpText()}", 404)
        try:
            query = Query(_parameters(request.uri), request.getHeader("accept") or "")
            return await entry.handle(query, self._source)
        except BadRequest as error:
            return text(f"{error}\n", 400)

    def _refuse(self, request: AdminRequest) -> Answer | None:
        """
        @return: why it is not answered.
        """
        if request.length > BODY_LIMIT:
            # Dropped already; what was read of it is not obeyed all the same.
            return text("Requests need no body.\n", 413)
        host = request.getHeader("host") or ""
        if not self._isAllowed(host):
            return text(
                "This is not a host name that the admin interface is asked by. Use an IP address "
                "or localhost, or allow the name with --admin-host.\n",
                403,
            )
        site = request.getHeader("sec-fetch-site") or "none"
        origin = request.getHeader("origin")
        if site not in ("none", "same-origin") or (
            origin is not None and origin.partition("://")[2].lower() != host.lower()
        ):
            return text("Requests of other sites are not answered.\n", 403)
        method = request.method.decode("ascii", "replace")
        entry = BY_PATH.get(request.path.decode("ascii", "replace"))
        needed = ("POST",) if entry is not None and entry.changes else ("GET", "HEAD")
        if method not in needed and not (method == "POST" and entry is not None):
            return text(f"Method {method} not allowed, {needed[0]} required.\n", 405)
        return None

    def _isAllowed(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        else:
            name = name.partition(":")[0]
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _failed(self, failure: Failure) -> Answer | None:
        if failure.check(CancelledError):
            return None  # Nobody waits for it any more.
        self.log.failure("the admin interface could not answer", failure)
        return text("This could not be answered; the log says why.\n", 500)


def _write(request: Request, answer: Answer) -> bytes:
    request.setResponseCode(answer.status)
    request.setHeader("Content-Type", answer.type)
    request.setHeader("Content-Length", str(len(answer.body)))
    return b"" if request.method == b"HEAD" else answer.body


def _finish(answer: Answer | None, request: Request) -> None:
    if answer is None:
        return
    body = _write(request, answer)
    if body:
        request.write(body)
    request.finish()


def _parameters(uri: bytes) -> dict[str, str]:
    # Twisted leaves those out that have no value.
    text = uri.partition(b"?")[2].decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=PARAMETER_LIMIT))
    except ValueError:
        raise BadRequest("that are too many parameters") from None


class AdminSite(Site):
    """
    The factory of the interface's connections.
    """

    noisy = False

    def log(self, request: HTTPRequest) -> None:
        """Who looks is not worth a line."""


class BoundedFactory(WrappingFactory):
    """
    Lets so many clients in, and no more.
    """

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """One more, unless there are too many."""
        if len(self.protocols) >= CONNECTION_LIMIT:
            return None
        return super().buildProtocol(addr)


def adminFactory(source: Source, reactor: Any, hosts: Iterable[str] = ()) -> BoundedFactory:
    """
    @param hosts: see L{Admin}.
    @return: what listens.
    """
    site = AdminSite(  # type: ignore[no-untyped-call]
        Admin(source, hosts),
        AdminRequest,
        parsePOSTFormSubmission=False,
        timeout=TIMEOUT,
        reactor=reactor,
    )
    return BoundedFactory(site)  # type: ignore[no-untyped-call]
