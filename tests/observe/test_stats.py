"""
Every statistic is declared, once, and its names are Envoy's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mxproxy
from mxproxy.filters.http_inspector import COUNTERS
from mxproxy.observe.stats import ISTIO, LABELS, STATS, Merge, Stat, find, isDeclared
from mxproxy.wire.exchange import Counter

SOURCE = Path(mxproxy.__file__).parent

#: What counting is called in src/: the context's method and what wraps it.
CALLS = {"count", "_count", "counted", "_counted"}

#: What stands for a part of a name that only a running proxy knows.
ANY = "\0"


def countedIn(text: str) -> Iterator[str]:
    """
    The names that a module counts, or their ends where a prefix is put in front of them
    elsewhere.
    """
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or len(node.args) != 1:
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        name = textOf(node.args[0]) if called in CALLS else ""
        # str.count() is called alike.
        if re.search(r"[a-z]{3}", name):
            yield from alternatives(node.args[0])


def textOf(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(textOf(part) or ANY for part in node.values)
    return ""


def alternatives(node: ast.expr) -> list[str]:
    """
    All texts that an expression can be: C{f"connect_{'timeout' if late else 'fail'}"} is two.
    """
    texts = [""]
    for part in node.values if isinstance(node, ast.JoinedStr) else [node]:
        inner = part.value if isinstance(part, ast.FormattedValue) else part
        branches = [inner.body, inner.orelse] if isinstance(inner, ast.IfExp) else [inner]
        texts = [text + (textOf(branch) or ANY) for text in texts for branch in branches]
    return texts


class DeclarationTests(SynchronousTestCase):
    """
    L{STATS}.
    """

    def test_everythingCountedIsDeclared(self) -> None:
        """
        A name that is counted anywhere in src/ is the whole, or the end, of a declared one.
        """
        missing = []
        found = 0
        for path in sorted(SOURCE.rglob("*.py")):
            for name in countedIn(path.read_text()):
                found += 1
                pattern = re.escape(name).replace(re.escape(ANY), ".+")
                if not any(re.fullmatch(rf"(.+\.)?{pattern}", stat.name) for stat in STATS):
                    missing.append(f"{path.relative_to(SOURCE)}: {name.replace(ANY, '{}')}")
        self.assertEqual(missing, [], "declare them in observe/stats.py")
        self.assertGreater(found, 15)

    def test_tables(self) -> None:
        """
        So are the names that are looked up in tables.
        """
        for name in [
            *(f"metadata_exchange.{counter.value}" for counter in Counter),
            *(f"http_inspector.{name}" for name in COUNTERS.values()),
        ]:
            self.assertTrue(isDeclared(name), name)

    def test_once(self) -> None:
        """
        No name and no family is declared twice.
        """
        names = [stat.name for stat in STATS]
        families = [stat.family for stat in STATS] + [metric.name for metric in ISTIO]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(len(set(families)), len(families))

    def test_wellFormed(self) -> None:
        """
        Families are names for Prometheus, helps are sentences, labels are known.
        """
        for stat in STATS:
            self.assertRegex(stat.family, r"^(envoy|mxproxy)_[a-z0-9_]*[a-z0-9]$")
            self.assertNotIn("__", stat.family)
            self.assertRegex(stat.help, r"^[A-Z0-9].*\.$")
            self.assertLessEqual(set(stat.labels), set(LABELS))


class FindTests(SynchronousTestCase):
    """
    L{find}: from a counted name to its declaration.
    """

    def check(self, name: str, family: str, *parts: str) -> Stat:
        stat, found = find(name)
        self.assertEqual((stat.family, found), (family, parts))
        self.assertEqual(len(stat.prometheusLabels), len(parts))
        return stat

    def test_plain(self) -> None:
        """
        A name without parts; a counter of ours is called ours.
        """
        self.check(
            "metadata_exchange.metadata_added",
            "envoy_metadata_exchange_metadata_added",
        )
        self.check("metadata_exchange.timeout", "mxproxy_metadata_exchange_timeout_total")

    def test_cluster(self) -> None:
        """
        A cluster's name is a label, whatever is in it.
        """
        name = "outbound|9080|tcp|server.default.svc.cluster.local"
        stat = self.check(
            f"cluster.{name}.upstream_cx_total", "envoy_cluster_upstream_cx_total", name
        )
        self.assertEqual(stat.prometheusLabels, ("envoy_cluster_name",))
        self.assertEqual(
            stat.named(cluster="db"),
            "cluster.db.upstream_cx_total",
        )
        self.check("cluster.x\ny.ssl.handshake", "envoy_cluster_ssl_handshake", "x\ny")

    def test_twoParts(self) -> None:
        """
        Versions have dots, too, and so have addresses.
        """
        stat = self.check(
            "listener.127.0.0.1_15006.ssl.versions.TLSv1.3",
            "envoy_listener_ssl_versions",
            "127.0.0.1_15006",
            "TLSv1.3",
        )
        self.assertEqual(stat.prometheusLabels, ("envoy_listener_address", "envoy_ssl_version"))

    def test_labelInTheMiddle(self) -> None:
        """
        Envoy drops the part's surroundings from the family.
        """
        self.check("proxy_proto.versions.v2.found", "envoy_proxy_proto_found", "2")

    def test_undeclared(self) -> None:
        """
        A third party's counter is shown under a name of its own.
        """
        stat = self.check("meter.bytes-{in}", "mxproxy_meter_bytes__in__total")
        self.assertNotIn(stat, STATS)
        self.assertFalse(isDeclared("meter.bytes"))


class MergeTests(SynchronousTestCase):
    """
    L{Merge}.
    """

    def test_merge(self) -> None:
        """
        Counters of workers add up; one worker that is not live makes all of it not live.
        """
        self.assertEqual(Merge.SUM.of([1, 2, 4]), 7)
        self.assertEqual(Merge.MAX.of([1, 4, 2]), 4)
        self.assertEqual(find("server.live")[0].merge.of([1, 0, 1]), 0)
