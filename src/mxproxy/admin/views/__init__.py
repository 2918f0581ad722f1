"""
What a process of a proxy says of itself: plain values, as JSON has them.

A view is a command with a function that is called in each process, and one that makes one value
of all processes'.  Views know the proxy and nothing of HTTP; what they become for people is
L{mxproxy.admin.paths}'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...observe import snapshot
from . import certs, clusters, config, connections, graph, listeners, server

if TYPE_CHECKING:
    from ...service import ProxyService

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """
    A command that changes nothing.

    @ivar take: called in each process.
    @ivar merge: called with what they have said, and with the arguments.
    """

    take: Callable[[ProxyService, Arguments], Any]
    merge: Callable[[Sequence[Any], Arguments], Any]


VIEWS: Mapping[str, View] = {
    "stats": View(
        lambda service, arguments: snapshot.take(service),
        lambda values, arguments: snapshot.merge(values),
    ),
    "connections": View(connections.take, connections.merge),
    "graph": View(graph.take, graph.merge),
    "clusters": View(clusters.take, clusters.merge),
    "listeners": View(listeners.take, listeners.merge),
    "certs": View(certs.take, certs.merge),
    "config": View(config.take, config.merge),
    "server": View(server.take, server.merge),
}


def answer(service: ProxyService, command: str, arguments: Arguments) -> Any:
    """
    What this process says.

    @param command: one of L{VIEWS}.
    @return: what JSON has.
    @raise KeyError: there is no such command.
    """
    return VIEWS[command].take(service, arguments)
