"""
What mxproxy registers with Twisted's plugin system: the C{twistd mxproxy} command and
the built-in filters.

Every C{twistd --help} of the machine imports this module, so it imports nothing that
Twisted has not loaded by then, C{mxproxy} itself and its interfaces aside: what is
registered here names its module as a string, and that module is imported when it is used
(C{tests/packaging/test_plugin.py} keeps this true).

There is no C{__init__.py} in this directory nor in its parent, on purpose: with one, it
would hide Twisted itself.
"""

from twisted.application.service import ServiceMaker

from mxproxy.plugins import LazyFilter

mxproxyService = ServiceMaker(
    "mxproxy",
    "mxproxy.tap",
    "A metadata-exchanging layer-4 proxy for the mesh.",
    "mxproxy",
)

# The exchange, under Envoy's name for it and under Istio's own, older one.
metadataExchange = LazyFilter(
    "envoy.filters.network.metadata_exchange",
    "Exchanges workload metadata with the peer's sidecar (istio-peer-exchange).",
    "mxproxy.filters.metadata_exchange",
)
tcpProxy = LazyFilter(
    "envoy.filters.network.tcp_proxy",
    "Connects to a cluster; the end of a chain.",
    "mxproxy.filters.tcp_proxy",
)
echo = LazyFilter(
    "envoy.filters.network.echo",
    "Answers with what it is told; the end of a chain.",
    "mxproxy.filters.echo",
)
directResponse = LazyFilter(
    "envoy.filters.network.direct_response",
    "Says one thing and closes; the end of a chain.",
    "mxproxy.filters.direct_response",
)
sniCluster = LazyFilter(
    "envoy.filters.network.sni_cluster",
    "Sends a connection to the cluster that its client names by SNI.",
    "mxproxy.filters.sni_cluster",
)
connectionLimit = LazyFilter(
    "envoy.filters.network.connection_limit",
    "Bounds how many connections are open at once.",
    "mxproxy.filters.connection_limit",
)
localRateLimit = LazyFilter(
    "envoy.filters.network.local_ratelimit",
    "Bounds how fast connections are taken.",
    "mxproxy.filters.local_ratelimit",
)
tlsInspector = LazyFilter(
    "envoy.filters.listener.tls_inspector",
    "Looks for a TLS ClientHello, its server name and its ALPN, below a chain.",
    "mxproxy.filters.tls_inspector",
)
httpInspector = LazyFilter(
    "envoy.filters.listener.http_inspector",
    "Looks for an HTTP request and its version, below a chain.",
    "mxproxy.filters.http_inspector",
)
proxyProtocol = LazyFilter(
    "envoy.filters.listener.proxy_protocol",
    "Takes a PROXY header off and believes it, below a chain.",
    "mxproxy.filters.proxy_protocol",
)
originalDst = LazyFilter(
    "envoy.filters.listener.original_dst",
    "Asks where a redirected connection was going, below a chain.",
    "mxproxy.filters.original_dst",
)
istioMetadataExchange = LazyFilter(
    "istio.metadata_exchange",
    "The same, by the name that Istio's older files use.",
    "mxproxy.filters.metadata_exchange",
)
