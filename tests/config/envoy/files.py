"""
Files in tests: small ones that are complete, in which a test says only what it is about.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mxproxy.config.envoy import RefusedFile, readPlan
from mxproxy.config.envoy.document import parseYAML
from mxproxy.config.plan import ClusterPlan, FilterChainPlan, ListenerPlan, Plan
from tests.config.commandline import CommandLineCase

TYPES = "type.googleapis.com/"
NETWORK = TYPES + "envoy.extensions.filters.network."
LISTENER = TYPES + "envoy.extensions.filters.listener."
SOCKETS = TYPES + "envoy.extensions.transport_sockets."
LOGS = TYPES + "envoy.extensions.access_loggers."
ISTIO_EXCHANGE = TYPES + "envoy.tcp.metadataexchange.config.MetadataExchange"
OWN_EXCHANGE = TYPES + "mxproxy.v1.MetadataExchange"
STRUCT = TYPES + "google.protobuf.Struct"


def typed(url: str, name: str = "one", **fields: object) -> dict[str, object]:
    """
    Something with a C{name} and a C{typed_config}.
    """
    return {"name": name, "typed_config": {"@type": url, **fields}}


ECHO = typed(NETWORK + "echo.v3.Echo")
TCP_PROXY = typed(NETWORK + "tcp_proxy.v3.TcpProxy", stat_prefix="in", cluster="one")
RAW = typed(SOCKETS + "raw_buffer.v3.RawBuffer")
OWN = [{"certificate_chain": {"filename": "db.crt"}, "private_key": {"filename": "db.key"}}]
CA_FILE = {"trusted_ca": {"filename": "ca.crt"}}


def address(host: str = "127.0.0.1", port: int = 15006) -> dict[str, object]:
    return {"socket_address": {"address": host, "port_value": port}}


def listener(**fields: object) -> dict[str, object]:
    return {
        "name": "in",
        "address": address(),
        "filter_chains": [{"filters": [TCP_PROXY]}],
    } | fields


def hosts(*addresses: object) -> dict[str, object]:
    return {
        "cluster_name": "one",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": one}} for one in addresses]}],
    }


def cluster(**fields: object) -> dict[str, object]:
    return {"name": "one", "load_assignment": hosts(address(port=80))} | fields


def bootstrap(**resources: object) -> dict[str, Any]:
    return {"static_resources": {"listeners": [listener()], "clusters": [cluster()]} | resources}


def downstreamTLS(require: bool | None = None, **common: object) -> dict[str, object]:
    more = {} if require is None else {"require_client_certificate": require}
    return typed(
        SOCKETS + "tls.v3.DownstreamTlsContext",
        common_tls_context={"tls_certificates": OWN} | common,
        **more,
    )


def upstreamTLS(more: Mapping[str, object] | None = None, **common: object) -> dict[str, object]:
    return typed(
        SOCKETS + "tls.v3.UpstreamTlsContext",
        common_tls_context={"validation_context": CA_FILE} | common,
        **(more or {}),
    )


class FileCase(CommandLineCase):
    """
    The current directory has certificates: C{ca.crt}, C{db.*} and C{web.*}.
    """

    def read(self, document: object, name: str = "envoy.yaml") -> Plan:
        """
        @param document: YAML, or plain values.
        """
        import json

        text = document if isinstance(document, str) else json.dumps(document)
        Path(name).write_text(text, encoding="utf-8")
        return readPlan(name)

    def faults(self, document: object) -> list[str]:
        """
        @return: why the file is refused; each is one line.
        """
        refused = self.assertRaises(RefusedFile, self.read, document)
        for line in refused.lines:
            self.assertTrue(line.startswith("envoy.yaml: "), line)
            self.assertNotIn("\n", line)
        return [str(fault) for fault in refused.faults]

    def listener(self, **fields: object) -> ListenerPlan:
        (found,) = self.read(bootstrap(listeners=[listener(**fields)])).listeners
        return found

    def chain(self, **fields: object) -> FilterChainPlan:
        chain = {"filters": [TCP_PROXY], **fields}
        (found,) = self.listener(filter_chains=[chain]).chains
        return found

    def filters(self, *filters: object) -> list[object]:
        """
        Settings of a chain's filters.
        """
        return [spec.settings for spec in self.chain(filters=list(filters)).filters]

    def cluster(self, **fields: object) -> ClusterPlan:
        (found,) = self.read(bootstrap(clusters=[cluster(**fields)])).clusters
        return found


def put(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """
    A copy with another value at a place such as C{"static_resources.listeners[0].name"}; with
    C{...}, without any.
    """
    result: Any = copy.deepcopy(document)
    where = result
    *way, last = path.replace("[", ".[").split(".")
    for step in way:
        where = where[int(step[1:-1])] if step.startswith("[") else where.setdefault(step, {})
    if value is ...:
        del where[last]
    elif last.startswith("["):
        where[int(last[1:-1])] = value
    else:
        where[last] = value
    found: dict[str, Any] = result
    return found


def yaml(text: str) -> Any:
    """
    Values, as the file's reader has them.
    """
    return parseYAML(text, "test")
