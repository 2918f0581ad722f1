"""
The traces of Istio's own filter in tests/vectors: what it writes we write, what it reads we read.

Where docs/wire.md asks for something else than that filter did, the case is named in
L{OVERRIDES} with the reason; no case is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire.exchange import Counter, Exchange, PeerState, alpnAgrees
from mxproxy.wire.metadata import Metadata, MetadataDecoder, Node
from mxproxy.wire.prefix import HEADER_SIZE
from tests.wire.helpers import feedEveryWay, run

VECTORS = Path(__file__).parent.parent / "vectors" / "mx_vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text(encoding="utf-8"))

# Where the table of docs/wire.md decides, by reason: the state it asks for.
OVERRIDES: dict[str, tuple[PeerState, tuple[str, ...]]] = {
    "the reference waits for eight bytes before it judges the magic": (
        PeerState.BAD_MAGIC,
        (
            "magic_wrong_short_1_silence",
            "magic_wrong_short_then_write",
            "fin_wrong_magic_short",
            "fin_wrong_magic_short_same_call",
        ),
    ),
    "the reference puts no cap on the length": (
        PeerState.TOO_LARGE,
        ("len_ffffffff", "len_little_endian"),
    ),
    "the reference holds for ever at an end of stream inside the payload": (
        PeerState.CLOSED,
        (
            "fin_in_payload",
            "fin_in_payload_same_call",
            "fin_last_payload_byte_missing",
            "len_too_long_fin_same_call",
            "len_too_long_then_fin",
        ),
    ),
    "the reference keeps no word for a stream that ends inside the magic": (
        PeerState.CLOSED,
        (
            "fin_after_write",
            "fin_first_read",
            "fin_in_header_1",
            "fin_in_header_4",
            "fin_in_header_4_same_call",
        ),
    ),
    "the reference sets no peer for a Struct without x-envoy-peer-metadata": (
        PeerState.FOUND,
        (
            "any_empty_value",
            "defect_split_no_peer_key",
            "struct_key_case_differs",
            "struct_no_peer_key",
        ),
    ),
    "the reference keeps no word for a peer that is not known yet": (
        PeerState.PENDING,
        ("magic_four_good_then_silence",),
    ),
}
OVERRIDDEN = {name: state for state, names in OVERRIDES.values() for name in names}

# The reference's own answer depends on the order of a hash map here; what else it could answer.
ALSO_RIGHT: dict[str, dict[str, Any]] = {
    # An empty qualified label may be looked at before the plain one is, or behind it.
    "enc_app_both_qualified_empty": {"LABELS": {"app": "plain"}},
}

# The fields of the reference's WorkloadMetadataObject, and ours.
FIELDS = {
    "instance_name": "name",
    "namespace_name": "namespace",
    "workload_name": "workload",
    "cluster_name": "cluster",
    "identity": "identity",
    "region": "region",
    "zone": "availability_zone",
    "canonical_name": "service",
    "canonical_revision": "revision",
    "app_name": "app",
    "app_version": "version",
}


class Expected(NamedTuple):
    """
    What a case asks of an exchange.

    @ivar recorded: the bytes that the reference forwarded; None when it threw.
    """

    state: PeerState
    forwarded: bytes
    recorded: bytes | None
    counters: set[str]


def agrees(case: dict[str, Any]) -> bool:
    given = case["given"]
    return alpnAgrees(given["alpn_negotiated"], given["alpn_configured"])


def reads(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for step in case["steps"] if step["op"] == "onData"]


def streamOf(case: dict[str, Any]) -> tuple[list[bytes], bool]:
    chunks = [bytes.fromhex(step["hex"]) for step in reads(case)]
    return chunks, any(step["end_stream"] for step in reads(case))


def learnt(case: dict[str, Any]) -> dict[str, Any]:
    """
    Everything that the reference set, by its key without the direction.
    """
    facts = [fact for step in case["steps"] for fact in step.get("filter_state_set") or []]
    prefixes = ("downstream_", "upstream_")
    return {
        next(
            (fact["key"][len(p) :] for p in prefixes if fact["key"].startswith(p)), fact["key"]
        ): fact
        for fact in facts
    }


def nodeOf(case: dict[str, Any]) -> Node:
    given = case["given"]
    return Node(
        id=given["node_id"], metadata=given.get("node_metadata", {}), **given.get("locality", {})
    )


def expectedOf(case: dict[str, Any]) -> Expected:
    """
    The state out of what the reference set, or out of L{OVERRIDES}; the bytes out of the state.
    """
    chunks, _ = streamOf(case)
    data = b"".join(chunks)
    steps = reads(case)
    facts = learnt(case)
    threw = any("exception" in step for step in steps)
    last = steps[-1]["counters"]
    if case["name"] in OVERRIDDEN:
        state = OVERRIDDEN[case["name"]]
    elif "peer_obj" in facts:
        state = PeerState.FOUND
    elif threw or last["header_not_found"]:
        state = PeerState.MALFORMED
    else:
        assert facts.keys() == {"peer_not_found"}, case["name"]
        state = PeerState.BAD_MAGIC
    behind = data[HEADER_SIZE + int.from_bytes(data[4:HEADER_SIZE], "big") :]
    forwarded = {
        PeerState.FOUND: behind,
        PeerState.MALFORMED: behind,
        PeerState.CLOSED: data if len(data) <= 4 else b"",
        PeerState.BAD_MAGIC: data,
        PeerState.TOO_LARGE: b"",
        PeerState.PENDING: b"",
    }[state]
    counters = {
        PeerState.MALFORMED: {Counter.MALFORMED.value, Counter.HEADER_NOT_FOUND.value},
        PeerState.BAD_MAGIC: {Counter.INITIAL_HEADER_NOT_FOUND.value},
        PeerState.TOO_LARGE: {Counter.TOO_LARGE.value},
        PeerState.CLOSED: {Counter.INITIAL_HEADER_NOT_FOUND.value} if len(data) < 8 else set(),
    }.get(state, set())
    recorded = None
    if not threw:
        recorded = b"".join(bytes.fromhex(step["forwarded"] or "") for step in steps)
    return Expected(state, forwarded, recorded, counters)


class AlpnTests(SynchronousTestCase):
    """
    Another protocol, or none: no prefix is written and none expected.
    """

    def check(self, case: dict[str, Any]) -> None:
        self.assertEqual("", "".join(step["injected"] for step in case["steps"]))
        self.assertEqual(1, case["steps"][-1]["counters"]["alpn_protocol_not_found"])
        for step in reads(case):
            self.assertEqual(step["hex"], step["forwarded"])


class EncodeTests(SynchronousTestCase):
    """
    The prefix is the reference's, byte by byte.
    """

    def check(self, case: dict[str, Any]) -> None:
        written = "".join(step["injected"] for step in case["steps"])
        labels = case["given"]["additional_labels"]
        ours = nodeOf(case).prefix(labels)
        if case["name"] in ALSO_RIGHT:
            self.assertFalse(case["deterministic"])
            also = Node(case["given"]["node_id"], ALSO_RIGHT[case["name"]]).prefix(labels)
            self.assertIn(ours.hex(), (written, also.hex()))
        else:
            self.assertEqual(written, ours.hex())
        again = MetadataDecoder(labels).decode(ours[HEADER_SIZE:])
        self.assertEqual(nodeOf(case).describe(labels), again)


class DecodeTests(SynchronousTestCase):
    """
    The bytes that go on, the peer that is learnt and what is counted are the reference's, or the
    table's where it overrides.
    """

    def check(self, case: dict[str, Any]) -> None:
        chunks, eof = streamOf(case)
        expected = expectedOf(case)
        decoder = MetadataDecoder(case["given"]["additional_labels"])

        def eager() -> Exchange:
            return Exchange(b"own", decoder.decode, speaksFirst=True)

        def reply() -> Exchange:
            return Exchange(b"own", decoder.decode, speaksFirst=False)

        exchange = eager()
        ran = run(exchange, chunks, eof)
        self.assertEqual(
            (expected.state, expected.forwarded, b"", expected.state is PeerState.TOO_LARGE),
            (exchange.state, ran.forwarded, ran.sent, bool(ran.abort)),
        )
        self.assertEqual(expected.counters, set(exchange.takeCounted()))
        self.checkPeer(case, exchange.peer)
        every = feedEveryWay(self, eager, b"".join(chunks), eof=eof)
        self.assertEqual(ran.forwarded, every.forwarded)
        self.assertEqual(ran.result, every.result)
        answered = feedEveryWay(self, reply, b"".join(chunks), eof=eof)
        due = expected.state in (PeerState.FOUND, PeerState.MALFORMED)
        self.assertEqual(every._replace(sent=b"own" if due else b""), answered)

        # Where the table has no reason to differ, bytes and counters are those of the trace.
        if expected.state is PeerState.MALFORMED:
            # The reference threw, or forwarded the payload.
            self.assertIn(expected.recorded, (None, b"".join(chunks)[HEADER_SIZE:]))
        elif case["name"] not in OVERRIDDEN:
            self.assertEqual(expected.recorded, ran.forwarded)
        if expected.state in (PeerState.BAD_MAGIC, PeerState.CLOSED):
            # It counts once for each read that is too short.
            counted = reads(case)[-1]["counters"]["initial_header_not_found"]
            self.assertEqual(bool(counted), bool(expected.counters))

    def checkPeer(self, case: dict[str, Any], peer: object) -> None:
        theirs = learnt(case).get("peer_obj")
        if theirs is None:
            self.assertIn(peer, (Metadata(), *([peer] if not peer else [])))
            return
        assert isinstance(peer, Metadata)
        self.assertEqual(
            {ours: theirs[name] for name, ours in FIELDS.items()},
            {ours: getattr(peer, ours) for ours in FIELDS.values()},
        )
        self.assertEqual(theirs["workload_type"].lower(), peer.type or "unknown")
        self.assertEqual(dict(theirs["labels"]), dict(peer.labels))


class EveryVectorTests(SynchronousTestCase):
    """
    No case is left out.
    """

    def test_all(self) -> None:
        """
        Each of the 184 cases has a test, each override names a case, each group its cases.
        """
        names = [case["name"] for case in CASES]
        self.assertEqual(184, len(set(names)))
        self.assertEqual(set(names), {name for tests in TESTS.values() for name in tests})
        self.assertEqual(set(), (set(OVERRIDDEN) | set(ALSO_RIGHT)) - set(names))
        self.assertEqual(
            {"AlpnTests": 7, "EncodeTests": 177, "DecodeTests": 131},
            {kind.__name__: len(tests) for kind, tests in TESTS.items()},
        )
        for kind, tests in TESTS.items():
            for name in tests:
                self.assertTrue(callable(getattr(kind, f"test_{name}")))

    def test_splitPayloadsAreNotOverridden(self) -> None:
        """
        The traces of the reference's worst defect show what it plainly intends: they hold as
        they are, but for the peer that it does not set.
        """
        split = {case["name"] for case in CASES if "payload-split" in case["reference_defects"]}
        self.assertEqual(16, len(split))
        self.assertEqual({"defect_split_no_peer_key"}, split & set(OVERRIDDEN))


def _generate() -> dict[type[SynchronousTestCase], list[str]]:
    tests: dict[type[Any], list[str]] = {AlpnTests: [], EncodeTests: [], DecodeTests: []}

    def add(kind: type[Any], case: dict[str, Any]) -> None:
        def test(self: Any) -> None:
            self.check(case)

        test.__doc__ = case["description"] or None
        test.__name__ = f"test_{case['name']}"
        setattr(kind, test.__name__, test)
        tests[kind].append(case["name"])

    for case in CASES:
        if not agrees(case):
            add(AlpnTests, case)
            continue
        if any(step["injected"] for step in case["steps"]):
            add(EncodeTests, case)
        if reads(case):
            add(DecodeTests, case)
    return tests


TESTS: dict[type[Any], list[str]] = _generate()
