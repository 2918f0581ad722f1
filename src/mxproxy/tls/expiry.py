"""
How long something is good for, and when to say that this is over soon.

Dates are a certificate's own, in UTC; so they are compared with the time of day, not with a
reactor's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from mxproxy.tls.pem import stamp

# How much is left of a lifetime when it is said: a fifth, then a twentieth, but of a long one
# not more than a month and a week.  Who renews does so at half (Istio) to two thirds (ACME) of
# it, so these tell of renewals that have failed.
_SOON = ((5, timedelta(days=30)), (20, timedelta(days=7)))

#: The stage of what has expired.
EXPIRED = len(_SOON) + 1


@dataclass(frozen=True)
class Lifetime:
    """
    How long something is good for.

    @ivar what: what it is, and where.
    @ivar consequence: what happens afterwards.
    """

    what: str
    begins: datetime
    ends: datetime
    consequence: str

    def stage(self, now: datetime) -> int:
        """
        0: good for long; then, the more the nearer; L{EXPIRED}.
        """
        left = self.ends - now
        if left <= timedelta():
            return EXPIRED
        whole = self.ends - self.begins
        return sum(left <= min(whole / part, most) for part, most in _SOON)

    def line(self, now: datetime) -> str:
        """
        The warning.
        """
        left = self.ends - now
        if left <= timedelta():
            return f"{self.what} expired at {stamp(self.ends)}: {self.consequence}"
        return (
            f"{self.what} expires in {inWords(left)}, at {stamp(self.ends)}, and is not renewed "
            f"yet; from then on: {self.consequence}"
        )


def inWords(length: timedelta) -> str:
    """
    A length of time, in its largest unit and the next.
    """
    seconds = int(length.total_seconds())
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for index, (name, size) in enumerate(units):
        count, rest = divmod(seconds, size)
        if count:
            words = [f"{count} {name}"]
            for smaller, its in units[index + 1 : index + 2]:
                words += [f"{rest // its} {smaller}"] if rest >= its else []
            return " ".join(words)
    return "0 s"


def daysUntil(end: datetime, now: datetime) -> int:
    """
    Whole days; 0 on the last day, and when it is over.
    """
    return max(0, (end - now).days)


def utcNow() -> datetime:
    """
    The time that certificates are judged by.
    """
    return datetime.now(timezone.utc)
