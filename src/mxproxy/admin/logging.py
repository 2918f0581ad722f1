"""
Levels of the log, changed while running: Envoy's C{/logging}.

Twisted's observers write whatever they are told of.  The first change puts a filter in front of
each that there is; until then everything is written, C{debug} included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogPublisher,
)

#: Envoy's words, with Twisted's levels.
LEVELS: Mapping[str, Any] = {
    "trace": LogLevel.debug,
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warning": LogLevel.warn,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
    "critical": LogLevel.critical,
    "off": LogLevel.critical,
}

#: How the level of everything that has none of its own is called.
DEFAULT = "default"


class Levels:
    """
    The levels of a process.
    """

    def __init__(self) -> None:
        self._predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.debug)
        self._set: dict[str, str] = {}
        self._default = "debug"
        self._installed = False

    def change(self, level: str | None, paths: Mapping[str, str]) -> dict[str, str]:
        """
        @param level: everybody's, of L{LEVELS}; C{None} leaves it.
        @param paths: levels by namespace, e.g. C{mxproxy.upstream}.
        @return: the levels that there are now.
        """
        if level is not None or paths:
            self._install()
        if level is not None:
            self._predicate.clearLogLevels()
            self._set.clear()
            self._default = level
            self._predicate.setLogLevelForNamespace("", LEVELS[level])
        for namespace, its in paths.items():
            self._set[namespace] = its
            self._predicate.setLogLevelForNamespace(namespace, LEVELS[its])
        return {DEFAULT: self._default, **self._set}

    def _install(self) -> None:
        if self._installed:
            return
        self._installed = True
        # The publisher does not say who its observers are, but for this.
        for observer in tuple(globalLogPublisher._observers):
            globalLogPublisher.removeObserver(observer)
            globalLogPublisher.addObserver(FilteringLogObserver(observer, [self._predicate]))


_levels = Levels()


def change(level: str | None, paths: Mapping[str, str]) -> dict[str, str]:
    """
    See L{Levels.change}; of this process.
    """
    return _levels.change(level, paths)
