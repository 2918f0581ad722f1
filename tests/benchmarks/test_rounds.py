"""
In which order things are measured, and what a load is told of what was measured before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import rounds
from benchmarks.loads import LOADS, Bench, Load, Needs, TooSlow, Values
from benchmarks.rounds import Rounds, Settings


class Named:
    """
    A peer, of which there is nothing but its name.
    """

    resumes = True

    def __init__(self, name: str) -> None:
        self.name = name


class Pairs:
    """
    All pairs of a round.
    """

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Pairs:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get(self, peer: Any, name: str, resumption: bool) -> Any:
        class Running:
            processes: dict[str, Any] = {}
            port = 0
            peer = name

            def said(self) -> str:
                return ""

            def cpu(self) -> dict[str, float]:
                return {}

        return Running()


class RoundsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(rounds, "_Pairs", Pairs)

    def round(self, loads: list[Load], baseline: str | None, *peers: Any) -> Rounds:
        made = Rounds(peers, loads, Settings(1, 1, 1, 1, False), lambda text: None, baseline)
        made._cpus = {}
        server: Any = type("Server", (), {"port": 0, "cpu": lambda self: 0.0})()
        client: Any = Client()
        made._round(0, made._peers, Path(), None, server, client)  # type: ignore[arg-type]
        return made

    def test_baseline(self) -> None:
        """
        What was measured of the baseline is there for all, and of oneself for each.
        """
        seen: list[Any] = []
        rates = {"envoy": 100.0, "slow": 10.0, "direct": 1000.0}

        def first(bench: Bench) -> Values:
            return {"rate": rates[bench.pair.peer]}  # type: ignore[attr-defined]

        def second(bench: Bench) -> Values:
            seen.append((bench.before["first.rate"], bench.baseline["first.rate"]))
            return {}

        loads = [Load("first", "", first), Load("second", "", second)]
        peers = None, Named("slow"), Named("envoy")
        self.round(loads, "envoy", *peers)
        self.assertEqual(seen, [(1000, 100), (10, 100), (100, 100)])
        seen.clear()
        self.round(loads, None, *peers)
        self.assertEqual(seen, [(1000, 1000), (10, 1000), (100, 1000)])

    def test_tooSlow(self) -> None:
        """
        That is no failure, but has no value either.
        """

        def slow(bench: Bench) -> Values:
            raise TooSlow("3 of 4 requests/s")

        made = self.round([Load("slow", "", slow)], None, None, Named("one"))
        for peer in ("direct", "one"):
            self.assertEqual(made.samples.values[peer]["slow"], [None])
            self.assertEqual(made.samples.failures[peer], {})
            self.assertEqual(made.samples.tooSlow[peer], {"slow": "3 of 4 requests/s"})


class Client:
    """
    Does so much of what it was asked for.
    """

    def __init__(self, part: float = 1.0) -> None:
        self.part = part

    def run(self, kind: str, port: int, connections: int, **more: float) -> Values:
        return {"rate": self.part * more.get("rate", 0.0), "p50": 1.0, "p99": 2.0, "cpu": 0.0}


class LatencyTests(SynchronousTestCase):
    def wanted(self, name: str, before: Values, baseline: Values, part: float = 1.0) -> float:
        (load,) = (load for load in LOADS if load.name == name)
        server: Any = type("Server", (), {"cpu": lambda self: 0.0})()
        pair = Pairs().get(None, "", False)
        return load.run(Bench(pair, Client(part), server, before, baseline))["wanted"]  # type: ignore[arg-type]

    def test_rates(self) -> None:
        own, other = {"requests-32.rate": 10.0}, {"requests-32.rate": 100.0}
        self.assertEqual(self.wanted("latency-half", own, other), 5)
        self.assertEqual(self.wanted("latency-same", own, other), 50)
        self.assertEqual(self.wanted("latency-fixed", own, other), 4000)
        self.assertRaises(Needs, self.wanted, "latency-half", {}, other)
        self.assertRaises(Needs, self.wanted, "latency-same", own, {})

    def test_tooSlow(self) -> None:
        """
        What waits for a pair that does not keep up is not called latency.
        """
        own, other = {"requests-32.rate": 10.0}, {"requests-32.rate": 100.0}
        self.assertEqual(self.wanted("latency-same", own, other, 0.96), 50)
        self.assertRaises(TooSlow, self.wanted, "latency-same", own, other, 0.94)
