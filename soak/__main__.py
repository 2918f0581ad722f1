"""
The soak: C{make soak}, or C{python -m soak --seconds 60}.

Prints a line each half minute, and a summary; ends with status 1 if anything was not as it
should be.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react

from mxproxy.demo.processes import reservePorts

from .ledger import Ledger
from .pair import HOST, INBOUND, OUTBOUND, Certificates, Sidecar
from .traffic import Traffic

#: Seconds between two looks at the processes, and between two moves of the logs.
LOOK, MOVE = 0.5, 20.0

#: Seconds between what would happen together otherwise.
APART = 2.0

#: How much larger, at most, a process may be in the last quarter than in the second.
GROWTH = 0.05

#: In short runs the second quarter is still a part of the warming up.
SHORT, SHORT_GROWTH = 600.0, 0.15


class Soak:
    """
    One run.
    """

    def __init__(self, reactor: Any, options: argparse.Namespace, directory: Path) -> None:
        self.reactor = reactor
        self.options = options
        self.directory = directory
        self.ledger = Ledger()
        self.certificates = Certificates(directory)
        inbound, outbound = reservePorts(2)
        dice, ledger = random.Random(options.seed), self.ledger
        self.traffic = Traffic(reactor, dice, outbound, ledger.began, ledger.over)
        self._port = self.traffic.listen()
        application = self._port.getHost().port
        self.sidecars = {
            INBOUND: self._sidecar(INBOUND, inbound, application),
            OUTBOUND: self._sidecar(OUTBOUND, outbound, inbound),
        }
        self.wrong: list[str] = []
        self.hangups = 0
        self._moved = 0
        self._began = 0.0
        self._idleDescriptors: dict[str, int] = {}

    def _sidecar(self, mode: str, listen: int, upstream: int) -> Sidecar:
        where = [
            *("--listen", f"tcp:{listen}:interface={HOST}:backlog=512"),
            *("--upstream", f"tcp:{HOST}:{upstream}"),
        ]
        return Sidecar(mode, self.directory, [*where, *self.certificates.options(mode)])

    # -- the run

    async def run(self) -> bool:
        """
        @return: whether all was well.
        """
        for sidecar in self.sidecars.values():
            sidecar.start(self.reactor)
        for sidecar in self.sidecars.values():
            await self._until(lambda one=sidecar: one.said(b"listening on") > 0, 60, "to listen")
        self._began = self.reactor.seconds()
        await self._idle()
        loops = [
            self._every(LOOK, self._look),
            self._every(MOVE, self._moveLogs),
            self._every(10.0, self.traffic.dropStuck),
            self._every(30.0, self._tell),
        ]
        if self.options.rotate:
            loops.append(self._every(self.options.rotate, self.certificates.renew))
        if self.options.hangup:
            # Never while a certificate is written: a SIGHUP does not wait for its key.
            await deferLater(self.reactor, APART)
            loops.append(self._every(self.options.hangup, self._hangUp))
        begin, cpu = time.monotonic(), self._cpu()
        self.traffic.start(self.options.users)
        await deferLater(self.reactor, self.options.seconds)
        self.seconds = time.monotonic() - begin
        self.cpu = {mode: used - cpu[mode] for mode, used in self._cpu().items()}
        for loop in loops:
            loop.stop()
        rest = self.traffic.stop()
        rest.addTimeout(60, self.reactor)
        try:
            await rest
        except Exception:  # noqa: BLE001 - whatever it was, it is told
            self.wrong.append(f"{self.traffic.open} connections are still open a minute later")
            self.traffic.dropStuck(0)
        await self._end()
        self._judge()
        self._summary()
        return not self.wrong

    def _every(self, seconds: float, call: Any) -> LoopingCall:
        loop = LoopingCall(call)
        loop.clock = self.reactor
        loop.start(seconds, now=False).addErrback(self._failed)
        return loop

    def _failed(self, failure: Any) -> None:
        self.wrong.append(f"the soak itself has failed: {failure.getTraceback()}")

    async def _until(self, condition: Any, seconds: float, what: str) -> None:
        end = self.reactor.seconds() + seconds
        while not condition():
            gone = [
                f"{one.mode} has ended: {one.gone}" for one in self.sidecars.values() if one.gone
            ]
            if gone or self.reactor.seconds() > end:
                logs = "\n".join(
                    one.output.read_text("utf-8", "replace")[-2000:]
                    for one in self.sidecars.values()
                )
                raise SystemExit(f"waited {seconds:g} s {what}; {gone}\n{logs}")
            await deferLater(self.reactor, 0.05)

    async def _idle(self) -> None:
        """How many descriptors there are when there is nothing to do."""
        await deferLater(self.reactor, 1.0)
        for mode, sidecar in self.sidecars.items():
            sidecar.sample(0.0)
            self._idleDescriptors[mode] = sidecar.descriptors.pop()
            sidecar.rss.pop()

    def _look(self) -> None:
        for sidecar in self.sidecars.values():
            sidecar.sample(self.reactor.seconds() - self._began)

    def _hangUp(self) -> None:
        """Every other time there is nothing new."""
        self.hangups += 1
        for sidecar in self.sidecars.values():
            sidecar.writeNode(self.version)
            sidecar.signal(signal.SIGHUP)

    @property
    def version(self) -> int:
        """Of both workloads, as their metadata has it."""
        return (self.hangups + 1) // 2

    def _cpu(self) -> dict[str, float]:
        own = resource.getrusage(resource.RUSAGE_SELF)
        used = {mode: sidecar.seconds() for mode, sidecar in self.sidecars.items()}
        return {**used, "the applications": own.ru_utime + own.ru_stime}

    def _moveLogs(self) -> None:
        """As logrotate does: move, signal, and, one time later, read."""
        for mode, sidecar in self.sidecars.items():
            old = self.directory / f"{mode}.{self._moved - 1}.log"
            if old.exists():
                self.ledger.read(mode, old)
            if sidecar.accessLog.exists():
                sidecar.accessLog.rename(self.directory / f"{mode}.{self._moved}.log")
                sidecar.signal(signal.SIGUSR1)
        self._moved += 1

    def _tell(self) -> None:
        traffic = self.traffic
        sizes = ", ".join(
            f"{mode} {one.rss[-1][1] / 1e6:.1f} MB, {one.descriptors[-1]} fds"
            for mode, one in self.sidecars.items()
        )
        print(
            f"{self.reactor.seconds() - self._began:6.0f} s: {sum(traffic.kinds.values())}"
            f" connections, {traffic.bytes / 1e9:.2f} GB, {sum(traffic.killed.values())} killed,"
            f" {traffic.violations} violations; {sizes}",
            flush=True,
        )

    async def _end(self) -> None:
        """Wait until nothing is open; then stop."""
        await deferLater(self.reactor, 2.0)
        for mode, sidecar in self.sidecars.items():
            if sidecar.gone:
                self.wrong.append(f"{mode} has ended in the middle: {sidecar.gone}")
                continue
            sidecar.sample(self.reactor.seconds() - self._began)
            before, now = self._idleDescriptors[mode], sidecar.descriptors.pop()
            sidecar.rss.pop()
            self.fds = getattr(self, "fds", {})
            self.fds[mode] = (before, max(sidecar.descriptors), now)
            # A log that is reopened, a resolver's thread: not a connection's.
            if now > before + 2:
                self.wrong.append(f"{mode}: {now} descriptors at the end, {before} before")
            sidecar.signal(signal.SIGTERM)
        for mode, sidecar in self.sidecars.items():
            how = await sidecar.ended
            if how not in ("status 0", f"signal {signal.SIGTERM.value}"):
                self.wrong.append(f"{mode} ended with {how}")
            for log in sorted(self.directory.glob(f"{mode}.*.log")):
                self.ledger.read(mode, log)
        await self._port.stopListening()

    # -- the verdict

    def _judge(self) -> None:
        self.ledger.close()
        traffic, ledger = self.traffic, self.ledger
        made = sum(traffic.kinds.values())
        for mode in self.sidecars:
            if mode == OUTBOUND and ledger.lines[mode] != made:
                self.wrong.append(f"{mode}: {ledger.lines[mode]} closing lines, {made} connections")
        self.renewed: dict[str, int] = {}
        self.reloaded: dict[str, int] = {}
        # The last may have come when there were no connections any more.
        if ledger.version not in (self.version, self.version - 1):
            self.wrong.append(f"the last version seen is {ledger.version}, not {self.version}")
        self.growth: dict[str, tuple[float, float, float]] = {}
        limit = GROWTH if self.seconds >= SHORT else SHORT_GROWTH
        for mode, sidecar in self.sidecars.items():
            second, last = _quarters(sidecar.rss)
            self.growth[mode] = (second, last, last / second - 1)
            if last > second * (1 + limit):
                self.wrong.append(
                    f"{mode}: memory has grown by {last / second - 1:.1%} from the second quarter"
                    f" to the last, more than {limit:.0%}"
                )
            self.wrong += [f"{mode}: {line}" for line in sidecar.trouble()]
            self.renewed[mode] = sidecar.said(b": renewed: ")
            # The last may have come too late to be looked at.
            if self.renewed[mode] < self.certificates.renewals - 1 or sidecar.said(b"not renewed"):
                self.wrong.append(
                    f"{mode}: {self.renewed[mode]} renewals taken of {self.certificates.renewals},"
                    f" {sidecar.said(b'not renewed')} refused"
                )
            self.reloaded[mode] = sidecar.said(b" reloaded: ")
            if self.reloaded[mode] != self.hangups:
                self.wrong.append(f"{mode}: {self.reloaded[mode]} reloads of {self.hangups}")
        self.wrong += traffic.wrong
        self.wrong += ledger.wrong

    def _summary(self) -> None:
        traffic, ledger, options = self.traffic, self.ledger, self.options
        made, seconds = sum(traffic.kinds.values()), self.seconds
        rows = [
            ("seed", f"{options.seed}"),
            ("time", f"{seconds:.0f} s, {options.users} connections at once"),
            ("connections", f"{made} ({made / seconds:.0f}/s), {traffic.refused} not connected"),
            *((f"  {kind}", f"{number}") for kind, number in sorted(traffic.kinds.items())),
            (
                "killed",
                f"{sum(traffic.killed.values())} ({sum(traffic.killed.values()) / made:.1%})",
            ),
            *((f"  {how}", f"{number}") for how, number in sorted(traffic.killed.items())),
            (
                "bytes compared",
                f"{traffic.bytes / 1e9:.2f} GB ({traffic.bytes / seconds / 1e6:.0f} MB/s)",
            ),
            ("bytes wrong", f"{traffic.violations} connections"),
            (
                "certificates",
                f"renewed {self.certificates.renewals} times, taken: "
                + ", ".join(f"{mode} {number}" for mode, number in self.renewed.items()),
            ),
            (
                "SIGHUP",
                f"{self.hangups} times to each, taken: "
                + ", ".join(f"{mode} {number}" for mode, number in self.reloaded.items())
                + f"; version {ledger.version} of the workloads was the last seen",
            ),
        ]
        for mode in self.sidecars:
            second, last, growth = self.growth[mode]
            before, most, after = self.fds.get(mode, (0, 0, 0))
            rows += [
                (
                    f"{mode} memory",
                    f"{second / 1e6:.1f} MB, then {last / 1e6:.1f} MB ({growth:+.1%})",
                ),
                (f"{mode} descriptors", f"{before} before, {most} at most, {after} after"),
                (f"{mode} closing lines", f"{ledger.lines[mode]}"),
                *(
                    (f"  {reason}", f"{number}")
                    for reason, number in ledger.reasons[mode].most_common()
                ),
            ]
        rows += [(f"CPU of {who}", f"{used:.0f} s") for who, used in self.cpu.items()]
        width = max(len(name) for name, _ in rows) + 2
        print()
        for name, value in rows:
            print(f"{name:{width}}{value}")
        print()
        for what in self.wrong[:50]:
            print(f"WRONG: {what}")
        print(f"{len(self.wrong)} violations" if self.wrong else "all is well", flush=True)


def _quarters(samples: list[tuple[float, int]]) -> tuple[float, float]:
    """
    @return: the medians of the second quarter and of the last.
    """
    quarter = len(samples) // 4
    sizes = [size for _, size in samples]
    return median(sizes[quarter : 2 * quarter]), median(sizes[3 * quarter :])


def main() -> None:
    """
    See above.
    """
    parser = argparse.ArgumentParser(prog="python -m soak", description="Soak a pair of sidecars.")
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--users", type=int, default=32, help="connections at once")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument(
        "--rotate", type=float, help="seconds between new certificates: 30, or less in a short run"
    )
    parser.add_argument("--hangup", type=float, help="seconds between SIGHUPs: 20, or less")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")
    options = parser.parse_args()
    if options.rotate is None:
        options.rotate = min(30.0, max(8.0, options.seconds / 5))
    if options.hangup is None:
        options.hangup = min(20.0, max(5.0, options.seconds / 8))
    directory = Path(tempfile.mkdtemp(prefix="mxproxy-soak-"))
    print(f"seed {options.seed}, {options.seconds:g} s, logs in {directory}", flush=True)
    well: list[bool] = []

    async def run(reactor: Any) -> None:
        soak = Soak(reactor, options, directory)
        try:
            well.append(await soak.run())
        finally:
            for sidecar in soak.sidecars.values():
                if sidecar.pid and not sidecar.gone:
                    sidecar.signal(signal.SIGKILL)

    try:
        react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
    except SystemExit as error:
        if error.code:
            print(error)
    if well == [True] and not options.keep:
        shutil.rmtree(directory)
    else:
        print(f"the logs are in {directory}")
    sys.exit(well != [True])


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
