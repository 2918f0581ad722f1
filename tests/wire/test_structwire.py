"""
Our own messages against protobuf's: the same bytes.
"""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct as WellKnown
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire.structwire import Struct

EVERYTHING = {
    "bool": True,
    "list": [1.5, "text", [], [None]],
    "null": None,
    "number": -2.0,
    "struct": {"inner": "x"},
    "text": "y",
}


class StructTests(SynchronousTestCase):
    """
    Every kind of value, under its name, in the order in which it came.
    """

    def setUp(self) -> None:
        theirs = WellKnown()
        theirs.update(EVERYTHING)
        self.data = theirs.SerializeToString(deterministic=True)
        self.struct = Struct()
        self.struct.ParseFromString(self.data)

    def test_sameBytes(self) -> None:
        self.assertEqual(self.data, self.struct.SerializeToString())
        theirs = WellKnown()
        theirs.ParseFromString(self.struct.SerializeToString())
        self.assertEqual(WellKnown.FromString(self.data), theirs)

    def test_fields(self) -> None:
        values = {entry.key: entry.value for entry in self.struct.fields}
        self.assertEqual(sorted(EVERYTHING), sorted(values))
        kinds = {key: value.WhichOneof("oneof") for key, value in values.items()}
        self.assertEqual(
            {
                "bool": "bool_value",
                "list": "list_value",
                "null": "null_value",
                "number": "number_value",
                "struct": "struct_value",
                "text": "string_value",
            },
            kinds,
        )
        self.assertIs(True, values["bool"].bool_value)
        self.assertEqual(-2.0, values["number"].number_value)
        self.assertEqual("y", values["text"].string_value)
        self.assertEqual("inner", values["struct"].struct_value.fields[0].key)
        number, text, empty, nested = values["list"].list_value.values
        self.assertEqual((1.5, "text"), (number.number_value, text.string_value))
        self.assertEqual([], list(empty.list_value.values))
        self.assertEqual("null_value", nested.list_value.values[0].WhichOneof("oneof"))

    def test_emptyKey(self) -> None:
        """
        A map's entry always writes its key.
        """
        theirs = WellKnown()
        theirs[""] = "x"
        ours = Struct()
        entry = ours.fields.add(key="")
        entry.value.string_value = "x"
        self.assertEqual(theirs.SerializeToString(), ours.SerializeToString())

    def test_oneKind(self) -> None:
        """
        A value has one kind: the last that was said.
        """
        value = self.struct.fields.add().value
        value.string_value = "x"
        value.number_value = 1.0
        self.assertEqual("", value.string_value)
