"""
What is measured: each load is a function of a pair, a client and what was measured before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .load import Client, Server
from .pair import Pair
from .processes import Failed, machineCPU

#: Bytes of a request and of its answer: a small call of an API.
REQUEST, RESPONSE = 200, 1000

#: New connections that are under way at the same time.
CONNECTING = 16

#: Requests per second at which every pair is asked for its latency.
FIXED_RATE = 4000

#: Who does less of what he was asked for does not keep up.
_KEEPS_UP = 0.95

Values = dict[str, float]


class Needs(Failed):
    """
    Another load has to run before this one.
    """


class TooSlow(Failed):
    """
    A pair does not keep up with the rate that it was asked for, and what waits grows for as long as
    is measured: that is no latency.
    """


@dataclass
class Bench:
    """
    What a load works with.

    @ivar idle: connections that are only there.
    @ivar before: what was measured on this pair in this round.
    @ivar baseline: the same of that pair which the others are compared with.
    """

    pair: Pair
    client: Client
    server: Server
    before: Mapping[str, float]
    baseline: Mapping[str, float]
    idle: int = 1000


@dataclass(frozen=True)
class Load:
    """
    @ivar name: on the command line.
    @ivar title: in the table.
    @ivar resumption: it wants a pair that may resume sessions.
    """

    name: str
    title: str
    run: Callable[[Bench], Values]
    resumption: bool = False


def _accounted(bench: Bench, kind: str, connections: int, **more: float) -> tuple[Values, Values]:
    """
    Run a client.

    @return: what it printed, and CPU seconds: of the proxies, of client and server, of others.
    """
    proxies, server, everybody = bench.pair.cpu(), bench.server.cpu(), machineCPU()
    start = time.monotonic()
    printed = bench.client.run(kind, bench.pair.port, connections, **more)  # type: ignore[arg-type]
    passed = time.monotonic() - start
    used = {side: cpu - proxies[side] for side, cpu in bench.pair.cpu().items()}
    used["server"] = bench.server.cpu() - server
    used["client"] = printed["cpu"]
    used["others"] = max(0.0, machineCPU() - everybody - sum(used.values()))
    return printed, {f"cpu.{who}": seconds / passed for who, seconds in used.items()}


def _bulk(way: str, connections: int) -> Callable[[Bench], Values]:
    def run(bench: Bench) -> Values:
        printed, cpu = _accounted(bench, way, connections)
        values = {"rate": printed["rate"] / 1e6, **cpu}
        passed = bench.client.warm + printed["seconds"]
        gigabytes = printed["bytes"] / 1e9
        for side in bench.pair.processes:
            values[f"gb.{side}"] = cpu[f"cpu.{side}"] * passed / gigabytes
        return values

    return run


def _requests(connections: int) -> Callable[[Bench], Values]:
    def run(bench: Bench) -> Values:
        printed, cpu = _accounted(
            bench, "requests", connections, request=REQUEST, response=RESPONSE
        )
        return {**_latency(printed), "rate": printed["rate"], **cpu}

    return run


def _latency(printed: Values) -> Values:
    return {name: printed[name] * 1e6 for name in ("p50", "p99")}


def _paced(rate: Callable[[Bench], float]) -> Callable[[Bench], Values]:
    def run(bench: Bench) -> Values:
        wanted = rate(bench)
        printed, cpu = _accounted(
            bench, "requests", 32, rate=wanted, request=REQUEST, response=RESPONSE
        )
        if printed["rate"] < _KEEPS_UP * wanted:
            raise TooSlow(f"{printed['rate']:,.0f} of {wanted:,.0f} requests/s")
        return {**_latency(printed), "wanted": wanted, "rate": printed["rate"], **cpu}

    return run


def _half(before: Mapping[str, float], whose: str) -> float:
    try:
        return before["requests-32.rate"] / 2
    except KeyError:
        raise Needs(f"needs the load requests-32 of {whose}") from None


def _connections(bench: Bench) -> Values:
    printed, cpu = _accounted(bench, "connections", CONNECTING, request=REQUEST, response=RESPONSE)
    return {**_latency(printed), "rate": printed["rate"], "failed": printed["failed"], **cpu}


def _idle(bench: Bench) -> Values:
    """
    Of resident memory before the first connection and with many that do nothing.
    """
    before = bench.pair.memory()
    with bench.client.idle(bench.pair.port, bench.idle, REQUEST, RESPONSE):
        after = bench.pair.memory()
    values: Values = {}
    for side, size in before.items():
        values[f"idle.{side}"] = size / 1e6
        values[f"each.{side}"] = (after[side] - size) / bench.idle / 1e3
        values[f"start.{side}"] = bench.pair.started[side] * 1e3
    return values


#: In this order: idle memory is that of a pair that has done nothing yet.
LOADS = [
    Load("idle", "memory, and idle connections", _idle),
    Load("up", "bulk up, 1 connection", _bulk("up", 1)),
    Load("down", "bulk down, 1 connection", _bulk("down", 1)),
    Load("up-8", "bulk up, 8 connections", _bulk("up", 8)),
    Load("requests-1", "requests, 1 connection", _requests(1)),
    Load("requests-32", "requests, 32 connections", _requests(32)),
    Load("requests-256", "requests, 256 connections", _requests(256)),
    Load(
        "latency-half",
        "latency at half the pair's own rate",
        _paced(lambda bench: _half(bench.before, "the pair")),
    ),
    Load(
        "latency-same",
        "latency at half the baseline's rate",
        _paced(lambda bench: _half(bench.baseline, "the baseline")),
    ),
    Load(
        "latency-fixed", f"latency at {FIXED_RATE:,} requests/s", _paced(lambda bench: FIXED_RATE)
    ),
    Load("connections", "new connections", _connections),
    Load("resumed", "new connections, TLS sessions resumed", _connections, resumption=True),
]
