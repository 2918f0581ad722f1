"""
Bounds how fast connections are taken: C{envoy.filters.network.local_ratelimit}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from ..interfaces import IChainContext, IFilter
from ..layers.base import Layer, LayerFactory
from ..words import counted
from .options import Options

#: Seconds; an interval that is too short would be no limit.
SHORTEST_INTERVAL = 0.05

#: What adding up many small fills may be short of a token by.
ROUNDING = 1e-6


class LocalRateLimitLayer(Layer):
    """
    Takes a token and lets the connection through, or closes it.
    """

    name = "local_ratelimit"
    factory: LocalRateLimitFactory

    def connectionMade(self) -> None:
        """Is there a token left?"""
        if self.factory.take():
            self.leave()
            return
        settings = self.factory.settings
        self.context.count(f"local_rate_limit.{settings.stat_prefix}.rate_limited")
        self.fail(
            f"local_ratelimit: more than {counted(settings.tokens_per_fill, 'connection')} in"
            f" {settings.fill_interval:g} s"
        )


class LocalRateLimitFactory(LayerFactory):
    """
    Makes L{LocalRateLimitLayer}s; the bucket is the chain's.

    Tokens come back spread over the interval, and not all at its end: Envoy 1.40 was asked.
    There is no timer: what was filled in meanwhile is reckoned when a token is taken.
    """

    layer = LocalRateLimitLayer

    def __init__(
        self, inner: IProtocolFactory, context: IChainContext, settings: LocalRateLimit
    ) -> None:
        super().__init__(inner, context)
        self.settings = settings
        self._rate = settings.tokens_per_fill / settings.fill_interval
        self._tokens = float(settings.max_tokens)
        self._reckoned: float = context.clock.seconds()

    def take(self) -> bool:
        """
        @return: whether there was a token.
        """
        now = self.context.clock.seconds()
        filled = self._tokens + (now - self._reckoned) * self._rate
        self._tokens, self._reckoned = min(self.settings.max_tokens, filled), now
        if self._tokens < 1 - ROUNDING:
            return False
        self._tokens -= 1
        return True


@implementer(IFilter)
@dataclass(frozen=True)
class LocalRateLimit:
    """
    The filter's settings: a token bucket.

    @ivar max_tokens: how many fit in, and how many there are at first.
    @ivar tokens_per_fill: how many are added each time.
    @ivar fill_interval: seconds from one time to the next.
    @ivar stat_prefix: what its counter is called by.
    """

    max_tokens: int
    tokens_per_fill: int
    fill_interval: float
    stat_prefix: str = ""

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        """See L{IFilter.wrap}."""
        if context.side != "downstream":
            raise ValueError("local_ratelimit is for the connections of a listener")
        if self.fill_interval < SHORTEST_INTERVAL:
            raise ValueError(
                f"fill_interval is {self.fill_interval:g} s; it has to be"
                f" {SHORTEST_INTERVAL:g} s at least"
            )
        return LocalRateLimitFactory(inner, context, self)


def configure(options: Mapping[str, str]) -> LocalRateLimit:
    """
    @param options: C{max_tokens}, C{tokens_per_fill}, C{fill_interval} in seconds,
        C{stat_prefix}.
    @raise mxproxy.filters.options.OptionError: one of them is unknown, missing or wrong.
    """
    read = Options(options)
    settings = LocalRateLimit(
        read.integer("max_tokens", above=0),
        read.integer("tokens_per_fill", 1, above=0),
        read.number("fill_interval", above=0),
        read.text("stat_prefix", ""),
    )
    read.finish()
    return settings
