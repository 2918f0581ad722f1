"""
Leaves out, for a while, the hosts that cannot be connected: Envoy's outlier detection, of
which it does the part that a layer-4 proxy has, consecutive local-origin failures.

A failure is one of the whole chain: of TCP, of TLS, of a filter.  As in Envoy
(C{outlier_detection_impl.cc}), who was ejected once is ejected longer the next time, who was
not for an interval is a little less suspect, and who is ejected is looked at once an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from ..config.plan import OutlierDetectionPlan
from .hosts import Host


@dataclass
class _Record:
    """
    @ivar failures: in a row.
    @ivar backoff: times the base is how long the ejection lasts.
    @ivar ejectedAt: when it began.
    @ivar returnedAt: when it ended.
    """

    failures: int = 0
    backoff: int = 0
    ejectedAt: float = 0.0
    returnedAt: float = 0.0


class OutlierDetection:
    """
    Of one cluster.
    """

    def __init__(
        self,
        plan: OutlierDetectionPlan,
        clock: Any,
        changed: Callable[[Host], None],
        count: Callable[[str], None],
    ) -> None:
        """
        @param changed: called with a host that was ejected, or is so no more.
        @param count: see L{IChainContext.count<mxproxy.interfaces.IChainContext.count>}.
        """
        self._plan = plan
        self._clock = clock
        self._changed = changed
        self._count = count
        self._records: dict[Host, _Record] = {}
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Look at the ejected ones from now on."""
        self._timer = self._clock.callLater(self._plan.interval, self._look)

    def stop(self) -> None:
        """Not any more."""
        if self._timer is not None:
            timer, self._timer = self._timer, None
            timer.cancel()

    def setHosts(self, hosts: Sequence[Host]) -> None:
        """These are all there are."""
        self._records = {host: self._records.get(host) or _Record() for host in hosts}

    def succeeded(self, host: Host) -> None:
        """It was connected."""
        record = self._records.get(host)
        if record is not None:
            record.failures = 0

    def failed(self, host: Host) -> None:
        """It was not."""
        record = self._records.get(host)
        if record is None:
            return  # A host that is gone since.
        record.failures += 1
        if record.failures == self._plan.consecutive_local_origin_failure and not host.ejected:
            record.failures = 0
            self._eject(host, record)

    def passedCheck(self, host: Host) -> None:
        """A health check knows better."""
        if host.ejected:
            self._return(host, self._records[host])

    def _eject(self, host: Host, record: _Record) -> None:
        plan = self._plan
        ejected = sum(other.ejected for other in self._records)
        percent = 100.0 * (ejected + 1) / len(self._records)
        if percent > plan.max_ejection_percent and (ejected or not plan.always_eject_one_host):
            self._count("outlier_detection.ejections_overflow")
            return
        host.ejected = True
        record.ejectedAt = self._clock.seconds()
        if record.backoff * plan.base_ejection_time < (
            plan.max_ejection_time + plan.base_ejection_time
        ):
            record.backoff += 1
        self._count("outlier_detection.ejections_enforced_consecutive_local_origin_failure")
        self._changed(host)

    def _return(self, host: Host, record: _Record) -> None:
        host.ejected = False
        record.failures = 0
        record.returnedAt = self._clock.seconds()
        self._changed(host)

    def _look(self) -> None:
        plan = self._plan
        self._timer = self._clock.callLater(plan.interval, self._look)
        now = self._clock.seconds()
        for host, record in list(self._records.items()):
            lasts = min(plan.base_ejection_time * record.backoff, plan.max_ejection_time)
            if host.ejected and now - record.ejectedAt >= lasts:
                self._return(host, record)
            if not host.ejected and record.backoff and now - record.returnedAt >= plan.interval:
                record.backoff -= 1
