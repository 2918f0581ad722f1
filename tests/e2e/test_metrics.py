"""
Metrics of real sidecars: Istio's own expectations, and a real Prometheus.

Keeps: both sidecars report exactly Istio's four TCP metrics with exactly its labels and values;
bytes of a connection are there while it is open; and what Prometheus has seen in the end is what
the clients have sent.
"""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests.e2e.metrics import MetricsTestCase
from tests.e2e.processes import WHILE
from tests.observe.istio.scenario import (
    CLIENT_LABELS,
    CONNECTIONS,
    REPLY,
    REQUEST,
    SERVER_LABELS,
    SERVER_LABELS_WITHOUT_EXCHANGE,
    VALUES,
)

SENT, RECEIVED = "istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"
OPENED, CLOSED = "istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"


class IstioTests(MetricsTestCase):
    """
    istio/proxy's TestTCPMetadataExchange and TestTCPMetadataExchangeNoAlpn.
    """

    async def test_scenario(self) -> None:
        """
        Ten connections: on both admin ports exactly the four metrics, with exactly Istio's label
        sets and values; promtool is content; Envoy's counters of the filter say the same.
        """
        await self.istioPair()
        for _ in range(CONNECTIONS):
            await self.hangUp(*await self.talk())
        await self.client.closed(CONNECTIONS)
        await self.server.closed(CONNECTIONS)
        for admin, labels in (
            (self.clientAdmin, CLIENT_LABELS),
            (self.serverAdmin, SERVER_LABELS),
        ):
            self.assertEqual(
                await self.metrics(admin),
                {name: [(labels, value)] for name, value in VALUES.items()},
            )
            text = await self.fetch(f"{admin}/stats/prometheus")
            for name in "alpn_protocol_found", "metadata_added":
                self.assertIn(f"\nenvoy_metadata_exchange_{name} {CONNECTIONS}.0\n", text)
            await self.checkMetrics(admin)

    async def test_withoutALPN(self) -> None:
        """
        A client that offers another protocol is known by its certificate only.
        """
        await self.istioPair("--mx-alpn", "some-protocol")
        for _ in range(CONNECTIONS):
            await self.hangUp(*await self.talk())
        await self.server.closed(CONNECTIONS)
        found = await self.metrics(self.serverAdmin)
        self.assertEqual(found[OPENED], [(SERVER_LABELS_WITHOUT_EXCHANGE, CONNECTIONS)])
        text = await self.fetch(f"{self.serverAdmin}/stats/prometheus")
        self.assertIn(f"\nenvoy_metadata_exchange_alpn_protocol_not_found {CONNECTIONS}.0\n", text)

    async def test_open(self) -> None:
        """
        A connection that is still open shows its bytes within six seconds.
        """
        await self.istioPair()
        ends = await self.talk()
        for admin in self.clientAdmin, self.serverAdmin:
            found = await self.eventually(
                lambda admin=admin: self.metrics(admin), lambda found: SENT in found, 6.0
            )
            values = {name: series[0][1] for name, series in found.items()}
            self.assertEqual(
                values, {OPENED: 1, CLOSED: 0, SENT: len(REPLY), RECEIVED: len(REQUEST)}
            )
        await self.hangUp(*ends)


class WorkerTests(MetricsTestCase):
    """
    C{--workers}.
    """

    async def test_oneScrape(self) -> None:
        """
        One scrape has the numbers of all workers, under one label set.
        """
        await self.istioPair("--workers", "2")
        for _ in range(CONNECTIONS):
            await self.hangUp(*await self.talk())
        await self.client.closed(CONNECTIONS)
        found = await self.metrics(self.clientAdmin)
        self.assertEqual(found, {name: [(CLIENT_LABELS, value)] for name, value in VALUES.items()})
        text = await self.fetch(f"{self.clientAdmin}/stats/prometheus")
        self.assertIn("\nenvoy_server_concurrency 2.0\n", text)
        self.assertIn(f"\nenvoy_metadata_exchange_metadata_added {CONNECTIONS}.0\n", text)
        await self.checkMetrics(self.clientAdmin)


class PrometheusTests(MetricsTestCase):
    """
    A real Prometheus scrapes both sidecars under load.
    """

    async def test_sums(self) -> None:
        """
        Its sums are what the clients have sent and received, on either side.
        """
        await self.istioPair()
        prometheus = await self.prometheus(self.clientAdmin, self.serverAdmin)
        await self.eventually(
            lambda: self.query(prometheus, "sum(up)"), lambda found: found.get("") == 2, 60
        )
        generator = random.Random(7)
        sizes = [generator.randrange(1, 200_000) for _ in range(60)]
        left = list(sizes)

        async def work() -> None:
            while left:
                size = left.pop()
                client = await self.connect(self.client.port)
                client.write(b"x" * size)
                server = await self.application_.accepts()
                # Whichever of the clients it is that this is the other end of.
                client.finish()
                got = await server.readsRest(WHILE)
                server.write(got[: len(got) // 2])
                server.finish()
                await client.readsRest(WHILE)
                await client.close()
                await server.close()

        work_: Any = [Deferred.fromCoroutine(work()) for _ in range(6)]
        await gatherResults(work_, consumeErrors=True)
        await self.client.closed(len(sizes))
        await self.server.closed(len(sizes))
        expected = {
            OPENED: len(sizes),
            CLOSED: len(sizes),
            RECEIVED: sum(sizes),
            SENT: sum(size // 2 for size in sizes),
        }
        for name, value in expected.items():
            await self.eventually(
                lambda name=name: self.query(prometheus, f"sum by (reporter) ({name})"),
                lambda found, value=value: found == {"source": value, "destination": value},
            )
