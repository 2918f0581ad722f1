"""
The command line of C{twistd mxproxy}: its options, its help, and how it refuses.

All options are in one table, L{GROUPS}; the parser, the help and the checks are made of it.
What they mean together is L{mxproxy.config.sidecar}.  Everything that can be known without
a reactor is checked while the command line is parsed: a mistake is answered by one line on
standard error and the exit status 2 (the command line) or 1 (a file that it names), before
twistd has started anything.  Twisted's own answer to a UsageError would be the whole help on
standard output with the message below it.
"""

from __future__ import annotations

import getopt
import json
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from twisted.copyright import version as twistedVersion
from twisted.python import usage

from .. import __version__
from ..observe.format import NAMED, compileFormat
from ..observe.writer import STDOUT, checkWritable
from ..plugins import UnknownFilter, findFilter
from ..socketoptions import SocketOption, keepalive, userTimeout
from ..timeouts import HALF_CLOSED, IDLE, Timeouts
from ..tls.identity import AcceptedURI, parseAccepted
from ..tls.settings import TLSProfile
from ..transports import DIRECT, LAYERED
from ..wire.metadata import Node
from .descriptions import checkClientEndpoint, checkServerEndpoint, parseFilter, split
from .envoy import readPlan
from .errors import ConfigurationError, reasons
from .files import Files, recording
from .nodemetadata import readNodeMetadata
from .plan import (
    DRAIN_TIME,
    MAX_HANDSHAKES,
    METADATA_EXCHANGE,
    AccessLogPlan,
    FilterSpec,
    Limits,
    Plan,
    StatsPlan,
)
from .sidecar import (
    DISABLE,
    INBOUND,
    MUTUAL,
    OUTBOUND,
    PERMISSIVE,
    SIMPLE,
    STRICT,
    Sidecar,
    makePlan,
)

#: Where the admin interface listens unless somebody says otherwise.
LOOPBACK = {"tcp": "127.0.0.1", "tcp6": r"\:\:1"}

#: Exit statuses: of a file that cannot be used, and of a command line that cannot.
EXIT_FILE = 1
EXIT_USAGE = 2

# An ALPN name's length is one byte on the wire (RFC 7301, section 3.1).
_ALPN_LIMIT = 255

# The prefix's length field has four bytes.
_PREFIX_LIMIT = 2**32 - 1

# Below the 240 s after which the most forgetful of the large clouds' load balancers forgets a
# connection that is silent; and a peer that has vanished is noticed in five minutes.
_KEEPALIVE = "180:30:4"

_OFF = "off"

#: The format of the access log that is mxproxy's own.
OWN_FORMAT = "json"

_WORKERS_LIMIT = 256


# -- from text to value: each raises a ValueError that says what would be right


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError("that is no number of seconds above 0")
    return value


def _keepalive(text: str) -> tuple[SocketOption, ...]:
    if text == _OFF:
        return ()
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split(":")]
    if len(numbers) != 3 or not all(numbers):
        raise ValueError(
            f"it has to be TIME:INTERVAL:PROBES, whole numbers as in {_KEEPALIVE}, or {_OFF}"
        )
    return keepalive(*numbers)


def _userTimeout(text: str) -> tuple[SocketOption, ...]:
    value = _secondsOrZero(text)
    return userTimeout(value) if value else ()


def _secondsOrZero(text: str) -> float:
    try:
        return float(text) if float(text) == 0 else _seconds(text)
    except ValueError:
        raise ValueError("that is no number of seconds, nor 0") from None


def _limit(text: str) -> int | None:
    if not text.isdecimal():
        raise ValueError("that is no whole number of connections, nor 0")
    return int(text) or None


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ValueError("that is no whole number above 0")
    return int(text)


def _bytes(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 0 < value <= _PREFIX_LIMIT:
        raise ValueError(f"that is no whole number of bytes from 1 to {_PREFIX_LIMIT}")
    return value


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _WORKERS_LIMIT:
        raise ValueError(f"that is no whole number from 1 to {_WORKERS_LIMIT}")
    return int(text)


def _oneOf(*choices: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"it has to be {' or '.join(choices)}")
        return text

    return check


def _alpn(text: str) -> str:
    if len(_utf8(text).encode("utf-8")) > _ALPN_LIMIT:
        raise ValueError(f"an ALPN name has at most {_ALPN_LIMIT} bytes")
    return text


def _utf8(text: str) -> str:
    # An argument of other bytes reaches Python with surrogates in it.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("that is no UTF-8 text") from None
    return text


def _label(text: str) -> str:
    if "," in text:
        raise ValueError("a label's name has no comma; give the option once for each label")
    return text


def _serverEndpoint(text: str) -> str:
    checkServerEndpoint(text)
    return text


def _clientEndpoint(text: str) -> str:
    checkClientEndpoint(text)
    return text


def _identity(text: str) -> str:
    parseAccepted(text)
    return text


def _serverName(text: str) -> str:
    if isinstance(parseAccepted(text), AcceptedURI):
        raise ValueError("it has to be a DNS name or an IP address; give a URI to --upstream-san")
    return text


def _filter(text: str) -> FilterSpec:
    spec = parseFilter(text)
    try:
        findFilter(spec.name).configure(spec.options)
    except UnknownFilter as error:
        raise ValueError(str(error)) from error
    return spec


def _file(text: str) -> str:
    # twistd changes the directory (--rundir) before anything is opened again.
    return os.path.abspath(text)


def _adminEndpoint(text: str) -> str:
    checkServerEndpoint(text)
    kind, values, named = split(text)
    if kind in LOOPBACK and "interface" not in named and len(values) < 2:
        return f"{text}:interface={LOOPBACK[kind]}"
    return text


def _hostName(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise ValueError("that is no host name; it has neither a scheme nor a port")
    return text


def _secretFile(text: str) -> str:
    path = _file(text)
    try:
        checkWritable(path)
    except OSError as error:
        raise ConfigurationError(f"{path!r}: cannot write there: {error.strerror}") from error
    return path


def _accessLogFormat(text: str) -> AccessLogPlan:
    """
    The format alone; the path is another option's.
    """
    plan = AccessLogPlan(STDOUT)
    if text.startswith("{"):
        try:
            plan = replace(plan, json_format=json.loads(text))
        except ValueError as error:
            raise ValueError(f"that is no JSON: {error}") from error
    elif text != OWN_FORMAT:
        # A shell's argument seldom has an end of line.
        plan = replace(plan, text_format=NAMED.get(text) or text.rstrip("\n") + "\n")
        if text not in NAMED and "%" not in text:
            known = ", ".join([OWN_FORMAT, *NAMED])
            raise ValueError(f"it is none of {known}, and has no %OPERATOR% in it")
    compileFormat(plan)
    return plan


def _otel(text: str) -> tuple[str, ...]:
    if text == _OFF:
        return ()
    signals = tuple(dict.fromkeys(text.split(",")))
    if not set(signals) <= {"traces", "metrics"}:
        raise ValueError(f"it has to be traces, metrics or traces,metrics, or {_OFF}")
    try:
        from ..observe.otel.exporting import checkEnvironment
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"needs OpenTelemetry's packages ({error.name} is not installed): "
            "pip install 'mxproxy[otel]'"
        ) from None
    checkEnvironment()
    return signals


def _logFile(text: str) -> str:
    return text if text == STDOUT else _file(text)


#: What makes an absolute path of what is typed.
_FILES = (_file, _logFile, _secretFile)


# -- the table


@dataclass(frozen=True)
class Option:
    """
    One option of the command line.

    @ivar value: what stands for its value in the help.
    @ivar default: in the form in which it is typed; C{None} when there is none, or none
        that is always the same.
    @ivar check: makes the value of the text, or raises a ValueError that says why not.
    @ivar repeatable: it may be given several times, and is a list.
    @ivar process: it is about the process, whatever runs in it, and goes with C{--config}.
    """

    name: str
    value: str
    doc: str
    check: Callable[[str], object] = str
    default: str | None = None
    repeatable: bool = False
    process: bool = False


GROUPS: tuple[tuple[str, tuple[Option, ...]], ...] = (
    (
        "The sidecar",
        (
            Option(
                "mode",
                f"{INBOUND}|{OUTBOUND}",
                "inbound: stands before an application and takes mutual TLS and the metadata "
                "exchange from outside. outbound: the mirror, for what an application calls.",
                _oneOf(INBOUND, OUTBOUND),
            ),
            Option(
                "listen",
                "ENDPOINT",
                "Where to listen, a Twisted server endpoint: "
                "tcp:15006:interface=127.0.0.1, unix:PATH, systemd:...",
                _serverEndpoint,
            ),
            Option(
                "upstream",
                "ENDPOINT",
                "Where to connect to, a Twisted client endpoint: tcp:127.0.0.1:5432, "
                "unix:PATH. Several are taken in turn.",
                _clientEndpoint,
                repeatable=True,
            ),
            Option(
                "connect-timeout",
                "SECONDS",
                "For the connection to one upstream.",
                _seconds,
                "10",
            ),
            Option(
                "filter",
                "NAME[:key=value:...]",
                "A network filter, in this order, between the exchange and the upstream. "
                "A colon in a value is written \\:.",
                _filter,
                repeatable=True,
            ),
        ),
    ),
    (
        "TLS",
        (
            Option(
                "downstream-tls",
                f"{DISABLE}|{PERMISSIVE}|{STRICT}",
                "What clients have to speak: strict is mutual TLS; permissive is that, "
                "plaintext, or TLS of the application's own, which is passed through. "
                "Inbound: strict; outbound: disable.",
                _oneOf(DISABLE, PERMISSIVE, STRICT),
            ),
            Option(
                "upstream-tls",
                f"{DISABLE}|{SIMPLE}|{MUTUAL}",
                "What to speak to the upstream: simple shows no certificate and exchanges "
                "nothing. Inbound: disable; outbound: mutual.",
                _oneOf(DISABLE, SIMPLE, MUTUAL),
            ),
            Option("tls-cert", "FILE", "The own certificate and its chain, PEM.", _file),
            Option("tls-key", "FILE", "The certificate's key, PEM.", _file),
            Option("tls-ca", "FILE", "The CAs trusted to sign a peer's certificate, PEM.", _file),
            Option(
                "tls-profile",
                "|".join(profile.value for profile in TLSProfile),
                "TLS versions and cipher suites, by the names of Mozilla's guideline: "
                "intermediate is TLS 1.2 and 1.3, modern is 1.3 alone.",
                _oneOf(*(profile.value for profile in TLSProfile)),
                TLSProfile.INTERMEDIATE.value,
            ),
            Option(
                "tls-crl",
                "FILE",
                "Certificates that the CAs have revoked, PEM, one list (CRL) or several. Each "
                "CA of a peer's chain has to have one that has not expired, or the peer is "
                "refused.",
                _file,
            ),
            Option(
                "tls-keylog",
                "FILE",
                "For debugging: append the secrets of all TLS connections to this file, in the "
                "form of SSLKEYLOGFILE, for Wireshark and mxproxy decode. Whoever reads it can "
                "read the traffic.",
                _secretFile,
            ),
            Option(
                "tls-reload-interval",
                "SECONDS",
                "How often to look whether these files have been renewed. New connections get "
                "what is new when it is good as a whole.",
                _seconds,
                "5",
                process=True,
            ),
            Option(
                "tls-session-resumption",
                "off|on",
                "on: TLS sessions are resumed for 5 minutes, which saves most of a handshake; "
                "certificates are judged again each time, and a renewal ends all sessions.",
                _oneOf("off", "on"),
                "off",
                process=True,
            ),
            Option("upstream-sni", "NAME", "The server name to ask the upstream for.", _serverName),
            Option(
                "upstream-san",
                "ID",
                "An identity to accept of the upstream: spiffe://..., a DNS name or an IP "
                "address. Several: any of them; none: whoever a trusted CA has signed.",
                _identity,
                repeatable=True,
            ),
            Option("tls-handshake-timeout", "SECONDS", "For a TLS handshake.", _seconds, "10"),
            Option(
                "inspection-timeout",
                "SECONDS",
                "With permissive: a client that is silent for so long speaks plaintext.",
                _seconds,
                "1",
            ),
        ),
    ),
    (
        "The metadata exchange",
        (
            Option("node-id", "ID", "Who we are: the node's id.", _utf8, ""),
            Option(
                "node-metadata",
                "FILE",
                "Who we are: NAME, NAMESPACE, WORKLOAD_NAME, LABELS, ... as JSON or YAML.",
                _file,
            ),
            Option(
                "mx-alpn",
                "NAME",
                "The ALPN protocol that stands for the exchange.",
                _alpn,
                "istio-peer-exchange",
            ),
            Option(
                "mx-timeout",
                "SECONDS",
                "For how long a connection waits for its peer's metadata.",
                _seconds,
                "5",
            ),
            Option("mx-max-size", "BYTES", "The longest metadata accepted.", _bytes, "65536"),
            Option(
                "mx-server-opening",
                "reply|eager",
                "When the accepting side sends its own: after the client's, or at once (for "
                "Istio's own sidecars in front of MySQL, SMTP, SSH).",
                _oneOf("reply", "eager"),
                "reply",
            ),
            Option(
                "mx-hold",
                "both|read",
                "What waits for the peer's metadata: both directions, or reading only, which "
                "saves a round trip.",
                _oneOf("both", "read"),
                "both",
            ),
            Option(
                "mx-additional-label",
                "NAME",
                "A label to exchange beside the usual ones.",
                _label,
                repeatable=True,
            ),
        ),
    ),
    (
        "Timeouts of a connection that is made",
        (
            Option(
                "idle-timeout",
                "SECONDS",
                "Close a connection on which no byte has moved for so long; 0: never.",
                _secondsOrZero,
                f"{IDLE:g}",
            ),
            Option(
                "half-closed-timeout",
                "SECONDS",
                "The same, once one side has ended its stream; 0: as the other connections.",
                _secondsOrZero,
                f"{HALF_CLOSED:g}",
            ),
            Option(
                "max-connection-duration",
                "SECONDS",
                "Close a connection that has been open for so long, whatever moves; 0: never.",
                _secondsOrZero,
                "0",
            ),
            Option(
                "tcp-keepalive",
                "TIME:INTERVAL:PROBES",
                "On both sides: after TIME seconds of silence ask the peer's kernel every INTERVAL "
                "seconds whether it is there; after so many PROBES without an answer the "
                f"connection is reset. {_OFF}: never ask.",
                _keepalive,
                _KEEPALIVE,
            ),
            Option(
                "tcp-user-timeout",
                "SECONDS",
                "On both sides: reset a connection whose peer has for so long not acknowledged "
                "what was sent, or not read any of it; 0: leave that to the system, which on "
                "Linux takes a quarter of an hour for the former, and for ever for the latter.",
                _userTimeout,
                "0",
            ),
        ),
    ),
    (
        "Limits",
        (
            Option(
                "max-connections",
                "NUMBER",
                "How many connections may be open; one too many is closed at once. 0: as many as "
                "the limit of open files allows, after which they wait to be accepted.",
                _limit,
                "0",
            ),
            Option(
                "max-connections-per-address",
                "NUMBER",
                "The same for each IPv4 address and each IPv6 /64 that connects; not for use "
                "behind a load balancer, which has one address. 0: any number.",
                _limit,
                "0",
            ),
            Option(
                "max-handshakes",
                "NUMBER",
                "How many accepted connections may be in their TLS handshake or exchange; when "
                "there is one too many, one of the address that has most is dropped. Also beside "
                "--config.",
                _number,
                f"{MAX_HANDSHAKES}",
                process=True,
            ),
        ),
    ),
    (
        "Metrics and the admin interface",
        (
            Option(
                "admin",
                "ENDPOINT",
                "Where to answer what runs: a page at /, metrics at /stats/prometheus, what else "
                "at /help. A Twisted server endpoint; tcp:15000 is on 127.0.0.1 unless it has an "
                "interface=.",
                _adminEndpoint,
                process=True,
            ),
            Option(
                "admin-host",
                "NAME",
                "A host name to answer requests by, beside IP addresses, localhost and this "
                "machine's name.",
                _hostName,
                repeatable=True,
                process=True,
            ),
            Option(
                "service",
                "HOST",
                "What the upstream is called in metrics: db.data.svc.cluster.local is the service "
                "db in the namespace data.",
                _utf8,
            ),
            Option(
                "stats-workloads",
                "FILE",
                "Who is at which address, for peers without the exchange: YAML or JSON, read "
                "again when it changes.",
                _file,
                process=True,
            ),
            Option(
                "stats-unknown-workload",
                "unknown|service-account",
                "What a workload is called that neither the exchange nor that file names.",
                _oneOf("unknown", "service-account"),
                "unknown",
                process=True,
            ),
            Option(
                "stats-eviction",
                "SECONDS",
                "Drop metrics of peers that have been gone for so long; 0: never.",
                _secondsOrZero,
                f"{StatsPlan.eviction:g}",
                process=True,
            ),
        ),
    ),
    (
        "The process",
        (
            Option(
                "access-log",
                "FILE|-",
                "Write a line of JSON for each connection made and ended; - is standard "
                "output. SIGUSR1 reopens the file.",
                _logFile,
                process=True,
            ),
            Option(
                "access-log-format",
                "json|istio|envoy|TEXT",
                "What the lines are: mxproxy's own JSON; the default line of Istio's sidecars, or "
                "of Envoy, at a connection's end; or a text, or an object of JSON, with Envoy's "
                "%OPERATORS% for TCP.",
                _accessLogFormat,
                "json",
                process=True,
            ),
            Option(
                "access-log-interval",
                "SECONDS",
                "With such a format: a line also when a connection is made, and every so many "
                "seconds while it lasts. %ACCESS_LOG_TYPE% says which it is. 0: only at its end.",
                _secondsOrZero,
                "0",
                process=True,
            ),
            Option(
                "workers",
                "N",
                "Accept in so many processes, one of them for each CPU, say. The first process "
                "only looks after them: it is the one to be signalled.",
                _workers,
                "1",
                process=True,
            ),
            Option(
                "otel",
                "SIGNALS",
                "traces, metrics or traces,metrics: a span for each connection, and all metrics, "
                "by OTLP over HTTP, to where the OTEL_... variables of the environment say "
                "(http://localhost:4318). Needs mxproxy[otel].",
                _otel,
                "off",
                process=True,
            ),
            Option(
                "drain-time",
                "SECONDS",
                "When told to stop, by SIGTERM or SIGINT: how long open connections may last. "
                "They are closed one after the other in this time; a second signal ends them at "
                "once, and so does 0.",
                _secondsOrZero,
                f"{DRAIN_TIME:g}",
                process=True,
            ),
            Option(
                "data-path",
                f"{DIRECT}|{LAYERED}",
                "How bytes go through. direct: TLS on the socket itself. layered: Twisted's "
                "transports, and TLS over memory; slower, and the same in everything else: to try "
                "when direct is suspected of something.",
                _oneOf(DIRECT, LAYERED),
                DIRECT,
                process=True,
            ),
            Option(
                "config",
                "FILE",
                "An Envoy bootstrap, YAML or JSON, instead of the groups above. Several listeners, "
                "filter chains, clusters; mxproxy validate FILE checks one; docs/configuration.md "
                "says what it may contain. SIGHUP reads it again.",
                _file,
                process=True,
            ),
        ),
    ),
)

_OPTIONS = tuple(option for _, options in GROUPS for option in options)
_BESIDE_CONFIG = [option.name for option in _OPTIONS if option.process and option.name != "config"]

_EXAMPLES = r"""
A pair, to try on one machine:

  twistd -n --pidfile= mxproxy --mode inbound \
      --listen tcp:15006 --upstream tcp:127.0.0.1:5432 \
      --tls-cert db.crt --tls-key db.key --tls-ca ca.crt \
      --node-metadata db.json --access-log -
  twistd -n --pidfile= mxproxy --mode outbound \
      --listen tcp:15001:interface=127.0.0.1 --upstream tcp:127.0.0.1:15006 \
      --upstream-san spiffe://cluster.local/ns/shop/sa/db \
      --tls-cert web.crt --tls-key web.key --tls-ca ca.crt \
      --node-metadata web.json --access-log -
  psql -h 127.0.0.1 -p 15001
"""

_MODE_TLS = {
    INBOUND: {"downstream-tls": STRICT, "upstream-tls": DISABLE},
    OUTBOUND: {"downstream-tls": DISABLE, "upstream-tls": MUTUAL},
}

_HELP_MARGIN = 26


class Options(usage.Options):
    """
    The options of C{twistd mxproxy}.

    As a mapping it holds each option's value by its name: checked, with its default if it
    was not given; lists for those that may be given several times.

    @ivar plan: what the options come to.
    @ivar files: the files that it was made of, see L{mxproxy.config.files}.
    """

    synopsis = "[options]"
    optParameters = [[option.name, None, option.default, option.doc] for option in _OPTIONS]

    plan: Plan
    files: Files
    _arguments: Sequence[str] = ()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse the command line and make the plan of it.

        @raise SystemExit: it cannot be used; why is on standard error.
        """
        self._arguments = sys.argv[1:] if options is None else options
        try:
            super().parseOptions(self._arguments)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            refuse(f"{error} (try --help)", EXIT_USAGE)
        except ConfigurationError as error:
            refuse(error, EXIT_FILE)

    def parseArgs(self, *arguments: str) -> None:
        """
        There are no arguments beside the options.
        """
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} belongs to no option")

    def postOptions(self) -> None:
        """
        Check each value, then all of them together.
        """
        given = self._readGiven()
        if "config" in given:
            others = given.keys() - {option.name for option in _OPTIONS if option.process}
            if others:
                raise usage.UsageError(
                    f"--{min(others)} beside --config: the file says it; what goes with it is "
                    + ", ".join(f"--{name}" for name in _BESIDE_CONFIG)
                )
        for option in _OPTIONS:
            self._check(option, given.get(option.name, ()))
        self._checkAccessLog(self["access-log"])
        self._checkFormat(given)
        self._checkWorkers(self["workers"])
        with recording() as self.files:
            self.plan = self.readPlan()

    def readPlan(self) -> Plan:
        """
        Make a plan of what is in the files now: the configuration, or node metadata and
        certificates.  The values of the command line itself stay as they were typed.

        @raise UsageError: options that do not go together.
        @raise ConfigurationError: a file cannot be used.
        """
        plan = self._planOfOptions() if self["config"] is None else readPlan(self["config"])
        return replace(
            plan,
            access_log=self._accessLog(),
            otel=self["otel"],
            drain_time=self["drain-time"],
            max_handshakes=self["max-handshakes"],
            tls_reload_interval=self["tls-reload-interval"],
            tls_session_resumption=self["tls-session-resumption"] == "on",
            admin=self["admin"] or plan.admin,
            admin_hosts=tuple(self["admin-host"]),
            stats=StatsPlan(
                eviction=self["stats-eviction"],
                workloads=self["stats-workloads"] or "",
                service_accounts=self["stats-unknown-workload"] == "service-account",
            ),
        )

    def forWorker(self) -> list[str]:
        """
        @return: arguments that mean the same in a process that begins in another directory and
            is one of several.
        """
        checks = {option.name: option.check for option in _OPTIONS}
        arguments = []
        for name, texts in self._readGiven().items():
            for text in texts:
                value = checks[name](text) if checks[name] in _FILES else text
                if name != "workers":
                    arguments += [f"--{name}", str(value)]
        return arguments

    def _checkWorkers(self, count: int) -> None:
        parent: Mapping[str, Any] = self.parent or {}
        if count > 1 and parent.get("chroot"):
            raise usage.UsageError(
                "--workers with twistd's --chroot: a worker is a program of its own, which is "
                "not there; leave one of them out"
            )

    def _readGiven(self) -> dict[str, list[str]]:
        """
        What was typed, by option.  Twisted keeps neither an option's earlier values nor
        whether it was given at all.
        """
        typed, _ = getopt.getopt(list(self._arguments), self.shortOpt, self.longOpt)
        given: dict[str, list[str]] = {}
        for name, text in typed:
            given.setdefault(name.removeprefix("--"), []).append(text)
        return given

    def _check(self, option: Option, texts: Sequence[str]) -> None:
        if len(texts) > 1 and not option.repeatable:
            raise usage.UsageError(f"--{option.name} is given {len(texts)} times: say it once")
        values = [_value(option, text) for text in texts]
        if option.repeatable:
            self[option.name] = values
        elif values:
            self[option.name] = values[0]
        elif option.default is not None:
            self[option.name] = option.check(option.default)

    def _checkFormat(self, given: Mapping[str, object]) -> None:
        for name in "access-log-format", "access-log-interval":
            if name in given and self["access-log"] is None:
                raise usage.UsageError(f"--{name} without --access-log: say where to write")
        format: AccessLogPlan = self["access-log-format"]
        if self["access-log-interval"] and not (format.text_format or format.json_format):
            raise usage.UsageError(
                "--access-log-interval needs --access-log-format istio, envoy or one of your own: "
                "mxproxy's own lines are written when a connection is made and at its end"
            )

    def _accessLog(self) -> AccessLogPlan | None:
        path: str | None = self["access-log"]
        format: AccessLogPlan = self["access-log-format"]
        if path is None:
            return None
        interval = self["access-log-interval"]
        return replace(format, path=path, flush_interval=interval, on_connected=interval > 0)

    def _checkAccessLog(self, path: str | None) -> None:
        if path == STDOUT:
            parent: Mapping[str, Any] = self.parent or {}
            if "nodaemon" in parent and not (parent["nodaemon"] or parent["debug"]):
                raise usage.UsageError(
                    "--access-log -: a daemon has no standard output; name a file, or run "
                    "twistd with --nodaemon"
                )
        elif path is not None:
            try:
                checkWritable(path)
            except OSError as error:
                raise ConfigurationError(
                    f"--access-log {path!r}: cannot write there: {error.strerror}"
                ) from error

    def _planOfOptions(self) -> Plan:
        for name, choices in (
            ("mode", f"say --mode {INBOUND} or --mode {OUTBOUND}"),
            ("listen", "say where to listen, as in --listen tcp:15006"),
            ("upstream", "say where to connect to, as in --upstream tcp:127.0.0.1:5432"),
        ):
            if not self[name]:
                raise usage.UsageError(f"--{name} is missing: {choices}")
        for name, default in _MODE_TLS[self["mode"]].items():
            if self[name] is None:
                self[name] = default
        return makePlan(
            Sidecar(
                mode=self["mode"],
                listen=self["listen"],
                upstream=tuple(self["upstream"]),
                downstream_tls=self["downstream-tls"],
                upstream_tls=self["upstream-tls"],
                node=self._node(),
                exchange=self._exchange(),
                filters=tuple(self["filter"]),
                tls_cert=self["tls-cert"],
                tls_key=self["tls-key"],
                tls_ca=self["tls-ca"],
                tls_crl=self["tls-crl"],
                tls_profile=TLSProfile(self["tls-profile"]),
                upstream_sni=self["upstream-sni"],
                upstream_san=tuple(self["upstream-san"]),
                connect_timeout=self["connect-timeout"],
                tls_handshake_timeout=self["tls-handshake-timeout"],
                inspection_timeout=self["inspection-timeout"],
                service=self["service"],
                timeouts=Timeouts(
                    self["idle-timeout"],
                    self["half-closed-timeout"],
                    self["max-connection-duration"],
                ),
                socket_options=(*self["tcp-keepalive"], *self["tcp-user-timeout"]),
                limits=Limits(self["max-connections"], self["max-connections-per-address"]),
                tls_keylog=self["tls-keylog"],
            )
        )

    def _node(self) -> Node:
        path = self["node-metadata"]
        node = Node(id=self["node-id"], metadata={} if path is None else readNodeMetadata(path))
        try:
            node.prefix(self["mx-additional-label"])
        except ValueError as error:
            raise ConfigurationError(f"{path!r}: {error}") from error
        return node

    def _exchange(self) -> FilterSpec:
        return FilterSpec(
            METADATA_EXCHANGE,
            {
                "protocol": self["mx-alpn"],
                "timeout": f"{self['mx-timeout']:.15g}",
                "max_size": str(self["mx-max-size"]),
                "opening": self["mx-server-opening"],
                "hold": self["mx-hold"],
                "additional_labels": ",".join(self["mx-additional-label"]),
            },
            where="--mx-...",
        )

    # -- help

    def opt_version(self) -> NoReturn:
        """
        Show the version and exit.
        """
        sys.stdout.write(f"mxproxy {__version__} (Twisted {twistedVersion})\n")
        raise SystemExit(0)

    def opt_help(self) -> NoReturn:
        """
        Show this help and exit.
        """
        sys.stdout.write(str(self))
        raise SystemExit(0)

    def getUsage(self, width: int | None = None) -> str:
        """
        The options by group, and an example.
        """
        columns = width or int(os.environ.get("COLUMNS", "80"))
        lines = [
            "",
            *textwrap.wrap(
                "A sidecar: carries an application's TCP connections over mutual TLS, and "
                "exchanges workload metadata with the sidecar on the other side before the "
                "first byte of the application.",
                columns,
            ),
        ]
        for title, options in GROUPS:
            lines += ["", f"{title}:"]
            for option in options:
                lines += _helpOf(f"--{option.name} {option.value}", _describe(option), columns)
        lines += _helpOf("--version", "Show the version and exit.", columns)
        lines += _helpOf("--help", "Show this help and exit.", columns)
        return "\n".join(lines) + "\n" + _EXAMPLES


def _value(option: Option, text: str) -> Any:
    name = f"--{option.name}"
    if not text:
        raise usage.UsageError(f"{name} is empty")
    try:
        return option.check(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name} {error}") from error
    except ValueError as error:
        raise usage.UsageError(f"{name} {text!r}: {error}") from error


def _describe(option: Option) -> str:
    repeatable = " Repeatable." if option.repeatable else ""
    default = f" Default: {option.default}." if option.default else ""
    return f"{option.doc}{repeatable}{default}"


def _helpOf(head: str, doc: str, columns: int) -> list[str]:
    indent = " " * _HELP_MARGIN
    lines = textwrap.wrap(
        doc,
        columns,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    head = f"  {head}"
    if len(head) + 2 <= _HELP_MARGIN:
        lines[0] = head.ljust(_HELP_MARGIN) + lines[0][_HELP_MARGIN:]
        return lines
    return [head, *lines]


def refuse(why: str | Exception, status: int) -> NoReturn:
    """
    Say why on standard error, a line for each reason, and exit.
    """
    sys.stderr.write("".join(f"twistd mxproxy: {line}\n" for line in reasons(why)))
    raise SystemExit(status)
