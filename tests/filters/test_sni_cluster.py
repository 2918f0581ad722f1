"""
A connection goes to the cluster that its client names.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.filters.options import OptionError
from mxproxy.filters.sni_cluster import SNICluster, configure
from mxproxy.interfaces import IFilter
from mxproxy.tcp import CLUSTER
from mxproxy.testing import Bench, Conversation, checkFilter


def named(name: str | None) -> Bench:
    def prepare(peer: object) -> None:
        peer.server_name = name  # type: ignore[attr-defined]

    return Bench(SNICluster(), prepare=prepare)


class SNIClusterTests(SynchronousTestCase):
    def test_named(self) -> None:
        for name, chosen in (("db.example", "db.example"), (None, None), ("", None)):
            bench = named(name)
            bench.play(
                """
                app<< connected
                left: sni_cluster
                >> 'hello'
                app<< 'hello'
                """
            )
            self.assertEqual(bench.connection.get(CLUSTER), chosen)

    def test_contract(self) -> None:
        checkFilter(SNICluster(), conversation=Conversation(b"hello"))

    def test_downstreamOnly(self) -> None:
        error = self.assertRaises(ValueError, Bench, SNICluster(), side="upstream")
        self.assertEqual(str(error), "sni_cluster is for the connections of a listener")

    def test_configure(self) -> None:
        self.assertEqual(configure({}), SNICluster())
        self.assertTrue(IFilter.providedBy(configure({})))
        self.assertRaises(OptionError, configure, {"x": "y"})
