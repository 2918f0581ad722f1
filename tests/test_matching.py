"""
Which filter chain takes a connection.

What is expected here of single cases is what Envoy 1.40 does with the same chains.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import RAW_BUFFER, TLS, FilterChainMatch
from mxproxy.matching import EXTERNAL, SAME_IP_OR_LOOPBACK, AmbiguousMatch, Candidate, Matcher

from .wire import helpers

__all__ = ["helpers"]  # Imported for hypothesis' settings.

Match = FilterChainMatch

CONNECTION = Candidate(
    destination=ip_address("10.1.2.3"),
    destination_port=443,
    server_name="www.example.com",
    transport_protocol=TLS,
    application_protocols=("h2", "http/1.1"),
    direct_source=ip_address("192.0.2.1"),
    source=ip_address("192.0.2.1"),
    source_port=50000,
)

UNIX_SOCKET = Candidate(transport_protocol=RAW_BUFFER)


def find(candidate: Candidate, **chains: Match) -> str | None:
    """
    @return: the name of the chain that takes it; the same in whatever order they are given.
    """
    forth = Matcher([(match, name) for name, match in chains.items()]).find(candidate)
    back = Matcher([(match, name) for name, match in reversed(chains.items())]).find(candidate)
    assert forth == back, (forth, back)
    return forth


class CriterionTests(SynchronousTestCase):
    """
    One criterion, by itself.
    """

    #: A match that takes CONNECTION, and one that does not.
    ONE_EACH: tuple[tuple[str, object, object], ...] = (
        ("destination_port", 443, 80),
        ("prefix_ranges", ("10.1.0.0/16",), ("10.2.0.0/16", "::/0")),
        ("server_names", ("www.example.com",), ("example.com", "*.www.example.com")),
        ("transport_protocol", TLS, RAW_BUFFER),
        ("application_protocols", ("http/1.1",), ("http/1.0", "H2")),
        ("direct_source_prefix_ranges", ("192.0.2.1/32",), ("192.0.2.2/32",)),
        ("source_type", EXTERNAL, SAME_IP_OR_LOOPBACK),
        ("source_prefix_ranges", ("0.0.0.0/0",), ("192.0.3.0/24",)),
        ("source_ports", (1, 50000), (50001,)),
    )

    def test_each(self) -> None:
        fields = [name for name, _, _ in self.ONE_EACH]
        self.assertEqual(sorted(fields), sorted(Match.__dataclass_fields__))
        for name, fits, doesNot in self.ONE_EACH:
            yes = Match(**{name: fits})  # type: ignore[arg-type]
            no = Match(**{name: doesNot})  # type: ignore[arg-type]
            self.assertEqual(find(CONNECTION, it=yes), "it", name)
            self.assertIsNone(find(CONNECTION, it=no), name)
            self.assertEqual(find(CONNECTION, it=no, any=Match()), "any", name)
            self.assertEqual(find(CONNECTION, it=yes, any=Match()), "it", name)

    def test_nothingKnown(self) -> None:
        """
        A unix socket without a word of the client.
        """
        for name, fits, _ in self.ONE_EACH:
            match = Match(**{name: fits})  # type: ignore[arg-type]
            expected = "it" if name == "source_prefix_ranges" else "any"
            self.assertEqual(find(UNIX_SOCKET, it=match, any=Match()), expected, name)
        local = Match(source_type=SAME_IP_OR_LOOPBACK)
        self.assertEqual(find(UNIX_SOCKET, it=local, any=Match()), "it")

    def test_none(self) -> None:
        self.assertIsNone(find(CONNECTION))
        self.assertEqual(find(CONNECTION, any=Match()), "any")

    def test_empty(self) -> None:
        """
        An empty name is no name.
        """
        for match in (Match(server_names=("",)), Match(application_protocols=("",))):
            self.assertEqual(find(CONNECTION, it=match), "it")
            self.assertRaises(AmbiguousMatch, find, CONNECTION, it=match, any=Match())


class NetworkTests(SynchronousTestCase):
    def at(self, address: str | None, **chains: Sequence[str]) -> str | None:
        """
        The same for each of the three addresses.
        """
        known = None if address is None else ip_address(address)
        found = [
            find(
                Candidate(**{candidate: known}),
                **{name: Match(**{field: tuple(networks)}) for name, networks in chains.items()},
            )
            for candidate, field in (
                ("destination", "prefix_ranges"),
                ("direct_source", "direct_source_prefix_ranges"),
                ("source", "source_prefix_ranges"),
            )
        ]
        self.assertEqual(found, found[:1] * 3)
        return found[0]

    def test_longestPrefix(self) -> None:
        chains = {
            "host": ["10.1.2.3/32"],
            "net": ["10.1.2.0/24", "fd00::/8"],
            "wide": ["10.0.0.0/8", "::/0"],
            "any": ["0.0.0.0/0"],
        }
        for address, expected in (
            ("10.1.2.3", "host"),
            ("10.1.2.4", "net"),
            ("10.1.3.3", "wide"),
            ("11.1.2.3", "any"),
            ("fd12::1", "net"),
            ("2001:db8::1", "wide"),
        ):
            self.assertEqual(self.at(address, **chains), expected, address)

    def test_hostBits(self) -> None:
        """
        Those behind the prefix do not count.
        """
        self.assertEqual(self.at("10.9.9.9", it=["10.1.2.3/8"]), "it")

    def test_edges(self) -> None:
        for network, first, last, outside in (
            ("10.1.2.128/25", "10.1.2.128", "10.1.2.255", ("10.1.2.127", "10.1.3.0")),
            ("fd00::10/124", "fd00::10", "fd00::1f", ("fd00::f", "fd00::20")),
            ("0.0.0.0/1", "0.0.0.0", "127.255.255.255", ("128.0.0.0", "::")),
        ):
            self.assertEqual([self.at(at, it=[network]) for at in (first, last)], ["it", "it"])
            self.assertEqual([self.at(at, it=[network]) for at in outside], [None, None])

    def test_families(self) -> None:
        """
        Everything of one family is nothing of the other, mapped addresses included.
        """
        self.assertIsNone(self.at("10.1.2.3", it=["::/0"]))
        self.assertIsNone(self.at("10.1.2.3", it=["::ffff:0:0/96"]))
        self.assertIsNone(self.at("::ffff:10.1.2.3", it=["0.0.0.0/0"]))
        self.assertEqual(self.at("::ffff:10.1.2.3", it=["::ffff:0:0/96"]), "it")

    def test_unixSocket(self) -> None:
        """
        It counts as 255.255.255.255 where networks are asked for.
        """
        self.assertEqual(self.at(None, it=["0.0.0.0/0"]), "it")
        self.assertEqual(self.at(None, it=["255.0.0.0/8"], other=["0.0.0.0/0"]), "it")
        self.assertIsNone(self.at(None, it=["127.0.0.0/8"], other=["::/0"]))

    def test_wrong(self) -> None:
        for network in ("10.0.0.0/33", "example.com", "10.0.0/8"):
            self.assertRaises(ValueError, Matcher, [(Match(prefix_ranges=(network,)), "")])


class ServerNameTests(SynchronousTestCase):
    def named(self, server_name: str, **chains: Sequence[str]) -> str | None:
        matches = {name: Match(server_names=tuple(names)) for name, names in chains.items()}
        return find(Candidate(server_name=server_name), **matches)

    def test_longestSuffix(self) -> None:
        chains = {
            "exact": ["www.example.com"],
            "narrow": ["*.example.com", "*.a.b.c"],
            "wide": ["*.com", "*.c"],
            "any": [],
        }
        for name, expected in (
            ("www.example.com", "exact"),
            ("a.example.com", "narrow"),
            ("a.www.example.com", "narrow"),
            ("example.com", "wide"),
            ("com", "any"),
            ("badexample.com", "wide"),
            ("example.com.au", "any"),
            ("x.a.b.c", "narrow"),
            ("a.b.c", "wide"),
            ("", "any"),
            (".com", "wide"),
            (".", "any"),
            ("a..com", "wide"),
            ("a.com.", "any"),
            (".a.example.com", "narrow"),
        ):
            self.assertEqual(self.named(name, **chains), expected, name)

    def test_dotBehind(self) -> None:
        """
        A dot at the end is no suffix.
        """
        self.assertIsNone(self.named("a.", it=["*."]))
        self.assertEqual(self.named("a.com.", it=["*.com."], other=["*."]), "it")

    def test_case(self) -> None:
        """
        A file's letters do not count; a client's were made small when they were read.
        """
        self.assertEqual(self.named("www.example.com", it=["WWW.Example.com"]), "it")
        self.assertEqual(self.named("www.example.com", it=["*.EXAMPLE.com"]), "it")

    def test_dot(self) -> None:
        """
        A name that begins with a dot is another way to write a wildcard.
        """
        self.assertEqual(self.named("www.example.com", it=[".example.com"]), "it")
        self.assertEqual(self.named(".example.com", it=["*.example.com"]), "it")
        error = self.assertRaises(
            AmbiguousMatch, self.named, "", it=["*.example.com"], other=[".example.com"]
        )
        self.assertEqual((error.first, error.second), (0, 1))

    def test_partialWildcard(self) -> None:
        for name in ("*", "w*.example.com", "*example.com", "www.*.com", "*.*.com"):
            error = self.assertRaises(ValueError, self.named, "", it=[name])
            self.assertIn(repr(name), str(error))


class SourceTypeTests(SynchronousTestCase):
    def of(self, source: str, destination: str = "10.1.2.3") -> str | None:
        return find(
            Candidate(
                source=ip_address(source),
                destination=ip_address(destination),
                # The socket's peer makes no difference.
                direct_source=ip_address("127.0.0.1"),
            ),
            local=Match(source_type=SAME_IP_OR_LOOPBACK),
            external=Match(source_type=EXTERNAL),
        )

    def test_all(self) -> None:
        for source, expected in (
            ("127.0.0.1", "local"),
            ("::1", "local"),
            ("10.1.2.3", "local"),
            # Envoy knows one address of loopback's only.
            ("127.0.0.2", "external"),
            ("10.1.2.4", "external"),
            ("::ffff:127.0.0.1", "external"),
        ):
            self.assertEqual(self.of(source), expected, source)

    def test_anyOther(self) -> None:
        """
        Where nobody asks for the type that it is, those that ask for none.
        """
        self.assertEqual(
            find(CONNECTION, local=Match(source_type=SAME_IP_OR_LOOPBACK), any=Match()), "any"
        )


class PrecedenceTests(SynchronousTestCase):
    def test_order(self) -> None:
        """
        What is asked earlier wins, however much is asked later.
        """
        fits: list[tuple[str, Any]] = [(name, value) for name, value, _ in CriterionTests.ONE_EACH]
        # As in the API's documentation.
        order = [
            *("destination_port", "prefix_ranges", "server_names", "transport_protocol"),
            *("application_protocols", "direct_source_prefix_ranges", "source_type"),
            *("source_prefix_ranges", "source_ports"),
        ]
        self.assertEqual([name for name, _ in fits], order)
        for index, (name, value) in enumerate(fits[:-1]):
            one = Match(**{name: value})
            many = Match(**dict(fits[index + 1 :]))
            self.assertEqual(find(CONNECTION, one=one, many=many), "one", name)

    def test_noWayBack(self) -> None:
        """
        The most specific value decides, even where what then follows does not fit.
        """
        for specific, general in (
            (Match(destination_port=443), Match()),
            (Match(prefix_ranges=("10.1.2.3/32",)), Match(prefix_ranges=("10.0.0.0/8",))),
            (Match(server_names=("www.example.com",)), Match(server_names=("*.example.com",))),
            (Match(server_names=("*.example.com",)), Match(server_names=("*.com",))),
            (Match(transport_protocol=TLS), Match()),
            (Match(application_protocols=("h2",)), Match(application_protocols=("http/1.1",))),
            (Match(source_type=EXTERNAL), Match()),
            (Match(source_prefix_ranges=("192.0.2.1/32",)), Match()),
        ):
            hides = replace(specific, source_ports=(1,))
            self.assertIsNone(find(CONNECTION, hides=hides, hidden=general), specific)
            self.assertEqual(find(CONNECTION, hidden=general), "hidden", specific)

    def test_clientsOrder(self) -> None:
        """
        Of several ALPN protocols the client's first one counts.
        """
        chains = {
            "one": Match(application_protocols=("http/1.1", "spdy")),
            "two": Match(application_protocols=("h2",)),
        }
        self.assertEqual(find(CONNECTION, **chains), "two")
        other = replace(CONNECTION, application_protocols=("http/1.1", "h2"))
        self.assertEqual(find(other, **chains), "one")
        self.assertIsNone(find(replace(CONNECTION, application_protocols=()), **chains))


class AmbiguityTests(SynchronousTestCase):
    def test_text(self) -> None:
        chains = [
            (Match(destination_port=1), "a"),
            (Match(server_names=("x", "y"), prefix_ranges=("10.0.0.0/8", "fd00::/8")), "b"),
            (Match(server_names=("z", "Y"), prefix_ranges=("fd00::1/8",)), "c"),
        ]
        error = self.assertRaises(AmbiguousMatch, Matcher, chains)
        self.assertEqual((error.first, error.second), (1, 2))
        self.assertEqual(
            str(error),
            "the same match as that of filter chain 1: prefix_ranges fd00::/8, server_names y",
        )

    def test_everything(self) -> None:
        error = self.assertRaises(AmbiguousMatch, Matcher, [(Match(), "a"), (Match(), "b")])
        self.assertEqual(str(error), "the same match as that of filter chain 0: everything")

    def test_twiceInOne(self) -> None:
        for match in (
            Match(server_names=("x", "X")),
            Match(prefix_ranges=("10.0.0.0/8", "10.1.0.0/8")),
            Match(source_ports=(1, 1)),
            Match(application_protocols=("h2", "h2")),
        ):
            error = self.assertRaises(AmbiguousMatch, Matcher, [(Match(), ""), (match, "")])
            self.assertEqual((error.first, error.second), (1, 1))
            self.assertIn("a match that it has already of filter chain 1: ", str(error))

    def test_differentInOne(self) -> None:
        """
        One value that differs is enough.
        """
        for name, fits, doesNot in CriterionTests.ONE_EACH:
            one = Match(**{name: fits})  # type: ignore[arg-type]
            other = Match(**{name: doesNot})  # type: ignore[arg-type]
            self.assertEqual(find(CONNECTION, one=one, other=other), "one", name)


# -- everything at once, against a naive reading of Envoy's documentation

PORTS = [1, 2]
IPS = [
    *("10.0.0.1", "10.0.0.2", "10.1.0.1", "127.0.0.1", "127.0.0.2", "255.255.255.255"),
    *("::1", "fd00::1", "fd00::2", "::ffff:10.0.0.1"),
]
NETWORKS = [
    *("10.0.0.1/32", "10.0.0.0/31", "10.0.0.0/8", "10.9.9.9/8", "0.0.0.0/0", "127.0.0.0/8"),
    *("255.255.255.255/32", "fd00::1/128", "fd00::/8", "::/0", "::ffff:0:0/96"),
]
NAMES = [
    *("a.b.c", "A.B.c", "b.c", "c", "*.a.b.c", "*.b.c", "*.c", ".b.c", "x.a.b.c", ""),
]
SNIS = ["", "a.b.c", "x.a.b.c", "b.c", "c", "z", ".b.c", "y.c", "y.c."]
PROTOCOLS = ["h2", "http/1.1", "istio"]


def several(values: Sequence[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2).map(tuple)


def seldom(nothing: object, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """
    A chain that asks for everything takes nothing.
    """
    return st.one_of(*[st.just(nothing)] * 4, values)


MATCHES = st.builds(
    Match,
    destination_port=seldom(None, st.sampled_from(PORTS)),
    prefix_ranges=seldom((), several(NETWORKS)),
    server_names=seldom((), several(NAMES)),
    transport_protocol=seldom("", st.sampled_from([TLS, RAW_BUFFER])),
    application_protocols=seldom((), several(PROTOCOLS)),
    direct_source_prefix_ranges=seldom((), several(NETWORKS)),
    source_type=seldom("", st.sampled_from([SAME_IP_OR_LOOPBACK, EXTERNAL])),
    source_prefix_ranges=seldom((), several(NETWORKS)),
    source_ports=seldom((), several(PORTS)),
)

ADDRESSES = st.sampled_from([None, *map(ip_address, IPS)])

CANDIDATES = st.builds(
    Candidate,
    destination=ADDRESSES,
    destination_port=st.sampled_from([None, *PORTS]),
    server_name=st.sampled_from(SNIS),
    transport_protocol=st.sampled_from([TLS, RAW_BUFFER]),
    application_protocols=st.lists(st.sampled_from(PROTOCOLS), unique=True).map(tuple),
    direct_source=ADDRESSES,
    source=ADDRESSES,
    source_port=st.sampled_from([None, *PORTS]),
)

#: Less likely than a good fit of what is asked, more than a bad one.
NOT_ASKED, DOES_NOT_FIT = 0, -1


def rankOfName(wanted: str, name: str) -> int:
    wanted = wanted.lower()
    if wanted == name or wanted == "*" + name:
        return 1000
    suffix = wanted.removeprefix("*")
    below = name.removesuffix(suffix)
    fits = suffix.startswith(".") and name.endswith(suffix) and below and suffix != "."
    return len(suffix) if fits else DOES_NOT_FIT


def rankOfNetwork(wanted: str, address: Any) -> int:
    network = ip_network(wanted, strict=False)
    address = address or ip_address("255.255.255.255")
    return 1 + network.prefixlen if address in network else DOES_NOT_FIT


def rankOfProtocol(wanted: str, offered: Sequence[str]) -> int:
    return 100 - offered.index(wanted) if wanted in offered else DOES_NOT_FIT


def rankOfType(wanted: str, candidate: Candidate) -> int:
    source = candidate.source
    local = source is None or str(source) in ("127.0.0.1", "::1", str(candidate.destination))
    return 1 if local == (wanted == SAME_IP_OR_LOOPBACK) else DOES_NOT_FIT


def equal(wanted: object, found: object) -> int:
    return 1 if wanted == found else DOES_NOT_FIT


def alternatives(match: Match) -> list[tuple[Any, ...]]:
    """
    What a match asks, with one value for each criterion.
    """
    return list(
        product(
            [match.destination_port],
            match.prefix_ranges or [None],
            match.server_names or [None],
            [match.transport_protocol or None],
            match.application_protocols or [None],
            match.direct_source_prefix_ranges or [None],
            [match.source_type or None],
            match.source_prefix_ranges or [None],
            match.source_ports or [None],
        )
    )


def ranks(asked: tuple[Any, ...], candidate: Candidate) -> list[int]:
    c = candidate
    rules: list[tuple[Any, Any]] = [
        (equal, c.destination_port),
        (rankOfNetwork, c.destination),
        (rankOfName, c.server_name),
        (equal, c.transport_protocol),
        (rankOfProtocol, c.application_protocols),
        (rankOfNetwork, c.direct_source),
        (rankOfType, c),
        (rankOfNetwork, c.source),
        (equal, c.source_port),
    ]
    return [
        NOT_ASKED if wanted in (None, "") else rule(wanted, found)
        for wanted, (rule, found) in zip(asked, rules, strict=True)
    ]


def naively(chains: Sequence[Match], candidate: Candidate) -> set[int]:
    """
    @return: the indexes of the chains that are left in the end.
    """
    left = [
        (index, ranks(asked, candidate))
        for index, match in enumerate(chains)
        for asked in alternatives(match)
    ]
    for criterion in range(9):
        best = max((rank[criterion] for _, rank in left), default=DOES_NOT_FIT)
        if best == DOES_NOT_FIT:
            return set()
        left = [(index, rank) for index, rank in left if rank[criterion] == best]
    return {index for index, _ in left}


def canonical(asked: tuple[Any, ...]) -> tuple[Hashable, ...]:
    """
    Two alternatives that are the same take the same connections.
    """
    port, networks, name, transport, protocol, direct, kind, source, sourcePort = asked

    def net(text: str | None) -> Hashable:
        return text and ip_network(text, strict=False)

    name = name.lower().removeprefix("*") if name else None
    return (
        port,
        net(networks),
        name,
        transport,
        protocol,
        net(direct),
        kind,
        net(source),
        sourcePort,
    )


class PropertyTests(SynchronousTestCase):
    @given(
        st.lists(MATCHES, min_size=2, max_size=8),
        st.lists(CANDIDATES, min_size=10, max_size=20),
    )
    def test_asDocumented(self, matches: list[Match], candidates: list[Candidate]) -> None:
        """
        Invariant: a chain is refused exactly if it asks for what another one, or itself, does
        already; of the others at most one is left in the end, and that one is found.
        """
        chains: list[tuple[Match, int]] = []
        taken: dict[Hashable, int] = {}
        for match in matches:
            index = len(chains)
            keys = [canonical(asked) for asked in alternatives(match)]
            if len(set(keys)) < len(keys) or not taken.keys().isdisjoint(keys):
                error = self.assertRaises(AmbiguousMatch, Matcher, [*chains, (match, index)])
                self.assertEqual(error.second, index)
                self.assertIn(error.first, {index, *(taken[key] for key in keys if key in taken)})
                continue
            taken.update((key, index) for key in keys)
            chains.append((match, index))
        matcher = Matcher(chains)
        for candidate in candidates:
            found = matcher.find(candidate)
            expected = naively([match for match, _ in chains], candidate)
            self.assertEqual(set() if found is None else {found}, expected)
            if matcher.always is not None:
                self.assertEqual(found, matcher.always)

    def test_always(self) -> None:
        """
        Only one chain that asks for nothing is found whatever the connection.
        """
        self.assertEqual(Matcher([(Match(), "all")]).always, "all")
        some = Match(server_names=("*.example.com",))
        self.assertIsNone(Matcher([(some, "some")]).always)
        self.assertIsNone(Matcher([(some, "some"), (Match(), "all")]).always)
        self.assertIsNone(Matcher([]).always)
