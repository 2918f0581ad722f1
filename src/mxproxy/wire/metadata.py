"""
What a workload says of itself, and the payload it says it in.

Everything that knows a key of the metadata lives here: which parts of a node's metadata travel,
what they are called on either side, and how they become the C{google.protobuf.Any} of a prefix
and come back out of one.  Framing and streams do not (L{mxproxy.wire.prefix},
L{mxproxy.wire.exchange}).  The keys are those of Istio's node metadata as Envoy's network filter
C{metadata_exchange} sends them; docs/wire.md lists them.

Metadata is a claim of the peer's.  Nothing may be authorized on it.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from mxproxy.wire.peerstate import PeerState
from mxproxy.wire.prefix import encodePrefix
from mxproxy.wire.structwire import Struct

PEER_METADATA_KEY: Final = "x-envoy-peer-metadata"
PEER_ID_KEY: Final = "x-envoy-peer-metadata-id"
STRUCT_TYPE: Final = "google.protobuf.Struct"
TYPE_URL: Final = f"type.googleapis.com/{STRUCT_TYPE}"

# The strings that travel under their own key, by the name of the field that keeps them.
FIELD_KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "name": "NAME",
        "namespace": "NAMESPACE",
        "workload": "WORKLOAD_NAME",
        "cluster": "CLUSTER_ID",
        "identity": "IDENTITY",
        "region": "REGION",
        "availability_zone": "AVAILABILITY_ZONE",
    }
)
OWNER_KEY: Final = "OWNER"
LABELS_KEY: Final = "LABELS"

# The strings that travel as labels: where each may be found, the best place first.  They are
# sent under the last of these names, the plain one, as Envoy does.
LABEL_KEYS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "service": ("service.istio.io/canonical-name",),
        "revision": ("service.istio.io/canonical-revision",),
        "app": ("app.kubernetes.io/name", "app"),
        "version": ("app.kubernetes.io/version", "version"),
    }
)
_KNOWN_LABELS: Final = frozenset(key for keys in LABEL_KEYS.values() for key in keys)

OWNER_PREFIX: Final = "kubernetes://apis/apps/v1/namespaces/"
WORKLOAD_TYPES: Final = ("pod", "deployment", "job", "cronjob")
"""The kinds of owner that are understood; any other leaves the type empty."""

# As many peers as the cache of Istio's own earlier (Wasm) filter: max_peer_cache_size was 500.
CACHE_ENTRIES: Final = 500
# What those 500 peers' payloads take at 2 KiB each, four times the largest of Istio's test data.
# Without it, 500 peers that each send the 64 KiB they are allowed to would make us keep 32 MiB.
CACHE_BYTES: Final = 1 << 20

# What protobuf raises at bytes it cannot read; its pure Python backend lets UnicodeDecodeError
# pass where the C one says DecodeError (seen with protobuf 7.36).
_UNREADABLE: Final = (DecodeError, UnicodeDecodeError)

# Stands for a value that is not there: it reads as an empty string and as an empty Struct.
_UNSET: Final = Struct().fields.add().value


class MalformedMetadata(ValueError):
    """
    A payload is not an Any that holds a Struct; the message says in which way.
    """


@dataclass(frozen=True)
class Metadata:
    """
    What a peer said of itself: every field is text, and empty when the peer did not say it.

    Always true, so that C{if peer.metadata:} asks whether the peer is known, be it by an empty
    description.

    @ivar name: the instance, a pod's name for example.
    @ivar namespace: its namespace.
    @ivar workload: the workload it is an instance of.
    @ivar cluster: the cluster it runs in.
    @ivar identity: the identity that the node declares (its certificate may prove another).
    @ivar region: its region.
    @ivar availability_zone: its zone in the region.
    @ivar type: one of L{WORKLOAD_TYPES}, the workload's kind.
    @ivar service: the canonical service.
    @ivar revision: the canonical revision.
    @ivar app: the application.
    @ivar version: the application's version.
    @ivar labels: the additional labels that were asked for and were there; cannot be changed.
    @ivar id: the node's id.
    """

    name: str = ""
    namespace: str = ""
    workload: str = ""
    cluster: str = ""
    identity: str = ""
    region: str = ""
    availability_zone: str = ""
    type: str = ""
    service: str = ""
    revision: str = ""
    app: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))

    def __bool__(self) -> Literal[True]:
        return True

    @property
    def state(self) -> PeerState:
        """
        Always L{PeerState.FOUND}.
        """
        return PeerState.FOUND


@dataclass(frozen=True)
class Absence:
    """
    Why there is no L{Metadata}.

    Always false, and has every field of L{Metadata}, empty: C{peer.metadata.workload} never
    raises, whatever has become of the exchange.

    @ivar reason: the one reason; never L{PeerState.FOUND}.
    """

    reason: PeerState

    name: ClassVar[str] = ""
    namespace: ClassVar[str] = ""
    workload: ClassVar[str] = ""
    cluster: ClassVar[str] = ""
    identity: ClassVar[str] = ""
    region: ClassVar[str] = ""
    availability_zone: ClassVar[str] = ""
    type: ClassVar[str] = ""
    service: ClassVar[str] = ""
    revision: ClassVar[str] = ""
    app: ClassVar[str] = ""
    version: ClassVar[str] = ""
    labels: ClassVar[Mapping[str, str]] = MappingProxyType({})
    id: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.reason is PeerState.FOUND:
            raise ValueError("a peer that was found is not absent")

    def __bool__(self) -> Literal[False]:
        return False

    @property
    def state(self) -> PeerState:
        """
        The reason, under the name that L{Metadata} has too.
        """
        return self.reason


@dataclass(frozen=True)
class Node:
    """
    Who we are: Envoy's C{node} (config.core.v3.Node), as far as the exchange needs it.

    @ivar id: the node's id; an empty one is not sent.
    @ivar metadata: the node's metadata as JSON has it: text, numbers, lists, mappings.  It is
        copied, so changing the original later changes nothing.
    @ivar cluster: the service cluster that the node belongs to.  It does not travel; what peers
        see as the cluster is C{CLUSTER_ID} in the metadata.
    @ivar region: the locality's region, said when the metadata has no C{REGION}.
    @ivar zone: the locality's zone, said when the metadata has no C{AVAILABILITY_ZONE}.
    """

    id: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)
    cluster: str = ""
    region: str = ""
    zone: str = ""
    _prefixes: dict[tuple[str, ...], bytes] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        metadata = MappingProxyType(copy.deepcopy(dict(self.metadata)))
        object.__setattr__(self, "metadata", metadata)

    def describe(self, additional_labels: Sequence[str] = ()) -> Metadata:
        """
        What peers are told: the parts of the metadata that travel, and no others.

        @param additional_labels: names of labels that travel beside the known ones.
        """
        labels = self.metadata.get(LABELS_KEY)
        return _understand(
            _texts(self.metadata),
            _texts(labels) if isinstance(labels, Mapping) else {},
            additional_labels,
            id=self.id,
            region=self.region,
            zone=self.zone,
        )

    def prefix(self, additional_labels: Sequence[str] = ()) -> bytes:
        """
        The prefix that this node sends; serialized once for each choice of labels.

        @param additional_labels: names of labels that travel beside the known ones.
        @raise ValueError: some text cannot be written as UTF-8; the message names its key.
        """
        chosen = tuple(additional_labels)
        prefix = self._prefixes.get(chosen)
        if prefix is None:
            prefix = self._prefixes[chosen] = encodePrefix(encodeMetadata(self.describe(chosen)))
        return prefix


class MetadataDecoder:
    """
    Reads payloads, and remembers those it has read: a mesh has few peers and many connections.

    @ivar additionalLabels: names of labels to keep beside the known ones.
    """

    def __init__(self, additional_labels: Sequence[str] = ()) -> None:
        """
        @param additional_labels: names of labels to keep, in L{Metadata.labels}.
        """
        self.additionalLabels = tuple(additional_labels)
        self._known: OrderedDict[bytes, Metadata] = OrderedDict()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<MetadataDecoder knows {len(self._known)} payloads of {self._bytes} bytes>"

    def decode(self, payload: bytes) -> Metadata:
        """
        Read a payload.  The same payload gives the same object again and costs one look-up, as
        long as it is among the last L{CACHE_ENTRIES} and L{CACHE_BYTES}.

        @param payload: what follows a prefix's header: a serialized C{google.protobuf.Any}.
        @raise MalformedMetadata: it is not an Any, or not one of a Struct.
        """
        known = self._known.get(payload)
        if known is not None:
            self._known.move_to_end(payload)
            return known
        metadata = decodeMetadata(payload, self.additionalLabels)
        self._known[payload] = metadata
        self._bytes += len(payload)
        while len(self._known) > CACHE_ENTRIES or self._bytes > CACHE_BYTES:
            oldest, _ = self._known.popitem(last=False)
            self._bytes -= len(oldest)
        return metadata


def encodeMetadata(metadata: Metadata) -> bytes:
    """
    Write metadata as a payload.  Keys are in byte order at every level, so equal metadata gives
    equal bytes.

    @return: a serialized C{google.protobuf.Any} that holds a C{google.protobuf.Struct}.
    @raise ValueError: some text cannot be written as UTF-8; the message names its key.
    """
    labels = {keys[-1]: getattr(metadata, name) for name, keys in LABEL_KEYS.items()}
    fields: dict[str, Any] = {key: getattr(metadata, name) for name, key in FIELD_KEYS.items()}
    fields[OWNER_KEY] = _owner(metadata)
    fields = _filled(fields) | {LABELS_KEY: dict(metadata.labels) | _filled(labels)}
    struct = _struct({PEER_METADATA_KEY: fields} | _filled({PEER_ID_KEY: metadata.id}))
    return AnyMessage(type_url=TYPE_URL, value=struct.SerializeToString()).SerializeToString()


def decodeMetadata(payload: bytes, additional_labels: Sequence[str] = ()) -> Metadata:
    """
    Read a payload.  Unknown keys are ignored, a value of the wrong type counts as empty, and of
    a key that comes twice the last one counts.

    @param payload: what follows a prefix's header: a serialized C{google.protobuf.Any}.
    @param additional_labels: names of labels to keep beside the known ones.
    @raise MalformedMetadata: it is not an Any, or not one of a Struct.
    """
    try:
        message = AnyMessage.FromString(payload)
    except _UNREADABLE as error:
        raise MalformedMetadata(f"{len(payload)} bytes are not an Any: {error}") from error
    if not message.type_url.endswith(f"/{STRUCT_TYPE}"):
        raise MalformedMetadata(f"an Any of {message.type_url!r} where {TYPE_URL!r} belongs")
    try:
        struct = Struct.FromString(message.value)
    except _UNREADABLE as error:
        raise MalformedMetadata(
            f"the Any's {len(message.value)} bytes are not a Struct: {error}"
        ) from error
    members = _members(struct)
    fields = _members(members.get(PEER_METADATA_KEY, _UNSET).struct_value)
    labels = _members(fields.get(LABELS_KEY, _UNSET).struct_value)
    return _understand(
        _strings(fields),
        _strings(labels),
        additional_labels,
        id=members.get(PEER_ID_KEY, _UNSET).string_value,
    )


def _understand(
    fields: Mapping[str, str],
    labels: Mapping[str, str],
    additional: Sequence[str],
    *,
    id: str,
    region: str = "",
    zone: str = "",
) -> Metadata:
    """
    Metadata out of the strings found under their keys; the same when sending and receiving.
    """
    found = {name: fields.get(key, "") for name, key in FIELD_KEYS.items()}
    for name, keys in LABEL_KEYS.items():
        found[name] = next((labels[key] for key in keys if labels.get(key)), "")
    found["region"] = found["region"] or region
    found["availability_zone"] = found["availability_zone"] or zone
    return Metadata(
        **found,
        type=_typeOf(fields.get(OWNER_KEY, ""), found["workload"]),
        labels={
            name: labels[name]
            for name in additional
            if name in labels and name not in _KNOWN_LABELS
        },
        id=id,
    )


def _typeOf(owner: str, workload: str) -> str:
    """
    The workload's type out of C{.../TYPEs/WORKLOAD}.

    Envoy goes by the workload name's length in bytes and never compares the name itself; peers
    must learn the same type from us as from it.
    """
    raw = owner.encode("utf-8", "surrogatepass")
    tail = len(workload.encode("utf-8", "surrogatepass")) + len("s/")
    _, slash, name = raw[: max(0, len(raw) - tail)].rpartition(b"/")
    return next((known for known in WORKLOAD_TYPES if slash and known.encode() == name), "")


def _owner(metadata: Metadata) -> str:
    if metadata.type not in WORKLOAD_TYPES:
        return ""
    return f"{OWNER_PREFIX}{metadata.namespace}/{metadata.type}s/{metadata.workload}"


def _filled(strings: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in strings.items() if value}


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else "" for key, value in values.items()}


def _members(struct: Any) -> dict[str, Any]:
    """
    The values by their keys; of a key that comes twice, the last.
    """
    return {entry.key: entry.value for entry in struct.fields}


def _strings(members: Mapping[str, Any]) -> dict[str, str]:
    return {key: value.string_value for key, value in members.items()}


def _struct(values: Mapping[str, Any]) -> Any:
    """
    A Struct of strings and Structs.  Text sorts by code point, which is UTF-8's byte order.
    """
    struct = Struct()
    for key, value in sorted(values.items()):
        entry = struct.fields.add(key=_sendable(key, key))
        if isinstance(value, str):
            entry.value.string_value = _sendable(key, value)
        else:
            entry.value.struct_value.CopyFrom(_struct(value))
    return struct


def _sendable(key: str, text: str) -> str:
    # JSON can say half of a surrogate pair, which no UTF-8 can.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{key!r}: {text!r} cannot be written as UTF-8") from error
    return text
