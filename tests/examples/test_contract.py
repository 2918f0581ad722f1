"""
What a filter's author may rely on, and what is said when a filter does not keep its side.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mxproxy import chain
from mxproxy.config.plan import (
    TCP_PROXY,
    ClusterPlan,
    FilterChainPlan,
    FilterSpec,
    HostPlan,
    ListenerPlan,
    Plan,
)
from mxproxy.connection import Connection, Key
from mxproxy.filters.options import OptionError, Options
from mxproxy.filters.tcp_proxy import TCPProxy
from mxproxy.interfaces import IChainContext, IConnection, IFilter, IFilterPlugin, IPeer
from mxproxy.layers.base import LayerFactory
from mxproxy.layers.deliver import HoldingLayer
from mxproxy.layers.handshake import HandshakeFactory, HandshakeLayer
from mxproxy.plugins import LazyFilter
from mxproxy.service import ProxyService
from mxproxy.testing import Bench, Conversation, checkFilter
from mxproxy.wire.handshake import Outcome
from mxproxy.wire.metadata import Node


class OneByte:
    """
    A handshake: C{+} lets the peer in, anything else does not.
    """

    def opening(self) -> bytes:
        return b""

    def feed(self, data: bytes) -> Outcome:
        if data[:1] == b"+":
            return Outcome(result=b"+", forward=data[1:])
        return Outcome(abort="refused: not a plus")

    def eof(self) -> Outcome:
        return Outcome(abort="refused: nothing")

    timeout = eof


class HandshakeTests(SynchronousTestCase):
    def bench(self) -> tuple[Bench, list[object]]:
        results: list[object] = []

        class Layer(HandshakeLayer):
            name = "plus"

            def learnt(self, result: object) -> None:
                results.append(result)

        def wrap(inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
            return HandshakeFactory(inner, context, OneByte, 5.0, layer=Layer)

        return Bench(wrap), results

    def test_result(self) -> None:
        """
        C{learnt} is told of a result, and the layer is the one that the factory was given.
        """
        bench, results = self.bench()
        bench.play(
            """
            >> '+hello'
            app<< connected
            app<< 'hello'
            left: plus
            """
        )
        self.assertEqual(results, [b"+"])

    def test_noResult(self) -> None:
        """
        An outcome without a result teaches nothing: C{learnt} need not expect C{None}.
        """
        bench, results = self.bench()
        bench.play(
            """
            >> 'hello'
            << reset
            closed: refused: not a plus
            """
        )
        self.assertEqual(results, [])


class HoldingTests(SynchronousTestCase):
    def test_endsBeforeAnythingIsConnected(self) -> None:
        """
        A layer that has not connected anything yet does not keep the end of the stream to
        itself: nobody would ever end the connection.
        """

        class Waiting(HoldingLayer):
            def connectionMade(self) -> None:
                pass

        bench = Bench(lambda inner, context: LayerFactory(inner, context, Waiting))
        bench.play(
            """
            >> eof
            << close
            closed: closed: the stream ended too early
            """
        )


class TimerTests(SynchronousTestCase):
    """
    C{startTimer}: a layer waits, and need not mind who is first.
    """

    def setUp(self) -> None:
        class Waiting(HoldingLayer):
            name = "waiting"

            def connectionMade(self) -> None:
                self.startTimer(9.0, lambda: self.fail("never: it was replaced"))
                self.startTimer(2.0, lambda: self.fail("silent: for too long"))

            def dataReceived(self, data: bytes) -> None:
                self.leaveWith(data)

        self.filter = lambda inner, context: LayerFactory(inner, context, Waiting)
        self.bench = Bench(self.filter)

    def test_fires(self) -> None:
        self.bench.play(
            """
            wait 2
            << close
            closed: silent: for too long
            """
        )
        self.assertEqual(self.bench.reactor.getDelayedCalls(), [])

    def test_leaves(self) -> None:
        """
        The timer goes when the layer does, even if it has to wait with its bytes.
        """
        self.bench.application.onConnect = self.bench.application.pause
        self.bench.play(
            """
            >> 'hello'
            app<< connected
            wait 2
            app>> resume
            app<< 'hello'
            left: waiting
            """
        )
        self.assertEqual(self.bench.reactor.getDelayedCalls(), [])

    def test_contract(self) -> None:
        """
        No timer is left, nor a cycle through one.
        """
        checkFilter(self.filter, conversation=Conversation(incoming=b"hello", patience=2.0))


class AdoptTests(SynchronousTestCase):
    def test_oneWrite(self) -> None:
        """
        A stock wrapper sees all that is written in C{write}, a sequence too.
        """
        seen: list[bytes] = []

        class Wrapper(ProtocolWrapper):
            def write(self, data: bytes) -> None:
                seen.append(data)
                super().write(data)

        def wrap(inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
            factory = WrappingFactory(inner)
            factory.protocol = Wrapper
            return factory

        bench = Bench(wrap)
        bench.connect()
        bench.application.transport.writeSequence(iter([b"hel", b"lo"]))
        self.assertEqual(seen, [b"hello"])
        self.assertEqual(bench.transport.take(), b"hello")

    def test_quiet(self) -> None:
        """
        Nobody is told that a stock factory was started.
        """
        with capturedLogs() as events:
            bench = Bench(lambda inner, context: WrappingFactory(inner))
            bench.connect()
            bench.factory.doStart()
        self.assertEqual(events, [])


class FactTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        """
        What is documented of a connection and of its peers is there.
        """
        connection = Connection("listener", Clock().seconds)
        verifyObject(IConnection, connection)
        for peer in (connection.downstream, connection.upstream):
            verifyObject(IPeer, peer)


@implementer(IFilterPlugin, IFilter)
class Odd:
    """
    A filter that does one thing wrong, or nothing.
    """

    description = "for a test"

    def __init__(self, name: str, configured: object = None, wrapped: object = None) -> None:
        self.name = name
        self.keys: tuple[Key[Any], ...] = ()
        self.configured = configured or self
        self.wrapped = wrapped

    def configure(self, options: Mapping[str, str]) -> Any:
        return self.configured

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> Any:
        if isinstance(self.wrapped, Exception):
            raise self.wrapped
        return self.wrapped or inner


class LoadingTests(SynchronousTestCase):
    """
    What is wrong with a filter is said when the configuration is loaded, in one line that names
    it, and not when the first connection comes.
    """

    def load(self, *filters: Odd, cluster: tuple[Odd, ...] = ()) -> None:
        def specs(chosen: tuple[Odd, ...]) -> tuple[FilterSpec, ...]:
            return tuple(FilterSpec(filter.name, {}) for filter in chosen)

        terminal = FilterSpec(TCP_PROXY, settings=TCPProxy("application"))
        known = {filter.name: filter for filter in (*filters, *cluster)}
        self.patch(chain, "findFilter", known.__getitem__)
        plan = Plan(
            Node(),
            listeners=(
                ListenerPlan(
                    "inbound",
                    "tcp:0",
                    (FilterChainPlan("all", (*specs(filters), terminal)),),
                ),
            ),
            clusters=(
                ClusterPlan("application", (HostPlan("tcp:127.0.0.1:1"),), filters=specs(cluster)),
            ),
        )
        ProxyService(plan, Clock())

    def refused(self, *filters: Odd, cluster: tuple[Odd, ...] = ()) -> str:
        return str(self.assertRaises(chain.ChainError, self.load, *filters, cluster=cluster))

    def test_nothingWrong(self) -> None:
        self.load(Odd("fine"), cluster=(Odd("well"),))

    def test_configureReturnsNoFilter(self) -> None:
        self.assertEqual(
            self.refused(Odd("odd", configured="text")),
            "odd: its configure() has returned 'text', which is no IFilter",
        )

    def test_wrapReturnsNoFactory(self) -> None:
        self.assertEqual(
            self.refused(Odd("odd", wrapped="text")),
            "odd: its wrap() has returned 'text', which is no IProtocolFactory",
        )

    def test_wrapRefuses(self) -> None:
        self.assertEqual(self.refused(Odd("odd", wrapped=ValueError("not here"))), "odd: not here")

    def test_keys(self) -> None:
        """
        Two filters cannot keep facts of one name, be they in a listener's chain or in that
        of its cluster; one filter can be used twice.
        """
        one, two = Odd("one"), Odd("two")
        one.keys = (Key("caller", str),)
        self.load(one, one, cluster=(one,))
        two.keys = (Key("caller", str),)
        said = "keeps a fact named 'caller' on connections, and so does"
        self.assertIn(f"two: {said} one;", self.refused(one, two))
        self.assertIn(f"one: {said} two;", self.refused(one, cluster=(two,)))


class OptionTests(SynchronousTestCase):
    def refused(self, read: Any) -> str:
        return str(self.assertRaises(OptionError, read))

    def test_least(self) -> None:
        """
        A bound that may be met, as for a delay of no time at all.
        """
        self.assertEqual(Options({"n": "0"}).number("n", least=0), 0.0)
        error = self.assertRaises(OptionError, Options({"n": "-0.5"}).number, "n", least=0)
        self.assertEqual(str(error), "n='-0.5' has to be a number of at least 0")

    def test_integer(self) -> None:
        self.assertEqual(Options({"n": "7"}).integer("n", above=0), 7)
        self.assertEqual(Options({}).integer("n", 5), 5)
        for text in ("1.5", "x", "", "0", "-1", "inf"):
            self.assertEqual(
                self.refused(lambda text=text: Options({"n": text}).integer("n", above=0)),
                f"n={text!r} has to be a whole number above 0",
            )
        self.assertEqual(
            self.refused(lambda: Options({"n": "x"}).integer("n")),
            "n='x' has to be a whole number",
        )

    def test_file(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"secret")
        self.assertEqual(Options({"file": str(path)}).file("file"), b"secret")
        self.assertEqual(
            self.refused(lambda: Options({"file": "no/such"}).file("file")),
            "file='no/such' cannot be read: No such file or directory",
        )
        self.assertEqual(
            self.refused(lambda: Options({"file": "a\0b"}).file("file")),
            "file='a\\x00b' cannot be read: embedded null byte",
        )
        self.assertEqual(
            self.refused(lambda: Options({}).file("file")), "file is missing: give file=..."
        )


class LazyTests(SynchronousTestCase):
    def test_ownModule(self) -> None:
        """
        A plugin module can name itself: a filter of one file.
        """
        plugin = LazyFilter("one.file", "", __name__)
        with patch.dict(globals(), {"configure": lambda options: Odd(options["name"])}):
            self.assertEqual(plugin.configure({"name": "x"}).name, "x")  # type: ignore[attr-defined]
