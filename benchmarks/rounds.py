"""
The order of things: rounds, in each of them every load, on every pair.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from .load import Client, Server, build
from .loads import Bench, Load, Needs, TooSlow, Values
from .negotiated import negotiated
from .pair import Pair
from .peers.base import Credentials, Peer
from .peers.registry import DIRECT
from .processes import Failed
from .quota import Quota


@dataclass(frozen=True)
class Settings:
    """
    @ivar seconds: of each measurement.
    @ivar warm: seconds before each.
    @ivar idle: how many connections that are only there.
    @ivar quota: of a CPU, for each process of a proxy; C{None} for no limit.
    @ivar pin: whether outbound and client share CPU 0, inbound and server CPU 1.
    """

    rounds: int
    seconds: float
    warm: float
    idle: int
    pin: bool
    quota: float | None = None


@dataclass
class Samples:
    """
    What was measured.

    @ivar values: by peer and load: for each round what the load returned, or C{None}.
    @ivar failures: by peer and load, why something was not measured.
    @ivar tooSlow: the same of a rate that was not kept up with, in the last round where it was not.
    @ivar tls: by peer, what its two sides negotiate.
    """

    values: dict[str, dict[str, list[Values | None]]] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    tooSlow: dict[str, dict[str, str]] = field(default_factory=dict)
    tls: dict[str, str] = field(default_factory=dict)


class Rounds:
    """
    @param peers: L{None} stands for no proxy.
    @param tell: is told what happens.
    @param baseline: which of them the others are compared with.
    """

    def __init__(
        self,
        peers: Sequence[Peer | None],
        loads: Sequence[Load],
        settings: Settings,
        tell: Callable[[str], None],
        baseline: str | None = None,
    ) -> None:
        self._peers = list(peers)
        self._baseline = baseline or DIRECT
        self._loads = loads
        self._settings = settings
        self._tell = tell
        self.samples = Samples()

    def run(self) -> Samples:
        """
        All of it.
        """
        pin = {"outbound": [0], "client": [0], "inbound": [1], "server": [1]}
        self._cpus = pin if self._settings.pin else {}
        program = build()
        with (
            tempfile.TemporaryDirectory(prefix="mxproxy-benchmarks-") as name,
            ExitStack() as stack,
        ):
            directory = Path(name)
            credentials = Credentials.create(directory)
            server = Server(program, self._cpus.get("server", ()))
            stack.callback(server.stop)
            client = Client(
                program,
                self._settings.seconds,
                self._settings.warm,
                self._cpus.get("client", ()),
            )
            for peer in self._peers:
                if peer is not None:
                    self._negotiated(peer, credentials, directory / f"{peer.name}-tls", server)
            for number in range(self._settings.rounds):
                # Nobody is always the first after a change of loads.
                turn = number % len(self._peers)
                order = self._peers[turn:] + self._peers[:turn]
                self._round(number, order, directory / str(number), credentials, server, client)
        return self.samples

    def _negotiated(
        self, peer: Peer, credentials: Credentials, directory: Path, server: Server
    ) -> None:
        self._tell(f"TLS: {peer.name}")
        try:
            self.samples.tls[peer.name] = negotiated(peer, credentials, directory, server.port)
        except Failed as error:
            self.samples.failures.setdefault(peer.name, {})["tls"] = str(error)

    def _round(
        self,
        number: int,
        order: Sequence[Peer | None],
        directory: Path,
        credentials: Credentials,
        server: Server,
        client: Client,
    ) -> None:
        with _Pairs(directory, credentials, server.port, self._cpus, self._settings.quota) as pairs:
            before: dict[str, dict[str, float]] = {}
            for load in self._loads:
                for peer in order:
                    name = DIRECT if peer is None else peer.name
                    values = self.samples.values.setdefault(name, {}).setdefault(load.name, [])
                    failures = self.samples.failures.setdefault(name, {})
                    values.append(None)
                    if load.resumption and not (peer and peer.resumes):
                        continue
                    self._tell(f"round {number + 1}: {load.title}: {name}")
                    known = before.setdefault(name, {})
                    baseline = before.get(self._baseline, {})
                    said = ""
                    try:
                        pair = pairs.get(peer, name, load.resumption)
                        said = pair.said()
                        values[-1] = load.run(
                            Bench(pair, client, server, known, baseline, self._settings.idle)
                        )
                    except TooSlow as error:
                        self.samples.tooSlow.setdefault(name, {})[load.name] = str(error)
                        self._tell(f"{name}: {load.name}: {error}")
                    except Needs as error:
                        failures[load.name] = str(error)
                    except Failed as error:
                        failures[load.name] = f"{error} ({said})" if said else str(error)
                        self._tell(f"{name}: {load.name}: {failures[load.name]}")
                    else:
                        got = values[-1] or {}
                        known.update({f"{load.name}.{what}": value for what, value in got.items()})


class _Pairs:
    """
    Those of one round, started when they are needed.
    """

    def __init__(
        self,
        directory: Path,
        credentials: Credentials,
        server: int,
        cpus: dict[str, list[int]],
        quota: float | None,
    ) -> None:
        self._quota = None if quota is None else Quota(quota)
        self._directory = directory
        self._credentials = credentials
        self._server = server
        self._cpus = cpus
        self._pairs: dict[tuple[str, bool], Pair | Failed] = {}

    def __enter__(self) -> _Pairs:
        return self

    def __exit__(self, *_: object) -> None:
        for pair in self._pairs.values():
            if isinstance(pair, Pair):
                pair.stop()
        if self._quota is not None:
            self._quota.close()

    def get(self, peer: Peer | None, name: str, resumption: bool) -> Pair:
        """
        @raise Failed: it did not start, now or before.
        """
        key = name, resumption
        if key not in self._pairs:
            try:
                self._pairs[key] = Pair(
                    peer,
                    self._directory / f"{name}-{resumption:d}",
                    self._credentials,
                    self._server,
                    resumption=resumption,
                    cpus=self._cpus,
                    quota=self._quota,
                )
            except Failed as error:
                self._pairs[key] = error
        found = self._pairs[key]
        if isinstance(found, Failed):
            raise found
        return found
