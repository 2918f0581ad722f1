"""
Bytes to values and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mxproxy.wire.clienthello import ClientHello, ClientHelloInspector
from mxproxy.wire.exchange import Exchange
from mxproxy.wire.http import HTTPFound, HTTPInspector
from mxproxy.wire.metadata import Metadata, MetadataDecoder, Node, decodeMetadata
from mxproxy.wire.prefix import HEADER
from mxproxy.wire.proxyprotocol import ProxyHeader, ProxyProtocolDecoder, encodeV1, encodeV2

_HELLO = Path(__file__).parents[2] / "tests" / "wire" / "hellos" / "chromium.bin"

_REQUEST = b"GET /api/v1/things?limit=10 HTTP/1.1\r\nHost: things.shop.svc.cluster.local\r\n\r\n"

#: As of a pod in a mesh: a dozen labels, of which few are exchanged.
_NODE = Node(
    "sidecar~10.244.1.7~reviews-v3-7d9c5b7f8-x2x4z.shop~shop.svc.cluster.local",
    {
        "NAME": "reviews-v3-7d9c5b7f8-x2x4z",
        "NAMESPACE": "shop",
        "WORKLOAD_NAME": "reviews-v3",
        "CLUSTER_ID": "Kubernetes",
        "MESH_ID": "cluster.local",
        "OWNER": "kubernetes://apis/apps/v1/namespaces/shop/deployments/reviews-v3",
        "LABELS": {
            "app": "reviews",
            "version": "v3",
            "service.istio.io/canonical-name": "reviews",
            "service.istio.io/canonical-revision": "v3",
            **{f"example.com/label-{number}": "some value" for number in range(8)},
        },
    },
)


def benchmarks() -> Iterator[tuple[str, Callable[[], object]]]:
    """
    Names, and what to time.  Each has been seen to do what it is there for.
    """
    prefix = _NODE.prefix()
    stream, payload = prefix + _REQUEST, prefix[HEADER.size :]
    decoder = MetadataDecoder()
    hello = _HELLO.read_bytes()
    header = ProxyHeader(2, source=("203.0.113.7", 51724), destination=("10.244.1.7", 443))
    v1, v2 = encodeV1(header) + _REQUEST, encodeV2(header) + _REQUEST

    def exchange() -> object:
        machine = Exchange(prefix, decoder.decode, speaksFirst=False)
        machine.opening()
        return machine.feed(stream)

    def found(outcome: object, kind: type) -> None:
        result = getattr(outcome, "result", outcome)
        assert isinstance(result, kind), outcome

    found(exchange(), Metadata)
    found(ClientHelloInspector().feed(hello), ClientHello)
    found(HTTPInspector().feed(_REQUEST), HTTPFound)
    found(ProxyProtocolDecoder().feed(v1), ProxyHeader)
    found(ProxyProtocolDecoder().feed(v2), ProxyHeader)
    yield "wire: exchange, of a peer that is known", exchange
    yield "wire: metadata, encode", _NODE.prefix
    yield "wire: metadata, decode", lambda: decodeMetadata(payload)
    yield "wire: ClientHello of a browser", lambda: ClientHelloInspector().feed(hello)
    yield "wire: HTTP request line", lambda: HTTPInspector().feed(_REQUEST)
    yield "wire: PROXY v1", lambda: ProxyProtocolDecoder().feed(v1)
    yield "wire: PROXY v2", lambda: ProxyProtocolDecoder().feed(v2)
