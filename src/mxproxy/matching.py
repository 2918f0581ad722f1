"""
Which filter chain takes a connection: Envoy's C{filter_chain_match}, with its precedence.

The criteria are looked at one after the other, in the order of L{CRITERIA}.  At each, the
most specific value of any chain that fits the connection decides which chains remain, and
there is no going back: a chain for C{www.example.com} that then does not match the
connection's ALPN hides one for C{*.example.com} that would (Envoy's documentation of
C{config.listener.v3.FilterChainMatch}, and C{FilterChainManagerImpl}).  So the chains are
a tree, as deep as there are criteria, and finding one is a walk down.

Nothing in here knows a socket: what is matched is a L{Candidate}, plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, Generic, TypeVar

from .config.plan import FilterChainMatch

T = TypeVar("T")

IP = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: The key of what is said by no chain's match, and so fits everything.
ANY = None

SAME_IP_OR_LOOPBACK = "SAME_IP_OR_LOOPBACK"
EXTERNAL = "EXTERNAL"


class AmbiguousMatch(ValueError):
    """
    Two chains would take the same connections.

    @ivar first: the index of one.
    @ivar second: the index of the other, the later one.
    """

    def __init__(self, first: int, second: int, criteria: str) -> None:
        super().__init__(f"the same match as that of filter chain {first}: {criteria}")
        self.first = first
        self.second = second


@dataclass(frozen=True)
class Candidate:
    """
    What is known of a connection when its chain is picked.

    @ivar destination: the address that it was meant for; C{None} for a unix socket.
    @ivar direct_source: the socket's peer.
    @ivar source: the downstream; another one where a PROXY header said so.
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


# -- the values of one criterion that could fit, the most specific first


def _exactly(value: Any) -> Iterable[Hashable]:
    return (value,) if value else ()


def _networks(address: IP | None) -> Iterable[Hashable]:
    if address is None:
        return
    # A v4 client of a v6 socket is matched as what it is.
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    for length in range(address.max_prefixlen, -1, -1):
        yield ip_network((address, length), strict=False)


def _serverNames(name: str) -> Iterable[Hashable]:
    name = name.lower()
    if not name:
        return
    yield name
    labels = name.split(".")
    for start in range(1, len(labels)):
        yield "*." + ".".join(labels[start:])


def _sourceTypes(candidate: Candidate) -> Iterable[Hashable]:
    source = candidate.direct_source
    local = source is None or source.is_loopback or source == candidate.destination
    return (SAME_IP_OR_LOOPBACK if local else EXTERNAL,)


@dataclass(frozen=True)
class _Criterion:
    """
    @ivar name: the field's.
    @ivar wanted: a match's values; none: everything fits.
    @ivar found: a connection's values that could be wanted, the most specific first.
    """

    name: str
    wanted: Callable[[FilterChainMatch], Iterable[Hashable]]
    found: Callable[[Candidate], Iterable[Hashable]]


def _parse(networks: Iterable[str]) -> Iterable[Hashable]:
    return [ip_network(network, strict=False) for network in networks]


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
    _Criterion(
        "server_names",
        lambda match: [name.lower() for name in match.server_names],
        lambda candidate: _serverNames(candidate.server_name),
    ),
    _Criterion(
        "transport_protocol",
        lambda match: _exactly(match.transport_protocol),
        lambda candidate: _exactly(candidate.transport_protocol),
    ),
    _Criterion(
        "application_protocols",
        lambda match: match.application_protocols,
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
        @raise ValueError: a network is none.
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
        keys = tuple(dict.fromkeys(criterion.wanted(match))) or (ANY,)
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
