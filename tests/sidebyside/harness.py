"""
Runs a scenario in Envoy and in mxproxy, side by side, and compares.
"""

from __future__ import annotations

import difflib
import pprint
import re
import shutil
import string
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.sidebyside import backends
from tests.sidebyside.backends import Backend, Hole, Server
from tests.sidebyside.certificates import certificates
from tests.sidebyside.clients import Client, converse, hangUp, observe
from tests.sidebyside.differences import STARTS, strangers, unexplained
from tests.sidebyside.peer import Peer
from tests.sidebyside.ports import Ports
from tests.sidebyside.proxies import ENVOY, MXPROXY, DoesNotStart, said, start

HERE = Path(__file__).parent
SCENARIOS = HERE / "scenarios"

#: A client's name, and what it and the backends saw.
Observed = dict[str, dict[str, Any]]

#: The backends of a scenario that says nothing else.
USUAL: Mapping[str, Backend | Hole] = {
    name: Backend() for name in ("alpha", "beta", "gamma", "delta")
}

#: Seconds in which a backend hears of an end that the client has heard of.
_SOON = 3.0


class Stage:
    """
    A proxy, with backends, a directory and ports of its own.
    """

    def __init__(self, test: SideBySide, scenario: str, proxy: str) -> None:
        self.scenario = scenario
        self.proxy = proxy
        self.directory = Path(tempfile.mkdtemp(prefix="mxproxy-"))
        test.addCleanup(shutil.rmtree, self.directory)
        self.ports = Ports()
        test.addCleanup(self.ports.close)
        self._test = test
        self._servers: dict[str, Server] = {}
        self._kept: dict[str, tuple[Client, Peer]] = {}
        self._seen: dict[str, int] = {}
        self.placeholders: dict[str, str] = {}
        self.child: Any = None

    async def set(self, given: Mapping[str, Backend | Hole]) -> None:
        """
        Write the files, and start the backends and the proxy.
        """
        self._write(f"{self.scenario}.yaml")
        for extra in sorted(SCENARIOS.glob(f"{self.scenario}.*.yaml")):
            self._write(extra.name)
        for name, backend in given.items():
            if isinstance(backend, Hole):
                for one in backends.dig(self.ports[name]):
                    self._test.addCleanup(one.close)
                continue
            server = self._servers[name] = Server(name, backend)
            for where in self.ports[name], str(self.directory / f"{name}.sock"):
                self._test.addCleanup(server.listen(where).stopListening)
        text = (self.directory / f"{self.scenario}.yaml").read_text()
        names = [name for name in self.ports.names() if re.fullmatch("port|port_.*", name)]
        paths = [Path(found) for found in re.findall(r"pipe: \{path: ([^\s}]+)\}", text)]
        self.child = await start(
            self.proxy,
            self.directory / f"{self.scenario}.yaml",
            {self.ports[name] for name in names},
            [path for path in paths if path.name.startswith("listener")],
            self._test.addCleanup,
        )
        for name in self._servers:
            # Health checks.
            self._fresh(name)

    def _write(self, name: str) -> None:
        template = string.Template((SCENARIOS / name).read_text())
        known = {"dir": str(self.directory), **certificates().placeholders()}
        for placeholder in template.get_identifiers():
            value = known.get(placeholder)
            self.placeholders[placeholder] = value or str(self.ports[placeholder])
        (self.directory / name).write_text(template.substitute(self.placeholders))

    # -- clients

    async def play(self, client: Client) -> dict[str, Any]:
        """
        One client, and what the backends saw of it.
        """
        for name in client.releases:
            await self.release(name)
        for name in string.Template(str(client.before)).get_identifiers():
            self.placeholders[name] = str(self.ports[name])
        source = self.ports.release(client.sourcePort) if client.sourcePort else 0
        peer = await converse(client, self.placeholders, source)
        if peer is not None:
            if client.keep:
                self._kept[client.name] = client, peer
                # Long enough for the proxy to end it, if it has a mind to.
                await peer.until(lambda: peer.over, client.stays)
            else:
                await hangUp(client, peer)
        observed = observe(client, peer)
        observed |= await self._backends(client, peer)
        return observed

    async def _backends(self, client: Client, peer: Peer | None) -> dict[str, Any]:
        # What the proxy has connected to is in the backend's queue already.
        await self._turn()
        fresh = {name: self._fresh(name) for name in self._servers}
        if not client.keep:
            for one in [one for peers in fresh.values() for one in peers]:
                await one.until(lambda one=one: one.over, _SOON)
        names = {self.ports[name]: name for name in self.ports.names()}
        if peer is not None and peer.port:
            names[peer.port] = "client"
        hello = b"" if peer is None else peer.wire
        observed: dict[str, Any] = {"reached": [name for name, peers in fresh.items() if peers]}
        for name, peers in fresh.items():
            observed |= backends.observe(self._servers[name], peers, names, hello)
        return observed

    def _fresh(self, name: str) -> list[Peer]:
        """
        A backend's connections that no client has answered for.
        """
        peers = self._servers[name].peers
        seen = self._seen.get(name, 0)
        self._seen[name] = len(peers)
        return peers[seen:]

    async def release(self, name: str) -> None:
        """
        End a connection that was kept, and wait until all know.
        """
        _, peer = self._kept.pop(name)
        peer.reset()
        await self._turn()
        for server in self._servers.values():
            for one in server.peers:
                if one.over:
                    await one.until(lambda one=one: one.lost, _SOON)
        # And the proxy hears of the backend's.
        await self._turn()

    async def clear(self) -> None:
        """
        Close all that is open.
        """
        for _, peer in self._kept.values():
            peer.reset()
        for server in self._servers.values():
            for peer in server.peers:
                if not peer.lost:
                    peer.reset()
        await self._turn()
        if self.child is not None:
            await self.child.stop()

    async def _turn(self) -> None:
        from twisted.internet import reactor

        await deferLater(reactor, 0.05)  # type: ignore[arg-type]


class SideBySide(TestCase):
    """
    The base of the scenarios' tests.
    """

    timeout = 120

    async def compare(
        self,
        scenario: str,
        *clients: Client,
        variant: str = "",
        backends: Mapping[str, Backend | Hole] = {},
        normalize: Callable[[Observed], Observed] = lambda observed: observed,
    ) -> None:
        """
        Run a scenario in both, and check that Envoy does what is expected and mxproxy what
        Envoy does, C{DIFFERENCES} aside.

        @param variant: what is special, where several tests have the same file.
        @param backends: those that are not as usual.
        @param normalize: takes out what may differ from run to run.
        """
        given = {**USUAL, **backends}
        names = [client.name for client in clients]
        assert len(set(names)) == len(names), names
        assert any(client.sees for client in clients), "a scenario has to expect something"
        runs: Any = await gatherResults(
            [
                Deferred.fromCoroutine(self._stage(scenario, proxy, clients, given))
                for proxy in (ENVOY, MXPROXY)
            ],
            consumeErrors=True,
        )
        observed, texts = [], []
        for (seen, text), proxy in zip(runs, (ENVOY, MXPROXY), strict=True):
            observed.append(normalize(seen) if seen is not None else None)
            texts.append(text)
            self._leave(proxy, observed[-1], text)
        theirs, ours = observed
        if theirs is None:
            self.fail(f"Envoy does not start with {scenario}.yaml:\n{texts[0]}")
        self._expect(clients, theirs, texts[0])
        title = f"{scenario}, {variant}" if variant else scenario
        self._compare(title, theirs, ours, texts[1])

    def _leave(self, proxy: str, observed: Observed | None, text: str) -> None:
        """
        Leave what was observed in trial's directory, for whoever wants to look.
        """
        method = ".".join(self.id().split(".")[-2:])
        shown = "does not start" if observed is None else show(observed)
        Path(f"{method}.{proxy}.txt").write_text(f"{shown}\n\n{text}")

    async def _stage(
        self,
        scenario: str,
        proxy: str,
        clients: Sequence[Client],
        given: Mapping[str, Backend | Hole],
    ) -> tuple[Observed | None, str]:
        stage = Stage(self, scenario, proxy)
        try:
            await stage.set(given)
        except DoesNotStart as error:
            await stage.clear()
            return None, str(error)
        observed = {}
        for client in clients:
            observed[client.name] = await stage.play(client)
        await stage.clear()
        return observed, said(stage.child.text)

    def _expect(self, clients: Sequence[Client], observed: Observed, text: str) -> None:
        """
        Envoy does what the scenario is about.
        """
        wrong = []
        for client in clients:
            seen = observed[client.name]
            expected = dict(client.sees)
            found = {key: seen.get(key) for key in expected}
            if found != expected:
                wrong.append(f"{client.name}: expected {expected}\n{show({client.name: seen})}")
        if wrong:
            self.fail("Envoy:\n" + "\n".join(wrong) + f"\nIts log ends:\n{text[-3000:]}")

    def _compare(self, title: str, theirs: Observed, ours: Observed | None, text: str) -> None:
        """
        mxproxy does what Envoy does, but for what is in the list.
        """
        faults = unexplained(title, [] if ours is not None else [STARTS])
        faults += [f"there is no such client: {key}" for key in strangers(title, theirs)]
        for name, seen in theirs.items() if ours is not None else ():
            assert ours is not None
            both = seen, ours[name]
            facts = {
                fact for fact in {*both[0], *both[1]} if both[0].get(fact) != both[1].get(fact)
            }
            wrong = unexplained(f"{title}: {name}", facts)
            faults += wrong
            if wrong:
                faults.append(difference({name: both[0]}, {name: both[1]}))
        if faults:
            self.fail("\n".join(faults) + f"\nmxproxy's log ends:\n{text[-3000:]}")


def show(observed: Observed) -> str:
    """
    What was observed, a fact a line.
    """
    lines = []
    for name, seen in observed.items():
        lines.append(f"{name}:")
        for key, value in seen.items():
            shown = value if isinstance(value, str) else pprint.pformat(value, width=100)
            lines.append(f"    {key}: {shown}")
    return "\n".join(lines)


def difference(theirs: Observed, ours: Observed) -> str:
    """
    What differs, as a diff: C{-} is Envoy's, C{+} is mxproxy's.
    """
    both = [show(observed).splitlines() for observed in (theirs, ours)]
    lines = difflib.unified_diff(*both, ENVOY, MXPROXY, lineterm="", n=100)
    return "\n".join(lines)
