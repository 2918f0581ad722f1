"""
What a process of a proxy can be told to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from . import logging

if TYPE_CHECKING:
    from ..service import ProxyService


def _fail(service: ProxyService, arguments: Mapping[str, Any]) -> None:
    service.healthy = False


def _ok(service: ProxyService, arguments: Mapping[str, Any]) -> None:
    service.healthy = True


def _reset(service: ProxyService, arguments: Mapping[str, Any]) -> None:
    service.counters.clear()


def _drain(service: ProxyService, arguments: Mapping[str, Any]) -> None:
    service.drainListeners(arguments["inboundonly"])


def _quit(service: ProxyService, arguments: Mapping[str, Any]) -> None:
    service.quit()


def _logging(service: ProxyService, arguments: Mapping[str, Any]) -> dict[str, str]:
    return logging.change(arguments["level"], arguments["paths"])


#: By name; each is called in every process.
ACTIONS: Mapping[str, Callable[[ProxyService, Mapping[str, Any]], Any]] = {
    "healthcheck/fail": _fail,
    "healthcheck/ok": _ok,
    "reset_counters": _reset,
    "drain_listeners": _drain,
    "quitquitquit": _quit,
    "logging": _logging,
}


def act(service: ProxyService, command: str, arguments: Mapping[str, Any]) -> Any:
    """
    Do it.

    @param command: one of L{ACTIONS}.
    @return: what JSON has.
    @raise KeyError: there is no such command.
    """
    return ACTIONS[command](service, arguments)
