import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MetadataExchange(_message.Message):
    __slots__ = ("protocol", "additional_labels", "timeout", "max_size", "opening", "hold")
    class Opening(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REPLY: _ClassVar[MetadataExchange.Opening]
        EAGER: _ClassVar[MetadataExchange.Opening]
    REPLY: MetadataExchange.Opening
    EAGER: MetadataExchange.Opening
    class Hold(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        BOTH: _ClassVar[MetadataExchange.Hold]
        READ: _ClassVar[MetadataExchange.Hold]
    BOTH: MetadataExchange.Hold
    READ: MetadataExchange.Hold
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_LABELS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    OPENING_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    protocol: str
    additional_labels: _containers.RepeatedScalarFieldContainer[str]
    timeout: _duration_pb2.Duration
    max_size: _wrappers_pb2.UInt32Value
    opening: MetadataExchange.Opening
    hold: MetadataExchange.Hold
    def __init__(self, protocol: _Optional[str] = ..., additional_labels: _Optional[_Iterable[str]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_size: _Optional[_Union[_wrappers_pb2.UInt32Value, _Mapping]] = ..., opening: _Optional[_Union[MetadataExchange.Opening, str]] = ..., hold: _Optional[_Union[MetadataExchange.Hold, str]] = ...) -> None: ...
