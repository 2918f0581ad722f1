"""
Where mxproxy does not do what Envoy does with the same file, and why.

The list is exact, fact by fact: what is not in it has to be equal, and what has become equal
fails its test until it is taken off.  A key is C{SCENARIO: CLIENT}, or
C{SCENARIO, VARIANT: CLIENT} where several tests have one file; a scenario alone, with which
mxproxy does not start; or C{broken/FILE}.

C{python -m tests.sidebyside.differences} prints the list for the documentation; C{--write FILE}
writes it, C{--check FILE} tells whether a file is what it prints.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

MODULE = "tests.sidebyside.differences"

#: The one fact of a scenario with which mxproxy does not start, or of a broken file.
STARTS = "starts"


@dataclass(frozen=True)
class Reason:
    """
    Why something is not equal.

    @ivar title: what it is about, in a few words.
    @ivar text: what Envoy does, what mxproxy does, and why.
    @ivar facts: what of an observation it makes differ; C{*} stands for anything.
    """

    title: str
    text: str
    facts: tuple[str, ...]

    def explains(self, fact: str) -> bool:
        """
        Whether it makes this fact differ.
        """
        return any(fnmatchcase(fact, pattern) for pattern in self.facts)


#: What a backend has seen, or not.
_BACKEND = ("reached", "*.*")

EARLY = Reason(
    "When the host is connected to",
    "Envoy connects to the host as soon as a client has connected, and does the client's TLS "
    "handshake meanwhile: a host hears of clients that TLS refuses. mxproxy connects once TLS is "
    "up: who is refused costs the host nothing.",
    _BACKEND,
)

FIRST_BYTE = Reason(
    "How soon it is clear that something is not TLS",
    "Envoy's tls_inspector waits for five bytes; whoever says less and waits, or closes, is "
    "closed. mxproxy knows by the first byte that is not a ClientHello's, and passes it on.",
    ("ended", "received", "first byte", "when", *_BACKEND),
)

INSPECTED = Reason(
    "Chains that need an inspector which the file does not name",
    "Envoy 1.40 looks at nothing that no listener filter looks at: chains for server names or "
    "protocols never match. mxproxy looks at the ClientHello all the same.",
    ("alpn", "certificate", "ended", "failure", "received", "version", "when", *_BACKEND),
)

ALERT = Reason(
    "The alert for a name that does not match",
    "BoringSSL sends certificate_unknown where a certificate's names are not those that are "
    "wanted; OpenSSL, as Python reaches it, sends internal_error.",
    ("ended", "alpha.ended"),
)

PLAINTEXT = Reason(
    "Plaintext where TLS is wanted",
    "Envoy answers with a TLS alert, mxproxy with nothing; both close.",
    ("received",),
)

LONG_HELLO = Reason(
    "A ClientHello of more than 16 KiB",
    "BoringSSL refuses it, OpenSSL takes it. (Where it is to be inspected, both refuse it.)",
    ("alpn", "certificate", "ended", "received", "version", "alpha.received"),
)

EXCHANGE = Reason(
    "istio-peer-exchange without the exchange",
    "mxproxy negotiates or offers this ALPN only where a metadata exchange follows, since the "
    "other side counts on that; Envoy does what the list says.",
    ("alpn", "alpha.offered"),
)

UNSPECIFIED = Reason(
    "PROXY headers without an IP address",
    "Envoy closes on a version 2 header whose family is unspecified or unix. The protocol's "
    "specification asks receivers to take them, with the socket's own addresses.",
    ("received", *_BACKEND),
)

LINE_END = Reason(
    "A PROXY header of version 1 without CR",
    "Envoy waits for more until its timeout; mxproxy closes at once.",
    ("when",),
)

NOT_HTTP = Reason(
    "TLS before the HTTP inspector",
    "For Envoy's http_inspector alone TLS is just not HTTP; mxproxy waits for the ClientHello.",
    ("ended", "received", "first byte", "when", *_BACKEND),
)

MISSING = Reason(
    "Not implemented",
    "mxproxy refuses the file, and says where.",
    (STARTS,),
)

STRICTER = Reason(
    "What only Envoy takes",
    "Envoy starts with a file that cannot do what it says; mxproxy refuses it.",
    (STARTS,),
)

DIFFERENCES: dict[str, tuple[Reason, ...]] = {
    "application_protocols_absent: ALPN": (INSPECTED,),
    "broken/cluster_unknown": (STRICTER,),
    "broken/duplicate_listener": (STRICTER,),
    "broken/filters_empty": (STRICTER,),
    "broken/require_without_ca": (STRICTER,),
    "broken/tokens_zero": (STRICTER,),
    "broken/versions_crossed": (STRICTER,),
    "broken/yaml_twice": (STRICTER,),
    "continue_on_timeout: one byte": (FIRST_BYTE,),
    "downstream_crl: chained": (EARLY,),
    "downstream_crl: none": (EARLY,),
    "downstream_crl: other": (EARLY,),
    "downstream_crl: stranger": (EARLY,),
    "downstream_crl_both: chained": (EARLY,),
    "downstream_crl_expired: client": (EARLY,),
    "downstream_crl_foreign: client": (EARLY,),
    "downstream_crl_leaf: client": (EARLY,),
    "downstream_mtls: expired": (EARLY,),
    "downstream_mtls: none": (EARLY,),
    "downstream_mtls: none, 1.2": (EARLY,),
    "downstream_mtls: plaintext": (EARLY, PLAINTEXT),
    "downstream_mtls: stranger": (EARLY,),
    "downstream_mtls: stranger, 1.2": (EARLY,),
    "downstream_mtls_optional: expired": (EARLY,),
    "downstream_mtls_optional: stranger": (EARLY,),
    "downstream_san: port: other": (EARLY, ALERT),
    "downstream_san: port: stranger": (EARLY,),
    "downstream_san: port_prefix: client": (EARLY, ALERT),
    "downstream_san: port_regex: other": (EARLY, ALERT),
    "downstream_san: port_wildcard: chained": (EARLY, ALERT),
    "downstream_tls: a hello of 25 KiB": (LONG_HELLO,),
    "downstream_tls: half a hello": (EARLY,),
    "downstream_tls: nothing, and the end": (EARLY,),
    "downstream_tls: plaintext": (EARLY, PLAINTEXT),
    "downstream_tls: silent": (EARLY,),
    "downstream_tls_versions: port: TLS1_3": (EARLY,),
    "downstream_tls_versions: port_three: TLS1_2": (EARLY,),
    "downstream_tls_versions: port_unset: TLS1_1": (EARLY,),
    "http_inspector: TLS": (NOT_HTTP,),
    "inline_certificates: stranger": (EARLY,),
    "istio_inbound: 8080, mesh": (EXCHANGE,),
    "istio_permissive: mesh": (EXCHANGE,),
    "istio_permissive: mesh, no certificate": (EARLY, EXCHANGE),
    "istio_permissive: mesh, stranger": (EARLY, EXCHANGE),
    "listener_filters_timeout: one byte": (FIRST_BYTE,),
    "locality_weights": (MISSING,),
    "proxy_protocol: 2, unix": (UNSPECIFIED,),
    "proxy_protocol: 2, unspecified": (UNSPECIFIED,),
    "proxy_protocol_timeout: no CR": (LINE_END,),
    "proxy_protocol_tlvs": (MISSING,),
    "sds: none": (EARLY,),
    "sds_combined: other": (EARLY, ALERT),
    "sds_combined: stranger": (EARLY,),
    "tls_inspector_absent: its name": (INSPECTED,),
    "tls_inspector_timeout, the client ends: a short word": (FIRST_BYTE,),
    "tls_inspector_timeout: four bytes of a word": (FIRST_BYTE,),
    "tls_inspector_timeout: one byte of a word": (FIRST_BYTE,),
    "tls_inspector_timeout: version 3.9": (EARLY,),
    "transport_socket_matches: one": (EXCHANGE,),
    "two_certificates": (MISSING,),
    "upstream_validation: wrong": (ALERT,),
}


def unexplained(key: str, facts: Iterable[str]) -> list[str]:
    """
    Compare what differs with the list.

    @param key: a scenario and a client.
    @param facts: what differs.
    @return: what is wrong with it: empty if nothing is.
    """
    reasons = DIFFERENCES.get(key, ())
    facts = set(facts)
    new = sorted(fact for fact in facts if not any(reason.explains(fact) for reason in reasons))
    gone = [reason for reason in reasons if not any(reason.explains(fact) for fact in facts)]
    faults = [f"{key}: differs in {', '.join(new)}"] if new else []
    faults += [f"{key}: no longer a difference, take it off: {reason.title}" for reason in gone]
    return faults


def strangers(title: str, clients: Iterable[str]) -> list[str]:
    """
    Entries of a scenario for clients that it does not have.
    """
    known = {f"{title}: {client}" for client in clients}
    return [key for key in DIFFERENCES if key.startswith(f"{title}: ") and key not in known]


def document(differences: Mapping[str, tuple[Reason, ...]]) -> str:
    """
    The list, as Markdown: by reason, and where each was seen.
    """
    places: dict[Reason, list[str]] = {}
    for key, reasons in differences.items():
        for reason in reasons:
            places.setdefault(reason, []).append(key)
    parts = [
        "# Where mxproxy differs from Envoy",
        (
            "Each scenario of `tests/sidebyside` is one configuration file that the real Envoy "
            "and mxproxy run, with the same clients (`make sidebyside`). These are all the "
            "differences that they show: a scenario's file, and behind the colon the client. "
            f"Generated by `python -m {MODULE}`."
        ),
    ]
    for reason in sorted(places, key=lambda reason: reason.title):
        seen = "; ".join(f"`{key}`" for key in places[reason])
        parts.append(f"## {reason.title}\n\n{reason.text}\n\nSeen in: {seen}.")
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Print the list, write it to a file, or say whether a file is current.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", type=Path, metavar="FILE", help="compare, change nothing")
    what.add_argument("--write", type=Path, metavar="FILE", help="write the file")
    options = parser.parse_args(arguments)
    text = document(DIFFERENCES)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    elif not options.check:
        print(text, end="")
    elif options.check.read_text(encoding="utf-8") != text:
        print(f"{options.check}: not the differences as they are; run --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
