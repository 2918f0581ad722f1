"""
Finding filters: what is registered in C{twisted/plugins}, ours and other people's alike.

Twisted's plugin cache loads this module whenever C{twistd --help} runs, so it imports
nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import cast

from twisted.plugin import IPlugin, getPlugins
from zope.interface import implementer

from .interfaces import IFilter, IFilterPlugin, ITerminal


class UnknownFilter(LookupError):
    """No filter of that name is installed; the text names those that are."""


@implementer(IPlugin, IFilterPlugin)
class LazyFilter:
    """
    A filter plugin whose module is imported when it is first configured.

    @ivar module: the name of a module with C{configure(options)}.
    """

    def __init__(self, name: str, description: str, module: str) -> None:
        self.name = name
        self.description = description
        self.module = module

    def configure(self, options: Mapping[str, str]) -> IFilter | ITerminal:
        """See L{IFilterPlugin.configure}."""
        return cast("IFilter | ITerminal", import_module(self.module).configure(options))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def installedFilters() -> Iterator[IFilterPlugin]:
    """Every filter plugin that Twisted finds."""
    # The package cannot be imported at the top: importing it searches the whole path.
    import twisted.plugins

    return cast("Iterator[IFilterPlugin]", getPlugins(IFilterPlugin, twisted.plugins))


def findFilter(name: str) -> IFilterPlugin:
    """
    @param name: the name that C{--filter} or a configuration file gives.
    @raise UnknownFilter: nobody has registered it.
    """
    names = set()
    for plugin in installedFilters():
        if plugin.name == name:
            return plugin
        names.add(plugin.name)
    raise UnknownFilter(f"no filter {name!r} is installed; there is: {', '.join(sorted(names))}")
