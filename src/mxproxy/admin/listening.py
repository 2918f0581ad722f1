"""
Where the administration interface listens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..lifecycle.refusal import whyNot
from ..observe.access_log import formatAddress
from .server import adminFactory
from .source import LocalSource, Source

if TYPE_CHECKING:
    from ..service import ProxyService


class CannotListen(ValueError):
    """
    The address cannot be listened on; the text, one line, says why.
    """


class AdminListener:
    """
    One, of one process; of a proxy of several, it is the parent's.

    @ivar port: what listens, while it does.
    """

    log = Logger()

    def __init__(
        self, endpoint: str, source: Source, reactor: Any, hosts: Iterable[str] = ()
    ) -> None:
        """
        @param endpoint: a Twisted server endpoint description.
        @param hosts: see L{mxproxy.admin.server.Admin}.
        @raise ValueError: it is no such description.
        """
        self.port: IListeningPort | None = None
        self._description = endpoint
        self._endpoint = serverFromString(reactor, endpoint)
        self._factory = adminFactory(source, reactor, hosts)

    def start(self) -> None:
        """
        Listen.

        @raise CannotListen: it cannot.
        """
        refused: list[Failure] = []
        self._endpoint.listen(self._factory).addCallbacks(self._listens, refused.append)
        if refused:
            raise CannotListen(f"admin: {self._description}: {whyNot(refused[0].value)}")

    def _listens(self, port: IListeningPort) -> None:
        self.port = port
        self.log.info("admin interface on {address}", address=formatAddress(port.getHost()))

    def stop(self) -> Deferred[Any]:
        """
        Listen no more, and drop who still looks.
        """
        port, self.port = self.port, None
        for protocol in list(self._factory.protocols):
            protocol.transport.abortConnection()
        return maybeDeferred(port.stopListening) if port is not None else maybeDeferred(int)


def listenerFor(service: ProxyService, reactor: Any) -> AdminListener:
    """
    What a proxy of one process has.
    """
    plan = service.plan
    return AdminListener(plan.admin, LocalSource(service), reactor, plan.admin_hosts)
