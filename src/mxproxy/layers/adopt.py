"""
Takes a stock L{twisted.protocols.policies.WrappingFactory} into a chain.

Stock wrappers know nothing of half-close, and a pause of their own is undone by anybody's
resume.  So one is put between two thin layers of ours, and what it does not understand
goes around it::

    below ← lower ← stock wrapper ← upper ← above

  - bytes and the connection's loss go through the wrapper;
  - the ends of the two directions go around it;
  - C{lower} counts the wrapper's pauses apart from those of the protocol above;
  - L{Paced} counts, of a producer above, the wrapper's apart from those of what is below.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IProtocolFactory, IPushProducer
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from ..interfaces import IChainContext
from .base import ABOVE, OWN, Layer, LayerFactory, readConnectionLost


class Lower(Layer):
    """
    Below the wrapper, and its transport.
    """

    name = "adopted"
    factory: AdoptFactory

    def __init__(self, factory: AdoptFactory, wrapper: Any, upper: Upper) -> None:
        super().__init__(factory)
        self.wrapper: Any = wrapper
        self.upper: Upper | None = upper

    def connectionMade(self) -> None:
        """The wrapper decides when what is above is connected."""
        upper = self.upper
        assert upper is not None
        # It may have to speak of its end without ever having been connected.
        upper.connection, upper.peer = self.connection, self.peer
        self.protocol, self.wrapper = self.wrapper, None
        self.protocol.makeConnection(self)

    def connectionLost(self, reason: Failure) -> None:
        """Through the wrapper; but C{upper} hears of it even if the wrapper keeps silent."""
        upper, self.upper = self.upper, None
        super().connectionLost(reason)
        assert upper is not None
        upper.gone(reason)

    # -- around the wrapper

    def readConnectionLost(self) -> None:
        """See L{Layer.readConnectionLost}."""
        if self.upper is not None:
            self.upper.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """See L{Layer.writeConnectionLost}."""
        if self.upper is not None:
            self.upper.writeConnectionLost()

    def loseConnection(self) -> None:
        """The wrapper closes, for a reason of its own or because what is above does."""
        self.closeWithinBound()

    # -- the wrapper's own pauses; those of what is above come from L{Upper}

    def pauseProducing(self) -> None:
        """The wrapper wants a pause."""
        self.pause(OWN)

    def resumeProducing(self) -> None:
        """The wrapper has had its pause."""
        self.resume(OWN)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """What is below pauses it for reasons of its own."""
        if isinstance(producer, Paced):
            producer = PacedBelow(producer)
        super().registerProducer(producer, streaming)


class Upper(Layer):
    """
    Above the wrapper, and the transport of what is above.
    """

    name = "adopted"
    lower: Lower
    _lost = False
    _producing = False

    def write(self, data: bytes) -> None:
        """Through the wrapper; a sequence, too, so that a wrapper sees all bytes in one place."""
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """From L{Lower}; too early for what is above where the wrapper withholds it."""
        if self.protocol is None:
            self.lower.loseConnection()
        else:
            readConnectionLost(self.protocol, self)

    def connectionLost(self, reason: Failure) -> None:
        """From the wrapper."""
        self.gone(reason)

    def gone(self, reason: Failure) -> None:
        """From whoever is first."""
        if self._lost:
            return
        self._lost = True
        super().connectionLost(reason)

    def loseWriteConnection(self) -> None:
        """Around the wrapper."""
        self.lower.loseWriteConnection()

    def abortConnection(self) -> None:
        """Around the wrapper, which may not know how."""
        self.lower.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Through the wrapper, which may want to pause it."""
        self.transport.registerProducer(Paced(producer) if streaming else producer, streaming)
        self._producing = True

    def unregisterProducer(self) -> None:
        """Through the wrapper, unless there is none: a socket does not mind, stock wrappers do."""
        if self._producing:
            self._producing = False
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Around the wrapper."""
        self.lower.pause(ABOVE)

    def resumeProducing(self) -> None:
        """Around the wrapper."""
        self.lower.resume(ABOVE)


@implementer(IPushProducer)
class Paced:
    """
    A producer as the wrapper sees it; it runs only while neither the wrapper nor what is
    below (L{PacedBelow}) wants a pause.
    """

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._pauses = 0

    def pauseProducing(self) -> None:
        """The wrapper wants a pause."""
        self.pause(OWN)

    def resumeProducing(self) -> None:
        """The wrapper has had its pause."""
        self.resume(OWN)

    def stopProducing(self) -> None:
        """Nothing more is wanted."""
        self._producer.stopProducing()

    def pause(self, who: int) -> None:
        """See L{Layer.pause}."""
        before, self._pauses = self._pauses, self._pauses | who
        if not before:
            self._producer.pauseProducing()

    def resume(self, who: int) -> None:
        """See L{Layer.resume}."""
        before, self._pauses = self._pauses, self._pauses & ~who
        if before and not self._pauses:
            self._producer.resumeProducing()


@implementer(IPushProducer)
class PacedBelow:
    """
    The same producer as what is below the wrapper sees it.
    """

    def __init__(self, paced: Paced) -> None:
        self._paced = paced

    def pauseProducing(self) -> None:
        """The buffer below is full."""
        self._paced.pause(ABOVE)

    def resumeProducing(self) -> None:
        """The buffer below is empty."""
        self._paced.resume(ABOVE)

    def stopProducing(self) -> None:
        """Nothing more is wanted."""
        self._paced.stopProducing()


class UpperFactory(LayerFactory):
    """
    What the stock factory is given to wrap.

    @ivar built: the last layer made; L{AdoptFactory} takes it from here at once.
    """

    layer = Upper
    built: Upper | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See L{LayerFactory.buildProtocol}."""
        self.built = Upper(self)
        return self.built


@implementer(IProtocolFactory)
class AdoptFactory(LayerFactory):
    """
    Makes the sandwich.

    @ivar stock: the stock factory.
    """

    def __init__(self, stock: WrappingFactory, context: IChainContext) -> None:
        self.upper = UpperFactory(stock.wrappedFactory, context)
        super().__init__(self.upper, context)
        stock.wrappedFactory = self.upper
        stock.noisy = False  # As every factory of a chain: nobody asks when it was started.
        self.stock = stock

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        @return: C{None} if the stock factory declined.
        """
        wrapper = self.stock.buildProtocol(addr)
        upper, self.upper.built = self.upper.built, None
        if wrapper is None or upper is None:
            return None
        lower = Lower(self, wrapper, upper)
        upper.lower = lower
        return lower

    def doStart(self) -> None:
        """The stock factory starts what it wraps."""
        self.stock.doStart()

    def doStop(self) -> None:
        """The stock factory stops what it wraps."""
        self.stock.doStop()


def adopt(factory: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
    """
    Make what a filter's C{wrap} has returned fit for a chain.

    @return: C{factory} itself unless it is a stock one.
    """
    if isinstance(factory, WrappingFactory):
        return AdoptFactory(factory, context)
    return factory
