"""
The table of all options of C{twistd mxproxy}: names, what they mean, defaults.

The parser, the help and the checks (L{mxproxy.config.options}) are made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..timeouts import HALF_CLOSED, IDLE
from ..tls.settings import TLSProfile
from ..transports import DIRECT, LAYERED, PYTHON
from . import optionvalues as values
from .plan import (
    DRAIN_TIME,
    MAX_HANDSHAKES,
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
)


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
                values.oneOf(INBOUND, OUTBOUND),
            ),
            Option(
                "listen",
                "ENDPOINT",
                "Where to listen, a Twisted server endpoint: "
                "tcp:15006:interface=127.0.0.1, unix:PATH, systemd:...",
                values.serverEndpoint,
            ),
            Option(
                "upstream",
                "ENDPOINT",
                "Where to connect to, a Twisted client endpoint: tcp:127.0.0.1:5432, "
                "unix:PATH. Several are taken in turn.",
                values.clientEndpoint,
                repeatable=True,
            ),
            Option(
                "connect-timeout",
                "SECONDS",
                "For the connection to one upstream.",
                values.seconds,
                "10",
            ),
            Option(
                "filter",
                "NAME[:key=value:...]",
                "A network filter, in this order, between the exchange and the upstream. "
                "A colon in a value is written \\:.",
                values.filter,
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
                values.oneOf(DISABLE, PERMISSIVE, STRICT),
            ),
            Option(
                "upstream-tls",
                f"{DISABLE}|{SIMPLE}|{MUTUAL}",
                "What to speak to the upstream: simple shows no certificate and exchanges "
                "nothing. Inbound: disable; outbound: mutual.",
                values.oneOf(DISABLE, SIMPLE, MUTUAL),
            ),
            Option("tls-cert", "FILE", "The own certificate and its chain, PEM.", values.file),
            Option("tls-key", "FILE", "The certificate's key, PEM.", values.file),
            Option(
                "tls-ca", "FILE", "The CAs trusted to sign a peer's certificate, PEM.", values.file
            ),
            Option(
                "tls-profile",
                "|".join(profile.value for profile in TLSProfile),
                "TLS versions and cipher suites, by the names of Mozilla's guideline: "
                "intermediate is TLS 1.2 and 1.3, modern is 1.3 alone.",
                values.oneOf(*(profile.value for profile in TLSProfile)),
                TLSProfile.INTERMEDIATE.value,
            ),
            Option(
                "tls-crl",
                "FILE",
                "Certificates that the CAs have revoked, PEM, one list (CRL) or several. Each "
                "CA of a peer's chain has to have one that has not expired, or the peer is "
                "refused.",
                values.file,
            ),
            Option(
                "tls-keylog",
                "FILE",
                "For debugging: append the secrets of all TLS connections to this file, in the "
                "form of SSLKEYLOGFILE, for Wireshark and mxproxy decode. Whoever reads it can "
                "read the traffic.",
                values.secretFile,
            ),
            Option(
                "tls-reload-interval",
                "SECONDS",
                "How often to look whether these files have been renewed. New connections get "
                "what is new when it is good as a whole.",
                values.seconds,
                "5",
                process=True,
            ),
            Option(
                "tls-session-resumption",
                "off|on",
                "on: TLS sessions are resumed for 5 minutes, which saves most of a handshake; "
                "certificates are judged again each time, and a renewal ends all sessions.",
                values.oneOf("off", "on"),
                "off",
                process=True,
            ),
            Option(
                "upstream-sni",
                "NAME",
                "The server name to ask the upstream for.",
                values.serverName,
            ),
            Option(
                "upstream-san",
                "ID",
                "An identity to accept of the upstream: spiffe://..., a DNS name or an IP "
                "address. Several: any of them; none: whoever a trusted CA has signed.",
                values.identity,
                repeatable=True,
            ),
            Option(
                "tls-handshake-timeout", "SECONDS", "For a TLS handshake.", values.seconds, "10"
            ),
            Option(
                "inspection-timeout",
                "SECONDS",
                "With permissive: a client that is silent for so long speaks plaintext.",
                values.seconds,
                "1",
            ),
        ),
    ),
    (
        "The metadata exchange",
        (
            Option("node-id", "ID", "Who we are: the node's id.", values.utf8, ""),
            Option(
                "node-metadata",
                "FILE",
                "Who we are: NAME, NAMESPACE, WORKLOAD_NAME, LABELS, ... as JSON or YAML.",
                values.file,
            ),
            Option(
                "mx-alpn",
                "NAME",
                "The ALPN protocol that stands for the exchange.",
                values.alpn,
                "istio-peer-exchange",
            ),
            Option(
                "mx-timeout",
                "SECONDS",
                "For how long a connection waits for its peer's metadata.",
                values.seconds,
                "5",
            ),
            Option("mx-max-size", "BYTES", "The longest metadata accepted.", values.bytes, "65536"),
            Option(
                "mx-server-opening",
                "reply|eager",
                "When the accepting side sends its own: after the client's, or at once (for "
                "Istio's own sidecars in front of MySQL, SMTP, SSH).",
                values.oneOf("reply", "eager"),
                "reply",
            ),
            Option(
                "mx-hold",
                "both|read",
                "What waits for the peer's metadata: both directions, or reading only, which "
                "saves a round trip.",
                values.oneOf("both", "read"),
                "both",
            ),
            Option(
                "mx-additional-label",
                "NAME",
                "A label to exchange beside the usual ones.",
                values.label,
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
                values.secondsOrZero,
                f"{IDLE:g}",
            ),
            Option(
                "half-closed-timeout",
                "SECONDS",
                "The same, once one side has ended its stream; 0: as the other connections.",
                values.secondsOrZero,
                f"{HALF_CLOSED:g}",
            ),
            Option(
                "max-connection-duration",
                "SECONDS",
                "Close a connection that has been open for so long, whatever moves; 0: never.",
                values.secondsOrZero,
                "0",
            ),
            Option(
                "tcp-keepalive",
                "TIME:INTERVAL:PROBES",
                "On both sides: after TIME seconds of silence ask the peer's kernel every INTERVAL "
                "seconds whether it is there; after so many PROBES without an answer the "
                f"connection is reset. {values.OFF}: never ask.",
                values.keepalive,
                values.KEEPALIVE,
            ),
            Option(
                "tcp-user-timeout",
                "SECONDS",
                "On both sides: reset a connection whose peer has for so long not acknowledged "
                "what was sent, or not read any of it; 0: leave that to the system, which on "
                "Linux takes a quarter of an hour for the former, and for ever for the latter.",
                values.userTimeout,
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
                values.limit,
                "0",
            ),
            Option(
                "max-connections-per-address",
                "NUMBER",
                "The same for each IPv4 address and each IPv6 /64 that connects; not for use "
                "behind a load balancer, which has one address. 0: any number.",
                values.limit,
                "0",
            ),
            Option(
                "max-handshakes",
                "NUMBER",
                "How many accepted connections may be in their TLS handshake or exchange; when "
                "there is one too many, one of the address that has most is dropped. Also beside "
                "--config.",
                values.number,
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
                values.adminEndpoint,
                process=True,
            ),
            Option(
                "admin-host",
                "NAME",
                "A host name to answer requests by, beside IP addresses, localhost and this "
                "machine's name.",
                values.hostName,
                repeatable=True,
                process=True,
            ),
            Option(
                "service",
                "HOST",
                "What the upstream is called in metrics: db.data.svc.cluster.local is the service "
                "db in the namespace data.",
                values.utf8,
            ),
            Option(
                "stats-workloads",
                "FILE",
                "Who is at which address, for peers without the exchange: YAML or JSON, read "
                "again when it changes.",
                values.file,
                process=True,
            ),
            Option(
                "stats-unknown-workload",
                "unknown|service-account",
                "What a workload is called that neither the exchange nor that file names.",
                values.oneOf("unknown", "service-account"),
                "unknown",
                process=True,
            ),
            Option(
                "stats-eviction",
                "SECONDS",
                "Drop metrics of peers that have been gone for so long; 0: never.",
                values.secondsOrZero,
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
                values.logFile,
                process=True,
            ),
            Option(
                "access-log-format",
                "json|istio|envoy|TEXT",
                "What the lines are: mxproxy's own JSON; the default line of Istio's sidecars, or "
                "of Envoy, at a connection's end; or a text, or an object of JSON, with Envoy's "
                "%OPERATORS% for TCP.",
                values.accessLogFormat,
                "json",
                process=True,
            ),
            Option(
                "access-log-interval",
                "SECONDS",
                "With such a format: a line also when a connection is made, and every so many "
                "seconds while it lasts. %ACCESS_LOG_TYPE% says which it is. 0: only at its end.",
                values.secondsOrZero,
                "0",
                process=True,
            ),
            Option(
                "workers",
                "N",
                "Accept in so many processes, one of them for each CPU, say. The first process "
                "only looks after them: it is the one to be signalled.",
                values.workers,
                "1",
                process=True,
            ),
            Option(
                "otel",
                "SIGNALS",
                "traces, metrics or traces,metrics: a span for each connection, and all metrics, "
                "by OTLP over HTTP, to where the OTEL_... variables of the environment say "
                "(http://localhost:4318). Needs mxproxy[otel].",
                values.otel,
                "off",
                process=True,
            ),
            Option(
                "drain-time",
                "SECONDS",
                "When told to stop, by SIGTERM or SIGINT: how long open connections may last. "
                "They are closed one after the other in this time; a second signal ends them at "
                "once, and so does 0.",
                values.secondsOrZero,
                f"{DRAIN_TIME:g}",
                process=True,
            ),
            Option(
                "data-path",
                f"{DIRECT}|{PYTHON}|{LAYERED}",
                "How bytes go through. direct: TLS on the socket itself, and in C where that was "
                "built. python: the same without C. layered: Twisted's transports, and TLS over "
                "memory. Each is slower than the one before it, and the same in everything else: "
                "to try when direct is suspected of something.",
                values.oneOf(DIRECT, PYTHON, LAYERED),
                DIRECT,
                process=True,
            ),
            Option(
                "config",
                "FILE",
                "An Envoy bootstrap, YAML or JSON, instead of the groups above. Several listeners, "
                "filter chains, clusters; mxproxy validate FILE checks one; docs/configuration.md "
                "says what it may contain, and which options go beside it. SIGHUP reads it again.",
                values.file,
                process=True,
            ),
        ),
    ),
)
