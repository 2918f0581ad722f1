"""
Counters: names and whole numbers, nothing else.

What the names mean is declared in L{mxproxy.observe.stats}.
"""

from __future__ import annotations

import collections


class Counters(collections.Counter[str]):
    """
    How often something has happened, by the name that Envoy gives it.
    """

    def count(self, name: str) -> None:
        """
        It has happened once more.

        @param name: e.g. C{"metadata_exchange.alpn_protocol_found"}.
        """
        self[name] += 1

    def add(self, name: str, number: int) -> None:
        """
        It has happened so many times more.
        """
        self[name] += number
