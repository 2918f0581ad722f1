"""
Another plan while connections are open.
"""

from __future__ import annotations

import gc
import signal
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mxproxy.config.envoy.faults import Fault, RefusedFile
from mxproxy.config.plan import (
    DRAIN_TIME,
    TCP_PROXY,
    AccessLogPlan,
    ClusterPlan,
    FilterChainPlan,
    FilterSpec,
    HostPlan,
    ListenerPlan,
    Plan,
)
from mxproxy.connection import Key
from mxproxy.interfaces import IChainContext, IFilter
from mxproxy.lifecycle.changes import NAMES, _names
from mxproxy.observe.logs import AccessLogs
from mxproxy.testing import Application, ApplicationFactory, Proxy
from mxproxy.wire.metadata import Node
from tests.proxies import ProxyTestCase

NODE = Node("one", {"NAME": "one"})

#: Where servers and listeners are.
OLD, NEW = 9000, 9001
WEB, DB, OTHER = 1000, 1001, 1002


def cluster(name: str, *ports: int, **fields: Any) -> ClusterPlan:
    hosts = tuple(HostPlan(f"tcp:127.0.0.1:{port}") for port in ports)
    return ClusterPlan(name, hosts, **fields)


def listener(name: str, port: int, to: str, *filters: FilterSpec, **fields: Any) -> ListenerPlan:
    chain = FilterChainPlan("chain", (*filters, FilterSpec(TCP_PROXY, {"cluster": to})))
    return ListenerPlan(name, f"tcp:{port}:interface=127.0.0.1", (chain,), **fields)


PLAN = Plan(
    NODE,
    (listener("web", WEB, "old"), listener("db", DB, "old")),
    (cluster("old", OLD), cluster("new", NEW)),
)


class ReloadTestCase(ProxyTestCase):
    def start(self, plan: Plan | None = None, **named: Any) -> Proxy:
        proxy = super().start(plan or PLAN, **named)
        self.others = ApplicationFactory()
        self.reactor.listenTCP(NEW, self.others)
        self.service = proxy.service
        return proxy

    def reload(self, plan: Plan) -> str:
        """
        @return: what the log says of it.
        """
        with capturedLogs() as events:
            self.service.reload(plan)
        self.settle()
        (line,) = (text for event in events if (text := formatEvent(event)).startswith("reloaded"))
        return line.removeprefix("reloaded: ")

    def listening(self) -> list[int]:
        ports = [port.getHost().port for port in self.service.ports]
        self.assertEqual(
            sorted([*ports, OLD, NEW]), sorted(port.getHost().port for port in self.reactor.ports)
        )
        return ports

    def talk(self, client: Application, server: Application) -> None:
        """
        They are connected.
        """
        client.write(b"ping")
        self.settle()
        self.assertEqual(server.received[-4:], b"ping")
        server.write(b"pong")
        self.settle()
        self.assertEqual(client.received[-4:], b"pong")


class ReloadTests(ReloadTestCase):
    def test_oldOnesAreGone(self) -> None:
        """
        Of a generation that nobody uses any more nothing is left.
        """
        self.start()
        old = []
        for version in ("1", "2", "3"):
            old.append(weakref.ref(self.service.generation))
            self.reload(replace(PLAN, node=Node("one", {"LABELS": {"version": version}})))
        gc.collect()
        self.assertEqual([generation() for generation in old], [None] * 3)

    def test_same(self) -> None:
        """
        Nothing is another one.
        """
        self.start()
        before = self.service.generation
        self.assertEqual(self.reload(replace(PLAN)), "nothing has changed")
        after = self.service.generation
        self.assertEqual(before.listeners, after.listeners)
        self.assertEqual(before.clusters, after.clusters)
        self.assertEqual(self.service.counters["server.reload_accepted"], 1)

    def test_cluster(self) -> None:
        """
        New connections go where the new plan says, by the same socket; old ones stay.
        """
        self.start()
        sockets = self.service.ports
        old = self.dial(port=WEB)
        self.assertEqual(
            self.reload(replace(PLAN, clusters=(cluster("old", NEW), cluster("new", NEW)))),
            "listeners web, db changed; cluster old changed",
        )
        new = self.dial(port=WEB)
        self.talk(new, self.others.built[0])
        self.talk(old, self.server)
        self.assertEqual(sockets, self.service.ports)

    def test_clusterKept(self) -> None:
        """
        A cluster of which the plan is the same keeps what it knows.
        """
        self.start()
        kept = self.service.generation.clusters["new"]
        self.reload(replace(PLAN, clusters=(cluster("old", NEW), cluster("new", NEW))))
        self.assertIs(self.service.generation.clusters["new"], kept)

    def test_listener(self) -> None:
        self.start()
        kept = self.service.generation.listeners[1]
        sockets = self.service.ports
        old = self.dial(port=WEB)
        plan = replace(PLAN, listeners=(listener("web", WEB, "new"), PLAN.listeners[1]))
        self.assertEqual(self.reload(plan), "listener web changed")
        new = self.dial(port=WEB)
        self.talk(new, self.others.built[0])
        self.talk(old, self.server)
        self.assertIs(self.service.generation.listeners[1], kept)
        self.assertEqual(sockets, self.service.ports)

    def test_counts(self) -> None:
        """
        The filters of a listener that is the same do not begin anew.
        """
        limit = FilterSpec("envoy.filters.network.connection_limit", {"max_connections": "1"})
        one = listener("web", WEB, "old", limit)
        plan = replace(PLAN, listeners=(one,))
        self.start(plan)
        self.dial(port=WEB)
        self.reload(replace(plan, clusters=plan.clusters))
        refused = self.dial(port=WEB)
        self.assertEqual(refused.endings, 1)

    def test_newListener(self) -> None:
        self.start()
        plan = replace(PLAN, listeners=(*PLAN.listeners, listener("other", OTHER, "new")))
        self.assertEqual(self.reload(plan), "listener other new")
        self.assertEqual(self.listening(), [WEB, DB, OTHER])
        self.talk(self.dial(port=OTHER), self.others.built[0])

    def test_listenerGone(self) -> None:
        """
        Its socket is closed, its connections have their time; the others' are not touched.
        """
        self.start()
        leaving, staying = self.dial(port=WEB), self.dial(port=DB)
        servers = [*self.servers.built]
        self.assertEqual(
            self.reload(replace(PLAN, listeners=PLAN.listeners[1:])), "listener web gone"
        )
        self.assertEqual(self.listening(), [DB])
        self.talk(leaving, servers[0])
        self.reactor.advance(DRAIN_TIME)
        self.assertEqual(self.told[-1], "closed: proxy: drain")
        self.assertEqual((leaving.endings, staying.endings), (1, 0))
        self.talk(staying, servers[1])

    def test_anotherAddress(self) -> None:
        """
        As if another listener had come in its place.
        """
        self.start(replace(PLAN, listeners=PLAN.listeners[:1]))
        client = self.dial(port=WEB)
        plan = replace(PLAN, listeners=(listener("web", OTHER, "old"),))
        self.assertEqual(self.reload(plan), "listener web changed")
        self.assertEqual(self.listening(), [OTHER])
        self.reactor.advance(DRAIN_TIME)
        self.assertEqual(client.endings, 1)

    def test_anotherName(self) -> None:
        """
        The socket is known by its address.
        """
        self.start()
        sockets = self.service.ports
        plan = replace(PLAN, listeners=(listener("www", WEB, "old"), PLAN.listeners[1]))
        self.assertEqual(self.reload(plan), "listener www new; listener web gone")
        self.assertEqual(sockets, self.service.ports)
        self.dial(port=WEB)
        self.assertEqual(self.proxy.connection.listener, "www")

    def test_ephemeral(self) -> None:
        """
        Listeners on any free port: each keeps its own, in whatever order they come.
        """
        some = tuple(replace(one, endpoint="tcp:0:interface=127.0.0.1") for one in PLAN.listeners)
        self.start(replace(PLAN, listeners=some))
        web, db = self.listening()
        self.reload(
            replace(PLAN, listeners=(some[1], replace(some[0], traffic_direction="INBOUND")))
        )
        self.assertEqual(self.listening(), [web, db])
        self.dial(port=web)
        self.assertEqual(self.proxy.connection.listener, "web")

    def test_node(self) -> None:
        """
        Who we are is in everything.
        """
        self.start()
        self.assertEqual(
            self.reload(replace(PLAN, node=Node("two", {}))),
            "the node changed; listeners web, db changed; clusters old, new changed",
        )

    def test_manyTimes(self) -> None:
        """
        Nothing is left of what has been replaced.
        """
        self.start()
        client = self.dial(port=WEB)
        for turn in range(10):
            self.reload(replace(PLAN, node=Node(str(turn), {})))
        self.assertEqual(len(self.service._retired), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        client.close()
        self.settle()
        self.server.close()
        self.settle()
        self.assertEqual(self.service._retired, [])
        self.assertQuiet(client)

    def test_onItsWay(self) -> None:
        """
        Who waits for a cluster's hosts, while that is replaced, comes through all the same.
        """
        named = replace(
            cluster("old"), type="STRICT_DNS", hosts=(HostPlan(f"tcp:server.example:{OLD}"),)
        )
        self.start(replace(PLAN, clusters=(named, PLAN.clusters[1])))
        resolver = self.reactor.nameResolver
        silent = _SilentResolver()
        self.reactor.nameResolver = silent  # type: ignore[assignment]
        # As the service does when it is started.
        old = self.service.generation.clusters["old"]
        old.start()
        client = self.dial(port=WEB)
        self.reload(PLAN)
        self.reactor.nameResolver = resolver
        self.reactor.names["server.example"] = ["127.0.0.1"]
        self.assertFalse(old.warm)
        silent.answer(resolver)
        self.settle()
        self.talk(client, self.server)
        client.close()
        self.server.close()
        self.settle()
        self.assertQuiet(client)


class RefusedTests(ReloadTestCase):
    def refused(self, plan: Plan) -> str:
        """
        Nothing has changed.
        """
        generation, sockets = self.service.generation, self.service.ports
        error = self.assertRaises(ValueError, self.service.reload, plan)
        self.settle()
        self.assertIs(self.service.generation, generation)
        self.assertEqual(self.service.ports, sockets)
        self.listening()
        self.talk(self.dial(port=WEB), self.server)
        return str(error)

    def test_noCluster(self) -> None:
        self.start()
        self.assertIn(
            "there is no cluster 'old'", self.refused(replace(PLAN, clusters=PLAN.clusters[1:]))
        )

    def test_addressInUse(self) -> None:
        """
        Of two that are to be opened the second cannot be: the first is closed again.
        """
        self.start()
        added = (listener("other", OTHER, "old"), listener("taken", NEW, "old"))
        why = self.refused(replace(PLAN, listeners=(*PLAN.listeners, *added)))
        self.assertTrue(why.startswith(f"listener taken: tcp:{NEW}:interface=127.0.0.1: "), why)

    def test_sameKey(self) -> None:
        """
        Facts of filters that stay are known to those that come.
        """
        self.start()
        filters = [_Keeping(), _Keeping()]
        specs = [FilterSpec(name, settings=one) for name, one in zip("ab", filters, strict=True)]
        first = replace(PLAN, listeners=(listener("web", WEB, "old", specs[0]), PLAN.listeners[1]))
        self.reload(first)
        second = replace(first, listeners=(first.listeners[0], listener("db", DB, "old", specs[1])))
        self.assertIn("keeps a fact named 'key'", self.refused(second))
        # Once the first is gone there is no reason.
        self.reload(replace(PLAN, listeners=(PLAN.listeners[0], second.listeners[1])))

    def test_reread(self) -> None:
        """
        Whatever is wrong with the files is said, line by line, and the proxy goes on.
        """
        self.start()
        generation = self.service.generation
        for error, lines in (
            (RefusedFile("f", [Fault("a", "one"), Fault("b", "two")]), ["f: a: one", "f: b: two"]),
            (ValueError("one\nline"), ["one line"]),
            (OSError(13, "Permission denied", "x.crt"), ["[Errno 13] Permission denied: 'x.crt'"]),
        ):
            self.service._readPlan = _raise(error)
            with capturedLogs() as events:
                self.service.reread()
            texts = [formatEvent(event) for event in events]
            self.assertEqual(texts, [f"not reloaded: {line}" for line in lines])
        self.assertIs(self.service.generation, generation)
        self.assertEqual(self.service.counters["server.reload_rejected"], 3)

    def test_bug(self) -> None:
        """
        Not even a filter's error ends a proxy that runs.
        """
        self.start()
        self.service._readPlan = _raise(ZeroDivisionError("filter"))
        self.service.reread()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.talk(self.dial(port=WEB), self.server)


class LogTests(ReloadTestCase):
    def plan(self, path: str) -> Plan:
        logged = listener("web", WEB, "old", access_logs=(AccessLogPlan(path),))
        return replace(PLAN, listeners=(logged,))

    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        self.one, self.two = str(directory / "one"), str(directory / "two")

    def run_(self) -> AccessLogs:
        """
        As if it were started, with a log.
        """
        self.start(self.plan(self.one))
        logs = self.service._logs
        logs._reactor = _Threads()
        logs.start()
        self.service.running = True
        return logs

    def end(self) -> None:
        """
        All that is written is written.
        """
        logs = self.service._logs
        writers = [*logs._writers.values()]
        logs.stop()
        for writer in writers:
            self.assertTrue(writer.join(30))

    def test_files(self) -> None:
        """
        Logs of a listener that is replaced are written as long as it has connections.
        """
        logs = self.run_()
        (old,) = logs._writers.values()
        client = self.dial(port=WEB)
        self.reload(self.plan(self.two))
        self.assertEqual(logs._running, {self.one, self.two})
        client.close()
        self.settle()
        self.server.close()
        self.settle()
        self.assertEqual(logs._running, {self.two})
        self.assertTrue(old.join(30))
        self.assertEqual(len(Path(self.one).read_text().splitlines()), 2)
        self.assertEqual(Path(self.two).read_text(), "")
        self.end()

    def test_cannotOpen(self) -> None:
        """
        A new log that cannot be written to is a reason to change nothing.
        """
        logs = self.run_()
        (old,) = logs._writers.values()
        nowhere = str(Path(self.one).parent / "nowhere" / "log")
        error = self.assertRaises(ValueError, self.service.reload, self.plan(nowhere))
        self.assertEqual(str(error), f"access log {nowhere}: No such file or directory")
        self.assertEqual([*logs._writers.values()], [old])
        self.assertEqual(self.service.plan, self.plan(self.one))
        self.end()


class NamesTests(SynchronousTestCase):
    def test_many(self) -> None:
        names = [str(number) for number in range(NAMES + 2)]
        self.assertEqual(
            _names("listener", names), "listeners 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
        )


def _raise(error: Exception) -> Callable[[], Plan]:
    def read() -> Plan:
        raise error

    return read


class _Threads(Clock):
    """
    A clock that can be called from the writer's thread: at once, in that thread.
    """

    def callFromThread(self, call: Any) -> None:
        call()


@implementer(IFilter)
class _Keeping:
    """
    A filter that keeps a fact, and does nothing.
    """

    def __init__(self) -> None:
        self.keys = (Key("key", str),)

    def wrap(self, inner: Any, context: IChainContext) -> Any:
        return inner


class _SilentResolver:
    """
    Asks another one later.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def resolveHostName(self, *question: Any) -> None:
        self.asked.append(question)

    def answer(self, resolver: Any) -> None:
        asked, self.asked = self.asked, []
        for question in asked:
            resolver.resolveHostName(*question)
