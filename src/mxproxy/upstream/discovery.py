"""
Which hosts a cluster has: the file's, a name's addresses, or the connection's own destination.

Names are asked for again and again, by the reactor's resolver, from the service's start to its
end.  An answer without an address leaves the hosts as they are: that resolver does not tell a
name that has none from a server that does not answer.  (Envoy does, and empties a STRICT_DNS
cluster whose name is gone.)  Nor does it know how long an answer is good for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

from ..config.plan import (
    ALL,
    AUTO,
    LOGICAL_DNS,
    STATIC,
    STRICT_DNS,
    V4_ONLY,
    V4_PREFERRED,
    V6_ONLY,
    ClusterPlan,
    HostPlan,
)
from ..connection import Connection
from .hosts import Host, Place, addressPlace, describedPlace, nameAndPort

#: Seconds after which a question without an answer is asked again.  Twisted's resolver is the
#: system's, in a thread; with three servers and its usual settings that gives up after 30 s.
RESOLVE_TIMEOUT = 45.0

MakeHost = Callable[[Place, HostPlan], Host]
Found = Callable[[Sequence[Host]], None]


class Discovery(Protocol):
    """
    Finds hosts, and says so.
    """

    def start(self) -> None:
        """From now on."""

    def stop(self) -> None:
        """Not any more."""


class Static:
    """
    The hosts of the file.
    """

    def __init__(self, reactor: Any, plan: ClusterPlan, make: MakeHost, found: Found) -> None:
        """
        @param found: is told of them at once.
        @raise ValueError: an endpoint is none.
        """
        found([make(describedPlace(reactor, host.endpoint), host) for host in plan.hosts])

    def start(self) -> None:
        """There is nothing to look for."""

    def stop(self) -> None:
        """There was nothing to look for."""


class _Names(ABC):
    """
    The names of a cluster.
    """

    def __init__(self, reactor: Any, plan: ClusterPlan, make: MakeHost, found: Found) -> None:
        """
        @param found: is told of all hosts, whenever they are others; and when no name is
            still to be answered for the first time.
        @raise ValueError: an endpoint has no name, or there is no such family.
        """
        self._reactor = reactor
        self._plans = plan.hosts
        self._make = make
        self._found = found
        self._names: list[Name] = []
        self._silent: set[int] = set()
        for index, host in enumerate(plan.hosts):
            name, port = nameAndPort(host.endpoint)
            self._silent.add(index)
            self._names.append(
                Name(reactor, name, port, plan.dns_lookup_family, plan.dns_refresh_rate)
            )

    def start(self) -> None:
        """Ask for all names."""
        for index, name in enumerate(self._names):
            name.start(partial(self._answered, index))
        if not self._names:
            self._found([])

    def stop(self) -> None:
        """Ask no more."""
        for name in self._names:
            name.stop()

    def _answered(self, index: int, places: list[Place]) -> None:
        wasSilent = bool(self._silent)
        self._silent.discard(index)
        changed = bool(places) and self.update(index, places)
        if changed or (wasSilent and not self._silent):
            self._found(self.hosts())

    @abstractmethod
    def update(self, index: int, places: list[Place]) -> bool:
        """
        The name has these addresses, at least one.

        @return: whether there are other hosts than before.
        """

    @abstractmethod
    def hosts(self) -> list[Host]:
        """All of them."""


class StrictDNS(_Names):
    """
    Every address is a host.
    """

    def __init__(self, reactor: Any, plan: ClusterPlan, make: MakeHost, found: Found) -> None:
        super().__init__(reactor, plan, make, found)
        self._byName: list[dict[str, Host]] = [{} for _ in plan.hosts]

    def update(self, index: int, places: list[Place]) -> bool:
        """Those that were known stay what they are."""
        before = self._byName[index]
        after: dict[str, Host] = {}
        for place in places:
            if place.key not in after:
                after[place.key] = before.get(place.key) or self._make(place, self._plans[index])
        self._byName[index] = after
        return list(before) != list(after)

    def hosts(self) -> list[Host]:
        """An address that several names have is the first one's."""
        merged: dict[str, Host] = {}
        for hosts in self._byName:
            for key, host in hosts.items():
                merged.setdefault(key, host)
        return list(merged.values())


class LogicalDNS(_Names):
    """
    One host, which is where its name's newest first address is; what is connected stays
    where it is.
    """

    def __init__(self, reactor: Any, plan: ClusterPlan, make: MakeHost, found: Found) -> None:
        super().__init__(reactor, plan, make, found)
        self._host: Host | None = None
        if len(plan.hosts) != 1:
            raise ValueError(f"a LOGICAL_DNS cluster has one host, not {len(plan.hosts)}")

    def update(self, index: int, places: list[Place]) -> bool:
        """It has moved, or not."""
        place = places[0]
        if self._host is None:
            self._host = self._make(place, self._plans[0])
        elif self._host.key == place.key:
            return False
        self._host.place = place
        return True

    def hosts(self) -> list[Host]:
        """The one, once it is known where."""
        return [] if self._host is None else [self._host]


def discovery(reactor: Any, plan: ClusterPlan, make: MakeHost, found: Found) -> Discovery:
    """
    @raise ValueError: the plan cannot be used.
    """
    kinds: dict[str, Callable[[Any, ClusterPlan, MakeHost, Found], Discovery]] = {
        STATIC: Static,
        STRICT_DNS: StrictDNS,
        LOGICAL_DNS: LogicalDNS,
    }
    if plan.type not in kinds:
        raise ValueError(f"there is no cluster type {plan.type!r}")
    return kinds[plan.type](reactor, plan, make, found)


# -- names ---------------------------------------------------------------------------------

#: Which of the families' addresses are used: of each choice, the first that has any.
_Choice = tuple[type[IPv4Address] | type[IPv6Address], ...]
_CHOICES: dict[str, tuple[_Choice, ...]] = {
    AUTO: ((IPv6Address,), (IPv4Address,)),
    V4_PREFERRED: ((IPv4Address,), (IPv6Address,)),
    V4_ONLY: ((IPv4Address,),),
    V6_ONLY: ((IPv6Address,),),
    ALL: ((IPv4Address, IPv6Address),),
}


class Name:
    """
    A name and a port, asked for at a rate.
    """

    def __init__(self, reactor: Any, name: str, port: int, family: str, rate: float) -> None:
        """
        @param rate: seconds from an answer to the next question.
        @raise ValueError: there is no such family.
        """
        if family not in _CHOICES:
            raise ValueError(f"there is no dns_lookup_family {family!r}")
        self._reactor = reactor
        self._name = name
        self._port = port
        self._choices = _CHOICES[family]
        self._rate = rate
        self._timer: IDelayedCall | None = None
        self._question: _Question | None = None
        self._answered: Callable[[list[Place]], None] | None = None

    def start(self, answered: Callable[[list[Place]], None]) -> None:
        """
        @param answered: called with where the name's addresses are, each time; with none
            when there was no answer.
        """
        self._answered = answered
        self._ask()

    def stop(self) -> None:
        """Ask no more; an answer that is on its way is not heard."""
        self._answered = None
        self._end()

    def _end(self) -> None:
        if self._question is not None:
            question, self._question = self._question, None
            question.name = None
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def _ask(self) -> None:
        self._timer = self._reactor.callLater(RESOLVE_TIMEOUT, self._gaveUp)
        self._question = question = _Question(self)
        types = tuple(kind for choice in self._choices for kind in choice)
        self._reactor.nameResolver.resolveHostName(question, self._name, self._port, types)

    def _gaveUp(self) -> None:
        self._timer = None
        self.answer([])

    def answer(self, addresses: Sequence[Any]) -> None:
        """
        All addresses there are.
        """
        self._end()
        self._timer = self._reactor.callLater(self._rate, self._again)
        assert self._answered is not None
        chosen: list[str] = []
        for choice in self._choices:
            if not chosen:
                chosen = [address.host for address in addresses if isinstance(address, choice)]
        self._answered([addressPlace(self._reactor, host, self._port) for host in chosen])

    def _again(self) -> None:
        self._timer = None
        self._ask()


@implementer(IResolutionReceiver)
class _Question:
    """
    One question to the resolver.

    @ivar name: who asks; C{None} when nobody wants to know any more.
    """

    def __init__(self, name: Name) -> None:
        self.name: Name | None = name
        self._addresses: list[Any] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """It cannot be cancelled: the system's resolver sits in a thread."""

    def addressResolved(self, address: IAddress) -> None:
        """One more."""
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        """That was all."""
        if self.name is not None:
            self.name.answer(self._addresses)


# -- where the connection was meant to go --------------------------------------------------


def originalDestination(reactor: Any, connection: Connection) -> Place | None:
    """
    @return: where C{connection} was going before it was redirected to us, or where a PROXY
        header says so; C{None} if nobody has said that it was going anywhere else, because
        then it would come to us again.  All this is Envoy's (C{localAddressRestored}).
    """
    address: object = connection.downstream.original_destination
    if isinstance(address, (IPv4Address, IPv6Address)):
        return addressPlace(reactor, address.host, address.port)
    return None
