"""
Leaving out hosts that cannot be connected.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import OutlierDetectionPlan
from mxproxy.testing import MemoryReactor
from mxproxy.upstream.hosts import Host, addressPlace
from mxproxy.upstream.outlier import OutlierDetection
from mxproxy.upstream.sockets import UpstreamChain, UpstreamSocket

from .helpers import ClusterTestCase, hostPlans

OVERFLOW = "outlier_detection.ejections_overflow"
EJECTIONS = "outlier_detection.ejections_enforced_consecutive_local_origin_failure"


class OutlierTests(SynchronousTestCase):
    def detect(self, hosts: int = 1, **settings: Any) -> list[Host]:
        """
        Three failures in a row are too many, for 30 s, looked at every 10 s.
        """
        defaults = {"consecutive_local_origin_failure": 3, "max_ejection_percent": 100}
        self.clock = Clock()
        self.counts: Counter[str] = Counter()
        self.changed: list[Host] = []
        self.outliers = OutlierDetection(
            OutlierDetectionPlan(**{**defaults, **settings}),
            self.clock,
            self.changed.append,
            lambda name: self.counts.update([name]),
        )
        socket = UpstreamSocket(UpstreamChain(Factory(), False))
        made = [
            Host(addressPlace(MemoryReactor(), f"10.0.0.{n}", 80), socket) for n in range(hosts)
        ]
        self.outliers.setHosts(made)
        self.outliers.start()
        return made

    def fail_(self, host: Host, times: int) -> None:
        for _ in range(times):
            self.outliers.failed(host)

    def until(self, host: Host) -> float:
        """
        @return: seconds until the host is ejected no more.
        """
        start = self.clock.seconds()
        while host.ejected:
            self.clock.advance(1)
        return self.clock.seconds() - start

    def test_inARow(self) -> None:
        (host,) = self.detect()
        self.fail_(host, 2)
        self.outliers.succeeded(host)
        self.fail_(host, 2)
        self.assertFalse(host.ejected)
        self.fail_(host, 1)
        self.assertTrue(host.ejected)
        self.assertFalse(host.healthy)
        self.assertEqual(self.changed, [host])
        self.assertEqual(self.counts, {EJECTIONS: 1})

    def test_time(self) -> None:
        """
        It is looked at every ten seconds, so 30 s are over at 30 s or at the next look; and
        failures count from nought again.
        """
        (host,) = self.detect()
        self.clock.advance(5)
        self.fail_(host, 3)
        self.assertEqual(self.until(host), 35)
        self.assertEqual(self.changed, [host, host])
        self.fail_(host, 2)
        self.assertFalse(host.ejected)
        self.fail_(host, 1)
        self.assertTrue(host.ejected)

    def test_longer(self) -> None:
        """
        Each time longer, up to a bound, when it comes at once.
        """
        (host,) = self.detect(max_ejection_time=100.0)
        times = []
        for _ in range(5):
            self.fail_(host, 3)
            times.append(self.until(host))
        self.assertEqual(times, [30, 60, 90, 100, 100])

    def test_forgotten(self) -> None:
        """
        Each interval without one makes the next ejection shorter.
        """
        (host,) = self.detect()
        for _ in range(3):
            self.fail_(host, 3)
            self.until(host)
        for _ in range(20):
            self.clock.advance(1)
        self.fail_(host, 3)
        self.assertEqual(self.until(host), 60)
        for _ in range(100):
            self.clock.advance(1)
        self.fail_(host, 3)
        self.assertEqual(self.until(host), 30)

    def test_bound(self) -> None:
        """
        The times count on to one beyond the bound, as in Envoy.
        """
        (host,) = self.detect(base_ejection_time=30.0, max_ejection_time=60.0)
        record = self.outliers._records[host]
        for expected in (1, 2, 3, 3):
            host.ejected = False
            self.fail_(host, 3)
            self.assertEqual(record.backoff, expected)

    def test_percent(self) -> None:
        """
        No more than so many of them; those over it begin to count again.
        """
        hosts = self.detect(10, max_ejection_percent=20)
        for host in hosts[:3]:
            self.fail_(host, 3)
        self.assertEqual([host.ejected for host in hosts[:3]], [True, True, False])
        self.assertEqual(self.counts, {EJECTIONS: 2, OVERFLOW: 1})
        self.until(hosts[0])
        self.fail_(hosts[2], 2)
        self.assertFalse(hosts[2].ejected)
        self.fail_(hosts[2], 1)
        self.assertTrue(hosts[2].ejected)

    def test_default(self) -> None:
        """
        With Envoy's ten per cent none of fewer than ten hosts, unless one may be always.
        """
        percent = OutlierDetectionPlan().max_ejection_percent
        for hosts, always, ejected in ((9, False, 0), (10, False, 1), (2, True, 1)):
            made = self.detect(hosts, max_ejection_percent=percent, always_eject_one_host=always)
            for host in made:
                self.fail_(host, 3)
            self.assertEqual(sum(host.ejected for host in made), ejected)

    def test_whileEjected(self) -> None:
        """
        Failures of a host that is ejected (there is panic) change nothing.
        """
        (host,) = self.detect()
        self.fail_(host, 10)
        self.assertEqual(self.counts, {EJECTIONS: 1})

    def test_passedCheck(self) -> None:
        hosts = self.detect(2)
        self.fail_(hosts[0], 3)
        for host in hosts:
            self.outliers.passedCheck(host)
        self.assertEqual([host.ejected for host in hosts], [False, False])
        self.assertEqual(self.changed, [hosts[0], hosts[0]])

    def test_hostsThatAreGone(self) -> None:
        """
        What becomes of their connections is of no interest; those that stay are remembered.
        """
        gone, stays = self.detect(2)
        self.fail_(stays, 2)
        self.outliers.setHosts([stays])
        self.outliers.failed(gone)
        self.outliers.succeeded(gone)
        self.fail_(stays, 1)
        self.assertTrue(stays.ejected)

    def test_stop(self) -> None:
        self.detect()
        self.clock.advance(10)
        self.outliers.stop()
        self.outliers.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ClusterTests(ClusterTestCase):
    def test_leftOut(self) -> None:
        """
        Connections go to the others, and after a while to it again.
        """
        self.run_(
            *hostPlans("10.0.0.1:80", "10.0.0.2:80"),
            attempts=2,
            outlier_detection=OutlierDetectionPlan(2, max_ejection_percent=50),
            listen=["10.0.0.1:80"],
        )
        first, second = self.cluster.hosts
        clients = [self.dial() for _ in range(3)]
        self.assertTrue(second.ejected)
        self.assertEqual(self.counted("upstream_cx_connect_fail"), 2)
        clients += [self.dial() for _ in range(3)]
        self.assertEqual(self.counted("upstream_cx_connect_fail"), 2)
        self.assertEqual((first.active, second.active), (6, 0))
        self.listen("10.0.0.2:80")
        self.reactor.advance(30)
        clients += [self.dial() for _ in range(2)]
        self.assertEqual((first.active, second.active), (7, 1))
        self.finish(*clients)

    def test_success(self) -> None:
        """
        A connection that is made is one failure less to be counted.
        """
        self.run_(
            *hostPlans("10.0.0.1:80"),
            outlier_detection=OutlierDetectionPlan(2, max_ejection_percent=100),
        )
        self.refused()
        self.listen("10.0.0.1:80")
        client = self.dial()
        self.silence("10.0.0.1:80")
        self.refused()
        (host,) = self.cluster.hosts
        self.assertFalse(host.ejected)
        self.refused()
        self.assertTrue(host.ejected)
        self.finish(client)
