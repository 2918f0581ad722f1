"""
The frame of a prefix.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire import exchange, prefix


class PrefixTests(SynchronousTestCase):
    """
    The header is eight bytes, big-endian: magic and length.
    """

    def test_layout(self) -> None:
        self.assertEqual(b"\x3d\x23\x04\x67\x00\x00\x00\x03abc", prefix.encodePrefix(b"abc"))
        self.assertEqual(0x3D230467, prefix.MAGIC)
        self.assertEqual(8, prefix.HEADER_SIZE)
        self.assertEqual(65536, prefix.DEFAULT_MAX_SIZE)

    def test_exchangeHasThem(self) -> None:
        """
        Who runs an exchange finds the constants beside it.
        """
        for name in ("MAGIC", "HEADER_SIZE", "DEFAULT_MAX_SIZE"):
            self.assertEqual(getattr(prefix, name), getattr(exchange, name))
        self.assertEqual("istio-peer-exchange", exchange.ALPN)

    def test_tooLong(self) -> None:
        """
        What four bytes cannot say is refused, not cut.
        """

        class Long(bytes):
            size = 1 << 32

            def __len__(self) -> int:
                return self.size

        error = self.assertRaises(ValueError, prefix.encodePrefix, Long())
        self.assertEqual("a payload of 4294967296 bytes does not fit a 32-bit length", str(error))
        Long.size -= 1
        self.assertEqual(b"\x3d\x23\x04\x67\xff\xff\xff\xff", prefix.encodePrefix(Long()))
