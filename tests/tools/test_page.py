"""
How things are shown: colours, wrapped commands, a prefix line by line.
"""

from __future__ import annotations

import io
import shlex

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tools.dissect import condense
from mxproxy.tools.page import Page, wrapCommand
from mxproxy.wire.annotate import annotate
from mxproxy.wire.metadata import Node, encodeMetadata
from mxproxy.wire.prefix import encodePrefix
from tests.wire.test_metadata import anyMetadata
from tests.wire.test_properties import streams


class Terminal(io.TextIOWrapper):
    """
    Says that it is one.
    """

    def isatty(self) -> bool:
        return True


def shown(environ: dict[str, str], encoding: str = "utf-8", file: type = Terminal) -> str:
    """
    What a heading, a command and a drawing come to.
    """
    data = io.BytesIO()
    stream = file(data, encoding)
    page = Page(stream, environ)
    page.heading("Title")
    page.command(["ls", "-l"])
    page.line("─▶ ✓ é")
    return data.getvalue().decode(encoding)


class PageTests(SynchronousTestCase):
    """
    Colours are for terminals, and for those who want them.
    """

    def test_terminal(self) -> None:
        self.assertEqual(
            "\n\33[1mTitle\33[0m\n\n   \33[36mls -l\33[0m\n─▶ ✓ é\n", shown({"TERM": "xterm"})
        )
        self.assertIn("\33", shown({"NO_COLOR": ""}))

    def test_uncoloured(self) -> None:
        plain = "\nTitle\n\n   ls -l\n─▶ ✓ é\n"
        self.assertEqual(plain, shown({"NO_COLOR": "1"}))
        self.assertEqual(plain, shown({"TERM": "dumb"}))
        self.assertEqual(plain, shown({}, file=io.TextIOWrapper))

    def test_ascii(self) -> None:
        """
        What cannot be drawn is replaced, what cannot be replaced is escaped.
        """
        self.assertTrue(shown({}, "ascii").endswith("-> + \\xe9\n"))


class WrapCommandTests(SynchronousTestCase):
    """
    A shell reads the lines as the words that they were made of.
    """

    def test_example(self) -> None:
        """
        Values stay beside their options.
        """
        self.assertEqual(
            ["twistd -n \\", "    --file 'a b' \\", "    --x y"],
            wrapCommand(["twistd", "-n", "--file", "a b", "--x", "y"], 19),
        )

    @given(st.lists(st.text("ab -'$\\n\\\\", max_size=9), min_size=1), st.integers(1, 40))
    def test_words(self, words: list[str], width: int) -> None:
        """
        Whatever they are.
        """
        *lines, last = wrapCommand(words, width)
        for line in lines:
            self.assertTrue(line.endswith(" \\"), line)
        # shlex does not know that a backslash continues a line.
        joined = "".join(line[:-1] for line in lines) + last
        self.assertEqual(words, shlex.split(joined))


def said(data: bytes) -> list[str]:
    """
    The lines' texts.
    """
    return ["  " * line.depth + line.text for line in condense(annotate(data))]


class CondenseTests(SynchronousTestCase):
    """
    Every byte is in one line, in order.
    """

    @given(st.one_of(streams, anyMetadata.map(lambda said: encodePrefix(encodeMetadata(said)))))
    def test_everyByte(self, data: bytes) -> None:
        """
        Whatever the bytes are.
        """
        lines = list(condense(annotate(data)))
        self.assertEqual(data, b"".join(line.data for line in lines))
        position = 0
        for line in lines:
            self.assertEqual(position, line.offset)
            position += len(line.data)

    def test_example(self) -> None:
        """
        A line for an entry, deeper for each Struct that it is in.
        """
        node = Node(id="n1", metadata={"NAME": "x", "LABELS": {"app": "y"}})
        self.assertEqual(
            [
                "magic",
                "length 148",
                "Any: type.googleapis.com/google.protobuf.Struct",
                "Any.value, 102 bytes: Struct",
                "  x-envoy-peer-metadata: Struct, 39 bytes",
                "    LABELS: Struct, 12 bytes",
                "      app = y",
                "    NAME = x",
                "  x-envoy-peer-metadata-id = n1",
                "3 bytes of the application",
            ],
            said(node.prefix() + b"abc"),
        )

    def test_others(self) -> None:
        """
        An entry that is no text, and one that ends with its key.
        """
        key = b"\x0a\x01k"
        for entry, text in (
            (key + b"\x12\x02\x20\x01", "  k: Value.bool_value = 1"),
            (key, "  Entry.key = 'k'"),
        ):
            fields = b"\x0a%c%s" % (len(entry), entry)
            self.assertEqual(text, said(encodePrefix(b"\x12%c%s" % (len(fields), fields)))[-1])
