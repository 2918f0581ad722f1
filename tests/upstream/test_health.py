"""
Asking hosts whether they are fit.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.chain import ChainContext
from mxproxy.config.plan import STRICT_DNS, HealthCheckPlan, OutlierDetectionPlan
from mxproxy.connection import Connection
from mxproxy.layers.base import connect
from mxproxy.layers.tls import TLSFactory
from mxproxy.testing import Application, ApplicationFactory
from mxproxy.testing.sidecars import clientTLS, serverTLS
from mxproxy.tls.context import ServerContext
from mxproxy.upstream import Cluster
from mxproxy.upstream.health import MAX_ANSWER, Standing, answers
from mxproxy.wire.metadata import Node

from .helpers import ClusterTestCase, hostPlans

ONE, TWO, THREE = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"


def check(**settings: Any) -> tuple[HealthCheckPlan, ...]:
    """
    Once a second, for half a second; of traffic or not.
    """
    defaults = {
        "timeout": 0.5,
        "interval": 1.0,
        "unhealthy_threshold": 2,
        "healthy_threshold": 3,
        "no_traffic_interval": 1.0,
    }
    return (HealthCheckPlan(**{**defaults, **settings}),)


class StandingTests(SynchronousTestCase):
    def play(self, results: str) -> str:
        """
        @param results: C{+} and C{-}, of a host with thresholds of 3 and 2.
        @return: its health after each: C{+} and C{-}; in brackets where it has changed.
        """
        standing = Standing(healthyThreshold=3, unhealthyThreshold=2)
        said = ""
        for result in results:
            changed = standing.add(result == "+")
            sign = "+" if standing.healthy else "-"
            said += f"[{sign}]" if changed else sign
        return said

    def test_table(self) -> None:
        for results, expected in (
            ("+++", "[+]++"),  # The first counts for itself.
            ("--", "--"),
            ("-+++", "---[+]"),
            ("-++-+++", "------[+]"),  # In a row.
            ("+-+-+--", "[+]+++++[-]"),
            ("+--+-+++", "[+]+[-]----[+]"),
        ):
            self.assertEqual(self.play(results), expected, results)

    @given(st.lists(st.booleans(), max_size=30), st.integers(1, 4), st.integers(1, 4))
    def test_invariant(self, results: list[bool], healthy: int, unhealthy: int) -> None:
        """
        After the first, health changes with the last of so many equal results in a row, and
        only then.
        """
        standing = Standing(healthy, unhealthy)
        for index, result in enumerate(results):
            before = standing.healthy
            changed = standing.add(result)
            self.assertEqual(changed, before is not standing.healthy)
            needed = healthy if result else unhealthy
            if index == 0:
                self.assertIs(standing.healthy, result)
            elif changed:
                self.assertIs(standing.healthy, result)
                self.assertEqual(results[max(0, index + 1 - needed) : index + 1], [result] * needed)
            elif before is not result and index >= needed:
                self.assertNotEqual(results[index + 1 - needed : index + 1], [result] * needed)


class AnswersTests(SynchronousTestCase):
    def test_inOrder(self) -> None:
        """
        Each after the one before, with anything around them.
        """
        for receive, data, expected in (
            ((b"PONG",), b"+PONG\r\n", True),
            ((b"PONG",), b"+PON", False),
            ((b"a", b"b"), b"xaxbx", True),
            ((b"a", b"b"), b"ba", False),
            ((b"a", b"a"), b"a", False),
            ((b"ab", b"b"), b"ab", False),
            ((), b"", True),
        ):
            self.assertIs(answers(receive, data), expected, (receive, data))


class Answering(Application):
    """
    Says something when it is said something.
    """

    answer = b"+PONG\r\n"

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.write(self.answer)


class CheckTestCase(ClusterTestCase):
    def healthy(self) -> list[str]:
        return [host.key for host in self.cluster.hosts if host.healthy]

    def answering(self, address: str, kind: Any = Answering) -> ApplicationFactory:
        factory = self.listen(address)
        factory._application = kind
        return factory


class ConnectTests(CheckTestCase):
    """
    That a connection is made is enough.
    """

    def test_atOnce(self) -> None:
        """
        The first check is made at once, and counts for itself; the connection is closed.
        """
        self.run_(*hostPlans(ONE, TWO), health_checks=check(), listen=[ONE])
        self.assertEqual(self.healthy(), [ONE])
        (made,) = self.applications(ONE)
        self.assertEqual((made.received, made.endings, made.losses), (b"", 1, []))
        made.close()
        self.settle()
        self.assertEqual(self.counted("health_check.success"), 1)
        self.assertEqual(self.counted("health_check.failure"), 1)
        self.finish()

    def test_rounds(self) -> None:
        """
        Once an interval, and so many results in a row for another health.
        """
        self.run_(*hostPlans(ONE, TWO), health_checks=check(), listen=[ONE, TWO])
        self.silence(TWO)
        healthy = []
        for second in range(8):
            self.reactor.advance(1)
            healthy.append(len(self.healthy()))
            if second == 2:
                self.listen(TWO)
        self.assertEqual(healthy, [2, 1, 1, 1, 1, 2, 2, 2])
        self.finish()

    def test_onlyHealthy(self) -> None:
        """
        Connections go to healthy hosts only.
        """
        self.run_(*hostPlans(ONE, TWO), health_checks=check(interval=100.0), listen=[ONE])
        self.listen(TWO)
        before = self.taken()
        clients = [self.dial() for _ in range(4)]
        self.assertEqual(self.taken(), {ONE: before[ONE] + 4, TWO: 0})
        self.finish(*clients)

    def test_panic(self) -> None:
        """
        When too few are healthy, all are used.
        """
        self.run_(*hostPlans(ONE, TWO, THREE), health_checks=check(interval=100.0), listen=[ONE])
        self.listen(TWO), self.listen(THREE)
        clients = [self.dial() for _ in range(3)]
        self.assertEqual(self.taken(), {ONE: 2, TWO: 1, THREE: 1})
        self.finish(*clients)

    def test_noPanic(self) -> None:
        """
        With a threshold of nought none is used that is not healthy.
        """
        self.run_(*hostPlans(ONE, TWO), health_checks=check(), healthy_panic_threshold=0.0)
        self.assertEqual(
            self.refused(),
            "upstream: no_healthy_upstream: none of the 2 hosts of cluster cluster is healthy",
        )
        self.assertEqual(self.counted("upstream_cx_none_healthy"), 1)
        self.finish()

    def test_timeout(self) -> None:
        """
        Who does not answer fails when the timeout is over; the next check is an interval later.
        """
        self.run_(*hostPlans(ONE), health_checks=check(), start=False)
        self.reactor.silent.add(("10.0.0.1", 80))
        self.cluster.start()
        self.reactor.advance(0.4)
        self.assertEqual(self.counted("health_check.failure"), 0)
        self.reactor.advance(0.1)
        self.assertEqual(self.counted("health_check.failure"), 1)
        self.reactor.advance(1.4)
        self.assertEqual(self.counted("health_check.failure"), 1)
        self.reactor.advance(0.1)
        self.assertEqual(self.counted("health_check.failure"), 2)
        self.finish()

    def test_stoppedDuringACheck(self) -> None:
        self.run_(*hostPlans(ONE), health_checks=check(), start=False)
        self.reactor.silent.add(("10.0.0.1", 80))
        self.cluster.start()
        self.reactor.advance(0.1)
        self.finish()

    def test_send(self) -> None:
        """
        What there is to be said is said, even though no answer is waited for.
        """
        self.run_(*hostPlans(ONE), health_checks=check(send=b"PING\r\n"), listen=[ONE])
        self.assertEqual(self.applications(ONE)[0].received, b"PING\r\n")
        self.finish()

    def test_slowToClose(self) -> None:
        """
        A connection that has not closed by the next check is dropped; and by the end.
        """
        self.run_(
            *hostPlans(ONE), start=False, health_checks=check(send=b"PING" * 50), listen=[ONE]
        )
        self.reactor.capacity = 10
        self.listening[ONE][1]._application = Deaf
        self.cluster.start()
        self.settle()
        self.assertEqual(self.healthy(), [ONE])
        (first,) = self.applications(ONE)
        self.assertEqual(first.losses, [])
        self.reactor.advance(1)
        first, second = self.applications(ONE)
        first.resume()
        self.settle()
        self.assertEqual(first.losses, ["lost"])
        self.cluster.stop()
        second.resume()
        self.settle()
        self.assertEqual(second.losses, ["lost"])
        self.finish()


class Deaf(Application):
    """
    Reads nothing.
    """

    def connectionMade(self) -> None:
        super().connectionMade()
        self.pause()


class IntervalTests(CheckTestCase):
    def checks(self) -> int:
        return self.counted("health_check.success") + self.counted("health_check.failure")

    def test_noTraffic(self) -> None:
        """
        A cluster that nobody has ever used has its own interval; by default a minute.
        """
        self.run_(*hostPlans(ONE), health_checks=check(no_traffic_interval=20.0))
        self.reactor.advance(60)
        self.assertEqual(self.checks(), 4)
        self.finish()
        self.assertEqual(HealthCheckPlan(1, 1, 1, 1).no_traffic_interval, 60)

    def test_traffic(self) -> None:
        """
        With the first connection that is over, from the check after the next on.
        """
        self.run_(*hostPlans(ONE), health_checks=check(no_traffic_interval=20.0), listen=[ONE])
        client = self.dial()
        self.reactor.advance(19)
        self.assertEqual(self.checks(), 1)
        self.reactor.advance(10)
        self.assertEqual(self.checks(), 11)
        self.finish(client)

    def test_unhealthy(self) -> None:
        """
        After a check that has failed.
        """
        self.run_(*hostPlans(ONE), health_checks=check(unhealthy_interval=5.0))
        self.refused()
        self.reactor.advance(1)
        self.assertEqual(self.checks(), 2)
        self.reactor.advance(20)
        self.assertEqual(self.checks(), 6)
        self.listen(ONE)
        self.reactor.advance(5)
        self.assertEqual(self.counted("health_check.success"), 1)
        self.reactor.advance(10)
        self.assertEqual(self.counted("health_check.success"), 11)
        self.finish()


class AnswerTests(CheckTestCase):
    """
    Something is sent, and has to be answered.
    """

    def ask(self, kind: Any = Answering, **settings: Any) -> None:
        self.run_(
            *hostPlans(ONE),
            health_checks=check(send=b"PING\r\n", receive=(b"PONG",), **settings),
            start=False,
        )
        self.answering(ONE, kind)
        self.cluster.start()
        self.settle()

    def failed(self, why: str) -> None:
        """
        There was one check, and that was why.
        """
        self.assertEqual(self.healthy(), [])
        self.assertEqual(self.counted("health_check.failure"), 1)
        self.assertEqual(self.told_, [why])

    def setUp(self) -> None:
        self.told_: list[str] = []
        checked = Cluster._checked

        def tell(cluster: Any, host: Any, passed: bool, why: str) -> None:
            self.told_.append(why)
            checked(cluster, host, passed, why)

        self.patch(Cluster, "_checked", tell)

    def test_answer(self) -> None:
        self.ask()
        self.assertEqual(self.healthy(), [ONE])
        (made,) = self.applications(ONE)
        self.assertEqual((made.received, made.endings), (b"PING\r\n", 1))
        self.finish()

    def test_byteByByte(self) -> None:
        self.run_(*hostPlans(ONE), health_checks=check(send=b"x", receive=(b"PONG",)), start=False)
        self.reactor.chunks = 1
        self.answering(ONE)
        self.cluster.start()
        self.settle()
        self.assertEqual(self.healthy(), [ONE])
        self.finish()

    def test_eachAnew(self) -> None:
        """
        Of what was said to the last check nothing counts for the next.
        """

        class Half(Answering):
            answer = b"PO"

        self.ask(Half)
        self.reactor.advance(5)
        self.assertEqual(self.healthy(), [])
        self.finish()

    def test_silence(self) -> None:
        self.ask(Application)
        self.reactor.advance(0.4)
        self.assertEqual(self.told_, [])
        self.reactor.advance(0.1)
        self.failed("timeout: no answer within 0.5 s")
        self.assertEqual(self.applications(ONE)[0].losses, ["lost"])
        self.finish()

    def test_otherAnswer(self) -> None:
        class Other(Answering):
            answer = b"-ERR\r\n"

        self.ask(Other)
        self.reactor.advance(0.5)
        self.failed("timeout: no answer within 0.5 s")
        self.finish()

    def test_muchOfIt(self) -> None:
        class Talkative(Answering):
            answer = b"x" * (MAX_ANSWER + 1)

        self.ask(Talkative)
        self.failed(f"wrong_answer: not within {MAX_ANSWER} bytes")
        self.finish()

    def test_closed(self) -> None:
        class Rude(Application):
            def dataReceived(self, data: bytes) -> None:
                self.close()

        self.ask(Rude)
        self.failed("closed: closed")
        self.finish()

    def test_moreThanAnAnswer(self) -> None:
        """
        What comes behind the answer changes nothing.
        """

        class Twice(Answering):
            def dataReceived(self, data: bytes) -> None:
                self.write(b"PONG")
                super().dataReceived(data)

        self.ask(Twice)
        self.reactor.advance(0.5)
        self.assertEqual(self.told_, [""])
        self.finish()

    def test_stopped(self) -> None:
        """
        While it waits for an answer.
        """
        self.ask(Application)
        self.finish()
        self.assertEqual(self.told_, [])


class ThroughTLSTests(CheckTestCase):
    """
    A host with TLS is checked through TLS.
    """

    def run_tls(self, server: Any) -> None:
        self.run_(*hostPlans(ONE), health_checks=check(), tls=clientTLS(), start=False)
        context = ChainContext("downstream", "", "", Node(), self.reactor, lambda name: None)
        factory = ApplicationFactory()
        self.listening[ONE] = (
            self.reactor.listenTCP(
                80, Accepting(TLSFactory(factory, context, server, 10.0)), interface="10.0.0.1"
            ),
            factory,
        )
        self.cluster.start()
        self.settle()

    def test_identity(self) -> None:
        self.run_tls(ServerContext(serverTLS()))
        self.assertEqual(self.healthy(), [ONE])
        self.finish()

    def test_noTLS(self) -> None:
        self.run_(*hostPlans(ONE), health_checks=check(), tls=clientTLS(), start=False)
        self.listen(ONE)
        self.listening[ONE][1]._application = Rejecting
        self.cluster.start()
        self.settle()
        self.reactor.advance(1)
        self.assertEqual(self.healthy(), [])
        self.finish()


class Rejecting(Application):
    def dataReceived(self, data: bytes) -> None:
        self.write(b"what?")
        self.close()


class Accepting(ApplicationFactory):
    """
    What a listener does with what it accepts, without a listener.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def buildProtocol(self, addr: object) -> Any:
        inner = self.inner

        class Accept(Protocol):
            def makeConnection(self, transport: Any) -> None:
                connection = Connection("listener", lambda: 0.0)
                connection.opened(transport)
                transport.protocol = inner.buildProtocol(None)
                connect(transport.protocol, transport, connection.downstream)

        return Accept()


class WarmingTests(CheckTestCase):
    def test_wait(self) -> None:
        """
        Connections wait until every host has been checked once.
        """
        self.run_(*hostPlans(ONE, TWO), health_checks=check(), listen=[ONE], start=False)
        self.reactor.silent.add(("10.0.0.2", 80))
        self.cluster.start()
        self.settle()
        client = self.dial()
        client.write(b"hello")
        self.settle()
        self.assertEqual(self.taken(), {ONE: 1})
        self.reactor.advance(0.5)
        self.assertEqual(self.taken(), {ONE: 2})
        self.assertEqual(self.applications(ONE)[1].received, b"hello")
        self.finish(client)

    def test_bound(self) -> None:
        """
        But not for longer than for a connect; then there is panic.
        """
        self.run_(
            *hostPlans(ONE),
            health_checks=check(timeout=60.0),
            connect_timeout=2.0,
            start=False,
        )
        self.reactor.silent.add(("10.0.0.1", 80))
        self.cluster.start()
        client = self.dial()
        self.reactor.advance(4)
        client.close()
        self.settle()
        self.assertIn("connect_timeout: no connection within 2 s", self.why())
        self.finish(client)


class DNSTests(CheckTestCase):
    """
    Hosts that come and go.
    """

    def resolve(self, *hosts: str) -> None:
        self.reactor.names["db.example"] = list(hosts)
        self.reactor.advance(5)

    def begin(self) -> None:
        self.run_(
            *hostPlans("db.example:80"),
            type=STRICT_DNS,
            names={"db.example": ["10.0.0.1", "10.0.0.2"]},
            listen=[ONE, TWO, THREE],
            health_checks=check(),
        )
        self.assertEqual(self.healthy(), [ONE, TWO])

    def test_new(self) -> None:
        """
        They are checked at once.
        """
        self.begin()
        self.resolve("10.0.0.1", "10.0.0.2", "10.0.0.3")
        self.assertEqual(self.healthy(), [ONE, TWO, THREE])
        self.finish()

    def test_goneButHealthy(self) -> None:
        """
        Who passes his checks is used although no name has his address any more, until he fails.
        """
        self.begin()
        self.resolve("10.0.0.1")
        self.assertEqual([host.unlisted for host in self.cluster.hosts], [False, True])
        clients = [self.dial(), self.dial()]
        self.assertEqual([host.active for host in self.cluster.hosts], [1, 1])
        self.silence(TWO)
        self.reactor.advance(1)
        self.assertEqual(len(self.cluster.hosts), 2)
        self.reactor.advance(1)
        self.assertEqual([host.key for host in self.cluster.hosts], [ONE])
        failures = self.counted("health_check.failure")
        self.reactor.advance(10)
        self.assertEqual(self.counted("health_check.failure"), failures)
        self.finish(*clients)

    def test_goneAndBack(self) -> None:
        """
        And is the same host when it is back.
        """
        self.begin()
        _, second = self.cluster.hosts
        self.resolve("10.0.0.1")
        self.resolve("10.0.0.2", "10.0.0.1")
        self.assertEqual(self.cluster.hosts[0], second)
        self.assertEqual(len(self.cluster.hosts), 2)
        self.assertFalse(second.unlisted)
        self.finish()

    def test_goneAndAnother(self) -> None:
        """
        Who comes while somebody is gone is not taken for him.
        """
        self.begin()
        self.resolve("10.0.0.1")
        self.resolve("10.0.0.1", "10.0.0.3")
        self.assertEqual([host.key for host in self.cluster.hosts], [ONE, THREE, TWO])
        self.assertEqual([host.unlisted for host in self.cluster.hosts], [False, False, True])
        self.finish()

    def test_goneAndUnhealthy(self) -> None:
        """
        Who fails is gone at once.
        """
        self.begin()
        self.silence(TWO)
        self.reactor.advance(2)
        self.resolve("10.0.0.1")
        self.assertEqual([host.key for host in self.cluster.hosts], [ONE])
        self.finish()

    def test_goneBeforeItWasChecked(self) -> None:
        """
        The others do not wait for it.
        """
        self.run_(
            *hostPlans("db.example:80"),
            type=STRICT_DNS,
            names={"db.example": ["10.0.0.1", "10.0.0.2"]},
            listen=[ONE],
            health_checks=check(timeout=60.0),
            start=False,
        )
        self.reactor.silent.add(("10.0.0.2", 80))
        self.cluster.start()
        self.settle()
        self.assertFalse(self.cluster.warm)
        self.resolve("10.0.0.1")
        self.assertTrue(self.cluster.warm)
        self.finish()


class UnejectTests(CheckTestCase):
    def test_passed(self) -> None:
        """
        A host that passes its check is not left out any longer.
        """
        self.run_(
            *hostPlans(ONE, TWO),
            health_checks=check(interval=3.0, no_traffic_interval=3.0),
            outlier_detection=OutlierDetectionPlan(1, max_ejection_percent=100),
            listen=[ONE, TWO],
        )
        self.silence(TWO)
        client = self.dial()
        self.assertIn("connect_failed", self.refused())
        self.assertEqual(self.healthy(), [ONE])
        self.listen(TWO)
        self.reactor.advance(2.9)
        self.assertEqual(self.healthy(), [ONE])
        self.reactor.advance(0.1)
        self.assertEqual(self.healthy(), [ONE, TWO])
        self.finish(client)


class PlanTests(CheckTestCase):
    def test_two(self) -> None:
        error: Any = self.assertRaises(
            ValueError, self.run_, *hostPlans(ONE), health_checks=check() * 2
        )
        self.assertEqual(str(error), "cluster cluster: there can be one health check, as in Envoy")
