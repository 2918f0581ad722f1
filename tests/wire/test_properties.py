"""
What holds for any peer, any application and any way the network cuts a stream.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire.exchange import Exchange, PeerState
from mxproxy.wire.handshake import Outcome
from mxproxy.wire.metadata import Metadata, MetadataDecoder, encodeMetadata
from mxproxy.wire.prefix import HEADER_SIZE, MAGIC_BYTES, encodePrefix
from tests.wire.helpers import cutAt, feedEveryWay
from tests.wire.test_metadata import anyMetadata

cuts = st.lists(st.integers(0, 4000), max_size=6)
application = st.binary(max_size=60)


class Side:
    """
    One side of a connection: an exchange, and the layer's part of it in five lines.
    """

    def __init__(self, said: Metadata, heard: Metadata, first: bool, application: bytes) -> None:
        self.exchange = Exchange(
            encodePrefix(encodeMetadata(said)),
            MetadataDecoder(tuple(heard.labels)).decode,
            speaksFirst=first,
        )
        self.application = application
        self.written = self.exchange.opening()
        self.received = b""
        self.finished = False

    def read(self, chunk: bytes) -> None:
        if self.finished:
            self.received += chunk
        else:
            self.did(self.exchange.feed(chunk))

    def did(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            self.finished = outcome.final
            self.received += outcome.forward
            self.written += outcome.send + self.application
            self.application = b""


class JoinedTests(SynchronousTestCase):
    """
    Two sides that are joined.
    """

    @given(anyMetadata, anyMetadata, application, application, cuts, cuts, st.booleans())
    def test_learnEachOther(
        self,
        client: Metadata,
        server: Metadata,
        request: bytes,
        response: bytes,
        there: list[int],
        back: list[int],
        eager: bool,
    ) -> None:
        """
        Both learn each other, and the application's bytes arrive exactly, in both directions.
        """
        left = Side(client, server, True, request)
        right = Side(server, client, eager, response)
        for _ in range(3):
            for writer, reader, at in ((left, right, there), (right, left, back)):
                data, writer.written = writer.written, b""
                for chunk in cutAt(data, at):
                    reader.read(chunk)
        self.assertEqual(server, left.exchange.peer)
        self.assertEqual(client, right.exchange.peer)
        self.assertEqual((response, request), (left.received, right.received))
        self.assertEqual((b"", b""), (left.written, right.written))

    @given(anyMetadata, anyMetadata, application, application, cuts, st.integers(0, 500))
    def test_timeIsUp(
        self,
        client: Metadata,
        server: Metadata,
        request: bytes,
        response: bytes,
        there: list[int],
        when: int,
    ) -> None:
        """
        A server whose time is up before it knows its client sends no prefix, and still learns
        who it was; no byte of a prefix reaches an application.
        """
        left = Side(client, server, True, request)
        right = Side(server, client, False, response)
        data = left.written
        when %= len(data)
        for chunk in cutAt(data[:when], there):
            right.read(chunk)
        right.did(right.exchange.timeout())
        self.assertEqual(response, right.written)
        for chunk in cutAt(data[when:] + request, there):
            right.read(chunk)
        self.assertEqual((client, request), (right.exchange.peer, right.received))
        self.assertEqual(response, right.written)


streams = st.one_of(
    st.binary(max_size=40),
    st.integers(0, 60).flatmap(
        lambda n: st.binary(max_size=60).map(lambda rest: MAGIC_BYTES + n.to_bytes(4, "big") + rest)
    ),
    st.binary(max_size=30).map(lambda rest: MAGIC_BYTES + rest),
    st.builds(
        lambda said, rest, at: encodePrefix(encodeMetadata(said))[: at or None] + rest,
        anyMetadata,
        application,
        st.integers(0, 120),
    ),
)


class GarbageTests(SynchronousTestCase):
    """
    Any bytes at all.
    """

    @given(streams, st.booleans())
    def test_bytesOut(self, data: bytes, first: bool) -> None:
        """
        What goes out is what came in without the prefix, or the connection is aborted and the
        reason said.
        """

        def make() -> Exchange:
            return Exchange(b"own", MetadataDecoder().decode, speaksFirst=first, maxSize=1000)

        ran = feedEveryWay(self, make, data, eof=True)
        assert isinstance(ran.result, Metadata) or not ran.result
        state = getattr(ran.result, "state", None)
        length = int.from_bytes(data[4:HEADER_SIZE], "big")
        if state in (PeerState.FOUND, PeerState.MALFORMED):
            self.assertEqual(MAGIC_BYTES, data[:4])
            self.assertEqual(data[HEADER_SIZE + length :], ran.forwarded)
            self.assertEqual(b"" if first else b"own", ran.sent)
        elif state is PeerState.TOO_LARGE:
            self.assertGreater(length, 1000)
            self.assertEqual((b"", b""), (ran.forwarded, ran.sent))
            self.assertIn(str(length), ran.abort)
        elif state is PeerState.CLOSED:
            self.assertTrue(data[:4] == MAGIC_BYTES[: len(data)])
            self.assertEqual((data if len(data) <= 4 else b"", b""), (ran.forwarded, ran.sent))
        else:
            self.assertIs(PeerState.BAD_MAGIC, state)
            self.assertFalse(data.startswith(MAGIC_BYTES))
            self.assertEqual((data, b""), (ran.forwarded, ran.sent))
        self.assertEqual(state is PeerState.TOO_LARGE, bool(ran.abort))
