"""
The Prometheus rules and the Grafana dashboard in examples/: they ask for metrics that there are.

What only promtool knows is in tests/e2e/test_promtool.py.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.observe.stats import ISTIO, LABELS, STATS

EXAMPLES = Path(__file__).parents[2] / "examples"
FAMILIES = {stat.family for stat in STATS} | {metric.name for metric in ISTIO} | {"up"}

# Labels of Istio's metrics that are asked for, of ours, and of every scrape.
KNOWN_LABELS = {
    *LABELS.values(),
    *("source_workload", "source_workload_namespace", "response_flags", "reporter"),
    *("destination_workload", "destination_workload_namespace", "connection_security_policy"),
    *("job", "instance", "severity", "__name__"),
}

_METRIC = re.compile(r"\b((?:envoy|istio|mxproxy)_\w+|up)\b(?=[{\[\s)]|$)")
_BY_NAME = re.compile(r'__name__=~"([^"]+)"')
_BY = re.compile(r"(?:by|on) \(([^)]*)\)")


def metrics(expr: str) -> Iterator[str]:
    """
    The families that an expression asks for.
    """
    for pattern in _BY_NAME.findall(expr):
        matching = [family for family in FAMILIES if re.fullmatch(pattern, family)]
        assert len(matching) >= 2, f"{pattern} is of {matching}"
    expr = _BY_NAME.sub("", expr)
    bare = re.sub(r'"[^"]*"', '""', expr)
    bare = _BY.sub("", bare)
    bare = re.sub(r"\{[^}]*\}", "{", bare)
    yield from _METRIC.findall(bare)


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXAMPLES / "grafana" / "mxproxy.json").read_text())
    return found


def expressions(board: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


class RulesTests(SynchronousTestCase):
    def rules(self) -> list[dict[str, Any]]:
        text = (EXAMPLES / "prometheus" / "mxproxy.rules.yml").read_text()
        return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]

    def test_families(self) -> None:
        """
        Nothing is asked for that is not counted, or recorded by another rule.
        """
        rules = self.rules()
        asked = {name for rule in rules for name in metrics(rule["expr"])}
        self.assertEqual(asked - FAMILIES, set())
        self.assertGreater(len(asked), 15)
        recorded = {rule["record"] for rule in rules if "record" in rule}
        used = {name for rule in rules for name in re.findall(r"\bmxproxy:[\w:]+", rule["expr"])}
        self.assertEqual(used - recorded, set())

    def test_labels(self) -> None:
        for rule in self.rules():
            for labels in _BY.findall(rule["expr"]):
                self.assertEqual(set(map(str.strip, labels.split(","))) - KNOWN_LABELS, set())

    def test_tested(self) -> None:
        """
        Each alert fires in a test.
        """
        text = (EXAMPLES / "prometheus" / "mxproxy.test.yml").read_text()
        fired = {
            one["alertname"]
            for test in yaml.safe_load(text)["tests"]
            for one in test.get("alert_rule_test", ())
            if one["exp_alerts"]
        }
        self.assertEqual(fired, {rule["alert"] for rule in self.rules() if "alert" in rule})


class DashboardTests(SynchronousTestCase):
    def test_families(self) -> None:
        board = dashboard()
        variables = [
            one["definition"] for one in board["templating"]["list"] if "definition" in one
        ]
        asked = {name for expr in expressions(board) for name in metrics(expr)}
        asked |= {re.sub(r"label_values\((\w+).*", r"\1", one) for one in variables}
        self.assertEqual(asked - FAMILIES, set())
        self.assertGreater(len(asked), 20)

    def test_labels(self) -> None:
        board = dashboard()
        for expr in expressions(board):
            for labels in _BY.findall(expr):
                self.assertEqual(set(map(str.strip, labels.split(","))) - KNOWN_LABELS, set())
        legends = re.findall(r"\{\{(\w+)\}\}", json.dumps(board))
        self.assertEqual(set(legends) - KNOWN_LABELS, set())

    def test_panels(self) -> None:
        """
        None lies on another; each has its own number, and says what it is.
        """
        panels = dashboard()["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        for one, other in itertools.combinations((panel["gridPos"] for panel in panels), 2):
            apart = (
                one["x"] + one["w"] <= other["x"]
                or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"]
                or other["y"] + other["h"] <= one["y"]
            )
            self.assertTrue(apart, (one, other))
        for panel in panels:
            if panel["type"] != "row":
                self.assertTrue(panel["description"] and panel["targets"], panel["title"])
                self.assertLessEqual(panel["gridPos"]["x"] + panel["gridPos"]["w"], 24)

    def test_variables(self) -> None:
        """
        Those that are used are there.
        """
        board = dashboard()
        there = {one["name"] for one in board["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__all"}
        self.assertEqual(used - there, {"__rate_interval", "__range"})
