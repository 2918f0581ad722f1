"""
A wrong command line is answered by one line that says what and where, and by an exit status:
2 for the command line, 1 for a file that it names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from twisted.python.usage import UsageError

from mxproxy.config.errors import LINE_LIMIT, oneLine
from mxproxy.config.options import GROUPS, Options
from tests.config.commandline import (
    ENDS,
    INBOUND,
    OUTBOUND,
    PLAIN,
    TLS,
    CommandLineCase,
    parse,
)

HINT = " (try --help)"

# What is typed, and the whole line without its hint.
#: Options that are of the process, and not of what it runs.
BESIDE_CONFIG = ", ".join(
    f"--{option.name}"
    for _, options in GROUPS
    for option in options
    if option.process and option.name != "config"
)

USAGE: list[tuple[tuple[str, ...], str]] = [
    # What is not there.
    ((), "--mode is missing: say --mode inbound or --mode outbound"),
    (
        ("--mode", "inbound"),
        "--listen is missing: say where to listen, as in --listen tcp:15006",
    ),
    (
        ("--mode", "inbound", "--listen", "tcp:1"),
        "--upstream is missing: say where to connect to, as in --upstream tcp:127.0.0.1:5432",
    ),
    # What is not known.
    (("--nonsense",), "option --nonsense not recognized"),
    (("--up", "tcp:h:1"), "option --up not a unique prefix"),
    ((*PLAIN, "more"), "'more' belongs to no option"),
    (("--mode",), "option --mode requires argument"),
    (("--version=1",), "option --version must not have an argument"),
    # Values by themselves.
    (("--mode", "sideways"), "--mode 'sideways': it has to be inbound or outbound"),
    (
        ("--downstream-tls", "mutual"),
        "--downstream-tls 'mutual': it has to be disable or permissive or strict",
    ),
    (
        ("--upstream-tls", "strict"),
        "--upstream-tls 'strict': it has to be disable or simple or mutual",
    ),
    (("--mx-hold", "write"), "--mx-hold 'write': it has to be both or read"),
    (
        ("--mx-server-opening", "late"),
        "--mx-server-opening 'late': it has to be reply or eager",
    ),
    (("--mx-timeout", "soon"), "--mx-timeout 'soon': that is no number of seconds above 0"),
    (("--mx-timeout", "0"), "--mx-timeout '0': that is no number of seconds above 0"),
    (("--mx-timeout", "nan"), "--mx-timeout 'nan': that is no number of seconds above 0"),
    (
        ("--idle-timeout", "-1"),
        "--idle-timeout '-1': that is no number of seconds, nor 0",
    ),
    (
        ("--max-connection-duration", "inf"),
        "--max-connection-duration 'inf': that is no number of seconds, nor 0",
    ),
    (
        ("--tcp-keepalive", "180:30"),
        (
            "--tcp-keepalive '180:30': it has to be TIME:INTERVAL:PROBES, whole numbers as in "
            "180:30:4, or off"
        ),
    ),
    (
        ("--tcp-keepalive", "180:0:4"),
        (
            "--tcp-keepalive '180:0:4': it has to be TIME:INTERVAL:PROBES, whole numbers as in "
            "180:30:4, or off"
        ),
    ),
    (
        ("--tcp-keepalive", "180:30:999"),
        "--tcp-keepalive '180:30:999': this system does not take 999 for TCP_KEEPCNT",
    ),
    (
        ("--tcp-user-timeout", "1e9"),
        "--tcp-user-timeout '1e9': this system does not take 1000000000000 for TCP_USER_TIMEOUT",
    ),
    (
        ("--max-connections", "-1"),
        "--max-connections '-1': that is no whole number of connections, nor 0",
    ),
    (("--max-handshakes", "0"), "--max-handshakes '0': that is no whole number above 0"),
    (
        ("--connect-timeout", "inf"),
        "--connect-timeout 'inf': that is no number of seconds above 0",
    ),
    (
        ("--inspection-timeout", "-1"),
        "--inspection-timeout '-1': that is no number of seconds above 0",
    ),
    (
        ("--tls-handshake-timeout", "1s"),
        "--tls-handshake-timeout '1s': that is no number of seconds above 0",
    ),
    (
        ("--mx-max-size", "64k"),
        "--mx-max-size '64k': that is no whole number of bytes from 1 to 4294967295",
    ),
    (
        ("--mx-max-size", "4294967296"),
        "--mx-max-size '4294967296': that is no whole number of bytes from 1 to 4294967295",
    ),
    (("--mx-alpn", "é" * 128), f"--mx-alpn '{'é' * 128}': an ALPN name has at most 255 bytes"),
    (
        ("--mx-additional-label", "a,b"),
        (
            "--mx-additional-label 'a,b': a label's name has no comma; give the option once for "
            "each label"
        ),
    ),
    (("--listen", ""), "--listen is empty"),
    (("--tls-cert", ""), "--tls-cert is empty"),
    (("--mode", "inbound", "--mode", "inbound"), "--mode is given 2 times: say it once"),
    # Endpoints.
    (
        ("--listen", "15006"),
        (
            "--listen '15006': there is no kind of endpoint '15006'; write it as "
            "tcp:PORT[:interface=ADDRESS]"
        ),
    ),
    (
        ("--listen", "tcp:http"),
        "--listen 'tcp:http': that is no endpoint; write it as tcp:PORT[:interface=ADDRESS]",
    ),
    (
        ("--admin", "15000"),
        (
            "--admin '15000': there is no kind of endpoint '15000'; write it as "
            "tcp:PORT[:interface=ADDRESS]"
        ),
    ),
    (
        ("--admin-host", "http://proxy.example:15000"),
        (
            "--admin-host 'http://proxy.example:15000': that is no host name; it has neither a "
            "scheme nor a port"
        ),
    ),
    (
        ("--stats-unknown-workload", "guess"),
        "--stats-unknown-workload 'guess': it has to be unknown or service-account",
    ),
    (
        ("--stats-eviction", "-1"),
        "--stats-eviction '-1': that is no number of seconds, nor 0",
    ),
    (("--listen", "tcp:65536"), "--listen 'tcp:65536': the port 65536 is not between 0 and 65535"),
    (
        ("--listen", "tcp6:port=-1"),
        "--listen 'tcp6:port=-1': the port -1 is not between 0 and 65535",
    ),
    (
        ("--listen", "systemd:domain=INET:index=7"),
        (
            "--listen 'systemd:domain=INET:index=7': that is no endpoint; write it as "
            "systemd:domain=INET:name=NAME, for a socket that systemd has passed on (its unit's "
            "FileDescriptorName=); it has passed on no such socket"
        ),
    ),
    (
        ("--listen", "unix:/run/x:mode=99"),
        "--listen 'unix:/run/x:mode=99': that is no endpoint; write it as unix:PATH[:mode=660]",
    ),
    (
        ("--upstream", "127.0.0.1:5432"),
        (
            "--upstream '127.0.0.1:5432': there is no kind of endpoint '127.0.0.1'; write it as "
            "tcp:HOST:PORT"
        ),
    ),
    (
        ("--upstream", "tcp:5432"),
        "--upstream 'tcp:5432': that is no endpoint; write it as tcp:HOST:PORT",
    ),
    (
        ("--upstream", "tcp:h:0"),
        "--upstream 'tcp:h:0': the port 0 is not between 1 and 65535",
    ),
    (
        ("--upstream", "tcp::80"),
        "--upstream 'tcp::80': there is no host in it; write it as tcp:HOST:PORT",
    ),
    (
        ("--upstream", "tls:h:1"),
        (
            "--upstream 'tls:h:1': an endpoint of the kind 'tls' cannot be used: TLS is "
            "--downstream-tls and --upstream-tls; write it as tcp:..."
        ),
    ),
    (
        ("--listen", "haproxy:tcp:1"),
        (
            "--listen 'haproxy:tcp:1': an endpoint of the kind 'haproxy' cannot be used: no PROXY "
            "header is taken off here"
        ),
    ),
    (
        ("--listen", "haproxy:nothing"),
        (
            "--listen 'haproxy:nothing': that is no endpoint of the kind 'haproxy': ValueError: Unknown "
            "endpoint type: 'nothing'"
        ),
    ),
    (
        ("--upstream", "tcp:h:1\\"),
        "--upstream 'tcp:h:1\\\\': it ends in a backslash, which escapes nothing",
    ),
    (("--upstream", "=tcp:h:1"), "--upstream '=tcp:h:1': it does not begin with a name"),
    (("--upstream", ":"), "--upstream ':': it does not begin with a name"),
    (("--upstream", "tcp:=h:1"), "--upstream 'tcp:=h:1': there is no key before '=h'"),
    (
        ("--upstream", "tcp:h:port=1:port=2"),
        "--upstream 'tcp:h:port=1:port=2': 'port' is given twice",
    ),
    # Filters.
    (
        ("--filter", "envoy.filters.network.metadata_exchange:nonsense=1"),
        (
            "--filter 'envoy.filters.network.metadata_exchange:nonsense=1': unknown option nonsense; "
            "there is: protocol, timeout, max_size, opening, hold, additional_labels"
        ),
    ),
    (
        ("--filter", "istio.metadata_exchange:fast"),
        "--filter 'istio.metadata_exchange:fast': 'fast' is not of the form key=value",
    ),
    (("--filter", "a=b"), "--filter 'a=b': it does not begin with a name"),
    (
        (*INBOUND, "--filter", "envoy.filters.network.metadata_exchange"),
        (
            "--filter 'envoy.filters.network.metadata_exchange': the exchange is in the chain "
            "already; use --mx-..."
        ),
    ),
    (
        (*INBOUND, "--filter", "istio.metadata_exchange:hold=read"),
        (
            "--filter 'istio.metadata_exchange:hold=read': the exchange is in the chain already; "
            "use --mx-..."
        ),
    ),
    # Identities.
    (
        ("--upstream-san", "db:5432"),
        (
            "--upstream-san 'db:5432': 'db:5432' is no identity: write a DNS name or an IP address "
            "without port or brackets, or a URI such as spiffe://trust-domain/path"
        ),
    ),
    (
        ("--upstream-sni", "spiffe://cluster.local/ns/shop/sa/db"),
        (
            "--upstream-sni 'spiffe://cluster.local/ns/shop/sa/db': it has to be a DNS name or an IP "
            "address; give a URI to --upstream-san"
        ),
    ),
    # What does not go together.
    (
        ("--config", "envoy.yaml", "--upstream", "tcp:h:1", "--mode", "inbound"),
        ("--mode beside --config: the file says it; what goes with it is " + BESIDE_CONFIG),
    ),
    (
        ("--config", "envoy.yaml", "--mx-timeout", "5", "--access-log", "a"),
        ("--mx-timeout beside --config: the file says it; what goes with it is " + BESIDE_CONFIG),
    ),
    (
        ("--mode", "inbound", *ENDS),
        "--downstream-tls strict needs --tls-cert and --tls-key and --tls-ca",
    ),
    (
        ("--mode", "outbound", *ENDS),
        "--upstream-tls mutual needs --tls-cert and --tls-key and --tls-ca",
    ),
    (
        ("--mode", "inbound", *ENDS, *TLS[:4]),
        "--downstream-tls strict needs --tls-ca",
    ),
    (
        ("--mode", "outbound", *ENDS, *TLS[:4]),
        "--upstream-tls mutual needs --tls-ca",
    ),
    (
        ("--mode", "inbound", *ENDS, *TLS[4:], "--downstream-tls", "permissive"),
        "--downstream-tls permissive needs --tls-cert and --tls-key",
    ),
    ((*PLAIN, "--tls-cert", "db.crt"), "--tls-cert without --tls-key: give both"),
    ((*PLAIN, "--tls-key", "db.key"), "--tls-key without --tls-cert: give both"),
    (
        (*PLAIN, "--upstream-san", "db.example"),
        "--upstream-san without TLS to the upstream: add --upstream-tls mutual or simple",
    ),
    (
        (*PLAIN, "--upstream-sni", "db.example"),
        "--upstream-sni without TLS to the upstream: add --upstream-tls mutual or simple",
    ),
    (
        (*PLAIN, "--upstream-tls", "simple"),
        (
            "--upstream-tls simple needs --upstream-sni, --upstream-san or --tls-ca: every public "
            "web server would do"
        ),
    ),
]


class UsageTests(CommandLineCase):
    def test_each(self) -> None:
        answers = [(arguments, self.refusal(arguments)) for arguments, _ in USAGE]
        self.assertEqual(answers, [(arguments, (2, line + HINT)) for arguments, line in USAGE])

    def test_notASpiffeID(self) -> None:
        """
        What is wrong with it is another module's to say.
        """
        status, said = self.refusal(["--upstream-san", "spiffe://"])
        self.assertEqual(status, 2)
        self.assertIn("--upstream-san 'spiffe://': 'spiffe://' is no SPIFFE ID", said)

    def test_unknownFilter(self) -> None:
        """
        The line names those that are installed.
        """
        status, said = self.refusal([*PLAIN, "--filter", "nobody:key=value"])
        self.assertEqual(status, 2)
        self.assertTrue(
            said.startswith("--filter 'nobody:key=value': no filter 'nobody' is installed; there "),
            said,
        )
        self.assertIn("envoy.filters.network.metadata_exchange", said)

    def test_standardOutputOfADaemon(self) -> None:
        options = Options()
        options.parent = {"nodaemon": 0, "debug": False}  # type: ignore[assignment]
        self.assertEqual(
            self.refusal([*PLAIN, "--access-log", "-"], options),
            (
                2,
                (
                    "--access-log -: a daemon has no standard output; name a file, or run twistd "
                    f"with --nodaemon{HINT}"
                ),
            ),
        )

    def test_hostileText(self) -> None:
        """
        Whatever is typed, the answer is one bounded line that no terminal obeys.
        """
        status, said = self.refusal(["--mode", "a\nb\x1b[31m\u2028" + "x" * 5000])
        self.assertEqual(status, 2)
        self.assertTrue(said.isprintable())
        self.assertEqual(len(said), LINE_LIMIT)

    def test_controlCharacters(self) -> None:
        self.assertEqual(oneLine("a\n  b\x1b\u2028c"), "a b\\x1b c")
        self.assertEqual(oneLine("\x07é"), "\\x07é")


_EXPORTER = "opentelemetry.exporter.otlp.proto.http.metric_exporter"


class FileTests(CommandLineCase):
    def check(self, arguments: tuple[str, ...], line: str) -> None:
        status, said = self.refusal(arguments)
        self.assertEqual((status, said), (1, line))

    def path(self, name: str) -> str:
        return repr(str(self.directory / name))

    def test_noFile(self) -> None:
        for option, what in (
            ("--tls-cert", "certificate"),
            ("--tls-key", "key"),
            ("--tls-ca", "CA certificate"),
        ):
            arguments = list(INBOUND)
            arguments[arguments.index(option) + 1] = "gone"
            line = f"cannot read the {what} file {self.path('gone')}: No such file or directory"
            self.check(tuple(arguments), line)

    def test_fileOfTheOtherSide(self) -> None:
        """
        The outbound side's are read before anything starts, too.
        """
        arguments = list(OUTBOUND)
        arguments[arguments.index("--tls-key") + 1] = "gone"
        self.check(
            tuple(arguments),
            f"cannot read the key file {self.path('gone')}: No such file or directory",
        )

    def test_keyOfAnother(self) -> None:
        arguments = list(INBOUND)
        arguments[arguments.index("--tls-key") + 1] = "web.key"
        status, said = self.refusal(arguments)
        self.assertEqual(status, 1)
        self.assertIn(f"the key in {self.path('web.key')} does not ", said)
        self.assertIn(f" the first certificate in {self.path('db.crt')}: ", said)

    def test_simpleWithoutKey(self) -> None:
        """
        A simple upstream reads the CAs only.
        """
        Path("bad.crt").write_bytes(b"none")
        self.check(
            (*PLAIN, "--upstream-tls", "simple", "--tls-ca", "bad.crt"),
            f"no PEM CA certificate in {self.path('bad.crt')}: it needs a block that begins with "
            "'-----BEGIN CERTIFICATE-----'",
        )

    def test_endpointsFile(self) -> None:
        self.check(
            ("--listen", "ssl:443:privateKey=gone"),
            "--listen 'ssl:443:privateKey=gone': cannot read "
            f"{self.path('gone')}: No such file or directory",
        )

    def test_accessLog(self) -> None:
        os.mkdir("directory")
        for name, why in (
            ("directory", "Is a directory"),
            ("gone/log", "No such file or directory"),
            ("db.crt/log", "Not a directory"),
        ):
            line = f"--access-log {self.path(name)}: cannot write there: {why}"
            self.check((*PLAIN, "--access-log", name), line)

    def test_accessLogFormat(self) -> None:
        """
        An unknown operator, or a word that nobody knows, never gets as far as a line.
        """
        log = ("--access-log", "-")
        for arguments, line in [
            ((*log, "--access-log-format", "%BYTES_SEND%"), "position 0: "),
            ((*log, "--access-log-format", '{"a": "%NO%"}'), "json_format.a: position 0: "),
            ((*log, "--access-log-format", '{"a'), "that is no JSON: "),
            ((*log, "--access-log-format", "isto"), "it is none of json, envoy, istio, and has no"),
            (("--access-log-format", "istio"), "--access-log-format without --access-log"),
            (
                (*log, "--access-log-interval", "5"),
                "--access-log-interval needs --access-log-format",
            ),
        ]:
            status, said = self.refusal([*PLAIN, *arguments])
            self.assertEqual(status, 2)
            self.assertIn(line, said)

    def test_otel(self) -> None:
        """
        What it may be, and what it needs.
        """
        status, said = self.refusal([*PLAIN, "--otel", "logs"])
        self.assertEqual(status, 2)
        self.assertIn("--otel 'logs': it has to be traces, metrics or traces,metrics, or off", said)
        with patch.dict(os.environ, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}):
            status, said = self.refusal([*PLAIN, "--otel", "traces"])
        self.assertEqual(status, 2)
        self.assertIn("OTEL_EXPORTER_OTLP_PROTOCOL=grpc: OTLP is sent as http/protobuf only", said)
        with patch.dict(sys.modules, {_EXPORTER: None}):
            for name in [name for name in sys.modules if name.startswith("mxproxy.observe.otel")]:
                del sys.modules[name]
            self.check(
                (*PLAIN, "--otel", "traces"),
                f"--otel needs OpenTelemetry's packages ({_EXPORTER} is not installed): "
                "pip install 'mxproxy[otel]'",
            )
        # Another package's files in their place, which have not all of the names.
        with patch.dict(sys.modules, {_EXPORTER: ModuleType(_EXPORTER)}):
            for name in [name for name in sys.modules if name.startswith("mxproxy.observe.otel")]:
                del sys.modules[name]
            status, said = self.refusal([*PLAIN, "--otel", "traces"])
        self.assertEqual(status, 1)
        self.assertTrue(said.endswith("--force-reinstall --no-deps opentelemetry-proto"), said)

    def test_keylog(self) -> None:
        self.check(
            (*PLAIN, "--tls-keylog", "gone/keys"),
            f"--tls-keylog {self.path('gone/keys')}: cannot write there: No such file or directory",
        )

    def metadata(self, text: str | bytes, name: str = "node") -> tuple[int, str]:
        Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
        return self.refusal([*PLAIN, "--node-metadata", name])

    def test_metadataFile(self) -> None:
        self.check(
            (*PLAIN, "--node-metadata", "gone"),
            f"cannot read the node metadata file {self.path('gone')}: No such file or directory",
        )

    def test_metadata(self) -> None:
        node = self.path("node")
        quotes = "where text is needed: put it in quotes"
        mapping = (
            "where node metadata is a mapping, for instance {'NAME': 'web-1', 'NAMESPACE': 'shop'}"
        )
        for text, line in (
            ("", f"{node} holds nothing {mapping}"),
            ("[1]", f"{node} holds a list {mapping}"),
            ("just words", f"{node} holds text {mapping}"),
            ("2026-01-01", f"{node} holds a date {mapping}"),
            ("NAME: 1.10", f"{node}: NAME is the number 1.1 {quotes}"),
            ("OWNER: no", f"{node}: OWNER is the truth value False {quotes}"),
            ("NAMESPACE:", f"{node}: NAMESPACE is nothing {quotes}"),
            ("LABELS: {version: 1.10}", f"{node}: LABELS['version'] is the number 1.1 {quotes}"),
            ("LABELS: {app: {a: b}}", f"{node}: LABELS['app'] is a mapping {quotes}"),
            ("LABELS: {1: b}", f"{node}: the key 1 is the number 1 {quotes}"),
            ("on: b", f"{node}: the key True is the truth value True {quotes}"),
            ("LABELS: x", f"{node}: LABELS is text where it has to be a mapping of text"),
            ('{"NAME": "\\ud800"}', f"{node}: 'NAME': '\\ud800' cannot be written as"),
            (b"\xff", f"{node} is not UTF-8 text: the byte at 0 is none of it"),
            ("a: b: c", f"{node} is neither JSON nor YAML: line 1, column 5: mapping values are"),
            ("a: \x01", f"{node} is neither JSON nor YAML: unacceptable character #x0001:"),
            ("2026-13-45", f"{node} is neither JSON nor YAML: month must be in 1..12"),
            ("[" * 100_000, f"{node} is nested too deeply for node metadata"),
            ("- " * 20_000, f"{node} is nested too deeply for node metadata"),
        ):
            status, said = self.metadata(text)
            self.assertEqual((status, said[: len(line)]), (1, line), said)

    def test_metadataNamedJSON(self) -> None:
        """
        A file that says it is JSON is not tried as YAML: the message would be about YAML.
        """
        self.assertEqual(
            self.metadata('{"NAME": "x",}', "node.json")[1].partition(" is not JSON: ")[:2],
            (self.path("node.json"), " is not JSON: "),
        )

    def test_metadataRead(self) -> None:
        """
        JSON with tabs and YAML come out alike; what does not travel may be anything.
        """
        for text in ('{"NAME":\t"db", "X": {"a": [1]}}', "NAME: db\nX: {a: [1]}\n"):
            Path("node").write_text(text)
            node = parse([*PLAIN, "--node-metadata", "node", "--node-id", "n"]).plan.node
            self.assertEqual((node.id, dict(node.metadata)), ("n", {"NAME": "db", "X": {"a": [1]}}))

    def test_nodeId(self) -> None:
        self.assertEqual(
            self.refusal([*PLAIN, "--node-id", "\udc80"]),
            (2, f"--node-id '\\udc80': that is no UTF-8 text{HINT}"),
        )


class NotRefusedTests(CommandLineCase):
    def test_raisesUsageErrorInside(self) -> None:
        """
        What is refused is refused by exceptions; only C{parseOptions} exits.
        """
        self.assertRaises(UsageError, Options().parseArgs, "more")

    def test_unusedFiles(self) -> None:
        """
        Switching TLS off to look at something does not ask for other options to be removed.
        """
        plan = parse([*INBOUND, "--downstream-tls", "disable"]).plan
        self.assertIsNone(plan.listeners[0].chains[0].tls)
