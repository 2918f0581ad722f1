"""
The command line: every option has its documented default, and comes out as a checked value.
"""

from __future__ import annotations

import contextlib
import io
import os

from twisted.internet.endpoints import serverFromString
from twisted.python.usage import Options as UsageOptions

from mxproxy import __version__
from mxproxy.config.options import GROUPS, Options
from mxproxy.config.plan import AccessLogPlan, ServicePlan, StatsPlan
from mxproxy.observe.format import ENVOY_TEXT, ISTIO_TEXT
from mxproxy.socketoptions import keepalive, userTimeout
from mxproxy.testing import MemoryReactor
from tests.config.commandline import INBOUND, OUTBOUND, PLAIN, CommandLineCase, parse

DEFAULTS = {
    "mode": "inbound",
    "listen": "tcp:15006",
    "upstream": ["tcp:127.0.0.1:5432"],
    "downstream-tls": "strict",
    "upstream-tls": "disable",
    "upstream-sni": None,
    "upstream-san": [],
    "node-id": "",
    "node-metadata": None,
    "mx-alpn": "istio-peer-exchange",
    "mx-timeout": 5.0,
    "mx-max-size": 65536,
    "mx-server-opening": "reply",
    "mx-hold": "both",
    "mx-additional-label": [],
    "filter": [],
    "access-log": None,
    "workers": 1,
    "drain-time": 20.0,
    "data-path": "direct",
    "config": None,
    "connect-timeout": 10.0,
    "tls-handshake-timeout": 10.0,
    "inspection-timeout": 1.0,
    "idle-timeout": 3600.0,
    "half-closed-timeout": 300.0,
    "max-connection-duration": 0.0,
    "tcp-keepalive": keepalive(180, 30, 4),
    "tcp-user-timeout": (),
    "tls-reload-interval": 5.0,
    "max-connections": None,
    "max-connections-per-address": None,
    "max-handshakes": 1024,
    "tls-crl": None,
    "tls-session-resumption": "off",
    "tls-profile": "intermediate",
    "admin": None,
    "admin-host": [],
    "service": None,
    "stats-workloads": None,
    "stats-unknown-workload": "unknown",
    "stats-eviction": 3600.0,
    "tls-keylog": None,
    "otel": (),
    "access-log-format": AccessLogPlan("-"),
    "access-log-interval": 0.0,
}


class ValueTests(CommandLineCase):
    def test_defaults(self) -> None:
        files = {
            "tls-cert": os.path.abspath("db.crt"),
            "tls-key": os.path.abspath("db.key"),
            "tls-ca": os.path.abspath("ca.crt"),
        }
        self.assertEqual(dict(parse(INBOUND)), DEFAULTS | files)

    def test_admin(self) -> None:
        """
        On the loopback interface unless somebody says otherwise.
        """
        for given, listens in (
            ("tcp:15000", "tcp:15000:interface=127.0.0.1"),
            ("tcp6:15000", r"tcp6:15000:interface=\:\:1"),
            ("tcp:15000:interface=10.0.0.7", "tcp:15000:interface=10.0.0.7"),
            ("unix:/run/mxproxy/admin", "unix:/run/mxproxy/admin"),
        ):
            plan = parse([*OUTBOUND, "--admin", given, "--admin-host", "proxy.example"]).plan
            self.assertEqual((plan.admin, plan.admin_hosts), (listens, ("proxy.example",)))
            serverFromString(MemoryReactor(), plan.admin)

    def test_stats(self) -> None:
        """
        What metrics are told.
        """
        plan = parse(
            [*OUTBOUND, "--service", "db.data.svc.cluster.local", "--stats-eviction", "0"]
            + ["--stats-workloads", "who.yaml", "--stats-unknown-workload", "service-account"]
        ).plan
        self.assertEqual(
            plan.stats,
            StatsPlan(eviction=0.0, workloads=os.path.abspath("who.yaml"), service_accounts=True),
        )
        self.assertEqual(
            plan.clusters[0].service, ServicePlan("db.data.svc.cluster.local", "db", "data")
        )
        self.assertEqual(plan.listeners[0].traffic_direction, "OUTBOUND")
        self.assertIsNone(parse(INBOUND).plan.clusters[0].service)

    def test_defaultsByMode(self) -> None:
        outbound = parse(OUTBOUND)
        self.assertEqual(
            (outbound["downstream-tls"], outbound["upstream-tls"]), ("disable", "mutual")
        )

    def test_given(self) -> None:
        """
        Numbers are numbers, what is repeatable keeps its order.
        """
        options = parse(
            [*OUTBOUND, "--mx-timeout", "0.25", "--mx-max-size", "1", "--mx-hold", "read"]
            + ["--upstream", "unix:/run/db", "--connect-timeout=3", "--inspection-timeout", "2"]
            + ["--mx-additional-label", "team", "--mx-additional-label", "tier"]
            + ["--tls-handshake-timeout", "4", "--mx-server-opening", "eager"]
            + ["--upstream-sni", "db.example", "--upstream-san", "10.0.0.1"]
            + ["--upstream-san", "spiffe://cluster.local/ns/shop/sa/db"]
            + ["--idle-timeout", "0", "--half-closed-timeout", "0.5"]
            + ["--max-connection-duration", "9", "--tcp-keepalive", "60:5:2"]
            + ["--tcp-user-timeout", "1.5", "--max-connections", "30"]
            + ["--max-connections-per-address", "20", "--max-handshakes", "10"]
        )
        wanted = {
            "mx-timeout": 0.25,
            "mx-max-size": 1,
            "mx-hold": "read",
            "mx-server-opening": "eager",
            "mx-additional-label": ["team", "tier"],
            "upstream": ["tcp:127.0.0.1:5432", "unix:/run/db"],
            "connect-timeout": 3.0,
            "inspection-timeout": 2.0,
            "tls-handshake-timeout": 4.0,
            "idle-timeout": 0.0,
            "half-closed-timeout": 0.5,
            "max-connection-duration": 9.0,
            "tcp-keepalive": keepalive(60, 5, 2),
            "tcp-user-timeout": userTimeout(1.5),
            "max-connections": 30,
            "max-connections-per-address": 20,
            "max-handshakes": 10,
            "upstream-sni": "db.example",
            "upstream-san": ["10.0.0.1", "spiffe://cluster.local/ns/shop/sa/db"],
        }
        self.assertEqual({name: options[name] for name in wanted}, wanted)

    def test_filesAreAbsolute(self) -> None:
        """
        twistd changes the directory before the service opens anything.
        """
        options = parse([*INBOUND, "--access-log", "access.log"])
        self.assertEqual(options.plan.access_log, AccessLogPlan(os.path.abspath("access.log")))
        self.assertFalse(os.path.exists("access.log"), "parsing must not make files")

    def test_standardOutput(self) -> None:
        """
        Without twistd around it, and with C{twistd --nodaemon}, there is one.
        """
        for parent in (None, {"nodaemon": 1, "debug": False}, {"nodaemon": 0, "debug": True}, {}):
            options = Options()
            options.parent = parent  # type: ignore[assignment]
            plan = parse([*PLAIN, "--access-log", "-"], options).plan
            self.assertEqual(plan.access_log, AccessLogPlan("-"))

    def test_accessLogFormats(self) -> None:
        """
        By name, as a text, or as JSON; a line needs an end.
        """
        log = ["--access-log", "-"]
        for format, plan in [
            ("json", AccessLogPlan("-")),
            ("istio", AccessLogPlan("-", text_format=ISTIO_TEXT)),
            ("envoy", AccessLogPlan("-", text_format=ENVOY_TEXT)),
            ("%BYTES_SENT% x", AccessLogPlan("-", text_format="%BYTES_SENT% x\n")),
            ('{"sent": "%BYTES_SENT%"}', AccessLogPlan("-", {"sent": "%BYTES_SENT%"})),
        ]:
            options = parse([*PLAIN, *log, "--access-log-format", format])
            self.assertEqual(options.plan.access_log, plan)
        options = parse(
            [*PLAIN, *log, "--access-log-format", "istio", "--access-log-interval", "30"]
        )
        self.assertEqual(
            options.plan.access_log,
            AccessLogPlan("-", text_format=ISTIO_TEXT, on_connected=True, flush_interval=30.0),
        )

    def test_argumentsOfTheProcess(self) -> None:
        """
        Without arguments given it reads the process's, as usage.Options does.
        """
        self.patch(__import__("sys"), "argv", ["mxproxy", *PLAIN])
        options = Options()
        options.parseOptions()
        self.assertEqual(options.plan.listeners[0].endpoint, "tcp:15006")


class HelpTests(CommandLineCase):
    def output(self, *arguments: str) -> str:
        stdout = io.StringIO()
        with contextlib.redirect_stdout(stdout):
            stopped = self.assertRaises(SystemExit, parse, arguments)
        self.assertEqual(stopped.code, 0)
        return stdout.getvalue()

    def test_version(self) -> None:
        self.assertTrue(self.output("--version").startswith(f"mxproxy {__version__} (Twisted "))

    def test_help(self) -> None:
        """
        Every option is in it, and no line is wider than a terminal's 80 columns.
        """
        self.patch(os, "environ", {"COLUMNS": "80"})
        text = self.output("--help")
        for option in Options().longOpt:
            self.assertIn(f"  --{option.rstrip('=')}", text)
        self.assertEqual([line for line in text.splitlines() if len(line) > 80], [])

    def test_helpTellsDefaults(self) -> None:
        text = " ".join(self.output("--help").split())
        for _, options in GROUPS:
            for option in options:
                if option.default:
                    self.assertIn(f"Default: {option.default}.", text)

    def test_narrow(self) -> None:
        text = Options().getUsage(width=60).partition("A pair, to try")[0]
        self.assertEqual([line for line in text.splitlines() if len(line) > 60], [])

    def test_oneTable(self) -> None:
        """
        Twisted's parser knows the table's options, help and version, and nothing else.
        """
        names = {option.name for _, options in GROUPS for option in options}
        known = {option.rstrip("=") for option in Options().longOpt}
        self.assertEqual(known - names, {"help", "version"})
        self.assertTrue(issubclass(Options, UsageOptions))
