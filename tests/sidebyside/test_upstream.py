"""
Clusters: which host, and how the proxy talks to it.
"""

from __future__ import annotations

from typing import Any

from tests.sidebyside.backends import Backend
from tests.sidebyside.clients import WORD, Client, Finish, Read, Send
from tests.sidebyside.harness import Observed, SideBySide
from tests.sidebyside.peer import Tls
from tests.sidebyside.test_tcp import ALPHA, BETA, CLOSED, anyOf

TLS = {"alpha": Backend(tls=Tls(certificate="alpha", alpn=("h2",)))}


class TlsTests(SideBySide):
    def test_tls(self) -> Any:
        full = {**ALPHA, "alpha.sni": "alpha.test", "alpha.certificate": "client"}
        full |= {"alpha.offered": ["istio", "h2"], "alpha.alpn": "h2"}
        return self.compare(
            "upstream_tls",
            Client("full", sees=full),
            Client("bare", port="port_bare", sees={**ALPHA, "alpha.sni": ""}),
            backends=TLS,
        )

    def test_plaintextBackend(self) -> Any:
        return self.compare(
            "upstream_tls",
            Client("a silent client", (), sees={"received": "''", "reached": ["alpha"]}),
            backends={"alpha": Backend(replies="close")},
            variant="a host in plaintext",
        )

    def test_ends(self) -> Any:
        return self.compare(
            "upstream_tls",
            Client("a close", (Send(WORD),), sees={"received": "'alpha:'", "ended": "fin"}),
            backends={"alpha": Backend(replies="close", tls=Tls(certificate="alpha"))},
            variant="the host closes",
        )

    def test_resets(self) -> Any:
        return self.compare(
            "upstream_tls",
            Client("a reset", (Send(WORD),), sees={"reached": ["alpha"]}),
            backends={"alpha": Backend(replies="reset", tls=Tls(certificate="alpha"))},
            variant="the host resets",
        )

    def test_validation(self) -> Any:
        gone = {"received": "''"}

        def client(name: str, sees: dict[str, Any]) -> Client:
            port = "port" if name == "right" else f"port_{name}"
            if sees is gone:
                return Client(name, (), port=port, sees=sees)
            return Client(name, port=port, sees=sees)

        return self.compare(
            "upstream_validation",
            client("right", ALPHA),
            client("wrong", gone),
            client("dns", ALPHA),
            client("foreign", gone),
            client("authority", ALPHA),
            client("unchecked", ALPHA),
            backends={"alpha": Backend(tls=Tls(certificate="alpha"))},
        )

    def test_expired(self) -> Any:
        return self.compare(
            "upstream_validation",
            Client("checked", (), port="port_authority", sees={"received": "''"}),
            Client("unchecked", port="port_unchecked", sees=ALPHA),
            backends={"alpha": Backend(tls=Tls(certificate="expired"))},
            variant="a host's certificate has expired",
        )

    def test_versions(self) -> Any:
        return self.compare(
            "upstream_tls_versions",
            Client("two", sees={"alpha.version": "TLSv1.2"}),
            Client("three", port="port_three", sees={"alpha.version": "TLSv1.3"}),
            Client("unset", port="port_unset", sees=ALPHA),
            backends=TLS,
        )

    def test_oldVersions(self) -> Any:
        """
        A host that speaks TLS 1.2 at most.
        """
        return self.compare(
            "upstream_tls_versions",
            Client("two", sees={"alpha.version": "TLSv1.2"}),
            Client("three", (), port="port_three", sees={"received": "''"}),
            Client("unset", port="port_unset", sees={"alpha.version": "TLSv1.2"}),
            backends={"alpha": Backend(tls=Tls(certificate="alpha", most="TLS1_2"))},
            variant="an old host",
        )

    def test_bothSides(self) -> Any:
        word = {"received": "'alpha:hello, world.'", "ended": "close_notify, fin", "alpn": "h2"}
        return self.compare(
            "tls_both_sides",
            Client("a word", tls=Tls(alpn=("h2",)), sees=word),
            Client("FIN alone", (Send(WORD), Read(18), Finish(tcp=True)), tls=Tls()),
            backends=TLS,
        )


class ProxyProtocolTests(SideBySide):
    def test_headers(self) -> Any:
        one = "v1 TCP4 127.0.0.1 client > 127.0.0.1 port"
        two = "v2 PROXY 0x11 127.0.0.1 client > 127.0.0.1 port_two"
        return self.compare(
            "upstream_proxy_protocol",
            Client("1", sees={**ALPHA, "alpha.header": one}),
            Client("2", port="port_two", sees={**ALPHA, "alpha.header": two}),
            Client("from afar", source="127.0.0.9", sees=ALPHA),
            Client("silent", (), stays=0.3, sees={"alpha.header": one}),
        )


class HostTests(SideBySide):
    def test_strictDns(self) -> Any:
        return self.compare("strict_dns", Client("a word", sees=ALPHA))

    def test_logicalDns(self) -> Any:
        return self.compare("logical_dns", Client("a word", sees=ALPHA))

    def test_noSuchName(self) -> Any:
        return self.compare("dns_nowhere", Client("silent", (), sees=CLOSED))

    def test_noHosts(self) -> Any:
        return self.compare("endpoints_empty", Client("silent", (), sees=CLOSED))

    def test_priorities(self) -> Any:
        turns = [Client(f"turn {number}", sees=ALPHA) for number in range(4)]
        return self.compare("locality_weights", *turns)

    def test_roundRobin(self) -> Any:
        def order(observed: Observed) -> Observed:
            """
            Whose turn is first is chance.
            """
            names = [seen["reached"] for seen in observed.values()]
            turns = [names.index(name) for name in names]
            return {**anyOf(observed), "turns": {"first seen in turn": turns}}

        clients = [Client(f"turn {number}", sees={"ended": "fin"}) for number in range(9)]
        return self.compare("round_robin", *clients, normalize=order)

    def test_leastRequest(self) -> Any:
        clients = [Client(f"turn {number}", sees={"ended": "fin"}) for number in range(6)]
        return self.compare("least_request", *clients, normalize=anyOf)

    def test_random(self) -> Any:
        clients = [Client(f"turn {number}", sees={"ended": "fin"}) for number in range(6)]
        return self.compare("random", *clients, normalize=anyOf)

    def test_hash(self) -> Any:
        def same(observed: Observed) -> Observed:
            """
            Where a client's connections go is the hash's; that all go there is not.
            """
            places: dict[str, set[str]] = {}
            for client, seen in observed.items():
                places.setdefault(client[:-2], set()).update(seen["reached"])
            count = {client: len(names) for client, names in places.items()}
            return {**anyOf(observed), "hosts of each": count}

        clients = [
            Client(f"{port} {source} {turn}", port=port, source=source, sees={"ended": "fin"})
            for port in ("port", "port_maglev")
            for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3")
            for turn in range(3)
        ]
        return self.compare("hash_source_ip", *clients, normalize=same)

    def test_circuitBreakers(self) -> Any:
        ping = (Send(WORD), Read(18))
        return self.compare(
            "circuit_breakers",
            Client("the first", ping, keep=True, sees={"ended": "open"}),
            Client("the second", (), sees=CLOSED),
            Client("the third", releases=("the first",), sees=ALPHA),
        )

    def test_transportSocketMatches(self) -> Any:
        def sort(observed: Observed) -> Observed:
            """
            Whose turn is first is chance.
            """
            return dict(
                zip(observed, sorted(observed.values(), key=lambda seen: str(seen["reached"])))
            )

        tls = Tls(certificate="alpha", alpn=("istio",))
        return self.compare(
            "transport_socket_matches",
            Client("one"),
            Client("the other", sees={"ended": "fin"}),
            backends={"alpha": Backend(tls=tls)},
            normalize=sort,
        )

    def test_originalDst(self) -> Any:
        to = "PROXY TCP4 198.51.100.7 127.0.0.1 4001 ${%s}\r\n"
        return self.compare(
            "original_dst",
            Client("alpha", before=to % "alpha", sees=ALPHA),
            Client("beta", before=to % "beta", sees=BETA),
            Client("alpha again", before=to % "alpha", sees=ALPHA),
            Client("nobody there", (), before=to % "dead", sees={"reached": []}),
            Client("no header", (), stays=1, sees={"reached": []}),
            Client("no header, a word", (Send(WORD),), abrupt=True, sees={"reached": []}),
        )

    def test_healthChecks(self) -> Any:
        turns = [Client(f"turn {number}", sees=ALPHA) for number in range(4)]

        def client(observed: Observed) -> Observed:
            """
            When a health check itself is done is chance.
            """
            facts = ("reached", "received", "ended", "when")
            return {name: {f: seen[f] for f in facts} for name, seen in observed.items()}

        return self.compare("health_checks", *turns, normalize=client)

    def test_outlierDetection(self) -> Any:
        def sort(observed: Observed) -> Observed:
            """
            Whether the dead host's turn is the first or the second is chance.
            """
            names = ["turn 0", "turn 1"]
            first = sorted((observed[name] for name in names), key=lambda seen: str(seen["ended"]))
            return observed | dict(zip(names, first))

        turns = [Client(f"turn {number}", (), stays=0.1) for number in range(2)]
        rest = [Client(f"turn {number}", sees=ALPHA) for number in range(2, 6)]
        return self.compare("outlier_detection", *turns, *rest, normalize=sort)
