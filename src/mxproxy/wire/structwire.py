"""
C{google.protobuf.Struct} as it is on the wire: a list of entries, in the order they came.

On the wire a map is a repeated message of key and value, so these messages read and write the
very same bytes as the well-known types do, with two differences that the exchange needs:

  - entries are written in the order they were added.  Protobuf's C backend (upb) sorts a map so
    that a key comes after the longer keys it begins, even when asked to be deterministic; Envoy
    writes plain byte order.

  - an entry that holds a field unknown to us is kept.  upb drops such an entry out of a map;
    Envoy's C++ keeps it.

Only the schema belongs here, nothing that knows what the entries mean.  Source of the numbers:
google/protobuf/struct.proto; that maps are repeated entries:
U{https://protobuf.dev/programming-guides/encoding/#maps}.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

_PACKAGE: Final = "mxproxy.wire"

# message -> its fields as (number, name, type); a capital names a message, a star repeats it.
_SCHEMA: Final[dict[str, list[tuple[int, str, str]]]] = {
    "Struct": [(1, "fields", "*Entry")],
    "Entry": [(1, "key", "string"), (2, "value", "Value")],
    "Value": [
        (1, "null_value", "int32"),
        (2, "number_value", "double"),
        (3, "string_value", "string"),
        (4, "bool_value", "bool"),
        (5, "struct_value", "Struct"),
        (6, "list_value", "List"),
    ],
    "List": [(1, "values", "*Value")],
}


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(
        name="mxproxy/wire/structwire.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for number, label, type_ in fields:
            field = message.field.add(name=label, number=number)
            field.label = FieldDescriptorProto.LABEL_OPTIONAL
            if type_.startswith("*"):
                field.label = FieldDescriptorProto.LABEL_REPEATED
            kind = type_.lstrip("*")
            if kind in _SCHEMA:
                field.type = FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{kind}"
            else:
                field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
            if name == "Value" or label == "key":
                field.oneof_index = 0
        # A Value is one of its kinds.  A map's entry always writes its key, an empty one too;
        # in proto3 a plain string would be left out, one in a oneof is not.
        if name in ("Value", "Entry"):
            message.oneof_decl.add(name="oneof")
    return file


_pool: Final = descriptor_pool.DescriptorPool()
_pool.Add(_file())

Struct: Final[Any] = message_factory.GetMessageClass(
    _pool.FindMessageTypeByName(f"{_PACKAGE}.Struct")
)
"""The message class; its type is C{Any} as no generated stub describes it."""
