"""
XXH64, against the reference implementation's values.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.upstream.xxhash import xxh64


class XXHashTests(SynchronousTestCase):
    def test_reference(self) -> None:
        """
        Of each part of the algorithm: stripes of 32, words of 8, of 4, bytes; and the seed.
        """
        for data, seed, expected in (
            (b"", 0, 0xEF46DB3751D8E999),
            (b"a", 0, 0xD24EC4F1A98C6E5B),
            (b"abc", 0, 0x44BC2CF5AD770999),
            (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
            (b"xxhash", 20141025, 0xB559B98D844E0635),
            (bytes(range(46)), 0, 0xF311D6DE73D58535),
            (bytes(range(100)), 1, 0x3D19A3A2098A7023),
        ):
            self.assertEqual(xxh64(data, seed), expected, data)
