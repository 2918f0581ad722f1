"""
What a probe has found out: plain values, and what scripts get of them.

How they are come by is L{mxproxy.tools.probe.conversation}'s, how they look
L{mxproxy.tools.probe.show}'s.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from ...wire.peerstate import PeerState
from ..verdict import FIELDS, Verdict

#: As many bytes of what came instead of a prefix are kept for the report.
SHOWN_BYTES: Final = 256


class Outcome(str, enum.Enum):
    """
    How it went.

    @cvar FOUND: the peer has said who it is.
    @cvar NO_EXCHANGE: TLS is up, and has not negotiated the exchange.
    @cvar EXCHANGE_FAILED: it has, and what came was no metadata.
    @cvar TLS_FAILED: one side did not want the other, or the peer speaks no TLS.
    @cvar CONNECT_FAILED: there is no connection.
    @cvar TIMEOUT: the time was up before any of these.
    """

    FOUND = "found"
    NO_EXCHANGE = "no_exchange"
    EXCHANGE_FAILED = "exchange_failed"
    TLS_FAILED = "tls_failed"
    CONNECT_FAILED = "connect_failed"
    TIMEOUT = "timeout"


#: Exit statuses.  1 is for what is wrong on our side (a file, a port in use), 2 for the command
#: line, as in all of mxproxy's commands.
EXIT: Final[Mapping[Outcome, int]] = {
    Outcome.FOUND: 0,
    Outcome.NO_EXCHANGE: 3,
    Outcome.EXCHANGE_FAILED: 4,
    Outcome.TLS_FAILED: 5,
    Outcome.CONNECT_FAILED: 6,
    Outcome.TIMEOUT: 7,
}


@dataclass(frozen=True)
class CertificateSeen:
    """
    One certificate that the peer has shown.

    @ivar names: its URIs, DNS names, addresses and e-mail addresses, in that order.
    @ivar key: what kind of key it is for.
    @ivar fingerprint: SHA-256 of its DER, hex.
    @ivar fault: why it could not be read; everything else is empty then.
    """

    subject: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None
    serial: str = ""
    key: str = ""
    authority: bool = False
    fingerprint: str = ""
    fault: str = ""


@dataclass(frozen=True)
class TLSSeen:
    """
    What a finished handshake has settled.

    @ivar offered: the protocols that the client offered by ALPN.
    @ivar server_name: the name that the client asked for, or C{None}.
    """

    version: str
    cipher: str
    alpn: str | None
    offered: tuple[str, ...]
    server_name: str | None


@dataclass
class Finding:
    """
    Grows while a probe goes on.

    @ivar peer: C{"server"} or C{"client"}: what the other side is.
    @ivar target: what was asked for.
    @ivar outcome: how it went.
    @ivar reason: why, where it did not go well: C{"token: explanation"}.
    @ivar step: what the probe was at when it ended: C{"connect"}, C{"tls"}, C{"exchange"}.
    @ivar seconds: what each step took.
    @ivar address: the peer's.
    @ivar local_address: our own.
    @ivar tls: C{None} until the handshake is done.
    @ivar chain: the certificates that the peer has shown, its own first.
    @ivar trusted: whether they were found good; C{None} where there was nothing to judge.
    @ivar distrust: why not.
    @ivar principals: what the peer's certificate proves, if it is trusted.
    @ivar wanted: the authorities of which a server wants a client's certificate.
    @ivar speaksFirst: whether the peer has sent its metadata before it had ours.
    @ivar verdict: what came of the exchange; C{None} where there was none.
    @ivar head: the first bytes that came above TLS.
    @ivar received: how many there were.
    """

    peer: str
    target: str
    outcome: Outcome = Outcome.TIMEOUT
    reason: str = ""
    step: str = "connect"
    seconds: dict[str, float] = field(default_factory=dict)
    address: str | None = None
    local_address: str | None = None
    tls: TLSSeen | None = None
    chain: tuple[CertificateSeen, ...] = ()
    trusted: bool | None = None
    distrust: str = ""
    principals: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    speaksFirst: bool | None = None
    verdict: Verdict | None = None
    head: bytes = b""
    received: int = 0

    @property
    def exitStatus(self) -> int:
        """
        See L{EXIT}.
        """
        return EXIT[self.outcome]

    @property
    def state(self) -> PeerState | None:
        """
        What a sidecar would know of the peer: its C{peer_state}; C{None} where it got no
        further than to TLS.
        """
        if self.verdict is not None:
            return self.verdict.state
        if self.outcome is Outcome.NO_EXCHANGE:
            return PeerState.ALPN_MISMATCH
        if self.outcome is Outcome.TIMEOUT and self.step == "exchange":
            return PeerState.TIMEOUT
        return None

    def describe(self) -> dict[str, object]:
        """
        For C{--json}.  The keys are a contract: more may come, none will go.
        """
        return {
            "outcome": self.outcome.value,
            "exit_status": self.exitStatus,
            "reason": self.reason or None,
            "step": self.step,
            "peer": self.peer,
            "target": self.target,
            "address": self.address,
            "local_address": self.local_address,
            "timings_ms": {step: round(spent * 1000, 3) for step, spent in self.seconds.items()},
            "tls": None if self.tls is None else _describeTLS(self.tls),
            "certificates": [_describeCertificate(one) for one in self.chain],
            "trusted": self.trusted,
            "distrust": self.distrust or None,
            "principals": list(self.principals),
            "client_certificate_authorities": list(self.wanted),
            "exchange": None if self.state is None else self._describeExchange(self.state),
        }

    def _describeExchange(self, state: PeerState) -> dict[str, object]:
        found = self.verdict
        metadata = None if found is None else found.metadata
        return {
            "state": state.value,
            "opening": {None: None, True: "first", False: "after_ours"}[self.speaksFirst],
            "metadata": metadata
            and {name: getattr(metadata, name) or None for name in FIELDS}
            | {"labels": dict(metadata.labels)},
            "other_fields": {} if found is None else dict(found.others),
            "prefix_bytes": None if found is None else found.size,
            "fault_at_byte": None if found is None else found.fault,
            "received_bytes": self.received,
            "head": self.head[:SHOWN_BYTES].hex(),
        }


def _describeTLS(tls: TLSSeen) -> dict[str, object]:
    return {
        "version": tls.version,
        "cipher": tls.cipher,
        "alpn": tls.alpn,
        "alpn_offered": list(tls.offered),
        "server_name": tls.server_name,
    }


def _describeCertificate(one: CertificateSeen) -> dict[str, object]:
    return {
        "subject": one.subject or None,
        "issuer": one.issuer or None,
        "names": list(one.names),
        "not_before": None if one.not_before is None else one.not_before.isoformat(),
        "not_after": None if one.not_after is None else one.not_after.isoformat(),
        "serial": one.serial or None,
        "key": one.key or None,
        "authority": one.authority,
        "sha256": one.fingerprint or None,
        "fault": one.fault or None,
    }
