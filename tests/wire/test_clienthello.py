"""
Real ClientHellos are understood, and everything else is "not TLS" as early as can be.
"""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire.clienthello import (
    MAX_CLIENT_HELLO,
    MAX_EMPTY_RECORDS,
    ClientHello,
    ClientHelloInspector,
    NotTLS,
)
from tests.wire.helpers import bytewise, cutAt
from tests.wire.inspecting import decidedAt, inspect, inspectEveryWay

HELLOS = Path(__file__).parent / "hellos"
INDEX = json.loads((HELLOS / "index.json").read_text(encoding="utf-8"))

TLS12, TLS13 = 0x0303, 0x0304


def u8(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def u16(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + u16(body)


def serverName(name: bytes, kind: int = 0) -> bytes:
    return extension(0, u16(bytes((kind,)) + u16(name)))


def alpn(*names: bytes) -> bytes:
    return extension(16, u16(b"".join(map(u8, names))))


def supportedVersions(*versions: int) -> bytes:
    return extension(43, u8(b"".join(version.to_bytes(2, "big") for version in versions)))


def hello(
    extensions: bytes | None = b"",
    *,
    kind: int = 1,
    version: int = TLS12,
    session: bytes = b"",
    ciphers: bytes = b"\x13\x01\xc0\x2f",
    compression: bytes = b"\0",
    tail: bytes = b"",
) -> bytes:
    body = version.to_bytes(2, "big") + bytes(32) + u8(session) + u16(ciphers) + u8(compression)
    if extensions is not None:
        body += u16(extensions)
    body += tail
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def records(message: bytes, *sizes: int, version: int = 0x0301) -> bytes:
    """The message in records of these sizes, and one more for what is left."""
    pieces = []
    for size in sizes:
        pieces.append(message[:size])
        message = message[size:]
    if message:
        pieces.append(message)
    return b"".join(b"\x16" + version.to_bytes(2, "big") + u16(piece) for piece in pieces)


def padded(size: int, records: int = 1) -> bytes:
    """A hello that will take so many bytes in so many records."""
    missing = size - 5 * records - len(hello(extension(21, b"")))
    return hello(extension(21, bytes(missing)))


def found(
    data: bytes,
    server_name: str | None = None,
    alpn: tuple[str, ...] = (),
    versions: tuple[int, ...] = (TLS12,),
) -> ClientHello:
    return ClientHello(server_name, alpn, versions, len(data))


class RecordedTests(SynchronousTestCase):
    """
    The hellos of real clients, as hellos/README.md tells.
    """

    def test_understood(self) -> None:
        """
        What each client said it would ask for is found, however the bytes come.
        """
        self.assertEqual({f"{name}.bin" for name in INDEX}, {p.name for p in HELLOS.glob("*.bin")})
        for name, expected in INDEX.items():
            data = (HELLOS / f"{name}.bin").read_bytes()
            self.assertEqual(
                ClientHello(
                    expected["server_name"],
                    tuple(expected["alpn"]),
                    tuple(expected["versions"]),
                    len(data),
                ),
                inspectEveryWay(self, ClientHelloInspector, data),
                name,
            )

    def test_lastByte(self) -> None:
        """
        A hello is known with its last byte, and with no byte less.
        """
        for name in INDEX:
            data = (HELLOS / f"{name}.bin").read_bytes()
            self.assertEqual(len(data), decidedAt(ClientHelloInspector(), data), name)

    def test_corpus(self) -> None:
        """
        The recordings do hold what the README has them for.
        """
        recorded = {name: (HELLOS / f"{name}.bin").read_bytes() for name in INDEX}
        five = recorded["openssl-3.0-five-records"]
        starts = [five[at : at + 3] for at in range(0, len(five), 5 + 512)]
        self.assertEqual([b"\x16\x03\x01"] * 5, starts)
        self.assertGreater(len(recorded["chromium"]), 1460)
        self.assertIn(b"\x11\xec", recorded["chromium"])  # X25519MLKEM768
        self.assertIn(b"\xfe\x0d", recorded["chromium"])  # encrypted_client_hello

    @given(st.sampled_from(sorted(INDEX)), st.lists(st.integers(0, 3000), max_size=8))
    def test_anySplit(self, name: str, cuts: list[int]) -> None:
        """
        Any split of a real hello gives what the whole gives.
        """
        data = (HELLOS / f"{name}.bin").read_bytes()
        whole = ClientHelloInspector().feed(data)
        self.assertEqual(whole, inspect(ClientHelloInspector(), cutAt(data, cuts)))

    @given(
        st.sampled_from(sorted(INDEX)),
        st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=4),
        st.integers(0, 3000),
    )
    def test_damaged(self, name: str, damage: list[tuple[int, int]], end: int) -> None:
        """
        Damage never raises, and the answer does not depend on the split.
        """
        data = bytearray((HELLOS / f"{name}.bin").read_bytes())
        for at, byte in damage:
            data[at % len(data)] = byte
        inspectEveryWay(self, ClientHelloInspector, bytes(data[: end % len(data) + 1]))


class FoundTests(SynchronousTestCase):
    """
    Everything that Envoy calls TLS.
    """

    def check(self, data: bytes, expected: ClientHello) -> None:
        self.assertEqual(expected, inspectEveryWay(self, ClientHelloInspector, data))

    def test_bare(self) -> None:
        """
        A hello may end before its extensions, have none, and offer one cipher suite.
        """
        for message in (hello(None), hello(b""), hello(ciphers=b"\x13\x01")):
            data = records(message)
            self.check(data, found(data))

    def test_serverName(self) -> None:
        """
        The name is in lower case, ASCII's; other bytes stay what they are.
        """
        for sent, expected in (
            (b"A.Example", "a.example"),
            (b"a" * 255, "a" * 255),
            (b"\xc4\xff", "\xc4\xff"),
        ):
            data = records(hello(serverName(sent)))
            self.check(data, found(data, expected))

    def test_alpn(self) -> None:
        """
        The protocols come in the client's order, as they are.
        """
        data = records(hello(alpn(b"istio-peer-exchange", b"istio", b"\x0a\x0a")))
        self.check(data, found(data, alpn=("istio-peer-exchange", "istio", "\n\n")))

    def test_malformedALPN(self) -> None:
        """
        Envoy leaves a malformed list to the TLS stack: it is TLS, without protocols.
        """
        for body in (
            b"",
            b"\x00",
            b"\x00\x00",
            b"\x00\x01\x00",
            b"\x00\x03\x05ab",
            u16(u8(b"h2") + u8(b"")),
            u16(u8(b"h2")) + b"x",
            u16(u8(b"h2")) + u8(b"h3"),
        ):
            data = records(hello(extension(16, body)))
            self.check(data, found(data))

    def test_versions(self) -> None:
        """
        supported_versions wins over legacy_version, and GREASE is left out.
        """
        for message, versions in (
            (hello(version=0x0301), (0x0301,)),
            (hello(version=0x0304), (0x0304,)),
            (hello(supportedVersions(0x5A5A, TLS13, TLS12)), (TLS13, TLS12)),
            (hello(supportedVersions(0x0A1A, 0x1A0A, 0x0A0B)), (0x0A1A, 0x1A0A, 0x0A0B)),
            (hello(supportedVersions(0x7A7A)), (TLS12,)),
            (hello(extension(43, b"")), (TLS12,)),
            (hello(extension(43, b"\0")), (TLS12,)),
            (hello(extension(43, b"\x03\x03\x04\x03")), (TLS12,)),
            (hello(extension(43, b"\x02\x03\x04\x03")), (TLS12,)),
        ):
            data = records(message)
            self.check(data, found(data, versions=versions))

    def test_otherExtensions(self) -> None:
        """
        What other extensions hold is not looked at.
        """
        data = records(hello(extension(23, b"x") + serverName(b"a.example") + extension(99, b"")))
        self.check(data, found(data, "a.example"))

    def test_fragmented(self) -> None:
        """
        One message over many records, of one byte and of none, is one message.
        """
        message = hello(serverName(b"a.example") + alpn(b"h2"))
        for sizes in (
            [1] * len(message),
            [10] * 4,
            [0] * MAX_EMPTY_RECORDS,
            [1, 0, 0, 5, 0] + [0] * (MAX_EMPTY_RECORDS - 1),
            [len(message) - 1],
        ):
            data = records(message, *sizes)
            self.check(data, found(data, "a.example", ("h2",)))

    def test_recordVersion(self) -> None:
        """
        The minor version of a record is anything.
        """
        for version in (0x0300, 0x0303, 0x03FF):
            data = records(hello(), version=version)
            self.check(data, found(data))

    def test_trailing(self) -> None:
        """
        What follows the hello, 0-RTT data for one, is not the hello's.
        """
        data = records(hello())
        inspector = ClientHelloInspector()
        self.assertEqual(found(data), inspector.feed(data + b"\x17\x03\x03\x00\x01x" + data))

    def test_longest(self) -> None:
        """
        The limit counts every byte of the stream, and is met exactly.
        """
        for data in (
            records(padded(MAX_CLIENT_HELLO)),
            records(padded(MAX_CLIENT_HELLO, records=2), 8000),
        ):
            self.assertEqual(MAX_CLIENT_HELLO, len(data))
            self.check(data, found(data))
        data = records(padded(256))
        self.assertEqual(found(data), ClientHelloInspector(maxSize=256).feed(data))

    @given(
        st.none() | st.binary(min_size=1, max_size=255).filter(lambda name: 0 not in name),
        st.lists(st.binary(min_size=1, max_size=255), max_size=5),
        st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=8),
        st.lists(st.integers(0, 300), max_size=6),
        st.lists(st.integers(0, 3000), max_size=6),
    )
    def test_anyHello(
        self,
        name: bytes | None,
        protocols: list[bytes],
        versions: list[int],
        sizes: list[int],
        cuts: list[int],
    ) -> None:
        """
        Whatever a client asks for is found, in any records and any split.
        """
        extensions = b"" if name is None else serverName(name)
        extensions += alpn(*protocols) + supportedVersions(*versions)
        data = records(hello(extensions), *sizes)
        answer = inspect(ClientHelloInspector(), cutAt(data, cuts))
        assert isinstance(answer, ClientHello), answer
        self.assertEqual(name and name.lower().decode("latin-1"), answer.server_name)
        self.assertEqual([name.decode("latin-1") for name in protocols], list(answer.alpn))
        grease = {0x1010 * digit + 0x0A0A for digit in range(16)}
        kept = [version for version in versions if version not in grease]
        self.assertEqual(kept or [TLS12], list(answer.versions))
        # Empty records at the end are behind the hello.
        self.assertEqual(
            data, data[: answer.size] + records(b"", *[0] * 6)[: len(data) - answer.size]
        )


class NotTLSTests(SynchronousTestCase):
    """
    Everything that Envoy passes on as raw bytes, or closes.
    """

    def check(self, data: bytes, needed: int, detail: str, reason: str = "not_tls") -> None:
        """
        This is the answer, given with that many bytes and with no byte less.
        """
        answer = inspectEveryWay(self, ClientHelloInspector, data)
        self.assertEqual(NotTLS(reason, detail), answer)  # type: ignore[arg-type]
        self.assertEqual(needed, decidedAt(ClientHelloInspector(), data), detail)

    def test_plaintext(self) -> None:
        """
        The first byte tells most protocols from TLS.
        """
        for data in (b"GET / HTTP/1.1\r\n", b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"SSH-2.0-x\r\n"):
            self.check(data, 1, f"content type {data[0]} of record 1")

    def test_recordHeader(self) -> None:
        """
        A record's header is judged byte by byte.
        """
        self.check(b"\x16\x02\x00", 2, "major version 2 of record 1")
        self.check(b"\x16\x03\x01\x42\x00", 4, "a record of 16896 bytes or more")
        self.check(b"\x16\x03\x01\x41\x41", 5, "a record of 16705 bytes")
        # SSLv2's hello and alerts: not TLS here, as the module says.
        self.check(b"\x80\x2e\x01\x03\x01", 1, "content type 128 of record 1")
        self.check(records(hello(), 10)[:15] + b"\x15", 16, "content type 21 of record 2")

    def test_emptyRecords(self) -> None:
        """
        Only so many empty records in a row.
        """
        data = records(hello(), *[0] * (MAX_EMPTY_RECORDS + 1))
        self.check(data, 5 * (MAX_EMPTY_RECORDS + 1), "33 empty records in a row")
        most = [0] * MAX_EMPTY_RECORDS
        data = records(hello(), *most, 10, *most, 0)
        self.check(data, 5 * (2 * MAX_EMPTY_RECORDS + 2) + 10, "33 empty records in a row")

    def test_messageHeader(self) -> None:
        """
        The first message is a ClientHello, of a length that is allowed.
        """
        for kind in (0, 2):
            self.check(records(hello(kind=kind)), 6, f"handshake type {kind}")
        self.check(b"\x16\x03\x01\x00\x05\x01\x00\x40\x01\x03", 9, "a hello of 16385 bytes")
        self.check(
            b"\x16\x03\x01\x00\x04\x01\x00\x00\x01" + bytes(9),
            9,
            "legacy_version has 2 bytes, 1 are left",
        )

    def test_fields(self) -> None:
        """
        A length that cannot be is refused where it stands.
        """
        self.check(records(hello(session=bytes(33))), 44, "a session id of 33 bytes")
        self.check(records(hello(ciphers=b"")), 46, "cipher suites of 0 bytes")
        self.check(records(hello(ciphers=b"abc")), 46, "cipher suites of 3 bytes")
        self.check(records(hello(compression=b"")), 51, "no compression method")
        self.check(
            records(hello(None, compression=b"").replace(b"\x2f\x00", b"\x2f\x01")),
            51,
            "legacy_compression_methods has 1 bytes, 0 are left",
        )
        self.check(records(hello(tail=b"x")), 54, "extensions of 0 bytes, 1 are left")
        self.check(records(hello(None, tail=b"x")), 52, "extensions has 2 bytes, 1 are left")

    def test_cutShort(self) -> None:
        """
        A field for which the message has no room is refused before it comes.
        """
        body = hello(session=b"abc")[4:]
        for size, detail in (
            (0, "legacy_version has 2 bytes, 0 are left"),
            (2, "random has 32 bytes, 0 are left"),
            (34, "legacy_session_id has 1 bytes, 0 are left"),
            (35, "legacy_session_id has 3 bytes, 0 are left"),
            (38, "cipher_suites has 2 bytes, 0 are left"),
            (40, "cipher_suites has 4 bytes, 0 are left"),
            (44, "legacy_compression_methods has 1 bytes, 0 are left"),
        ):
            message = b"\x01" + size.to_bytes(3, "big") + body[:size]
            self.check(records(message), 9 + size, detail)

    def test_extensions(self) -> None:
        """
        An extension ends where it says, and comes once.
        """
        self.check(records(hello(b"abc")), 56, "extension 24930 has 2 bytes, 1 are left")
        self.check(records(hello(b"a")), 54, "an extension's type has 2 bytes, 1 are left")
        self.check(records(hello(b"\0\x63\0\2x")), 58, "extension 99 has 2 bytes, 1 are left")
        twice = extension(99, b"") + extension(99, b"")
        self.check(records(hello(twice)), 60, "extension 99 twice")

    def test_serverName(self) -> None:
        """
        BoringSSL's rules: one name, of the only type, of 1 to 255 bytes, none of them zero.
        """
        shape = "a server name extension that is not one host name"
        for bad in (
            extension(0, b""),
            extension(0, b"\0\0"),
            serverName(b"a", kind=1),
            extension(0, u16(b"\0" + u16(b"a") + b"\0" + u16(b"b"))),
            extension(0, u16(b"\0" + u16(b"a")) + b"x"),
            extension(0, b"\0\x03\0\0\x01"),
            extension(0, b"\0\x03\0" + u16(b"a")),
        ):
            data = records(hello(bad))
            self.check(data, len(data), shape)
        for name in (b"", b"a" * 256, b"a\0b"):
            data = records(hello(serverName(name)))
            self.check(data, len(data), f"a server name of {len(name)} bytes, or with a zero in it")

    def test_excess(self) -> None:
        """
        Nothing of a handshake follows a hello, in its record or in the next.
        """
        self.check(records(hello() + b"\x01"), 9, "1 handshake bytes after the hello")
        message = hello()
        data = records(message + b"xx", 1, len(message) - 2)
        self.check(data, len(data) - 3, "2 handshake bytes after the hello")

    def test_tooLarge(self) -> None:
        """
        What will be over the limit is known as soon as the lengths are.
        """
        for data, needed, size in (
            (records(padded(MAX_CLIENT_HELLO + 1)), 5, 16385),
            (records(padded(MAX_CLIENT_HELLO + 1, records=2), 8000), 9, 16385),
            # A third record where two would have done.
            (records(padded(MAX_CLIENT_HELLO, records=2), 8000, 1), 8010, 16389),
        ):
            detail = f"the hello takes {size} bytes or more, {MAX_CLIENT_HELLO} are allowed"
            self.check(data, needed, detail, "too_large")
        # What BoringSSL would still take, a record of 16704 bytes and a message of 16384.
        detail = "the hello takes 16709 bytes or more, 16384 are allowed"
        self.check(b"\x16\x03\x01\x41\x40", 5, detail, "too_large")
        detail = "the hello takes 16398 bytes or more, 16384 are allowed"
        self.check(b"\x16\x03\x01\x00\x05\x01\x00\x40\x00\x03", 9, detail, "too_large")
        self.assertEqual(
            NotTLS("too_large", "the hello takes 257 bytes or more, 256 are allowed"),
            ClientHelloInspector(maxSize=256).feed(records(padded(257))),
        )

    def test_invalidVersion(self) -> None:
        """
        A hello of a TLS that does not exist is whole before it is refused.
        """
        for version in (0x0300, 0x0305, 0x0400, 0xFFFF, 0x0002):
            data = records(hello(supportedVersions(TLS13), version=version))
            self.check(data, len(data), f"legacy_version 0x{version:04x}", "invalid_version")

    def test_end(self) -> None:
        """
        The end of the stream and of the time are answers, and say how far it came.
        """
        data = records(hello(), 10)
        for seen in (0, 3, 5, 9, 17, len(data) - 1):
            inspector = ClientHelloInspector()
            self.assertIsNone(inspector.feed(data[:seen]))
            self.assertEqual(NotTLS("eof", f"the stream ended after {seen} bytes"), inspector.eof())
            self.assertEqual(inspector.eof(), inspector.feed(data[seen:]))
            late = ClientHelloInspector()
            late.feed(data[:seen])
            self.assertEqual(
                NotTLS("timeout", f"the time was over after {seen} bytes"), late.timeout()
            )

    def test_maxSize(self) -> None:
        """
        The limit is Envoy's max_client_hello_size, within Envoy's bounds.
        """
        for size in (0, 255, 16385):
            error = self.assertRaises(ValueError, ClientHelloInspector, maxSize=size)
            self.assertEqual(f"maxSize {size} is not within 256 to 16384", str(error))

    def test_values(self) -> None:
        """
        What was found is a value, which can be a key.
        """
        ours, theirs = found(b"1"), found(b"1")
        self.assertEqual({ours: 1, NotTLS("eof", "x"): 2}[theirs], 1)

    def test_repr(self) -> None:
        """
        It says how far it is, and then what it found.
        """
        data = records(hello(), 10)
        inspector = ClientHelloInspector()
        self.assertEqual(
            "<ClientHelloInspector: record 0, 0 of ? bytes of the hello>", repr(inspector)
        )
        inspector.feed(data[:17])
        self.assertEqual(
            "<ClientHelloInspector: record 1, 10 of 49 bytes of the hello>", repr(inspector)
        )
        inspector.feed(data[17:])
        self.assertEqual(f"<ClientHelloInspector: {found(data)!r}>", repr(inspector))

    @given(st.binary(max_size=200), st.sampled_from([0, 5, 9, 43, 60]))
    def test_anyBytes(self, data: bytes, kept: int) -> None:
        """
        Any bytes, alone or behind the start of a hello, are a value.
        """
        start = records(hello(serverName(b"a.example")))[:kept]
        inspectEveryWay(self, ClientHelloInspector, start + data)

    def test_bounded(self) -> None:
        """
        It decides within its limit, whatever comes.
        """
        inspector = ClientHelloInspector()
        endless = records(hello(extension(21, bytes(20000))), *[1] * 4, *[0, 1] * 9000)
        answer = inspect(inspector, bytewise(endless[:MAX_CLIENT_HELLO]))
        self.assertIsInstance(answer, NotTLS)
