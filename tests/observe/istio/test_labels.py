"""
Labels where something is missing, long, or comes from elsewhere than the exchange.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import ServicePlan
from mxproxy.connection import Connection
from mxproxy.observe.istio.labels import (
    DESTINATION,
    LABELS,
    SOURCE,
    TEXT_LIMIT,
    Labeller,
    namespaceOf,
    serviceAccountOf,
)
from mxproxy.wire.metadata import Metadata, Node

PRINCIPAL = "spiffe://cluster.local/ns/shop/sa/web"


class LabelTests(SynchronousTestCase):
    """
    L{Labeller}.
    """

    def setUp(self) -> None:
        self.connection = Connection("listener", Clock().seconds)
        self.connection.cluster = "db"

    def labels(self, reporter: str, node: Node | None = None, **options: Any) -> dict[str, str]:
        labeller = Labeller(node or Node(), **options)
        return dict(zip(LABELS, labeller.values(reporter, self.connection), strict=True))

    def test_nothingKnown(self) -> None:
        """
        Unknown is C{unknown}, an unknown revision C{latest}; of ourselves, too.
        """
        for reporter, security in (SOURCE, "unknown"), (DESTINATION, "none"):
            labels = self.labels(reporter)
            self.assertEqual(labels.pop("reporter"), reporter)
            self.assertEqual(labels.pop("connection_security_policy"), security)
            self.assertEqual(labels.pop("request_protocol"), "tcp")
            self.assertEqual(labels.pop("response_flags"), "-")
            for name, value in labels.items():
                self.assertEqual(value, "latest" if "revision" in name else "unknown", name)

    def test_directory(self) -> None:
        """
        Where the exchange has found nobody, the directory is asked; the certificate's
        namespace counts all the same.
        """
        self.connection.upstream.address = IPv4Address("TCP", "10.0.0.7", 5432)
        asked = []

        def find(address: object) -> Metadata:
            asked.append(address)
            return Metadata(workload="db-v1", namespace="data", service="db", app="db")

        labels = self.labels(SOURCE, find=find)
        self.assertEqual(asked, [self.connection.upstream.address])
        self.assertEqual(labels["destination_workload"], "db-v1")
        self.assertEqual(labels["destination_canonical_service"], "db")
        self.assertEqual(labels["destination_workload_namespace"], "data")
        self.assertEqual(labels["destination_service_namespace"], "data")
        self.connection.upstream.principals = ("spiffe://cluster.local/ns/other/sa/db",)
        self.assertEqual(self.labels(SOURCE, find=find)["destination_workload_namespace"], "other")
        self.connection.upstream.metadata = Metadata(workload="said")
        self.assertEqual(self.labels(SOURCE, find=find)["destination_workload"], "said")

    def test_serviceAccount(self) -> None:
        """
        If it is asked for, the service account stands for the workload.
        """
        self.connection.downstream.principals = (PRINCIPAL,)
        labels = self.labels(DESTINATION)
        self.assertEqual(labels["source_workload"], "unknown")
        self.assertEqual(labels["source_workload_namespace"], "shop")
        self.assertEqual(labels["source_principal"], PRINCIPAL)
        labels = self.labels(DESTINATION, serviceAccounts=True)
        self.assertEqual(labels["source_workload"], "web")
        self.assertEqual(labels["source_canonical_service"], "web")
        self.connection.downstream.principals = ("web.example",)
        labels = self.labels(DESTINATION, serviceAccounts=True)
        self.assertEqual(labels["source_workload"], "unknown")

    def test_service(self) -> None:
        """
        The cluster's service; its name may follow from its host.
        """
        services = {"db": ServicePlan("db.data.svc.cluster.local", namespace="data")}
        labels = self.labels(SOURCE, services=services)
        self.assertEqual(labels["destination_service"], "db.data.svc.cluster.local")
        self.assertEqual(labels["destination_service_name"], "db")
        self.assertEqual(labels["destination_service_namespace"], "data")
        node = Node(metadata={"LABELS": {"service.istio.io/canonical-name": "own"}})
        labels = self.labels(DESTINATION, node)
        self.assertEqual(labels["destination_service"], "own")
        self.assertEqual(labels["destination_service_name"], "own")

    def test_noService(self) -> None:
        """
        Istio's clusters for traffic that belongs to no service stand for one.
        """
        self.connection.cluster = "PassthroughCluster"
        labels = self.labels(SOURCE)
        self.assertEqual(labels["destination_service_name"], "PassthroughCluster")
        self.assertEqual(labels["destination_service"], "unknown")

    def test_long(self) -> None:
        """
        A value that is too long is cut, visibly.
        """
        self.connection.downstream.metadata = Metadata(workload="x" * (TEXT_LIMIT + 1))
        labels = self.labels(DESTINATION)
        self.assertEqual(labels["source_workload"], "x" * (TEXT_LIMIT - 1) + "…")

    def test_principals(self) -> None:
        self.assertEqual(namespaceOf(PRINCIPAL), "shop")
        self.assertEqual(serviceAccountOf(PRINCIPAL), "web")
        for other in ("spiffe://cluster.local", "web.example", ""):
            self.assertEqual((namespaceOf(other), serviceAccountOf(other)), ("", ""))
