"""
Asks hosts whether they are fit: Envoy's TCP health checks.

A check is a connection of its own, through the host's TLS but through none of the cluster's
filters: what is made is enough, or it is sent something and has to answer.  Each check is a
new connection (Envoy's C{reuse_connection: false}).  What results mean is L{Standing}, pure.

As in Envoy: the first check is made at once and counts for itself, the thresholds are for the
following ones; and a cluster that nobody uses is checked at its own, slow rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from ..config.plan import HealthCheckPlan
from ..connection import Connection, connectionOf
from ..tcp import AWAITED
from .attempt import Attempt
from .hosts import Host

#: Bytes of an answer that are looked at; Envoy has no bound.
MAX_ANSWER = 64 * 1024


class Standing:
    """
    What a host's checks have come to.

    @ivar healthy: so it is.
    """

    def __init__(self, healthyThreshold: int, unhealthyThreshold: int) -> None:
        self.healthy = False
        self._needed = {True: healthyThreshold, False: unhealthyThreshold}
        self._first = True
        self._against = 0

    def add(self, passed: bool) -> bool:
        """
        One more result.

        @return: whether the host's health is another than before.
        """
        first, self._first = self._first, False
        if passed is self.healthy:
            self._against = 0
            return False
        self._against += 1
        if not first and self._against < self._needed[passed]:
            return False
        self.healthy, self._against = passed, 0
        return True


def answers(receive: Sequence[bytes], data: bytes) -> bool:
    """
    @return: whether C{data} contains all of C{receive}, in that order, with anything between.
    """
    at = 0
    for part in receive:
        at = data.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


class _Ear(Protocol):
    """
    The top of a check's chain.

    @ivar check: whom it tells; C{None} when nobody listens any more.
    """

    transport: Any
    check: HostCheck | None = None

    def makeConnection(self, transport: Any) -> None:
        """The host can be connected."""
        self.connection = connectionOf(transport)
        self.transport = transport
        waiting = self.connection.get(AWAITED)
        assert waiting is not None
        waiting.callback(self)

    def dataReceived(self, data: bytes) -> None:
        """The host says something."""
        if self.check is not None:
            self.check.received(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """It is gone."""
        assert reason is not None
        check, self.check = self.check, None
        self.connection.lost(self.connection.upstream, reason)
        if check is not None:
            check.gone(self.connection.upstream.close_reason)


class CheckFactory(Factory):
    """
    The top of a check's chain.
    """

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """One for one check."""
        return _Ear()

    def __repr__(self) -> str:
        return "health check"


class HostCheck:
    """
    The checks of one host.
    """

    def __init__(
        self,
        host: Host,
        plan: HealthCheckPlan,
        clock: Any,
        checked: Callable[[Host, bool, str], None],
        hasTraffic: Callable[[], bool],
    ) -> None:
        """
        @param checked: called with the host, whether it has passed, and why not.
        @param hasTraffic: whether anybody has ever connected to the cluster.
        """
        self._host = host
        self._plan = plan
        self._clock = clock
        self._checked = checked
        self._hasTraffic = hasTraffic
        self._standing = Standing(plan.healthy_threshold, plan.unhealthy_threshold)
        self._timer: IDelayedCall | None = None
        self._dialing: Deferred[Any] | None = None
        self._ear: _Ear | None = None
        self._open = False
        self._seen = b""

    def start(self) -> None:
        """Check now, and again and again."""
        self._timer = self._clock.callLater(self._plan.timeout, self._timedOut)
        self._open = True
        self._seen = b""
        chain = self._host.socket.check
        assert chain is not None
        connection = Connection("", self._clock.seconds)
        attempt = Attempt(self._host, chain, connection, self._clock, None)
        self._dialing = attempt.result
        attempt.result.addCallbacks(self._connected, self._failed)
        attempt.start()

    def stop(self) -> None:
        """Not any more; whatever is open is dropped."""
        self._stopTimer()
        self._drop()

    def _stopTimer(self) -> None:
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def _drop(self) -> None:
        self._open = False
        if self._dialing is not None:
            dialing, self._dialing = self._dialing, None
            dialing.cancel()
        if self._ear is not None:
            ear, self._ear = self._ear, None
            ear.check = None
            ear.transport.abortConnection()

    # -- one check

    def _connected(self, ear: _Ear) -> None:
        self._dialing = None
        self._ear = ear
        ear.check = self
        if self._plan.send:
            ear.transport.write(self._plan.send)
        if not self._plan.receive:
            self._passed()

    def received(self, data: bytes) -> None:
        """The host has said something."""
        if not self._open:
            return
        self._seen += data
        if answers(self._plan.receive, self._seen):
            self._passed()
        elif len(self._seen) > MAX_ANSWER:
            self._notPassed(f"wrong_answer: not within {MAX_ANSWER} bytes")

    def gone(self, why: str) -> None:
        """The connection is closed."""
        self._ear = None
        if self._open:
            self._notPassed(f"closed: {why}")

    def _failed(self, failure: Failure) -> None:
        self._dialing = None
        if not failure.check(CancelledError):
            self._notPassed(failure.getErrorMessage())

    def _timedOut(self) -> None:
        self._timer = None
        self._notPassed(f"timeout: no answer within {self._plan.timeout:g} s")

    def _passed(self) -> None:
        self._open = False
        assert self._ear is not None
        # In order, with what was sent flushed.  Should that last, the next check drops it.
        self._ear.transport.loseConnection()
        self._done(True, "")

    def _notPassed(self, why: str) -> None:
        self._drop()
        self._done(False, why)

    def _done(self, passed: bool, why: str) -> None:
        plan = self._plan
        self._stopTimer()
        if not self._hasTraffic():
            interval = plan.no_traffic_interval
        elif passed or plan.unhealthy_interval is None:
            interval = plan.interval
        else:
            interval = plan.unhealthy_interval
        self._timer = self._clock.callLater(interval, self._again)
        self._standing.add(passed)
        self._host.failedCheck = not self._standing.healthy
        self._checked(self._host, passed, why)

    def _again(self) -> None:
        self._timer = None
        self._drop()
        self.start()


class HealthChecks:
    """
    The checks of one cluster's hosts.
    """

    def __init__(
        self,
        plan: HealthCheckPlan,
        clock: Any,
        checked: Callable[[Host, bool, str], None],
        hasTraffic: Callable[[], bool],
    ) -> None:
        """
        @param checked: see L{HostCheck}; the host's health is noted by then.
        """
        self._plan = plan
        self._clock = clock
        self._checked = checked
        self._hasTraffic = hasTraffic
        self._checks: dict[Host, HostCheck] = {}
        self._running = False
        #: Those that no check has said anything of yet.
        self.pending: set[Host] = set()

    def setHosts(self, hosts: Sequence[Host]) -> None:
        """These are all there are; those that are new are not fit until they are checked."""
        for host in list(self._checks):
            if host not in hosts:
                self.pending.discard(host)
                self._checks.pop(host).stop()
        for host in hosts:
            if host not in self._checks:
                host.failedCheck = True
                self.pending.add(host)
                self._checks[host] = check = HostCheck(
                    host, self._plan, self._clock, self._done, self._hasTraffic
                )
                if self._running:
                    check.start()

    def start(self) -> None:
        """Check all of them, at once."""
        self._running = True
        for check in list(self._checks.values()):
            check.start()

    def stop(self) -> None:
        """Check no more."""
        self._running = False
        for check in self._checks.values():
            check.stop()

    def _done(self, host: Host, passed: bool, why: str) -> None:
        self.pending.discard(host)
        self._checked(host, passed, why)
