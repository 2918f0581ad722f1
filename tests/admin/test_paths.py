"""
What the admin interface says and does, path by path.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from twisted.logger import Logger, LogLevel, capturedLogs, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.admin.logging import Levels
from mxproxy.admin.requests import BadRequest, Query
from mxproxy.admin.source import LocalSource
from mxproxy.admin.views import VIEWS
from mxproxy.admin.views.config import REDACTED, dump
from mxproxy.config.plan import FilterSpec
from mxproxy.testing.sidecars import INBOUND, OUTBOUND, SERVER, onePlan
from mxproxy.tls.settings import PEM, ServerTLS
from mxproxy.wire.metadata import Node
from tests.admin.client import ADMIN, Response, ask, watched
from tests.observe.istio.scenario import CLIENT_LABELS, REPLY, REQUEST, VALUES
from tests.observe.test_telemetry import Pair
from tests.proxies import PORT, ProxyTestCase


class PairTestCase(SynchronousTestCase):
    """
    Istio's pair, with an open connection.
    """

    def setUp(self) -> None:
        self.pair = Pair()
        self.client = self.pair.talk()

    def ask(self, path: str, method: str = "GET", proxy: Any = None, **headers: str) -> Response:
        proxy = proxy or self.pair.inbound
        port = proxy.service.admin.port.getHost().port
        return ask(self.pair.reactor, path, method, headers, port=port)


class MetricTests(PairTestCase):
    """
    C{/stats} and C{/stats/prometheus}.
    """

    def test_scenario(self) -> None:
        """
        Istio's four metrics, as the client's sidecar has them.
        """
        self.pair.hangUp(self.client)
        for _ in range(9):
            self.pair.hangUp(self.pair.talk())
        text = self.ask("/stats/prometheus", proxy=self.pair.outbound).text
        for name, value in VALUES.items():
            lines = re.findall(rf"^{name}\{{(.*)\}} (\d+)$", text, re.MULTILINE)
            ((labels, number),) = lines
            self.assertEqual(dict(re.findall(r'(\w+)="([^"]*)"', labels)), CLIENT_LABELS)
            self.assertEqual(int(number), value)

    def test_formats(self) -> None:
        text = self.ask("/stats?filter=^metadata_exchange&usedonly").text
        self.assertEqual(
            text,
            "metadata_exchange.alpn_protocol_found: 1\nmetadata_exchange.metadata_added: 1\n",
        )
        found = self.ask("/stats?filter=metadata_added&format=json").json
        self.assertEqual(
            found, {"stats": [{"name": "metadata_exchange.metadata_added", "value": 1}]}
        )
        prometheus = self.ask("/stats?format=prometheus").text
        self.assertTrue(prometheus.startswith("# HELP envoy_"), prometheus)
        gauges = self.ask("/stats?type=Gauges").text
        self.assertIn("server.live: 1\n", gauges)
        self.assertNotIn("metadata_exchange", gauges)
        only = self.ask("/stats/prometheus?filter=metadata_added&usedonly").text
        self.assertEqual(len([line for line in only.split("\n") if line.startswith("envoy_")]), 1)

    def test_openMetrics(self) -> None:
        response = self.ask("/stats/prometheus", Accept="application/openmetrics-text")
        self.assertIn("application/openmetrics-text", response.headers["content-type"])
        self.assertTrue(response.text.endswith("# EOF\n"))

    def test_wrong(self) -> None:
        """
        One line that says what would be right.
        """
        for path, words in (
            ("/stats?format=xml", "format has to be one of text, json, prometheus"),
            ("/stats?filter=(", "filter is no regular expression"),
            ("/stats?filter=(a%2B)%2B%24", "simple regular expression"),
            ("/connections?limit=many", "limit has to be a number from 0 to 1000"),
            ("/connections?limit=1001", "limit has to be a number from 0 to 1000"),
            ("/connections?sort=color", "sort has to be one of rate,"),
            (f"/connections?filter={'x' * 201}", "at most 200 characters"),
        ):
            response = self.ask(path)
            self.assertEqual(response.status, 400, path)
            self.assertIn(words, response.text)
            self.assertEqual(response.text.count("\n"), 1)

    def test_reset(self) -> None:
        self.assertEqual(self.ask("/reset_counters", "POST").text, "OK\n")
        self.assertIn("metadata_exchange.metadata_added: 0\n", self.ask("/stats").text)


class ConnectionTests(PairTestCase):
    """
    C{/connections} and C{/graph}.
    """

    def test_one(self) -> None:
        """
        Both peers, what they proved and claimed, how far it is and how much it carries.
        """
        found = self.ask("/connections").json
        self.assertEqual((found["total"], found["matched"]), (1, 1))
        (one,) = found["connections"]
        self.assertEqual(one["state"], "established")
        self.assertEqual(one["reporter"], "destination")
        self.assertEqual(one["source"]["workload"], "productpage-v1")
        self.assertEqual(one["destination"]["workload"], "ratings-v1")
        self.assertEqual(one["downstream"]["principal"], CLIENT_LABELS["source_principal"])
        self.assertEqual(one["downstream"]["alpn"], "istio-peer-exchange")
        self.assertEqual(one["downstream"]["peer_state"], "found")
        self.assertEqual((one["bytes_sent"], one["bytes_received"]), (len(REPLY), len(REQUEST)))
        self.pair.hangUp(self.client)
        self.assertEqual(self.ask("/connections").json["connections"], [])

    def test_chosen(self) -> None:
        """
        The greatest first, a part of them, those with a text in them.
        """
        for size in (10, 30, 20):
            self.pair.talk().write(b"x" * size)
            self.pair.reactor.settle()

        def received(query: str) -> list[int]:
            found = self.ask(f"/connections?{query}").json
            self.assertEqual(found["total"], 4)
            return [one["bytes_received"] - len(REQUEST) for one in found["connections"]]

        self.assertEqual(received("sort=received"), [30, 20, 10, 0])
        self.assertEqual(received("sort=received&order=asc"), [0, 10, 20, 30])
        self.assertEqual(received("sort=received&limit=2&offset=1"), [20, 10])
        self.assertEqual(received("filter=PRODUCTPAGE&sort=bytes"), [30, 20, 10, 0])
        self.assertEqual(received("filter=nobody"), [])
        for sort in ("rate", "age", "source", "destination", "listener", "sent"):
            self.assertEqual(len(received(f"sort={sort}")), 4)

    def test_graph(self) -> None:
        """
        An edge for all connections of two workloads.
        """
        self.pair.talk()
        (edge,) = self.ask("/graph").json["edges"]
        self.assertEqual(edge["source"]["workload"], "productpage-v1")
        self.assertEqual(edge["destination"]["workload"], "ratings-v1")
        self.assertEqual(edge["reporter"], "destination")
        self.assertEqual(edge["connection_security_policy"], "mutual_tls")
        self.assertEqual((edge["active"], edge["opened"], edge["closed"]), (2, 2, 0))
        self.assertEqual((edge["sent"], edge["received"]), (2 * len(REPLY), 2 * len(REQUEST)))

    def test_merged(self) -> None:
        """
        What two workers say becomes one answer, in the order that was asked for.
        """
        arguments = {"limit": 3, "offset": 0, "sort": "bytes", "ascending": False, "filter": ""}
        sources = [LocalSource(self.pair.inbound.service), LocalSource(self.pair.outbound.service)]
        for view, total in (("connections", 2), ("graph", 2)):
            values = [
                self.successResultOf(source.collect(view, arguments))[0] for source in sources
            ]
            # They can be sent.
            self.assertEqual(json.loads(json.dumps(values)), values)
            self.assertEqual(VIEWS[view].merge(values, arguments)["total"], total)
        for view in ("clusters", "listeners", "certs", "server", "stats", "config"):
            value = self.successResultOf(sources[0].collect(view, {}))[0]
            merged = VIEWS[view].merge([value, json.loads(json.dumps(value))], {})
            if view == "server":
                self.assertEqual(merged["concurrency"], 2)
            elif view in ("listeners", "certs", "config"):
                self.assertEqual(merged, value)


class StateTests(PairTestCase):
    """
    The other things that can be asked.
    """

    def test_clusters(self) -> None:
        text = self.ask("/clusters").text
        self.assertIn(f"cluster::127.0.0.1:{SERVER}::cx_active::1\n", text)
        self.assertIn(f"cluster::127.0.0.1:{SERVER}::health_flags::healthy\n", text)
        self.assertEqual(self.ask("/clusters?filter=nosuch").text, "")
        (status,) = self.ask("/clusters?format=json").json["cluster_statuses"]
        (host,) = status["host_statuses"]
        self.assertEqual(
            host["address"]["socket_address"], {"address": "127.0.0.1", "port_value": SERVER}
        )
        self.assertIn({"name": "cx_total", "value": "1"}, host["stats"])

    def test_listeners(self) -> None:
        self.assertEqual(self.ask("/listeners").text, f"listener::127.0.0.1:{INBOUND}\n")
        (status,) = self.ask("/listeners?format=json").json["listener_statuses"]
        self.assertEqual(status["local_address"]["socket_address"]["port_value"], INBOUND)

    def test_certs(self) -> None:
        """
        Our own and the authorities', with their days; of an outbound sidecar, too.
        """
        for proxy, name in (
            (self.pair.inbound, CLIENT_LABELS["destination_principal"]),
            (self.pair.outbound, CLIENT_LABELS["source_principal"]),
        ):
            (found,) = self.ask("/certs", proxy=proxy).json["certificates"]
            (own,) = found["cert_chain"]
            self.assertEqual(own["subject_alt_names"], [{"uri": name}])
            self.assertEqual(own["path"], "<inline>")
            self.assertRegex(own["expiration_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            self.assertEqual(len(found["ca_cert"]), 1)
        stats = self.ask("/stats").text
        self.assertRegex(stats, r"server\.days_until_first_cert_expiring: \d+\n")

    def test_server(self) -> None:
        info = self.ask("/server_info").json
        self.assertEqual(info["state"], "LIVE")
        self.assertIn(info["data_path"], ("direct", "python"))
        self.assertEqual(info["node"]["id"], "server")
        self.assertEqual(info["node"]["metadata"]["WORKLOAD_NAME"], "ratings-v1")

    def test_config(self) -> None:
        """
        What runs, with no key in it.
        """
        text = self.ask("/config_dump").text
        self.assertNotIn("PRIVATE KEY", text)
        self.assertIn(REDACTED, text)
        (config,) = json.loads(text)["configs"]
        self.assertEqual(config["listeners"][0]["name"], "listener")

    def test_draining(self) -> None:
        """
        No new connections; the open one goes on, and whoever asks is told.
        """
        self.assertEqual(self.ask("/drain_listeners?inboundonly", "POST").text, "OK\n")
        self.assertEqual(self.ask("/ready").text, "LIVE\n")
        self.assertEqual(self.ask("/drain_listeners", "POST").text, "OK\n")
        ready = self.ask("/ready")
        self.assertEqual((ready.status, ready.text), (503, "DRAINING\n"))
        self.assertEqual(self.ask("/listeners").text, "")
        self.client.write(b"more")
        self.pair.reactor.settle()
        self.assertEqual(self.pair.servers.built[-1].received, REQUEST + b"more")

    def test_health(self) -> None:
        """
        Who asks is told so, and nothing else changes.
        """
        self.assertEqual(self.ask("/healthcheck/fail", "POST").text, "OK\n")
        self.assertEqual(self.ask("/ready").status, 503)
        self.assertIn("server.live: 0\n", self.ask("/stats").text)
        self.pair.talk()
        self.assertEqual(self.ask("/healthcheck/ok", "POST").text, "OK\n")
        self.assertEqual(self.ask("/ready").status, 200)

    def test_quit(self) -> None:
        stopped = []
        self.pair.reactor.stop = lambda: stopped.append(True)  # type: ignore[method-assign]
        self.assertEqual(self.ask("/quitquitquit", "POST").text, "OK\n")
        self.pair.reactor.advance(0)
        self.assertEqual(stopped, [True])


class NobodyTests(ProxyTestCase):
    def test_plain(self) -> None:
        """
        A proxy without TLS and without traffic answers everything, too.
        """
        self.start(watched(onePlan(Node(), PORT, SERVER)))
        for path, empty in (
            ("/certs", {"certificates": []}),
            ("/graph", {"total": 0, "edges": []}),
        ):
            self.assertEqual(ask(self.reactor, path).json, empty)
        self.assertEqual(ask(self.reactor, "/connections").json["total"], 0)
        self.assertNotIn("expiring", ask(self.reactor, "/stats", port=ADMIN).text)


class RedactionTests(SynchronousTestCase):
    def test_secrets(self) -> None:
        """
        Keys by their contents, options by their names; paths are no secrets.
        """
        key = PEM(text=b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n")
        plan = onePlan(
            Node(),
            OUTBOUND,
            SERVER,
            downstream=ServerTLS(
                certificate=PEM(path="/etc/c.pem"), key=key, authorities=PEM(text=b"public")
            ),
            downstreamFilters=(FilterSpec("x", {"api_token": "hunter2", "rate": "5"}),),
        )
        text = json.dumps(dump(plan))
        for secret in ("hunter2", "BEGIN"):
            self.assertNotIn(secret, text)
        for shown in ("/etc/c.pem", "public", '"rate": "5"'):
            self.assertIn(shown, text)

    def test_foreign(self) -> None:
        """
        What is of nobody's known class is named, not shown.
        """

        class Secret:
            def __repr__(self) -> str:
                return "hunter2"

        shown = dump(FilterSpec("x", settings=Secret()))["settings"]
        self.assertIn("Secret>", shown)
        self.assertNotIn("hunter2", shown)
        loop: list[Any] = []
        loop.append(loop)
        json.dumps(dump(loop))
        self.assertEqual(dump(replace(PEM(path="a"))), {"filename": "a"})


class PatternTests(SynchronousTestCase):
    def test_patterns(self) -> None:
        """
        Those that Envoy's users write, and none that could take for ever.
        """
        for good in (r"^listener\..*ssl", "upstream_cx_(total|active)", "", "[a-z]+_total$"):
            Query({"filter": good}).pattern("filter")
        for bad in ("(a+)+$", "(a|a)*", r"(a)\1", "(?=x)", "a*a*a*a*", "x" * 201, "[", "a{2}{3}"):
            self.assertRaises(BadRequest, Query({"filter": bad}).pattern, "filter")


class LoggingTests(PairTestCase):
    def test_levels(self) -> None:
        """
        A level keeps what is below it from the observers that there are.
        """
        levels = Levels()
        seen: list[str] = []

        def observer(event: Any) -> None:
            if event.get("log_namespace", "").startswith("mxproxy.test"):
                seen.append(f"{event['log_namespace']}:{event['log_level'].name}")

        before = list(globalLogPublisher._observers)
        self.addCleanup(setattr, globalLogPublisher, "_observers", before)
        globalLogPublisher.addObserver(observer)

        def emit() -> list[str]:
            seen.clear()
            for namespace in ("mxproxy.test", "mxproxy.test.part"):
                for level in (LogLevel.debug, LogLevel.error):
                    Logger(namespace).emit(level, "said")
            return seen

        self.assertEqual(levels.change(None, {}), {"default": "debug"})
        self.assertEqual(len(emit()), 4)
        levels.change("error", {"mxproxy.test.part": "debug"})
        self.assertEqual(
            emit(),
            ["mxproxy.test:error", "mxproxy.test.part:debug", "mxproxy.test.part:error"],
        )
        self.assertEqual(levels.change("debug", {}), {"default": "debug"})
        self.assertEqual(len(emit()), 4)

    def test_asked(self) -> None:
        """
        The levels are shown without a change; what is no level is refused.
        """
        with capturedLogs():
            shown = self.ask("/logging", "POST")
        self.assertEqual(shown.text, "active loggers:\n  default: debug\n")
        refused = self.ask("/logging?level=loud", "POST")
        self.assertEqual(refused.status, 400)
        self.assertIn("'loud' is no level; there are trace, debug,", refused.text)
        self.assertEqual(self.ask("/logging?paths=mxproxy", "POST").status, 400)
