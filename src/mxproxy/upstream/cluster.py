"""
A cluster: its hosts, whose turn it is, and how many connections there may be.

What finds hosts (L{discovery<mxproxy.upstream.discovery>}), what judges them
(L{health<mxproxy.upstream.health>}, L{outlier<mxproxy.upstream.outlier>}) and what chooses
between them (L{balance<mxproxy.upstream.balance>}) are files of their own; here they meet.

Until a cluster is I{warm} nobody knows where its connections should go: a name has not been
answered, a host has not been checked.  Envoy does not listen before that; mxproxy does, since
it has to while it is privileged, and lets a connection wait.  Nobody waits for more than
C{connect_timeout} from the start on: then the cluster is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from ..config.plan import MAGLEV, ORIGINAL_DST, RING_HASH, ClusterPlan, HostPlan
from ..connection import Connection
from ..interfaces import IUpstream
from ..tls.explain import failureCounter
from .balance import Balancer, balancer, usable
from .connecting import Connecting
from .discovery import Discovery, discovery, originalDestination
from .health import HealthChecks
from .hosts import Host, Place
from .outlier import OutlierDetection
from .sockets import UpstreamSocket, socketFor
from .xxhash import xxh64


def _countNothing(name: str) -> None:
    """Nobody wants to know."""


@implementer(IUpstream)
class Cluster:
    """
    See L{mxproxy.config.plan.ClusterPlan}.

    @ivar hosts: all that are known.
    @ivar active: how many connections there are, those that are being made among them.
    @ivar warm: whether it is known where connections should go.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        plan: ClusterPlan,
        sockets: Sequence[UpstreamSocket],
        count: Callable[[str], None] = _countNothing,
        random: Random | None = None,
    ) -> None:
        """
        @param sockets: those of C{transport_socket_matches}, and last the one for all others.
        @param count: see L{IChainContext.count<mxproxy.interfaces.IChainContext.count>}.
        @param random: what balancers draw from.
        @raise ValueError: the plan cannot be used.
        """
        self.name = plan.name
        self.clock = reactor
        self.connectTimeout = plan.connect_timeout
        self.hosts: list[Host] = []
        self.active = 0
        self.warm = False
        self._plan = plan
        self._sockets = sockets
        self._count = count
        self._random = random or Random()
        self._usable: list[Host] = []
        self._balancer: Balancer[Host] | None = None
        self._checks: HealthChecks | None = None
        self._outliers: OutlierDetection | None = None
        self._discovery: Discovery | None = None
        self._hasTraffic = False
        self._found = False
        self._retired = False
        self._waiting: dict[Connecting, None] = {}
        self._deadline: IDelayedCall | None = None
        self._build(reactor, plan)

    def _build(self, reactor: Any, plan: ClusterPlan) -> None:
        _check(plan)
        if plan.type == ORIGINAL_DST:
            self.warm = True
            return
        if plan.health_checks:
            self._checks = HealthChecks(
                plan.health_checks[0], reactor, self._checked, lambda: self._hasTraffic
            )
        if plan.outlier_detection is not None:
            self._outliers = OutlierDetection(
                plan.outlier_detection, reactor, self._ejectionChanged, self._counted
            )
        self._balancer = balancer(plan.lb_policy, self._random)
        self._discovery = discovery(reactor, plan, self._host, self._setHosts)

    # -- with the service

    def start(self) -> None:
        """Look for hosts, and check them."""
        for socket in self._sockets:
            socket.chain.factory.doStart()
        if not self.warm:
            self._deadline = self.clock.callLater(self.connectTimeout, self._warmEnough)
        if self._outliers is not None:
            self._outliers.start()
        if self._checks is not None:
            self._checks.start()
        if self._discovery is not None:
            self._discovery.start()

    def stop(self) -> None:
        """Not any more.  Connections are not touched."""
        if self._deadline is not None:
            deadline, self._deadline = self._deadline, None
            deadline.cancel()
        for part in (self._discovery, self._checks, self._outliers):
            if part is not None:
                part.stop()
        for socket in self._sockets:
            socket.chain.factory.doStop()

    def retire(self) -> None:
        """
        Stop, because the configuration has another in its place.  Connections that are still on
        their way go to hosts that are known by then: not before the cluster is warm.
        """
        self._retired = True
        if self.warm:
            self.stop()

    # -- hosts

    def _host(self, place: Place, plan: HostPlan) -> Host:
        for host in self.hosts:
            if host.unlisted and host.key == place.key:
                return host
        return Host(place, socketFor(self._sockets, plan.metadata), plan.weight)

    def _setHosts(self, hosts: Sequence[Host]) -> None:
        """These are all that discovery knows."""
        listed = list(hosts)
        for host in listed:
            host.unlisted = False
        if self._checks is not None:
            # As in Envoy: who answers is believed, and not who says that it is gone.
            for host in self.hosts:
                if host not in listed and not host.failedCheck:
                    host.unlisted = True
                    listed.append(host)
        self._found = True
        self._keep(listed)
        self._maybeWarm()

    def _keep(self, hosts: list[Host]) -> None:
        self.hosts = hosts
        if self._outliers is not None:
            self._outliers.setHosts(hosts)
        if self._checks is not None:
            self._checks.setHosts(hosts)
        self._refresh()

    def _refresh(self) -> None:
        """Other hosts, or other health."""
        assert self._balancer is not None
        self._usable = usable(self.hosts, self._plan.healthy_panic_threshold)
        self._balancer.refresh(self._usable)

    def _checked(self, host: Host, passed: bool, why: str) -> None:
        self._counted(f"health_check.{'success' if passed else 'failure'}")
        if passed and self._outliers is not None:
            self._outliers.passedCheck(host)
        if host.unlisted and host.failedCheck:
            self._keep([other for other in self.hosts if other is not host])
        else:
            self._refresh()
        if not passed:
            self.log.debug(
                "cluster {cluster}: {host!r}: {why}", cluster=self.name, host=host, why=why
            )
        self._maybeWarm()

    def _ejectionChanged(self, host: Host) -> None:
        self._refresh()
        self.log.info("cluster {cluster}: {host!r}", cluster=self.name, host=host)

    # -- warm

    def _maybeWarm(self) -> None:
        if not self._found or (self._checks is not None and self._checks.pending):
            return
        if not self.warm:
            self._isWarm()

    def _warmEnough(self) -> None:
        self._deadline = None
        self._isWarm()

    def _isWarm(self) -> None:
        self.warm = True
        if self._deadline is not None:
            deadline, self._deadline = self._deadline, None
            deadline.cancel()
        waiting, self._waiting = self._waiting, {}
        for connecting in waiting:
            connecting.start()
        if self._retired:
            # Not at once: whoever has said so may have something to finish.
            self.clock.callLater(0, self.stop)

    # -- connections

    def connect(self, connection: Connection, attempts: int | None = None) -> Deferred[Any]:
        """See L{IUpstream.connect}."""
        connecting = Connecting(self, connection, attempts)
        if self.warm:
            connecting.start()
        else:
            self._waiting[connecting] = None
        return connecting.result

    def forget(self, connecting: Connecting) -> None:
        """It does not wait any more."""
        del self._waiting[connecting]

    def pick(self, connection: Connection) -> Host | None:
        """
        @return: whose turn it is, or C{None}: nobody's; see L{noHost}.
        """
        if self._balancer is None:
            place = originalDestination(self.clock, connection)
            return None if place is None else Host(place, self._sockets[-1])
        if not self._usable:
            return None
        return self._balancer.pick(self._hash(connection))

    def everyHost(self, connection: Connection) -> list[Host]:
        """
        @return: each once: whose turn it is, and then those that follow in the list.
        """
        first = self.pick(connection)
        if first is None:
            return []
        if self._balancer is None:
            return [first]
        at = self._usable.index(first)
        return self._usable[at:] + self._usable[:at]

    def _hash(self, connection: Connection) -> int:
        if self._plan.lb_policy not in (RING_HASH, MAGLEV):
            return 0
        address = getattr(connection.downstream.address, "host", None)
        if address is None:
            return self._random.getrandbits(64)
        # Envoy's hash_policy source_ip; the port is another each time.
        return xxh64(address.encode())

    def noHost(self) -> str:
        """Why there is none, and that it was asked."""
        self._counted("upstream_cx_none_healthy")
        if self._balancer is None:
            why = "the connection has no original destination"
        elif not self._found:
            why = f"cluster {self.name} has not been resolved"
        elif self.hosts:
            why = f"none of the {len(self.hosts)} hosts of cluster {self.name} is healthy"
        else:
            why = f"cluster {self.name} has no hosts"
        return f"no_healthy_upstream: {why}"

    def overflow(self) -> str:
        """
        @return: why there may be no more connections; empty: there may.
        """
        limit = self._plan.max_connections
        if limit is None or self.active < limit:
            return ""
        self._counted("upstream_cx_overflow")
        return f"overflow: cluster {self.name} is at its max_connections, {limit}"

    def took(self, host: Host) -> None:
        """One more connection, or attempt at one."""
        self._hasTraffic = True
        self.active += 1
        host.active += 1
        host.total += 1
        self._counted("upstream_cx_total")

    def gaveBack(self, host: Host) -> None:
        """One less."""
        self.active -= 1
        host.active -= 1

    def connected(self, host: Host) -> None:
        """It has come through the chain."""
        if self._outliers is not None:
            self._outliers.succeeded(host)

    def failed(self, host: Host, why: str) -> None:
        """It has not."""
        host.failures += 1
        # Envoy's connect_timeout includes the TLS handshake.
        timedOut = why.startswith(("connect_timeout", "handshake_timeout"))
        self._counted(f"upstream_cx_connect_{'timeout' if timedOut else 'fail'}")
        ofTLS = failureCounter(why)
        if ofTLS is not None:
            self._counted(f"ssl.{ofTLS}")
        if self._outliers is not None:
            self._outliers.failed(host)

    def _counted(self, name: str) -> None:
        self._count(f"cluster.{self.name}.{name}")

    def __repr__(self) -> str:
        healthy = sum(host.healthy for host in self.hosts)
        state = "warm" if self.warm else "cold"
        return (
            f"<Cluster {self.name} {state}, {healthy} of {len(self.hosts)} hosts healthy,"
            f" {self.active} connections>"
        )


def _check(plan: ClusterPlan) -> None:
    """
    What can be wrong with a plan before anything is made of it.

    @raise ValueError: and is.
    """
    if len(plan.health_checks) > 1:
        raise ValueError("there can be one health check, as in Envoy")
    if any(host.weight < 1 for host in plan.hosts):
        raise ValueError("a host's weight is at least 1")
    if plan.type == ORIGINAL_DST and (
        plan.hosts or plan.health_checks or plan.outlier_detection is not None
    ):
        raise ValueError(
            "an ORIGINAL_DST cluster has no hosts of its own, and so none to check or to eject"
        )
