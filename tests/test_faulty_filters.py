"""
A filter that fails ends the one connection that it fails on, whatever it was doing: nobody waits,
the connection is logged as closed, and the proxy can be stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

from mxproxy.config.plan import FilterSpec, Plan
from mxproxy.interfaces import IFilter
from mxproxy.layers.base import Layer, LayerFactory
from mxproxy.layers.handshake import HandshakeFactory
from mxproxy.testing.sidecars import SERVER, onePlan
from mxproxy.wire.metadata import Node

from .layers.helpers import Greeting
from .proxies import PORT, ProxyTestCase


class Defect(Exception):
    """What a filter raises."""


def raising(*args: Any) -> Any:
    raise Defect


class RaisingWhenConnected(ProtocolWrapper):
    # Before the stock factory has heard of it: its unregisterProtocol raises then, too.
    connectionMade = raising


class RaisingWhenLost(ProtocolWrapper):
    connectionLost = raising


class LayerRaisingWhenLost(Layer):
    connectionLost = raising


class Declining(WrappingFactory):
    def buildProtocol(self, addr: Any) -> None:
        return None


class RaisingFactory(WrappingFactory):
    buildProtocol = raising


class RaisingMachine(Greeting):
    timeout = raising


@implementer(IPushProducer)
class Producing(ProtocolWrapper):
    """A transport has one producer, and a terminal is going to be it."""

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


def wrapping(kind: Any) -> Callable[[Any, Any], Any]:
    def wrap(inner: Any, context: Any) -> Any:
        factory = WrappingFactory(inner)
        factory.protocol = kind
        return factory

    return wrap


@implementer(IFilter)
class Filter:
    def __init__(self, wrap: Callable[[Any, Any], Any]) -> None:
        self.wrap = wrap


def inChain(*filters: FilterSpec) -> Plan:
    return onePlan(Node(), PORT, SERVER, downstreamFilters=filters)


def inCluster(*filters: FilterSpec) -> Plan:
    return onePlan(Node(), PORT, SERVER, upstreamFilters=filters)


def inListener(*filters: FilterSpec) -> Plan:
    plan = onePlan(Node(), PORT, SERVER)
    return replace(plan, listeners=(replace(plan.listeners[0], listener_filters=filters),))


EVERYWHERE = (inChain, inCluster, inListener)


class FaultyFilterTests(ProxyTestCase):
    def check(
        self, wrap: Callable[[Any, Any], Any], reason: str, where: Any = inChain, errors: int = 1
    ) -> None:
        self.start(where(FilterSpec("faulty", settings=Filter(wrap))))
        client = self.dial()
        client.write(b"hello")
        self.settle()
        self.reactor.advance(10)
        if not client.losses:
            client.close()
            self.settle()
        for server in self.servers.built:
            if not server.losses:
                server.close()
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(Defect, KeyError, RuntimeError)), errors)
        self.assertEqual(self.told[-1], f"closed: {reason}")
        self.assertQuiet()
        stopping = self.proxy.service.stopService()
        self.settle()
        self.successResultOf(stopping)

    def side(self, where: Any, reason: str) -> str:
        if where is inCluster:
            return f"upstream: {reason} (tcp:127.0.0.1:{SERVER})"
        return f"downstream: {reason}"

    def test_declines(self) -> None:
        for where in EVERYWHERE:
            reason = self.side(where, "refused: AdoptFactory took no connection")
            self.check(lambda inner, context: Declining(inner), reason, where, 0)

    def test_builds(self) -> None:
        for where in EVERYWHERE:
            reason = self.side(where, "error: Defect")
            self.check(lambda inner, context: RaisingFactory(inner), reason, where)

    def test_connects(self) -> None:
        for where in EVERYWHERE:
            reason = self.side(where, "error: Defect")
            self.check(wrapping(RaisingWhenConnected), reason, where, 2)

    def test_loses(self) -> None:
        for where in (inChain, inCluster):
            self.check(wrapping(RaisingWhenLost), "downstream: closed", where)

    def test_layerLoses(self) -> None:
        """
        What is above a layer is told by the one below it.
        """
        self.check(
            lambda inner, context: LayerFactory(
                LayerFactory(inner, context, LayerRaisingWhenLost), context
            ),
            "downstream: closed",
        )

    def test_timer(self) -> None:
        for where in (inChain, inListener):
            self.check(
                lambda inner, context: HandshakeFactory(inner, context, RaisingMachine, 5),
                "downstream: error: Defect",
                where,
            )

    def test_joins(self) -> None:
        self.check(wrapping(Producing), "proxy: error: RuntimeError")
