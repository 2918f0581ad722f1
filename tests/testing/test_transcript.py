"""
Transcripts: bytes as words, and a failure as a diff.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.layers.base import Layer, LayerFactory
from mxproxy.testing import Bench, Symbols, Transcript, TranscriptDiffers, mustNotBeUsed
from mxproxy.testing.bench import Wrap

SYMBOLS = Symbols({"prefix": b"=#\x04gabc", "magic": b"=#\x04g", "none": b""})


class SymbolsTests(SynchronousTestCase):
    def test_parse(self) -> None:
        for text, data in (
            ("'a\\x00b'", b"a\x00b"),
            ('"it\'s"', b"it's"),
            ("<prefix> 'x'", b"=#\x04gabcx"),
            ("<prefix>[:5]", b"=#\x04ga"),
            ("<prefix>[4:-1] 'x'", b"abx"),
            ("'ab' * 3 'c'", b"abababc"),
        ):
            self.assertEqual(SYMBOLS.parse(text), data)

    def test_wrong(self) -> None:
        for text, why in (
            ("hello", "not the bytes of a transcript: 'hello'"),
            ("'a' b", "not the bytes of a transcript: 'b'"),
            ("<other>", "nothing is called <other>; there is: prefix, magic, none"),
        ):
            error = self.assertRaises(ValueError, SYMBOLS.parse, text)
            self.assertEqual(str(error), why)

    def test_show(self) -> None:
        """
        The longest name that fits, and runs of one byte as a product.
        """
        for data, text in (
            (b"", "''"),
            (b"x=#\x04gabcy", "'x' <prefix> 'y'"),
            (b"=#\x04gab", "<magic> 'ab'"),
            (b"a" * 100 + b"b", "'a' * 100 'b'"),
            (b"it's", '"it\'s"'),
        ):
            self.assertEqual(SYMBOLS.show(data), text)

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.lists(st.sampled_from([b"=#\x04gabc", b"=#\x04", b"a" * 40, b"'\"\\\n\x00", b"\xff"]))
    )
    def test_roundTrip(self, pieces: list[bytes]) -> None:
        data = b"".join(pieces)
        self.assertEqual(SYMBOLS.parse(SYMBOLS.show(data)), data)


class TranscriptTests(SynchronousTestCase):
    def test_merged(self) -> None:
        """
        How bytes are cut does not show.
        """
        transcript = Transcript(SYMBOLS)
        transcript.bytes("<<", b"=#")
        transcript.bytes("<<", b"\x04gabc")
        transcript.bytes("app<<", b"x")
        transcript.note("<< eof")
        transcript.bytes("app<<", b"y")
        transcript.check(
            """
            << <prefix>
              # a comment

            app<< 'x'
            << eof
            app<< 'y'
            """
        )

    def test_diff(self) -> None:
        transcript = Transcript()
        transcript.note("one")
        transcript.note("two")
        error = self.assertRaises(TranscriptDiffers, transcript.check, "one\nthree")
        self.assertEqual(
            str(error),
            "the transcript differs (-: expected, +: happened)\n\n  one\n- three\n+ two",
        )


class BenchTests(SynchronousTestCase):
    """
    Everything that a script can say.
    """

    def test_all(self) -> None:
        wrap: Wrap = LayerFactory
        Bench(wrap, symbols={"hi": b"hello"}, chunks=2).play(
            """
            app<< connected
            >> <hi>
            app<< <hi>
            app>> pause
            >> 'more'
            wait 100
            app>> resume
            app<< 'more'
            app>> produce
            network stalls
            app>> 'x' * 70000
            << 'x' * 70000
            app<< pause
            network flows
            app<< resume
            app>> eof
            << eof
            """
        )
        Bench(wrap).play("app<< connected\n>> eof\napp<< eof\napp>> eof\n<< eof")
        Bench(wrap, side="upstream").play(
            "app<< connected\n>> lost\n<< reset\napp<< closed: lost\nclosed: reset"
        )
        Bench(wrap).play(
            "app<< connected\napp>> close\n<< close\napp<< closed: done\nclosed: closed"
        )
        Bench(wrap).play(
            "app<< connected\napp>> abort\n<< reset\napp<< closed: aborted\nclosed: aborted"
        )

    def test_inParts(self) -> None:
        """
        A script can be played in parts; each has to say all that has happened so far.
        """
        bench = Bench(LayerFactory)
        bench.play("app<< connected")
        self.assertRaises(TranscriptDiffers, bench.play, ">> 'x'")

    def test_wrong(self) -> None:
        """
        What may never be delivered cannot be expected by mistake.
        """

        class IgnoresPauses(Layer):
            def pauseProducing(self) -> None:
                pass

        class OneFactory(LayerFactory):
            layer = IgnoresPauses

        Bench(OneFactory).play(
            """
            app<< connected
            app>> pause
            >> 'x'
            app<< wrong: 1 bytes delivered while it was paused
            app<< 'x'
            """
        )


class MustNotBeUsedTests(SynchronousTestCase):
    def test_raises(self) -> None:
        unused = mustNotBeUsed("no upstream is asked for")
        error = self.assertRaises(AssertionError, unused, 1, two=3)
        self.assertEqual(str(error), "must not be used: no upstream is asked for")
