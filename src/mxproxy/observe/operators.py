"""
The command operators of access log formats: C{%DURATION%}, C{%FILTER_STATE(downstream_peer)%}.

What belongs here is what each operator says of a connection; how a format is made of them is
L{mxproxy.observe.format}.  Names and meanings are Envoy's (1.40), as seen by running it.  Envoy's
operators whose facts are not kept here are unknown; those that speak of HTTP are known, and of
a TCP connection they say what they do in Envoy: nothing, or zero.

An operator is compiled once.  What it says is a value as JSON has them, or C{None}: not known.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import socket
import urllib.parse
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from ..connection import DYNAMIC_METADATA, Connection, Peer
from ..tls.identity import Identities, readIdentities
from ..wire.metadata import Metadata
from .flags import closeType, downstreamFailure, responseCodeDetails, responseFlags, upstreamFailure
from .timeformat import compileTime

#: The longest text that is written for an operator, in characters: a SPIFFE ID has at most 2048
#: bytes (SPIFFE-ID, section 2.3), and what a peer says otherwise is shorter.
LIMIT = 2048

_ELLIPSIS = "…"

#: What stands for a text that is not known.
ABSENT = "-"


class Record(NamedTuple):
    """
    What a line is made of.

    @ivar type: why there is a line: Envoy's C{%ACCESS_LOG_TYPE%}.
    @ivar time: now, seconds since the epoch.
    """

    connection: Connection
    type: str
    time: float


class Operator(NamedTuple):
    """
    An operator, compiled.

    @ivar value: what it says, as JSON.
    @ivar text: the same as text.
    @ivar constant: whether that is the same of every connection.
    """

    value: Callable[[Record], Any]
    text: Callable[[Record], str | None]
    constant: bool = False


class OperatorError(ValueError):
    """
    There is no such operator, or it is not written like this; the text, one line, says what.
    """


def compileOperator(name: str, parameters: str | None, length: int | None) -> Operator:
    """
    @param parameters: what is between the parentheses.
    @param length: how long its text may become.
    @raise OperatorError: it is none.
    """
    command = _COMMANDS.get(name)
    if command is None:
        similar = difflib.get_close_matches(name, _COMMANDS, 1)
        hint = f"; {similar[0]} is" if similar else ""
        raise OperatorError(f"{name} is not a known operator{hint}")
    if parameters and command.parameters is None:
        raise OperatorError(f"{name} takes no parameters")
    if command.parameters and not parameters:
        raise OperatorError(f"{name} needs parameters: {name}({command.parameters})")
    if length is not None and not command.length:
        raise OperatorError(f"{name} takes no length")
    try:
        return command.compile(parameters or "", length)
    except ValueError as error:
        raise OperatorError(f"{name}: {error}") from None


# -- values and texts ----------------------------------------------------------------------


def asText(value: object) -> str | None:
    """
    A value as text: of one line, and harmless on a terminal, whatever a peer has sent.
    """
    if value is None or isinstance(value, str):
        return None if value is None else printable(value)
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def printable(text: str) -> str:
    """
    The text, bounded; escaped, if there is anything in it but printable ASCII.
    """
    if len(text) <= LIMIT and text.isascii() and text.isprintable():
        return text
    text = bounded(text)
    return text.encode("unicode_escape").decode("ascii")


def bounded(text: str) -> str:
    """
    The text; a cut one ends in an ellipsis.
    """
    return text if len(text) <= LIMIT else text[: LIMIT - 1] + _ELLIPSIS


def _operator(value: Callable[[Record], Any], length: int | None = None) -> Operator:
    """
    An operator whose text is its value's, cut to C{length}.
    """
    if length is None:
        return Operator(value, lambda record: asText(value(record)))

    def cut(record: Record) -> str | None:
        text = asText(value(record))
        return None if text is None else text[:length]

    return Operator(value, cut)


# -- commands ------------------------------------------------------------------------------


class _Command(NamedTuple):
    """
    @ivar compile: called with the parameters and the length.
    @ivar parameters: C{None}: there are none; empty: there may be; otherwise what they are.
    @ivar length: whether the text may be cut.
    """

    compile: Callable[[str, int | None], Operator]
    parameters: str | None = None
    length: bool = False


def _of(value: Callable[[Connection], Any]) -> _Command:
    """A command that says something of the connection."""
    operator = _operator(lambda record: value(record.connection))
    return _Command(lambda parameters, length: operator)


def _text(value: Callable[[Connection], str | None]) -> _Command:
    """The same of a text, which is bounded, and not known when it is empty."""

    def boundedValue(connection: Connection) -> str | None:
        text = value(connection)
        return bounded(text) if text else None

    return _of(boundedValue)


def _always(value: object, parameters: str | None = None, length: bool = False) -> _Command:
    return _Command(lambda given, cut: _constant(value), parameters, length)


def _constant(value: object) -> Operator:
    text = asText(value)
    return Operator(lambda record: value, lambda record: text, constant=True)


# -- addresses


def _whole(address: IAddress) -> str:
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, UNIXAddress):
        name = os.fsdecode(address.name or b"")
        return f"@{name[1:]}" if name.startswith("\0") else name
    return bounded(str(address))


def _host(address: IAddress) -> str:
    if isinstance(address, (IPv4Address, IPv6Address)):
        return str(address.host)
    return _whole(address)


def _port(address: IAddress) -> int | None:
    return address.port if isinstance(address, (IPv4Address, IPv6Address)) else None


def _addresses(name: str, read: Callable[[Connection], IAddress | None]) -> dict[str, _Command]:
    """
    An address whole, without its port, and the port.
    """

    def of(part: Callable[[IAddress], Any]) -> _Command:
        def value(connection: Connection) -> Any:
            address = read(connection)
            return None if address is None else part(address)

        return _of(value)

    return {
        f"{name}_ADDRESS": of(_whole),
        f"{name}_ADDRESS_WITHOUT_PORT": of(_host),
        f"{name}_PORT": of(_port),
    }


def _upstreamHost(connection: Connection) -> str | None:
    upstream = connection.upstream
    return upstream.host if upstream.address is None else _whole(upstream.address)


def _upstreamHostName(connection: Connection) -> str | None:
    return connection.upstream.host or _upstreamHost(connection)


def _withoutPort(host: str | None) -> str | None:
    return None if host is None else re.sub(r":\d+$", "", host)


# -- certificates


def _identities(kind: Callable[[Identities], Sequence[str]]) -> Callable[[x509.Certificate], str]:
    return lambda certificate: ",".join(kind(readIdentities(certificate)))


def _fingerprint(algorithm: HashAlgorithm) -> Callable[[x509.Certificate], str]:
    return lambda certificate: certificate.fingerprint(algorithm).hex()


def _serial(certificate: x509.Certificate) -> str:
    digits = f"{certificate.serial_number:x}"
    return digits.rjust(len(digits) + len(digits) % 2, "0")


_READERS: dict[str, Callable[[x509.Certificate], str]] = {
    "URI_SAN": _identities(lambda names: names.uris),
    "DNS_SAN": _identities(lambda names: names.dns),
    "IP_SAN": _identities(lambda names: names.ips),
    "SUBJECT": lambda certificate: certificate.subject.rfc4514_string(),
    "ISSUER": lambda certificate: certificate.issuer.rfc4514_string(),
    "SERIAL": _serial,
    # SHA-1 is what Envoy's operator of this name says, and secures nothing.
    "FINGERPRINT_1": _fingerprint(SHA1()),  # noqa: S303
    "FINGERPRINT_256": _fingerprint(SHA256()),
}


def _pem(certificate: x509.Certificate) -> str:
    return urllib.parse.quote(certificate.public_bytes(Encoding.PEM).decode("ascii"), safe="")


def _read(peer: Peer, which: str, reader: Callable[[x509.Certificate], Any]) -> Any | None:
    try:
        certificate = getattr(peer, which)
        return None if certificate is None else reader(certificate) or None
    except Exception:  # noqa: BLE001
        # cryptography parses a certificate bit by bit, and raises errors of many types at what
        # it does not like.  None of them may end a connection that OpenSSL was content with.
        return None


#: What Envoy says of downstreams only.
_NOT_OF_UPSTREAMS = ("PEER_SERIAL", "PEER_FINGERPRINT_1", "PEER_FINGERPRINT_256", "LOCAL_SUBJECT")


def _certificates(prefix: str, side: Callable[[Connection], Peer]) -> dict[str, _Command]:
    """
    All that is said of a side's certificates: the peer's and our own.
    """
    commands: dict[str, _Command] = {}

    def add(name: str, which: str, reader: Callable[[x509.Certificate], str]) -> None:
        if prefix == "UPSTREAM" and name in _NOT_OF_UPSTREAMS:
            return
        commands[f"{prefix}_{name}"] = _text(
            lambda connection: _read(side(connection), which, reader)
        )

    for kind, reader in _READERS.items():
        add(f"PEER_{kind}", "certificate", reader)
        if kind.endswith("_SAN") or kind == "SUBJECT":
            add(f"LOCAL_{kind}", "local_certificate", reader)

    def moment(read: Callable[[x509.Certificate], Any]) -> _Command:
        def compile(format: str, length: int | None) -> Operator:
            render = compileTime(format)

            def value(record: Record) -> str | None:
                when = _read(side(record.connection), "certificate", read)
                return None if when is None else render(when.timestamp())

            return _operator(value)

        return _Command(compile, "")

    commands[f"{prefix}_PEER_CERT_V_START"] = moment(lambda one: one.not_valid_before_utc)
    commands[f"{prefix}_PEER_CERT_V_END"] = moment(lambda one: one.not_valid_after_utc)
    # Not bounded: a certificate that is cut is none.  OpenSSL bounds it, at 100 KiB the chain.
    commands[f"{prefix}_PEER_CERT"] = _of(lambda one: _read(side(one), "certificate", _pem))
    commands[f"{prefix}_TLS_VERSION"] = _text(lambda one: side(one).tls_version)
    commands[f"{prefix}_TLS_CIPHER"] = _text(lambda one: side(one).tls_cipher)
    commands[f"{prefix}_DETECTED_CLOSE_TYPE"] = _of(lambda one: closeType(side(one)))
    return commands


# -- what peers say of themselves, and filters know

#: The names under which Istio's filter keeps a peer, in Envoy.
_PEERS = {
    "downstream_peer": "downstream",
    "downstream_peer_obj": "downstream",
    "upstream_peer": "upstream",
    "upstream_peer_obj": "upstream",
}

#: The fields of Istio's workload metadata object, in the order of its text.
_FIELDS = (
    "type",
    "workload",
    "name",
    "cluster",
    "namespace",
    "service",
    "revision",
    "app",
    "version",
    "region",
    "availability_zone",
)

_TYPED, _PLAIN, _FIELD = "TYPED", "PLAIN", "FIELD"


def _filterState(parameters: str, length: int | None) -> Operator:
    key, kind, field = [*parameters.split(":", 2), "", ""][:3]
    kind = kind or _TYPED
    if not key:
        raise ValueError("the key is empty")
    if kind not in (_PLAIN, _TYPED, _FIELD):
        raise ValueError(f"{kind!r} is neither of {_PLAIN}, {_TYPED} and {_FIELD}")
    if (kind == _FIELD) != bool(field):
        raise ValueError(f"a field's name is given with {_FIELD}, and only with it")
    side = _PEERS.get(key)
    read = partial(_fact, key) if side is None else partial(_metadata, side)
    if kind == _PLAIN:
        return _plain(read, length)
    if kind == _FIELD:
        return _plain(lambda connection: _member(read(connection), field), length)

    def value(record: Record) -> Any:
        found = read(record.connection)
        return _struct(found) if isinstance(found, Metadata) else found

    def text(record: Record) -> str | None:
        found = value(record)
        return None if found is None else _json(found)[:length]

    return Operator(value, text)


def _plain(read: Callable[[Connection], object], length: int | None) -> Operator:
    def value(record: Record) -> str | None:
        found = read(record.connection)
        if isinstance(found, Metadata):
            found = _serialized(found)
        if found is None:
            return None
        return bounded(found if isinstance(found, str) else _json(found))[:length]

    return _operator(value)


def _metadata(side: str, connection: Connection) -> Metadata | None:
    metadata = getattr(connection, side).metadata
    return metadata if isinstance(metadata, Metadata) else None


def _fact(name: str, connection: Connection) -> object:
    """A filter's own fact, if it is one that can be written."""
    value = connection.fact(name)
    return value if isinstance(value, (str, int, float, dict, list, tuple)) else None


def _member(found: object, field: str) -> object:
    if isinstance(found, Metadata):
        return bounded(getattr(found, field)) or None if field in _FIELDS else None
    return found.get(field) if isinstance(found, dict) else None


def _struct(metadata: Metadata) -> dict[str, Any]:
    struct: dict[str, Any] = {
        field: bounded(text)
        for field in sorted((*_FIELDS, "identity"))
        if (text := getattr(metadata, field))
    }
    if metadata.labels:
        struct["labels"] = {name: bounded(text) for name, text in sorted(metadata.labels.items())}
    return struct


def _serialized(metadata: Metadata) -> str:
    """As Istio's workload metadata object serializes itself."""
    pairs = [(field, text) for field in _FIELDS if (text := getattr(metadata, field))]
    pairs += [(f"labels[]{name}", text) for name, text in metadata.labels.items()]
    return ",".join(f"{field}={text}" for field, text in pairs)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


#: The namespace of mxproxy's own facts among the dynamic metadata.
OWN_METADATA = "mxproxy"


def _ownMetadata(connection: Connection) -> dict[str, Any]:
    """
    What mxproxy knows of a connection and Envoy has no operator for.
    """

    def side(peer: Peer) -> dict[str, Any]:
        return {
            "alpn": peer.alpn,
            "alpn_offered": list(peer.alpn_offered),
            "application_protocols": list(peer.application_protocols),
            "close_reason": peer.close_reason or None,
            "peer_state": peer.peer_state.value,
            "transport_protocol": peer.transport_protocol,
        }

    return {
        "close_reason": bounded(connection.close_reason) or None,
        "connection": connection.id,
        "downstream": side(connection.downstream),
        "listener": connection.listener,
        "trail": list(connection.trail),
        "upstream": side(connection.upstream),
    }


def _dynamicMetadata(parameters: str, length: int | None) -> Operator:
    namespace, *path = parameters.split(":")

    def value(record: Record) -> Any:
        connection = record.connection
        found: Any
        if namespace == OWN_METADATA:
            found = _ownMetadata(connection)
        else:
            found = (connection.get(DYNAMIC_METADATA) or {}).get(namespace)
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    return _operator(value, length)


def _anyMetadata(parameters: str, length: int | None) -> Operator:
    kind, _, rest = parameters.partition(":")
    if kind == "DYNAMIC":
        return _dynamicMetadata(rest, length)
    if kind in ("ROUTE", "VIRTUAL_HOST"):
        return _constant(None)  # HTTP's.
    raise ValueError(f"{kind!r} is not known; DYNAMIC is, and of no use ROUTE and VIRTUAL_HOST")


# -- the rest


def _environment(name: str, length: int | None) -> Operator:
    # Read now, as Envoy does; and what is not set is a dash, in JSON too.
    return _constant(os.environ.get(name, ABSENT)[:length])


def _moment(read: Callable[[Record], float], local: bool) -> _Command:
    def compile(format: str, length: int | None) -> Operator:
        render = compileTime(format, local=local)
        return _operator(lambda record: render(read(record)))

    return _Command(compile, "")


def _serverName(parameters: str, length: int | None) -> Operator:
    if parameters not in ("", "SNI_ONLY", "SNI_FIRST", "HOST_FIRST"):
        raise ValueError(f"{parameters!r} is none of SNI_ONLY, SNI_FIRST and HOST_FIRST")
    return _operator(lambda record: _hostname(record.connection.downstream.server_name))


def _hostname(name: str | None) -> str | None:
    """
    A server name; one that is none is marked, as by Envoy, and fits between spaces.
    """
    if not name:
        return None
    name = bounded(name)
    sanitized = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return name if name == sanitized else f"invalid:{sanitized}"


def _joinFlags(connection: Connection, name: str) -> str:
    return ",".join(getattr(flag, name) for flag in responseFlags(connection)) or ABSENT


def _underscored(text: str | None) -> str | None:
    return None if text is None else text.replace(" ", "_")


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _remoteAddress(connection: Connection) -> IAddress | None:
    address: IAddress | None = _named(connection.downstream.address, connection)
    return address


def _directAddress(connection: Connection) -> IAddress | None:
    return _named(connection.downstream.direct_address, connection) or _remoteAddress(connection)


def _named(address: Any, connection: Connection) -> Any:
    """The client of a unix socket has no name but the socket's."""
    if isinstance(address, UNIXAddress) and not address.name:
        return connection.downstream.local_address
    return address


def _localAddress(connection: Connection) -> IAddress | None:
    return connection.downstream.original_destination or connection.downstream.local_address


def _commands() -> dict[str, _Command]:
    commands: dict[str, _Command] = {
        "ACCESS_LOG_TYPE": _Command(lambda given, cut: _operator(lambda record: record.type)),
        "CONNECTION_ID": _of(lambda one: one.id),
        "STREAM_ID": _of(lambda one: one.id),
        "UNIQUE_ID": _of(lambda one: str(uuid.uuid4())),
        "HOSTNAME": _Command(lambda given, cut: _constant(socket.gethostname())),
        "ENVIRONMENT": _Command(_environment, "NAME", length=True),
        # -- when
        "START_TIME": _moment(lambda record: record.connection.started, local=False),
        "START_TIME_LOCAL": _moment(lambda record: record.connection.started, local=True),
        "EMIT_TIME": _moment(lambda record: record.time, local=False),
        "EMIT_TIME_LOCAL": _moment(lambda record: record.time, local=True),
        "DURATION": _of(lambda one: _milliseconds(one.duration)),
        # -- how much: without TLS, and the same again under the names of HTTP's framing
        "BYTES_RECEIVED": _of(lambda one: one.downstream.bytes_received),
        "BYTES_SENT": _of(lambda one: one.downstream.bytes_sent),
        "DOWNSTREAM_WIRE_BYTES_RECEIVED": _of(lambda one: one.downstream.bytes_received),
        "DOWNSTREAM_WIRE_BYTES_SENT": _of(lambda one: one.downstream.bytes_sent),
        "UPSTREAM_WIRE_BYTES_RECEIVED": _of(lambda one: one.upstream.bytes_received),
        "UPSTREAM_WIRE_BYTES_SENT": _of(lambda one: one.upstream.bytes_sent),
        # -- where
        "FILTER_CHAIN_NAME": _text(lambda one: one.filter_chain),
        "REQUESTED_SERVER_NAME": _Command(_serverName, ""),
        "UPSTREAM_CLUSTER": _text(lambda one: one.cluster),
        "UPSTREAM_CLUSTER_RAW": _text(lambda one: one.cluster),
        "UPSTREAM_HOST": _text(_upstreamHost),
        "UPSTREAM_HOST_NAME": _text(_upstreamHostName),
        "UPSTREAM_HOST_NAME_WITHOUT_PORT": _text(lambda one: _withoutPort(_upstreamHostName(one))),
        "UPSTREAM_REQUEST_ATTEMPT_COUNT": _of(lambda one: one.attempts),
        # -- how it ended
        "RESPONSE_FLAGS": _of(lambda one: _joinFlags(one, "short")),
        "RESPONSE_FLAGS_LONG": _of(lambda one: _joinFlags(one, "long")),
        "RESPONSE_CODE": _always(0),
        "RESPONSE_CODE_DETAILS": _Command(
            lambda given, cut: _operator(lambda record: responseCodeDetails(record.connection)), ""
        ),
        "CONNECTION_TERMINATION_DETAILS": _always(None),
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON": _text(
            lambda one: _underscored(downstreamFailure(one))
        ),
        "UPSTREAM_TRANSPORT_FAILURE_REASON": _text(lambda one: _underscored(upstreamFailure(one))),
        # -- what filters know
        "FILTER_STATE": _Command(_filterState, "KEY:FIELD:NAME", length=True),
        "UPSTREAM_FILTER_STATE": _Command(_filterState, "KEY:FIELD:NAME", length=True),
        "DYNAMIC_METADATA": _Command(_dynamicMetadata, "NAMESPACE:KEY", length=True),
        "METADATA": _Command(_anyMetadata, "DYNAMIC:NAMESPACE:KEY", length=True),
    }
    commands |= _addresses("DOWNSTREAM_REMOTE", _remoteAddress)
    commands |= _addresses("DOWNSTREAM_DIRECT_REMOTE", _directAddress)
    commands |= _addresses("DOWNSTREAM_LOCAL", _localAddress)
    commands |= _addresses("DOWNSTREAM_DIRECT_LOCAL", lambda one: one.downstream.local_address)
    # Those of an attempt that failed are not said: they may be of any of several.
    commands |= _addresses(
        "UPSTREAM_REMOTE", lambda one: one.upstream.address if one.established else None
    )
    commands |= _addresses(
        "UPSTREAM_LOCAL", lambda one: one.upstream.local_address if one.established else None
    )
    commands |= _certificates("DOWNSTREAM", lambda one: one.downstream)
    commands |= _certificates("UPSTREAM", lambda one: one.upstream)
    commands |= _http()
    return commands


_HEADERS = (
    "REQ",
    "RESP",
    "TRAILER",
    "REQUEST_HEADER",
    "RESPONSE_HEADER",
    "RESPONSE_TRAILER",
)


def _http() -> dict[str, _Command]:
    """
    What speaks of HTTP, or of what nobody measures for TCP, and what it says then.
    """
    header = _always(None, "NAME", length=True)
    sides = [
        f"{side}_{what}_{direction}"
        for side in ("DOWNSTREAM", "UPSTREAM")
        for what in ("HEADER_BYTES", "DECOMPRESSED_HEADER_BYTES")
        for direction in ("RECEIVED", "SENT")
    ]
    return {
        **dict.fromkeys(_HEADERS, header),
        **{
            name: _always(None)
            for name in (
                "PROTOCOL",
                "UPSTREAM_PROTOCOL",
                "ROUTE_NAME",
                "VIRTUAL_CLUSTER_NAME",
                "TRACE_ID",
                "SPAN_ID",
                "REQUEST_DURATION",
                "REQUEST_TX_DURATION",
                "RESPONSE_DURATION",
                "RESPONSE_TX_DURATION",
                "ROUNDTRIP_DURATION",
                "DOWNSTREAM_HANDSHAKE_DURATION",
            )
        },
        "GRPC_STATUS": _always(None, ""),
        **{
            name: _always(0)
            for name in (
                *sides,
                "REQUEST_HEADERS_BYTES",
                "RESPONSE_HEADERS_BYTES",
                "RESPONSE_TRAILERS_BYTES",
                "BYTES_RETRANSMITTED",
                "PACKETS_RETRANSMITTED",
            )
        },
        "LOCAL_REPLY_BODY": _always(""),
        "CUSTOM_FLAGS": _always(""),
    }


_COMMANDS = _commands()
