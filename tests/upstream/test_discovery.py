"""
Which hosts a cluster has.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IHostnameResolver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mxproxy.config.plan import (
    ALL,
    AUTO,
    LOGICAL_DNS,
    ORIGINAL_DST,
    STRICT_DNS,
    V4_ONLY,
    V4_PREFERRED,
    V6_ONLY,
    HostPlan,
)
from mxproxy.testing import MemoryReactor
from mxproxy.upstream.discovery import RESOLVE_TIMEOUT, Name

from .helpers import ClusterTestCase, hostPlans


@implementer(IHostnameResolver)
class Slow:
    """
    A resolver that is in no hurry.

    @ivar questions: what it was asked: the receiver, the name, the port and the families.
    """

    def __init__(self) -> None:
        self.questions: list[tuple[Any, str, int, Any]] = []

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        self.questions.append((resolutionReceiver, hostName, portNumber, addressTypes))
        resolutionReceiver.resolutionBegan(None)

    def answer(self, *hosts: str) -> None:
        """
        The last question.
        """
        receiver = self.questions[-1][0]
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("TCP", host, 0))
        receiver.resolutionComplete()


class NameTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.slow = Slow()
        self.reactor.installNameResolver(self.slow)
        self.answers: list[list[str]] = []

    def name(self, family: str = AUTO) -> Name:
        name = Name(self.reactor, "db.example", 80, family, 5.0)
        name.start(lambda places: self.answers.append([place.key for place in places]))
        return name

    def test_families(self) -> None:
        both = ["10.0.0.1", "::1", "10.0.0.2"]
        for family, hosts, expected in (
            (AUTO, both, ["[::1]:80"]),
            (AUTO, both[::2], ["10.0.0.1:80", "10.0.0.2:80"]),
            (V4_PREFERRED, both, ["10.0.0.1:80", "10.0.0.2:80"]),
            (V4_PREFERRED, ["::1"], ["[::1]:80"]),
            (V4_ONLY, both, ["10.0.0.1:80", "10.0.0.2:80"]),
            (V4_ONLY, ["::1"], []),
            (V6_ONLY, both, ["[::1]:80"]),
            (ALL, both, ["10.0.0.1:80", "[::1]:80", "10.0.0.2:80"]),
        ):
            name = self.name(family)
            self.slow.answer(*hosts)
            self.assertEqual(self.answers.pop(), expected, family)
            name.stop()
        self.assertEqual(self.slow.questions[4][1:], ("db.example", 80, (IPv4Address,)))
        self.assertEqual(set(self.slow.questions[0][3]), {IPv4Address, IPv6Address})
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_noFamily(self) -> None:
        error: Any = self.assertRaises(ValueError, self.name, "V5_ONLY")
        self.assertEqual(str(error), "there is no dns_lookup_family 'V5_ONLY'")

    def test_rate(self) -> None:
        """
        It is asked again so long after the answer, and not before.
        """
        name = self.name()
        self.reactor.advance(7)
        self.assertEqual(len(self.slow.questions), 1)
        self.slow.answer("10.0.0.1")
        self.reactor.advance(4.9)
        self.assertEqual(len(self.slow.questions), 1)
        self.reactor.advance(0.1)
        self.assertEqual(len(self.slow.questions), 2)
        self.slow.answer()
        self.assertEqual(self.answers, [["10.0.0.1:80"], []])
        name.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_noAnswer(self) -> None:
        """
        After a while a question counts as answered by nothing; an answer that comes later is
        not heard.
        """
        name = self.name()
        self.reactor.advance(RESOLVE_TIMEOUT)
        self.assertEqual(self.answers, [[]])
        self.slow.answer("10.0.0.1")
        self.assertEqual(self.answers, [[]])
        self.reactor.advance(5)
        self.slow.answer("10.0.0.2")
        self.assertEqual(self.answers, [[], ["10.0.0.2:80"]])
        name.stop()

    def test_stopped(self) -> None:
        """
        Nothing is heard after the end, and no timer is left.
        """
        name = self.name()
        name.stop()
        self.slow.answer("10.0.0.1")
        self.assertEqual(self.answers, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class StrictTests(ClusterTestCase):
    def test_everyAddress(self) -> None:
        """
        Each address of each name is a host, once.
        """
        self.run_(
            *hostPlans("a.example:80", "b.example:81"),
            type=STRICT_DNS,
            names={
                "a.example": ["10.0.0.1", "10.0.0.2", "10.0.0.1"],
                "b.example": ["10.0.0.1"],
            },
        )
        self.assertEqual(
            [host.key for host in self.cluster.hosts],
            ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:81"],
        )
        self.finish()

    def test_sameAddress(self) -> None:
        """
        What two names both name is the first one's.
        """
        self.run_(
            HostPlan("tcp:a.example:80", weight=2),
            HostPlan("tcp:b.example:80", weight=3),
            type=STRICT_DNS,
            names={"a.example": ["10.0.0.1"], "b.example": ["10.0.0.1", "10.0.0.2"]},
        )
        self.assertEqual(
            [(host.key, host.weight) for host in self.cluster.hosts],
            [("10.0.0.1:80", 2), ("10.0.0.2:80", 3)],
        )
        self.finish()

    def test_changes(self) -> None:
        """
        Those that are still there stay the same; connections to those that are not stay, too.
        """
        self.run_(
            *hostPlans("db.example:80"),
            type=STRICT_DNS,
            names={"db.example": ["10.0.0.1", "10.0.0.2"]},
            listen=["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"],
        )
        first, second = self.cluster.hosts
        clients = [self.dial(), self.dial()]
        self.reactor.names["db.example"] = ["10.0.0.3", "10.0.0.2"]
        self.reactor.advance(5)
        self.assertEqual([host.key for host in self.cluster.hosts], ["10.0.0.3:80", "10.0.0.2:80"])
        self.assertIs(self.cluster.hosts[1], second)
        self.assertEqual((first.active, second.active), (1, 1))
        clients += [self.dial(), self.dial()]
        self.assertEqual(self.taken(), {"10.0.0.1:80": 1, "10.0.0.2:80": 2, "10.0.0.3:80": 1})
        clients[0].write(b"hello")
        self.settle()
        self.assertEqual(self.applications("10.0.0.1:80")[0].received, b"hello")
        self.finish(*clients)
        self.assertEqual(first.active, 0)

    def test_failure(self) -> None:
        """
        An answer without an address leaves the hosts.
        """
        self.run_(
            *hostPlans("db.example:80"),
            type=STRICT_DNS,
            names={"db.example": ["10.0.0.1"]},
            dns_refresh_rate=2.0,
        )
        before = self.cluster.hosts
        self.reactor.names["db.example"] = []
        self.reactor.advance(2)
        self.assertEqual(self.cluster.hosts, before)
        self.reactor.names["db.example"] = ["10.0.0.9"]
        self.reactor.advance(2)
        self.assertEqual([host.key for host in self.cluster.hosts], ["10.0.0.9:80"])
        self.finish()

    def test_addresses(self) -> None:
        """
        An address is its own answer.
        """
        self.run_(*hostPlans("10.0.0.1:80"), type=STRICT_DNS, listen=["10.0.0.1:80"])
        client = self.dial()
        self.assertEqual(self.taken(), {"10.0.0.1:80": 1})
        self.finish(client)

    def test_noNames(self) -> None:
        self.run_(type=STRICT_DNS)
        self.assertEqual(
            self.refused(), "upstream: no_healthy_upstream: cluster cluster has no hosts"
        )
        self.assertEqual(self.counted("upstream_cx_none_healthy"), 1)
        self.finish()

    def test_noName(self) -> None:
        error: Any = self.assertRaises(
            ValueError, self.run_, HostPlan("unix:/run/x"), type=STRICT_DNS
        )
        self.assertEqual(
            str(error), "cluster cluster: 'unix:/run/x' is not of the form tcp:HOST:PORT"
        )


class WarmingTests(ClusterTestCase):
    """
    Connections that come before the first answer.
    """

    def wait(self, *hosts: HostPlan, **settings: Any) -> Slow:
        self.run_(*hosts, type=STRICT_DNS, start=False, listen=["10.0.0.1:80"], **settings)
        slow = Slow()
        self.reactor.installNameResolver(slow)
        self.cluster.start()
        return slow

    def test_wait(self) -> None:
        """
        They wait, and nothing of theirs is lost.
        """
        slow = self.wait(*hostPlans("db.example:80"))
        clients = [self.dial(), self.dial()]
        clients[0].write(b"hello")
        self.reactor.advance(3)
        self.assertEqual(
            repr(self.cluster), "<Cluster cluster cold, 0 of 0 hosts healthy, 0 connections>"
        )
        slow.answer("10.0.0.1")
        self.settle()
        self.assertEqual(self.taken(), {"10.0.0.1:80": 2})
        self.assertEqual(self.applications("10.0.0.1:80")[0].received, b"hello")
        self.assertEqual(
            repr(self.cluster), "<Cluster cluster warm, 1 of 1 hosts healthy, 2 connections>"
        )
        self.finish(*clients)

    def test_firstName(self) -> None:
        """
        One name with an answer is enough; one without is not, unless it is the last.
        """
        slow = self.wait(*hostPlans("a.example:80", "b.example:80"))
        slow.answer()
        self.assertFalse(self.cluster.warm)
        (receiver, *_), _ = slow.questions
        receiver.resolutionComplete()
        self.assertTrue(self.cluster.warm)
        self.assertIn("has no hosts", self.refused())
        self.finish()

    def test_oneAnswer(self) -> None:
        slow = self.wait(*hostPlans("a.example:80", "b.example:80"))
        slow.answer("10.0.0.1")
        self.assertTrue(self.cluster.warm)
        self.finish()

    def test_bound(self) -> None:
        """
        They wait no longer than for a connect; later ones do not wait.
        """
        self.wait(*hostPlans("db.example:80"), connect_timeout=3.0)
        client = self.dial()
        self.reactor.advance(2.9)
        self.assertEqual(client.endings, 0)
        self.reactor.advance(0.1)
        self.assertEqual(client.endings, 1)
        client.close()
        self.settle()
        reason = "upstream: no_healthy_upstream: cluster cluster has not been resolved"
        self.assertEqual(self.why(), reason)
        self.assertEqual(self.refused(), reason)
        self.finish(client)

    def test_lateAnswer(self) -> None:
        """
        It is used all the same.
        """
        slow = self.wait(*hostPlans("db.example:80"), connect_timeout=3.0)
        self.reactor.advance(4)
        slow.answer("10.0.0.1")
        client = self.dial()
        self.assertEqual(self.taken(), {"10.0.0.1:80": 1})
        self.finish(client)

    def test_clientGoesFirst(self) -> None:
        """
        Who waits and goes is forgotten.
        """
        slow = self.wait(*hostPlans("db.example:80"))
        client = self.dial()
        self.proxy.connection.downstream.transport.lose()
        self.assertEqual(self.why(), "downstream: reset")
        client.close()
        slow.answer("10.0.0.1")
        self.settle()
        self.assertEqual(self.taken(), {"10.0.0.1:80": 0})
        self.finish(client)

    def test_stopped(self) -> None:
        """
        The end leaves no timer.
        """
        self.wait(*hostPlans("db.example:80"))
        self.finish()


class LogicalTests(ClusterTestCase):
    def test_moves(self) -> None:
        """
        The newest first address, for new connections; there is only ever one host.
        """
        self.run_(
            *hostPlans("db.example:80"),
            type=LOGICAL_DNS,
            names={"db.example": ["10.0.0.1", "10.0.0.2"]},
            listen=["10.0.0.1:80", "10.0.0.2:80"],
        )
        (host,) = self.cluster.hosts
        clients = [self.dial(), self.dial()]
        self.assertEqual(self.taken(), {"10.0.0.1:80": 2, "10.0.0.2:80": 0})
        self.reactor.advance(5)
        self.assertEqual(host.key, "10.0.0.1:80")
        self.reactor.names["db.example"] = ["10.0.0.2", "10.0.0.1"]
        self.reactor.advance(5)
        self.assertEqual(self.cluster.hosts, [host])
        self.assertEqual((host.key, host.active), ("10.0.0.2:80", 2))
        clients.append(self.dial())
        self.assertEqual(self.taken(), {"10.0.0.1:80": 2, "10.0.0.2:80": 1})
        self.finish(*clients)

    def test_noAnswer(self) -> None:
        self.run_(*hostPlans("db.example:80"), type=LOGICAL_DNS)
        self.assertIn("has no hosts", self.refused())
        self.finish()

    def test_one(self) -> None:
        for hosts in ((), hostPlans("a.example:80", "b.example:80")):
            error: Any = self.assertRaises(ValueError, self.run_, *hosts, type=LOGICAL_DNS)
            self.assertEqual(
                str(error),
                f"cluster cluster: a LOGICAL_DNS cluster has one host, not {len(hosts)}",
            )


class OriginalDestinationTests(ClusterTestCase):
    def redirect(self, address: Any) -> None:
        """
        Connections from now on were meant for C{address}.
        """
        opened = self.proxy.edges.opened

        def redirected(connection: Any) -> None:
            opened(connection)
            connection.downstream.original_destination = address

        self.patch(self.proxy.edges, "opened", redirected)

    def test_redirected(self) -> None:
        self.run_(type=ORIGINAL_DST, attempts=None, listen=["10.0.0.1:80", "[fd00::1]:81"])
        self.redirect(IPv4Address("TCP", "10.0.0.1", 80))
        clients = [self.dial()]
        self.redirect(IPv6Address("TCP", "fd00::1", 81))
        clients += [self.dial()]
        self.assertEqual(self.taken(), {"10.0.0.1:80": 1, "[fd00::1]:81": 1})
        self.assertEqual(self.cluster.active, 2)
        self.finish(*clients)

    def test_attempts(self) -> None:
        """
        Each goes to the same place.
        """
        self.run_(type=ORIGINAL_DST, attempts=2)
        self.redirect(IPv4Address("TCP", "10.0.0.1", 80))
        self.assertEqual(self.refused().count("(tcp:10.0.0.1:80)"), 2)
        self.finish()

    def test_notRedirected(self) -> None:
        """
        A connection that was meant for us is not sent to us again.
        """
        for attempts in (1, None):
            self.run_(type=ORIGINAL_DST, attempts=attempts)
            reason = "upstream: no_healthy_upstream: the connection has no original destination"
            self.assertEqual(self.refused(), reason)
            self.redirect(UNIXAddress("/run/x"))
            self.assertEqual(self.refused(), reason)
            self.finish()

    def test_hosts(self) -> None:
        error: Any = self.assertRaises(
            ValueError, self.run_, *hostPlans("10.0.0.1:80"), type=ORIGINAL_DST
        )
        self.assertEqual(
            str(error),
            "cluster cluster: an ORIGINAL_DST cluster has no hosts of its own, and so none to"
            " check or to eject",
        )


class TypeTests(ClusterTestCase):
    def test_unknown(self) -> None:
        error: Any = self.assertRaises(ValueError, self.run_, type="EDS")
        self.assertEqual(str(error), "cluster cluster: there is no cluster type 'EDS'")
