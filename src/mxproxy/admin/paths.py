"""
The paths: what can be asked and told, one table.

Each handler gets a L{Query<mxproxy.admin.requests.Query>} and the L{Source}, and makes an
L{Answer} of what the processes say.  Texts are Envoy's, as its version 1.40 writes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..observe.prometheus import expose
from ..observe.stats import Kind, find
from .logging import LEVELS
from .requests import Answer, BadRequest, Query, asJSON, text
from .source import Source
from .views import VIEWS
from .views.connections import DEFAULT_LIMIT, MAX_LIMIT, SORTS
from .views.server import LIVE

Handler = Callable[[Query, Source], Awaitable[Answer]]

#: How far into the connections a request may look.
OFFSET_LIMIT = 100_000

#: A longer text is not looked for.
FILTER_LIMIT = 200


@dataclass(frozen=True)
class Path:
    """
    A path.

    @ivar help: one line.
    @ivar parameters: by name, with one line each.
    @ivar changes: it is for POST only.
    """

    path: str
    help: str
    handle: Handler
    parameters: Mapping[str, str]
    changes: bool = False


async def _view(source: Source, command: str, **arguments: Any) -> Any:
    return VIEWS[command].merge(await source.collect(command, arguments), arguments)


# -- what there is


async def _ready(query: Query, source: Source) -> Answer:
    state = (await _view(source, "server"))["state"]
    return text(f"{state}\n", 200 if state == LIVE else 503)


async def _stats(query: Query, source: Source) -> Answer:
    form = query.choice("format", ("text", "json", "prometheus"))
    if form == "prometheus":
        return await _prometheus(query, source)
    wanted = query.pattern("filter")
    kinds = {
        "All": tuple(Kind),
        "Counters": (Kind.COUNTER,),
        "Gauges": (Kind.GAUGE,),
    }[query.choice("type", ("All", "Counters", "Gauges"))]
    stats = (await _view(source, "stats"))["stats"]
    found = [
        (name, value)
        for name, value in sorted(stats.items())
        if (value or not query.flag("usedonly"))
        and find(name)[0].kind in kinds
        and wanted(name) is not None
    ]
    if form == "json":
        return asJSON({"stats": [{"name": name, "value": value} for name, value in found]})
    return text("".join(f"{_oneLine(name)}: {value}\n" for name, value in found))


async def _prometheus(query: Query, source: Source) -> Answer:
    wanted = query.pattern("filter")
    snapshot = await _view(source, "stats")
    snapshot["stats"] = {
        name: value
        for name, value in snapshot["stats"].items()
        if (value or not query.flag("usedonly")) and wanted(find(name)[0].family) is not None
    }
    body, kind = expose(snapshot, query.accept)
    return Answer(body, kind)


async def _connections(query: Query, source: Source) -> Answer:
    looked = query.parameters.get("filter", "")
    if len(looked) > FILTER_LIMIT:
        raise BadRequest(f"filter has to be of at most {FILTER_LIMIT} characters")
    value = await _view(
        source,
        "connections",
        limit=query.number("limit", DEFAULT_LIMIT, MAX_LIMIT),
        offset=query.number("offset", 0, OFFSET_LIMIT),
        sort=query.choice("sort", tuple(SORTS)),
        ascending=query.choice("order", ("desc", "asc")) == "asc",
        filter=looked,
    )
    return asJSON(value)


async def _graph(query: Query, source: Source) -> Answer:
    return asJSON(await _view(source, "graph"))


async def _configDump(query: Query, source: Source) -> Answer:
    return asJSON({"configs": [await _view(source, "config")]})


async def _listeners(query: Query, source: Source) -> Answer:
    listeners = await _view(source, "listeners")
    if query.choice("format", ("text", "json")) == "text":
        return text("".join(f"{_oneLine(name)}::{address}\n" for name, address in listeners))
    return asJSON(
        {
            "listener_statuses": [
                {"name": name, "local_address": addressInJSON(address)}
                for name, address in listeners
            ]
        }
    )


async def _clusters(query: Query, source: Source) -> Answer:
    wanted = query.pattern("filter")
    clusters = {
        name: cluster
        for name, cluster in (await _view(source, "clusters")).items()
        if wanted(name) is not None
    }
    if query.choice("format", ("text", "json")) == "text":
        lines = [
            line for name, cluster in clusters.items() for line in _clusterLines(name, cluster)
        ]
        return text("".join(f"{line}\n" for line in lines))
    return asJSON(
        {"cluster_statuses": [_clusterInJSON(name, cluster) for name, cluster in clusters.items()]}
    )


def _clusterLines(name: str, cluster: Mapping[str, Any]) -> Sequence[str]:
    name = _oneLine(name)
    lines = [f"{name}::observability_name::{name}"]
    if cluster["max_connections"] is not None:
        lines.append(f"{name}::default_priority::max_connections::{cluster['max_connections']}")
    lines.append(f"{name}::added_via_api::false")
    for host in cluster["hosts"]:
        prefix = f"{name}::{host['address']}"
        lines += [f"{prefix}::{key}::{host[key]}" for key in _HOST_STATS]
        lines += [
            f"{prefix}::health_flags::{_healthFlags(host)}",
            f"{prefix}::weight::{host['weight']}",
        ]
    return lines


_HOST_STATS = ("cx_active", "cx_connect_fail", "cx_total")

#: Envoy's words for why a host is not used.
_HEALTH_FLAGS = ("failed_active_health_check", "failed_outlier_check", "pending_dynamic_removal")


def _healthFlags(host: Mapping[str, Any]) -> str:
    flags = [f"/{flag}" for flag in _HEALTH_FLAGS if host[flag]]
    return "".join(flags) or "healthy"


def _clusterInJSON(name: str, cluster: Mapping[str, Any]) -> dict[str, Any]:
    most = cluster["max_connections"]
    return {
        "name": name,
        "host_statuses": [
            {
                "address": addressInJSON(host["address"]),
                "stats": [
                    {"name": "cx_connect_fail", "value": str(host["cx_connect_fail"])},
                    {"name": "cx_total", "value": str(host["cx_total"])},
                    {"name": "cx_active", "type": "GAUGE", "value": str(host["cx_active"])},
                ],
                "health_status": {
                    **{flag: True for flag in _HEALTH_FLAGS if host[flag]},
                    "eds_health_status": "HEALTHY",
                },
                "weight": host["weight"],
            }
            for host in cluster["hosts"]
        ],
        "circuit_breakers": {"thresholds": [] if most is None else [{"max_connections": most}]},
        "observability_name": name,
    }


async def _certs(query: Query, source: Source) -> Answer:
    return asJSON({"certificates": await _view(source, "certs")})


async def _serverInfo(query: Query, source: Source) -> Answer:
    server = await _view(source, "server")
    return asJSON(
        {
            "version": f"mxproxy/{server['version']}",
            "state": server["state"],
            "uptime_current_epoch": f"{server['uptime']}s",
            "uptime_all_epochs": f"{server['uptime']}s",
            "command_line_options": {"concurrency": server["concurrency"]},
            "data_path": server["data_path"],
            "node": server["node"],
        }
    )


async def _help(query: Query, source: Source) -> Answer:
    return text(helpText())


# -- what can be told


def _telling(command: str) -> Handler:
    async def handle(query: Query, source: Source) -> Answer:
        await source.collect(command, {})
        return text("OK\n")

    return handle


async def _drainListeners(query: Query, source: Source) -> Answer:
    await source.collect("drain_listeners", {"inboundonly": query.flag("inboundonly")})
    return text("OK\n")


async def _logging(query: Query, source: Source) -> Answer:
    level = query.parameters.get("level")
    paths: dict[str, str] = {}
    for part in filter(None, query.parameters.get("paths", "").split(",")):
        name, _, its = part.rpartition(":")
        paths[name] = its
    for word in [*([] if level is None else [level]), *paths.values()]:
        if word not in LEVELS:
            raise BadRequest(f"{word!r} is no level; there are {', '.join(LEVELS)}")
    levels = (await source.collect("logging", {"level": level, "paths": paths}))[0]
    lines = [f"  {_oneLine(name)}: {its}\n" for name, its in levels.items()]
    return text("active loggers:\n" + "".join(lines))


# -- the table

_FORMAT = {"format": "text (the default) or json"}

PATHS: Sequence[Path] = (
    Path("/certs", "certificates in use, and when they expire", _certs, {}),
    Path(
        "/clusters",
        "clusters and their hosts",
        _clusters,
        {**_FORMAT, "filter": "a regular expression for the cluster's name"},
    ),
    Path("/config_dump", "the configuration that runs, without secrets", _configDump, {}),
    Path(
        "/connections",
        "open connections, as JSON",
        _connections,
        {
            "limit": f"how many; {DEFAULT_LIMIT}, at most {MAX_LIMIT}",
            "offset": "how many to leave out",
            "sort": f"{', '.join(SORTS)}",
            "order": "desc (the default) or asc",
            "filter": "a text in an address, a workload, a principal, a listener, ...",
        },
    ),
    Path(
        "/drain_listeners",
        "take no new connections; open ones go on",
        _drainListeners,
        {"inboundonly": "only listeners whose traffic_direction is INBOUND"},
        changes=True,
    ),
    Path("/graph", "who talks to whom, as JSON", _graph, {}),
    Path("/healthcheck/fail", "let /ready say no", _telling("healthcheck/fail"), {}, changes=True),
    Path(
        "/healthcheck/ok",
        "let /ready say yes again",
        _telling("healthcheck/ok"),
        {},
        changes=True,
    ),
    Path("/help", "this list", _help, {}),
    Path("/listeners", "what listens, and where", _listeners, _FORMAT),
    Path(
        "/logging",
        "levels of the log: show, and change",
        _logging,
        {
            "level": f"everybody's: {', '.join(LEVELS)}",
            "paths": "levels by namespace, as in mxproxy.upstream:debug,mxproxy.tls:error",
        },
        changes=True,
    ),
    Path("/quitquitquit", "stop", _telling("quitquitquit"), {}, changes=True),
    Path("/ready", "LIVE, or the status 503", _ready, {}),
    Path("/reset_counters", "set all counters to 0", _telling("reset_counters"), {}, changes=True),
    Path("/server_info", "version, state, uptime, who this is", _serverInfo, {}),
    Path(
        "/stats",
        "statistics by name",
        _stats,
        {
            "format": "text (the default), json or prometheus",
            "filter": "a regular expression for the name",
            "usedonly": "leave out what is 0",
            "type": "All (the default), Counters or Gauges",
        },
    ),
    Path(
        "/stats/prometheus",
        "metrics, Istio's among them, for Prometheus",
        _prometheus,
        {"filter": "a regular expression for the family's name", "usedonly": "leave out what is 0"},
    ),
)

BY_PATH: Mapping[str, Path] = {path.path: path for path in PATHS}


def helpText() -> str:
    """
    The list of paths, for people.
    """
    lines = ["admin commands are:", "  /: a page for eyes"]
    for path in PATHS:
        lines.append(f"  {path.path}{' (POST)' if path.changes else ''}: {path.help}")
        lines += [f"      {name}: {its}" for name, its in path.parameters.items()]
    return "\n".join(lines) + "\n"


def addressInJSON(address: str) -> dict[str, Any]:
    """
    Envoy's C{core.v3.Address}.

    @param address: C{ip:port}, C{[ip]:port}, or a UNIX socket's path.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        host = host.removeprefix("[").removesuffix("]")
        return {"socket_address": {"address": host, "port_value": int(port)}}
    return {"pipe": {"path": address.removeprefix("unix:")}}


def _oneLine(name: str) -> str:
    """A cluster may be called anything."""
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
