"""
Metadata, its absence, the node it is made of, and the payload it travels in.
"""

from __future__ import annotations

import dataclasses
import inspect
from unittest.mock import patch

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire import metadata
from mxproxy.wire.metadata import (
    Absence,
    MalformedMetadata,
    Metadata,
    MetadataDecoder,
    Node,
    decodeMetadata,
    encodeMetadata,
)
from mxproxy.wire.peerstate import PeerState
from tests.wire import helpers  # noqa: F401  (selects hypothesis' profile)

# The annotated prefix of docs/wire.md.
TINY = bytes.fromhex(
    "3d23046700000088"
    "0a2a747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e537472756374"
    "125a0a360a15782d656e766f792d706565722d6d65746164617461121d2a1b"
    "0a0c0a064c4142454c5312022a000a0b0a044e414d4512031a0178"
    "0a200a18782d656e766f792d706565722d6d657461646174612d696412041a026e31"
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KNOWN_LABELS = [key for keys in metadata.LABEL_KEYS.values() for key in keys]
anyMetadata = st.builds(
    Metadata,
    **dict.fromkeys((*metadata.FIELD_KEYS, *metadata.LABEL_KEYS, "id"), texts),
    type=st.sampled_from(("", *metadata.WORKLOAD_TYPES)),
    labels=st.dictionaries(texts.filter(lambda name: name not in KNOWN_LABELS), texts, max_size=4),
)


def payload(value: dict[str, object], **extra: object) -> bytes:
    """
    A payload by protobuf's own Struct.
    """
    struct = Struct()
    struct.update({"x-envoy-peer-metadata": value, **extra})
    packed = AnyMessage()
    packed.Pack(struct)
    return packed.SerializeToString()


class PeerStateTests(SynchronousTestCase):
    """
    The names are the access log's.
    """

    def test_names(self) -> None:
        self.assertEqual(
            "pending found alpn_mismatch bad_magic closed too_large malformed timeout disabled",
            " ".join(PeerState),
        )

    def test_formatting(self) -> None:
        """
        Formatting gives the value on every Python.
        """
        self.assertEqual("timeout timeout", f"{PeerState.TIMEOUT} {PeerState.TIMEOUT!s}")


class MetadataTests(SynchronousTestCase):
    """
    Metadata is true and cannot be changed.
    """

    def test_true(self) -> None:
        self.assertTrue(Metadata())
        self.assertIs(PeerState.FOUND, Metadata().state)

    def test_unchangeable(self) -> None:
        labels = {"role": "x"}
        known = Metadata(name="n", labels=labels)
        labels["role"] = "y"
        self.assertEqual({"role": "x"}, dict(known.labels))
        self.assertRaises(dataclasses.FrozenInstanceError, setattr, known, "name", "m")
        self.assertFalse(hasattr(known.labels, "__setitem__"))

    def test_equalAndHashable(self) -> None:
        self.assertEqual(
            {Metadata(labels={"a": "b"})},
            {Metadata(labels={"a": "b"}), Metadata(labels={"a": "b"})},
        )
        self.assertNotEqual(Metadata(labels={"a": "b"}), Metadata())


class AbsenceTests(SynchronousTestCase):
    """
    An absence is false, says why, and has every field of Metadata, empty.
    """

    def test_fields(self) -> None:
        absent = Absence(PeerState.TIMEOUT)
        for field in dataclasses.fields(Metadata):
            self.assertEqual(getattr(Metadata(), field.name), getattr(absent, field.name))

    def test_reason(self) -> None:
        absent = Absence(PeerState.BAD_MAGIC)
        self.assertFalse(absent)
        self.assertIs(PeerState.BAD_MAGIC, absent.reason)
        self.assertIs(PeerState.BAD_MAGIC, absent.state)
        self.assertEqual(absent, Absence(PeerState.BAD_MAGIC))
        self.assertNotEqual(absent, Absence(PeerState.CLOSED))
        self.assertIn("bad_magic", repr(absent))
        self.assertRaises(
            dataclasses.FrozenInstanceError, setattr, absent, "reason", PeerState.CLOSED
        )

    def test_foundIsNoReason(self) -> None:
        error = self.assertRaises(ValueError, Absence, PeerState.FOUND)
        self.assertEqual(str(error), "a peer that was found is not absent")


class NodeTests(SynchronousTestCase):
    """
    A node says the parts of its metadata that travel, and no others.
    """

    def test_nothing(self) -> None:
        self.assertEqual(Node(), Node("", {}, "", "", ""))

    def test_annotatedExample(self) -> None:
        self.assertEqual(TINY, Node("n1", {"NAME": "x"}).prefix())

    def test_serializedOnce(self) -> None:
        """
        The same labels give the same object; others give another prefix.
        """
        node = Node("n", {"LABELS": {"role": "r"}})
        self.assertIs(node.prefix(["role"]), node.prefix(("role",)))
        self.assertNotEqual(node.prefix(), node.prefix(["role"]))

    def test_copied(self) -> None:
        """
        Who changes the metadata afterwards changes nothing.
        """
        labels = {"app": "a"}
        node = Node("n", {"LABELS": labels})
        labels["app"] = "b"
        self.assertEqual("a", node.describe().app)
        self.assertRaises(dataclasses.FrozenInstanceError, setattr, node, "id", "m")
        self.assertEqual(
            ["id", "metadata", "cluster", "region", "zone"],
            list(inspect.signature(Node).parameters),
        )

    def test_clusterStaysAtHome(self) -> None:
        """
        Envoy's service cluster is not what peers see as the cluster.
        """
        self.assertEqual("", Node("n", cluster="c").describe().cluster)
        self.assertEqual("d", Node("n", {"CLUSTER_ID": "d"}, cluster="c").describe().cluster)

    def test_locality(self) -> None:
        """
        The locality stands in for what the metadata does not say, or says as no text.
        """
        node = Node("n", {"REGION": 1, "AVAILABILITY_ZONE": "z"}, region="R", zone="Z")
        self.assertEqual(("R", "z"), (node.describe().region, node.describe().availability_zone))

    def test_qualifiedLabelsComeFirst(self) -> None:
        labels = {"app": "a", "app.kubernetes.io/name": "b", "version": "1"}
        described = Node("n", {"LABELS": labels}).describe(["app", "version"])
        self.assertEqual(("b", "1", {}), (described.app, described.version, dict(described.labels)))

    def test_emptyLabelIsNotThere(self) -> None:
        """
        An empty qualified label does not hide the plain one.
        """
        labels = {"app": "a", "app.kubernetes.io/name": ""}
        self.assertEqual("a", Node("n", {"LABELS": labels}).describe().app)

    def test_emptyIdIsNotSent(self) -> None:
        self.assertIn(b"x-envoy-peer-metadata-id", Node("n").prefix())
        self.assertNotIn(b"x-envoy-peer-metadata-id", Node("").prefix())

    def test_notUtf8(self) -> None:
        """
        Half a surrogate pair, as JSON may hold it, is refused with the key's name.
        """
        for node in (
            Node("n", {"NAME": "\ud800"}),
            Node("n", {"OWNER": "\ud800/pods/\udfff", "WORKLOAD_NAME": "\udfff"}),
            Node("\ud800", {}),
        ):
            error = self.assertRaises(ValueError, node.prefix)
            self.assertTrue(str(error).endswith("' cannot be written as UTF-8"), str(error))
        error = self.assertRaises(ValueError, Node("", {"NAME": "\ud800"}).prefix)
        self.assertEqual(str(error), r"'NAME': '\ud800' cannot be written as UTF-8")
        error = self.assertRaises(
            ValueError, Node("", {"LABELS": {"\ud800": "x"}}).prefix, ["\ud800"]
        )
        self.assertIn(r"'\ud800'", str(error))

    def test_ownerCutsBytes(self) -> None:
        """
        The workload's name is cut from the owner's end by its length in bytes, not letters.
        """
        owner = "kubernetes://apis/apps/v1/namespaces/ns/jobs/é"
        self.assertEqual("job", Node("", {"OWNER": owner, "WORKLOAD_NAME": "é"}).describe().type)
        self.assertEqual("", Node("", {"OWNER": owner, "WORKLOAD_NAME": "e"}).describe().type)

    def test_types(self) -> None:
        """
        The kinds of owner that Istio knows, and an owner that is shorter than what is cut from it.
        """
        for known in ("pod", "deployment", "job", "cronjob"):
            said = {"OWNER": f"kubernetes://apis/v1/namespaces/n/{known}s/w", "WORKLOAD_NAME": "w"}
            self.assertEqual(known, Node("", said).describe().type)
        short = {"OWNER": "/pods", "WORKLOAD_NAME": "w" * 10}
        self.assertEqual("", Node("", short).describe().type)

    def test_repr(self) -> None:
        """
        The cache is not shown.
        """
        node = Node("n", {"NAME": "x"})
        node.prefix()
        self.assertNotIn("_prefixes", repr(node))
        self.assertEqual(node, Node("n", {"NAME": "x"}))
        self.assertEqual(1, len({node, Node("n", {"NAME": "x"})}))


class DecodeMetadataTests(SynchronousTestCase):
    """
    What is not an Any of a Struct is malformed; everything else is understood as far as it goes.
    """

    def test_malformed(self) -> None:
        url = b"\x0a\x2atype.googleapis.com/google.protobuf.Struct"
        for bad, why in (
            (b"", "an Any of ''"),
            (b"\x0a\xff", "2 bytes are not an Any"),
            (b"\x0a\x02\xff\xfe", "4 bytes are not an Any"),
            (b"\x0a\x16google.protobuf.Struct", "an Any of 'google.protobuf.Struct'"),
            (url + b"\x12\x02\x0a\xff", "the Any's 2 bytes are not a Struct"),
            (url + b"\x12\x07\x0a\x05\x0a\x01\xff\x12\x00", "the Any's 7 bytes are not a Struct"),
        ):
            error = self.assertRaises(MalformedMetadata, decodeMetadata, bad)
            self.assertTrue(str(error).startswith(why), str(error))
            if error.__cause__ is None:
                where = "where 'type.googleapis.com/google.protobuf.Struct' belongs"
                self.assertEqual(str(error), f"{why} {where}")
            else:
                self.assertEqual(str(error), f"{why}: {error.__cause__}")

    def test_emptyStruct(self) -> None:
        self.assertEqual(
            Metadata(), decodeMetadata(b"\x0a\x2atype.googleapis.com/google.protobuf.Struct")
        )

    def test_idWithoutMetadata(self) -> None:
        struct = Struct()
        struct.update({"x-envoy-peer-metadata-id": "n1"})
        packed = AnyMessage()
        packed.Pack(struct)
        self.assertEqual(Metadata(id="n1"), decodeMetadata(packed.SerializeToString()))

    def test_wrongTypes(self) -> None:
        """
        A value of the wrong type counts as empty; an additional label of one is there, empty.
        """
        labels = {"app": ["x"], "role": 5}
        read = decodeMetadata(payload({"NAME": 5, "WORKLOAD_NAME": {}, "LABELS": labels}), ["role"])
        self.assertEqual(Metadata(labels={"role": ""}), read)

    def test_unknownFieldInAnEntry(self) -> None:
        """
        Protobuf's C backend drops a map's entry that holds an unknown field; Envoy keeps it.
        """
        entry = bytes.fromhex("0a044e414d4512031a0178") + b"\x7a\x01?"
        fields = b"\x0a" + bytes([len(entry)]) + entry
        value = b"\x2a" + bytes([len(fields)]) + fields
        outer = b"\x0a\x15x-envoy-peer-metadata\x12" + bytes([len(value)]) + value
        struct = b"\x0a" + bytes([len(outer)]) + outer
        packed = AnyMessage(type_url=metadata.TYPE_URL, value=struct).SerializeToString()
        self.assertEqual("x", decodeMetadata(packed).name)


class EncodeMetadataTests(SynchronousTestCase):
    """
    Writing and reading are each other's inverse.
    """

    @given(anyMetadata)
    def test_roundTrip(self, said: Metadata) -> None:
        """
        Whatever is said is understood, and protobuf's own Struct reads the same strings.
        """
        written = encodeMetadata(said)
        self.assertEqual(said, decodeMetadata(written, tuple(said.labels)))
        struct = Struct()
        AnyMessage.FromString(written).Unpack(struct)
        inner = struct.fields["x-envoy-peer-metadata"].struct_value
        self.assertEqual(said.workload, inner.fields["WORKLOAD_NAME"].string_value)
        self.assertEqual(said.id, struct.fields["x-envoy-peer-metadata-id"].string_value)

    @given(anyMetadata)
    def test_byteOrder(self, said: Metadata) -> None:
        """
        However the labels were added, the bytes are the same.
        """
        backwards = dataclasses.replace(said, labels=dict(reversed(said.labels.items())))
        self.assertEqual(encodeMetadata(said), encodeMetadata(backwards))

    def test_emptyName(self) -> None:
        """
        A label without a name is written as protobuf's own map writes it: with its key.
        """
        theirs = Struct()
        theirs.update({"": "v"})
        self.assertIn(theirs.SerializeToString(), encodeMetadata(Metadata(labels={"": "v"})))

    def test_unknownType(self) -> None:
        """
        A type that no receiver would understand is not sent.
        """
        self.assertEqual(
            encodeMetadata(Metadata(workload="w")),
            encodeMetadata(Metadata(workload="w", type="replicaset")),
        )


class MetadataDecoderTests(SynchronousTestCase):
    """
    The same payload is read once, and what is remembered is bounded.
    """

    def test_bounds(self) -> None:
        self.assertEqual((metadata.CACHE_ENTRIES, metadata.CACHE_BYTES), (500, 1 << 20))

    def test_once(self) -> None:
        decoder = MetadataDecoder()
        written = encodeMetadata(Metadata(name="x"))
        first = decoder.decode(written)
        with patch.object(metadata, "decodeMetadata", side_effect=AssertionError("read twice")):
            self.assertIs(first, decoder.decode(bytes(bytearray(written))))

    def test_labels(self) -> None:
        decoder = MetadataDecoder(["role"])
        read = decoder.decode(payload({"LABELS": {"role": "r", "tier": "t"}}))
        self.assertEqual({"role": "r"}, dict(read.labels))
        self.assertEqual(("role",), decoder.additionalLabels)

    def test_malformedIsNotRemembered(self) -> None:
        """
        Garbage does not push a peer out.
        """
        decoder = MetadataDecoder()
        self.assertRaises(MalformedMetadata, decoder.decode, b"\xff")
        self.assertEqual("<MetadataDecoder knows 0 payloads of 0 bytes>", repr(decoder))

    def test_boundedEntries(self) -> None:
        """
        The peer that was longest unheard of goes first.
        """
        self.patch(metadata, "CACHE_ENTRIES", 2)
        decoder = MetadataDecoder()
        a, b, c = (encodeMetadata(Metadata(name=name)) for name in "abc")
        first, second = decoder.decode(a), decoder.decode(b)
        self.assertIs(first, decoder.decode(a))
        decoder.decode(c)
        self.assertIs(first, decoder.decode(a))
        self.assertIsNot(second, decoder.decode(b))
        self.assertEqual(
            f"<MetadataDecoder knows 2 payloads of {len(a) + len(b)} bytes>", repr(decoder)
        )

    def test_boundedBytes(self) -> None:
        """
        Large payloads leave room for fewer; one that is over the bound alone is not kept.
        """
        small = encodeMetadata(Metadata(name="x" * 100))
        large = encodeMetadata(Metadata(name="y" * 2000))
        self.patch(metadata, "CACHE_BYTES", len(small) + len(large) - 1)
        decoder = MetadataDecoder()
        decoder.decode(small)
        decoder.decode(large)
        self.assertEqual(f"<MetadataDecoder knows 1 payloads of {len(large)} bytes>", repr(decoder))
        self.patch(metadata, "CACHE_BYTES", len(small) + len(large))
        decoder.decode(small)
        self.assertEqual(
            f"<MetadataDecoder knows 2 payloads of {len(large) + len(small)} bytes>", repr(decoder)
        )
        self.patch(metadata, "CACHE_BYTES", len(small))
        decoder.decode(large + b"\x1a\x00")
        self.assertEqual("<MetadataDecoder knows 0 payloads of 0 bytes>", repr(decoder))
