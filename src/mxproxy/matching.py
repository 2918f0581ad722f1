"""
Which filter chain takes a connection: Envoy's C{filter_chain_match}, with its precedence.

The criteria are looked at one after the other, in the order of L{CRITERIA}.  At each, the
most specific value of any chain that fits the connection decides which chains remain, and
there is no going back: a chain for C{www.example.com} that then does not match the
connection's ALPN hides one for C{*.example.com} that would (Envoy's documentation of
C{config.listener.v3.FilterChainMatch}, and C{FilterChainManagerImpl}).  So the chains are
a tree, as deep as there are criteria, and finding one is a walk down.

Envoy 1.40 was asked wherever its documentation leaves a doubt.  A known difference: of a chain
for C{0.0.0.0/0} and one that says nothing of the address, Envoy takes one or the other, by
chance.  Here the one that says something is the more specific one.

Nothing in here knows a socket: what is matched is a L{Candidate}, plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, Generic, NamedTuple, TypeVar

from .config.plan import FilterChainMatch

T = TypeVar("T")

IP = IPv4Address | IPv6Address

#: The key of what is said by no chain's match, and so fits everything.
ANY = None

SAME_IP_OR_LOOPBACK = "SAME_IP_OR_LOOPBACK"
EXTERNAL = "EXTERNAL"

#: What a unix socket's address counts as, in Envoy, where networks are asked for.
UNIX = IPv4Address("255.255.255.255")

#: The whole of 127.0.0.0/8 is this host, but to Envoy only this one is.
LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


class AmbiguousMatch(ValueError):
    """
    Two chains would take the same connections, or one would twice.

    @ivar first: the index of one.
    @ivar second: the index of the other, the later one; the same one, if it says so twice.
    """

    def __init__(self, first: int, second: int, criteria: str) -> None:
        what = "a match that it has already" if first == second else "the same match as that"
        super().__init__(f"{what} of filter chain {first}: {criteria}")
        self.first = first
        self.second = second


@dataclass(frozen=True)
class Candidate:
    """
    What is known of a connection when its chain is picked.  A v4 client of a v6 socket is to
    come as what it is: an IPv4-mapped address is a v6 address here.

    @ivar destination: the address that it was meant for; C{None} for a unix socket.
    @ivar direct_source: the socket's peer.
    @ivar source: the downstream; another one where a PROXY header said so.
    @ivar server_name: in lower case.
    @ivar application_protocols: in the client's order.
    """

    destination: IP | None = None
    destination_port: int | None = None
    server_name: str = ""
    transport_protocol: str = ""
    application_protocols: Sequence[str] = ()
    direct_source: IP | None = None
    source: IP | None = None
    source_port: int | None = None


# -- a match's values of one criterion, and those of a connection that could be among them, the
# -- most specific first


def _exactly(value: Any) -> Iterable[Hashable]:
    return (value,) if value else ()


class _Network(NamedTuple):
    """
    @ivar bits: those of the prefix alone.
    """

    version: int
    length: int
    bits: int

    def __str__(self) -> str:
        size = 32 if self.version == 4 else 128
        number = self.bits << (size - self.length)
        address = IPv4Address(number) if self.version == 4 else IPv6Address(number)
        return f"{address}/{self.length}"


def _parse(networks: Iterable[str]) -> Iterable[Hashable]:
    for text in networks:
        network = ip_network(text, strict=False)
        spare = network.max_prefixlen - network.prefixlen
        yield _Network(network.version, network.prefixlen, int(network.network_address) >> spare)


def _networks(address: IP | None) -> Iterable[Hashable]:
    address = address or UNIX
    version, number = address.version, int(address)
    for spare in range(address.max_prefixlen + 1):
        # Equal to a _Network, and made in a fraction of the time.
        yield (version, address.max_prefixlen - spare, number >> spare)


def _wantedNames(match: FilterChainMatch) -> Iterable[Hashable]:
    for name in match.server_names:
        # As in Envoy ".example.com" is but another way to write "*.example.com".
        key = name.lower().removeprefix("*" if name.startswith("*.") else "")
        if "*" in key:
            raise ValueError(
                f"server_names: {name!r}: a wildcard stands for whole labels: *.example.com"
            )
        yield key or ANY


def _foundNames(candidate: Candidate) -> Iterable[Hashable]:
    name = candidate.server_name
    if not name:
        return
    yield name
    dot = name.find(".", 1)
    while 0 < dot < len(name) - 1:
        yield name[dot:]
        dot = name.find(".", dot + 1)


def _sourceTypes(candidate: Candidate) -> Iterable[Hashable]:
    source = candidate.source
    local = source is None or source in LOOPBACK or source == candidate.destination
    return (SAME_IP_OR_LOOPBACK if local else EXTERNAL,)


@dataclass(frozen=True)
class _Criterion:
    """
    @ivar name: the field's.
    @ivar wanted: a match's values; none, or L{ANY}: everything fits.
    @ivar found: a connection's values that could be wanted, the most specific first.
    """

    name: str
    wanted: Callable[[FilterChainMatch], Iterable[Hashable]]
    found: Callable[[Candidate], Iterable[Hashable]]


CRITERIA = (
    _Criterion(
        "destination_port",
        lambda match: _exactly(match.destination_port),
        lambda candidate: _exactly(candidate.destination_port),
    ),
    _Criterion(
        "prefix_ranges",
        lambda match: _parse(match.prefix_ranges),
        lambda candidate: _networks(candidate.destination),
    ),
    _Criterion("server_names", _wantedNames, _foundNames),
    _Criterion(
        "transport_protocol",
        lambda match: _exactly(match.transport_protocol),
        lambda candidate: _exactly(candidate.transport_protocol),
    ),
    _Criterion(
        "application_protocols",
        lambda match: [name or ANY for name in match.application_protocols],
        lambda candidate: candidate.application_protocols,
    ),
    _Criterion(
        "direct_source_prefix_ranges",
        lambda match: _parse(match.direct_source_prefix_ranges),
        lambda candidate: _networks(candidate.direct_source),
    ),
    _Criterion("source_type", lambda match: _exactly(match.source_type), _sourceTypes),
    _Criterion(
        "source_prefix_ranges",
        lambda match: _parse(match.source_prefix_ranges),
        lambda candidate: _networks(candidate.source),
    ),
    _Criterion(
        "source_ports",
        lambda match: match.source_ports,
        lambda candidate: _exactly(candidate.source_port),
    ),
)


class Matcher(Generic[T]):
    """
    Chains by what they match.
    """

    def __init__(self, chains: Sequence[tuple[FilterChainMatch, T]]) -> None:
        """
        @param chains: matches with what is to be found by them.
        @raise AmbiguousMatch: two would take the same connections.
        @raise ValueError: a network is none, or a wildcard is in the wrong place.
        """
        self._tree: dict[Hashable, Any] = {}
        owners: dict[tuple[Hashable, ...], int] = {}
        for index, (match, chain) in enumerate(chains):
            for path in _paths(match):
                if path in owners:
                    raise AmbiguousMatch(owners[path], index, _describe(path))
                owners[path] = index
                branch = self._tree
                for key in path[:-1]:
                    branch = branch.setdefault(key, {})
                branch[path[-1]] = chain

    @property
    def always(self) -> T | None:
        """What is found whatever the connection; C{None} if that depends on it."""
        branch: Any = self._tree
        for _ in CRITERIA:
            if list(branch) != [ANY]:
                return None
            branch = branch[ANY]
        found: T = branch
        return found

    def find(self, candidate: Candidate) -> T | None:
        """
        @return: what takes the connection, or C{None}.
        """
        branch: Any = self._tree
        for criterion in CRITERIA:
            branch = _step(branch, criterion, candidate)
            if branch is None:
                return None
        found: T = branch
        return found


def _step(branch: Mapping[Hashable, Any], criterion: _Criterion, candidate: Candidate) -> Any:
    # Most listeners say nothing of most criteria.
    if len(branch) > 1 or ANY not in branch:
        for key in criterion.found(candidate):
            if key in branch:
                return branch[key]
    return branch.get(ANY)


def _paths(match: FilterChainMatch) -> list[tuple[Hashable, ...]]:
    """
    Every way down the tree that leads to this match: the product of its values.
    """
    paths: list[tuple[Hashable, ...]] = [()]
    for criterion in CRITERIA:
        keys = tuple(criterion.wanted(match)) or (ANY,)
        paths = [(*path, key) for path in paths for key in keys]
    return paths


def _describe(path: Sequence[Hashable]) -> str:
    said = [f"{c.name} {key}" for c, key in zip(CRITERIA, path, strict=True) if key is not ANY]
    return ", ".join(said) or "everything"


__all__ = [
    "EXTERNAL",
    "SAME_IP_OR_LOOPBACK",
    "AmbiguousMatch",
    "Candidate",
    "Matcher",
]
