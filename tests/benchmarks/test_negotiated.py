"""
What a TLS server has chosen, read off what it sends.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.negotiated import understand

#: RFC 8446, section 4.1.3.
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


def u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def extension(kind: int, body: bytes) -> bytes:
    return u16(kind) + u16(len(body)) + body


def record(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + b"\3\3" + u16(len(body)) + body


def serverHello(suite: int, *extensions: bytes, random: bytes = bytes(32)) -> bytes:
    joined = b"".join(extensions)
    # The session is echoed, and there is no compression.
    body = b"\3\3" + random + b"\x20" + bytes(32) + u16(suite) + b"\0" + u16(len(joined)) + joined
    return record(22, b"\2" + len(body).to_bytes(3, "big") + body)


TLS13 = extension(43, u16(0x0304))


def share(group: int, size: int = 32) -> bytes:
    return extension(51, u16(group) + u16(size) + bytes(size))


class NegotiatedTests(SynchronousTestCase):
    def test_tls13(self) -> None:
        """
        Version, suite and group, whatever comes behind, in either order.
        """
        for extensions in ((TLS13, share(0x11EC, 1120)), (share(0x11EC, 1120), TLS13)):
            sent = serverHello(0x1301, *extensions) + record(20, b"\1") + record(23, bytes(900))
            self.assertEqual(understand(sent), "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768")

    def test_retry(self) -> None:
        """
        A request for another ClientHello chooses nothing.
        """
        retry = serverHello(0x1302, TLS13, extension(51, u16(0x17)), random=RETRY)
        self.assertIsNone(understand(retry))
        hello = serverHello(0x1302, TLS13, share(0x17, 65))
        self.assertEqual(understand(retry + hello), "TLSv1.3 TLS_AES_256_GCM_SHA384 P-256")

    def test_tls12(self) -> None:
        """
        It has no group there, and suites by the hundred.
        """
        self.assertEqual(understand(serverHello(0xC02B)), "TLSv1.2 0xc02b")

    def test_none(self) -> None:
        """
        An alert, half a record, nothing.
        """
        whole = serverHello(0x1301, TLS13, share(0x1D))
        for sent in (b"", record(21, b"\2\50"), whole[:-1]):
            self.assertIsNone(understand(sent))
