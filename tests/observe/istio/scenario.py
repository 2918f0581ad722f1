"""
Istio's own test of the exchange and its metrics (istio/proxy, test/envoye2e/tcp_metadata_exchange):
who its client and its server are, and what they have to report.

Ten connections, one after the other: the client writes C{world} and a line end, the server
answers C{hello world} and a line end.
"""

from __future__ import annotations

from typing import Any

from mxproxy.wire.metadata import Node

CLIENT_PRINCIPAL = "spiffe://cluster.local/ns/default/sa/client"
SERVER_PRINCIPAL = "spiffe://cluster.local/ns/default/sa/server"

CONNECTIONS = 10
REQUEST, REPLY = b"world\n", b"hello world\n"

#: What travels of testdata/client_node_metadata.json.tmpl, and something that does not.
CLIENT_METADATA: dict[str, Any] = {
    "NAME": "productpage-v1-84975bc778-pxz2w",
    "NAMESPACE": "default",
    "WORKLOAD_NAME": "productpage-v1",
    "CLUSTER_ID": "client-cluster",
    "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/productpage-v1",
    "MESH_ID": "mesh",
    "LABELS": {
        "app": "productpage",
        "pod-template-hash": "84975bc778",
        "version": "v1",
        "service.istio.io/canonical-name": "productpage-v1",
        "service.istio.io/canonical-revision": "version-1",
    },
}

#: The same of testdata/server_node_metadata.json.tmpl.
SERVER_METADATA: dict[str, Any] = {
    "NAME": "ratings-v1-84975bc778-pxz2w",
    "NAMESPACE": "default",
    "WORKLOAD_NAME": "ratings-v1",
    "CLUSTER_ID": "server-cluster",
    "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/ratings-v1",
    "MESH_ID": "mesh",
    "LABELS": {
        "app": "ratings",
        "pod-template-hash": "84975bc778",
        "version": "v1",
        "service.istio.io/canonical-name": "ratings",
        "service.istio.io/canonical-revision": "version-1",
    },
}

CLIENT_NODE = Node("client", CLIENT_METADATA)
SERVER_NODE = Node("server", SERVER_METADATA)

#: What both clusters' C{istio} metadata says.
SERVICE_HOST = "server.default.svc.cluster.local"

_BOTH = {
    "source_workload": "productpage-v1",
    "source_canonical_service": "productpage-v1",
    "source_canonical_revision": "version-1",
    "source_workload_namespace": "default",
    "source_principal": CLIENT_PRINCIPAL,
    "source_app": "productpage",
    "source_version": "v1",
    "source_cluster": "client-cluster",
    "destination_workload": "ratings-v1",
    "destination_workload_namespace": "default",
    "destination_principal": SERVER_PRINCIPAL,
    "destination_app": "ratings",
    "destination_version": "v1",
    "destination_service": SERVICE_HOST,
    "destination_canonical_service": "ratings",
    "destination_canonical_revision": "version-1",
    "destination_service_name": "server",
    "destination_service_namespace": "default",
    "destination_cluster": "server-cluster",
    "request_protocol": "tcp",
    "response_flags": "-",
}

#: testdata/metric/tcp_client_*.yaml.tmpl and tcp_server_*.yaml.tmpl.
CLIENT_LABELS = {**_BOTH, "reporter": "source", "connection_security_policy": "unknown"}
SERVER_LABELS = {**_BOTH, "reporter": "destination", "connection_security_policy": "mutual_tls"}

#: testdata/metric/tcp_server_connection_open_without_mx.yaml.tmpl.  The namespace is the one
#: that the certificate proves, as in Istio since istio/proxy#4117.
SERVER_LABELS_WITHOUT_EXCHANGE = {
    **SERVER_LABELS,
    "source_workload": "unknown",
    "source_canonical_service": "unknown",
    "source_canonical_revision": "latest",
    "source_app": "unknown",
    "source_version": "unknown",
    "source_cluster": "unknown",
}

#: By metric.
VALUES = {
    "istio_tcp_connections_opened_total": CONNECTIONS,
    "istio_tcp_connections_closed_total": CONNECTIONS,
    "istio_tcp_sent_bytes_total": CONNECTIONS * len(REPLY),
    "istio_tcp_received_bytes_total": CONNECTIONS * len(REQUEST),
}
