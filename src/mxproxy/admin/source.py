"""
Where answers come from: the processes of the proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, execute

from .actions import act
from .views import VIEWS, answer

if TYPE_CHECKING:
    from ..service import ProxyService


class Source(Protocol):
    """
    Asks and tells every process of a proxy.
    """

    def collect(self, command: str, arguments: Mapping[str, Any]) -> Deferred[list[Any]]:
        """
        @param command: one of L{VIEWS}, or of L{mxproxy.admin.actions.ACTIONS}.
        @param arguments: as JSON has them.
        @return: fires with each process's answer, at least one.
        """


class LocalSource:
    """
    A proxy of one process.
    """

    def __init__(self, service: ProxyService) -> None:
        self._service = service

    def collect(self, command: str, arguments: Mapping[str, Any]) -> Deferred[list[Any]]:
        """See L{Source.collect}."""
        return execute(lambda: [perform(self._service, command, arguments)])


def perform(service: ProxyService, command: str, arguments: Mapping[str, Any]) -> Any:
    """
    Do what this process is asked for.

    @param command: see L{Source.collect}.
    @return: what JSON has.
    @raise KeyError: there is no such command.
    """
    if command in VIEWS:
        return answer(service, command, arguments)
    return act(service, command, arguments)
