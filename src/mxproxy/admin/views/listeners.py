"""
What listens: Envoy's C{/listeners}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...observe.access_log import formatAddress

if TYPE_CHECKING:
    from ...service import ProxyService


def take(service: ProxyService, arguments: Mapping[str, Any]) -> list[list[str]]:
    """
    @return: names with addresses.
    """
    return [[name, formatAddress(port.getHost()) or ""] for name, port in service.listening.items()]


def merge(values: Sequence[list[list[str]]], arguments: Mapping[str, Any]) -> list[list[str]]:
    """
    Workers listen on the same addresses.
    """
    return [list(one) for one in dict.fromkeys(tuple(one) for value in values for one in value)]
