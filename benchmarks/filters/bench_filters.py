"""
C{bench.finished}: a filter that has nothing to do, and leaves as soon as it is connected; what any
filter is that has done its work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from mxproxy.interfaces import IChainContext, IFilter
from mxproxy.layers.base import Layer, LayerFactory


class Finished(Layer):
    """Leaves."""

    name = "bench.finished"

    def connectionMade(self) -> None:
        self.leave()


@implementer(IFilter)
@dataclass(frozen=True)
class FinishedFilter:
    """Has no options."""

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        return LayerFactory(inner, context, Finished)


def configure(options: Mapping[str, str]) -> FinishedFilter:
    return FinishedFilter()
