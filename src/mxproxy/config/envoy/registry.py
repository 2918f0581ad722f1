"""
Envoy's messages, those that L{mxproxy.config.envoy.subset} names: importing this module makes
protobuf know them, which takes a moment and happens only where a file is read.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor

# By name: a generated module of xds-protos has no annotations, and its import is all that is
# wanted of it.
_MODULES = (
    "envoy.config.bootstrap.v3.bootstrap_pb2",
    "envoy.extensions.access_loggers.file.v3.file_pb2",
    "envoy.extensions.access_loggers.stream.v3.stream_pb2",
    "envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2",
    "envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2",
    "envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2",
    "envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2",
    "envoy.extensions.filters.network.connection_limit.v3.connection_limit_pb2",
    "envoy.extensions.filters.network.direct_response.v3.config_pb2",
    "envoy.extensions.filters.network.echo.v3.echo_pb2",
    "envoy.extensions.filters.network.local_ratelimit.v3.local_rate_limit_pb2",
    "envoy.extensions.filters.network.sni_cluster.v3.sni_cluster_pb2",
    "envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2",
    "envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2",
    "envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2",
    "envoy.extensions.transport_sockets.tls.v3.tls_pb2",
    "envoy.service.discovery.v3.discovery_pb2",
    "mxproxy.config.envoy.messages.istio_metadata_exchange_pb2",
    "mxproxy.config.envoy.messages.metadata_exchange_pb2",
)
for _module in _MODULES:
    import_module(_module)

#: The options that C{validate.proto} adds to fields and to oneofs.
_validate = import_module("validate.validate_pb2")
FIELD_RULES: Any = _validate.rules
ONEOF_REQUIRED: Any = _validate.required


def descriptorOf(name: str) -> Descriptor:
    """
    @param name: a message's full name.
    @raise KeyError: there is none.
    """
    return descriptor_pool.Default().FindMessageTypeByName(name)


def messageClass(name: str) -> Any:
    """
    @param name: a message's full name.
    @raise KeyError: there is none.
    """
    return message_factory.GetMessageClass(descriptorOf(name))


def unpack(any: Any) -> Any:
    """
    The message in a C{google.protobuf.Any}.
    """
    return messageClass(any.TypeName()).FromString(any.value)
