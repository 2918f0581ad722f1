"""
The command line of C{twistd mxproxy}: its options, its help, and how it refuses.

All options are in one table, L{mxproxy.config.optiontable}; the parser, the help and the checks are
made of it.  What they mean together is L{mxproxy.config.sidecar}.  Everything that can be known without
a reactor is checked while the command line is parsed: a mistake is answered by one line on
standard error and the exit status 2 (the command line) or 1 (a file that it names), before
twistd has started anything.  Twisted's own answer to a UsageError would be the whole help on
standard output with the message below it.
"""

from __future__ import annotations

import getopt
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from twisted.copyright import version as twistedVersion
from twisted.python import usage

from .. import __version__
from ..observe.writer import STDOUT, checkWritable
from ..timeouts import Timeouts
from ..tls.settings import TLSProfile
from ..wire.metadata import Node
from . import optionvalues as values
from .envoy import readPlan
from .errors import ConfigurationError, reasons
from .files import Files, recording
from .nodemetadata import readNodeMetadata
from .optiontable import GROUPS, Option
from .plan import (
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
    STRICT,
    Sidecar,
    makePlan,
)

#: Exit statuses: of a file that cannot be used, and of a command line that cannot.
EXIT_FILE = 1
EXIT_USAGE = 2

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
                value = checks[name](text) if checks[name] in values.FILES else text
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
