"""
An HTTP request is told from anything else by its first line, as Envoy tells it.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.wire.http import MAX_REQUEST_LINE, HTTPFound, HTTPInspector, NotHTTP
from tests.wire.helpers import cutAt
from tests.wire.inspecting import decidedAt, inspect, inspectEveryWay

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# What Envoy 1.40's http_inspector answered to each of these lines and a line feed.
HTTP_1_1 = [
    b"GET / HTTP/1.1\r",
    b"GET / HTTP/1.1",
    b"GET / HTTP/1.1 \t\r\r",
    b"GET  /  HTTP/1.1\r",
    b"GET\t/\rHTTP/1.1\r",
    b"BREW /pot HTTP/1.1\r",
    b"A / HTTP/1.1\r",
    b"!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r",
    b"PRI * HTTP/1.1\r",
    b'GET /a?b="{}|\\^[]#~ HTTP/1.1\r',
    b"GET *anything HTTP/1.1\r",
    b"GET http://a.example:80/b HTTP/1.1\r",
    b"GET http:// HTTP/1.1\r",
    b"GET http://u@h?q@@ HTTP/1.1\r",
    b"GET x://!$%&'()*+,-.:;=@[]_~ HTTP/1.1\r",
    b"CONNECT a.example:443 HTTP/1.1\r",
    b"CONNECT / HTTP/1.1\r",
    b"CONNECT h://x HTTP/1.1\r",
    b"CONNECT ?q HTTP/1.1\r",
]
HTTP_1_0 = [
    b"GET / HTTP/1.0\r",
    b"GET / HTTP/0.9\r",
    b"GET / HTTP/1.2\r",
    b"GET / HTTP/2.0\r",
    b"PRI * HTTP/2.0\r",
    b"GET /\r",
    b"GET / \t\r",
    b"PING *\r",
]
NOT_HTTP = [
    b"",
    b"\r",
    b"GET",
    b"GET \r",
    b"GET / HTTP/11.1\r",
    b"GET / HTTP/1.x\r",
    b"GET / HTTP/1\r",
    b"GET / http/1.1\r",
    b"GET / XHTTP/1.1\r",
    b"GET /a b HTTP/1.1\r",
    b"GET / HTTP/1.1 x\r",
    b"GET x HTTP/1.1\r",
    b"GET ? HTTP/1.1\r",
    b"GET http:/a HTTP/1.1\r",
    b"GET ://a HTTP/1.1\r",
    b"GET 1://a HTTP/1.1\r",
    b"GET http://a@@b HTTP/1.1\r",
    b'GET http://a"b HTTP/1.1\r',
    b"connect a.example:443 HTTP/1.1\r",
    b"CONNECT a@@b HTTP/1.1\r",
    b'CONNECT a"b HTTP/1.1\r',
    b"HELO there\r",
    b"SSH-2.0-OpenSSH_9.2\r",
    b"*1\r",
]
# As NOT_HTTP; and here it is said with this many bytes of them.
SOONER = [
    (1, b" GET / HTTP/1.1\r\n", "byte 0x20 in the method"),
    (1, b"\r\nGET / HTTP/1.1\r\n", "byte 0x0d in the method"),
    (1, b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "byte 0x00 in the method"),
    (1, b"\x16\x03\x01\x02", "byte 0x16 in the method"),
    (2, b"G\x80", "byte 0x80 in the method"),
    (3, b"GE[T / HTTP/1.1\r\n", "byte 0x5b in the method"),
    (4, b"GET\x01/ HTTP/1.1\r\n", "byte 0x01 in the method"),
    (6, b"GET /\x80 HTTP/1.1\r\n", "byte 0x80 in the first line"),
    (6, b"GET /\x7f HTTP/1.1\r\n", "byte 0x7f in the first line"),
    # To Envoy these two are gaps.
    (6, b"GET /\x00 HTTP/1.1\r\n", "byte 0x00 in the first line"),
    (6, b"GET /\x0b HTTP/1.1\r\n", "byte 0x0b in the first line"),
    (3, b"PR\x00", "byte 0x00 in the method"),
    (15, b"PRI * HTTP/2.0\x00", "byte 0x00 in the first line"),
]


class HTTPTests(SynchronousTestCase):
    """
    The inspector's answers.
    """

    def check(self, expected: object, data: bytes) -> None:
        self.assertEqual(expected, inspectEveryWay(self, HTTPInspector, data), data)

    def test_requests(self) -> None:
        """
        A request line is known with its line feed, and with no byte less.
        """
        for lines, expected in (
            (HTTP_1_1, HTTPFound("http/1.1")),
            (HTTP_1_0, HTTPFound("http/1.0")),
        ):
            for line in lines:
                if not PREFACE.startswith(line):
                    self.check(expected, line + b"\n")
                    self.assertEqual(len(line) + 1, decidedAt(HTTPInspector(), line + b"\n"))

    def test_preface(self) -> None:
        """
        HTTP/2's preface is h2c; the start of one is nothing yet; what only looks like one is
        a request line, or none.
        """
        self.check(HTTPFound("h2c"), PREFACE)
        self.assertEqual(len(PREFACE), decidedAt(HTTPInspector(), PREFACE))
        for end in range(len(PREFACE)):
            self.check(None, PREFACE[:end])
        self.check(HTTPFound("http/1.0"), PREFACE[:-3] + b"x")
        self.check(HTTPFound("http/1.0"), b"PRI * HTTP/2.0\r\nHost:")

    def test_notHTTP(self) -> None:
        """
        Anything else is not HTTP, at the end of the line.
        """
        for line in NOT_HTTP:
            answer = inspectEveryWay(self, HTTPInspector, line + b"\n")
            assert isinstance(answer, NotHTTP), line
            self.assertEqual("not_http", answer.reason)
        self.check(NotHTTP("not_http", "no request line: b'HELO there\\r'"), b"HELO there\r\n")
        self.check(NotHTTP("not_http", "no request line: b''"), b"\n")
        long = b"A" * 100
        self.check(NotHTTP("not_http", f"no request line: {long[:64]!r}"), long + b"\n")

    def test_whichByte(self) -> None:
        """
        The first that has no place in a request line, or in its method.
        """
        for line, found in (
            (b"GET \x01\x02", "byte 0x01 in the first line"),
            (b"GET /\x1f", "byte 0x1f in the first line"),
            (b"G\x1f\x02", "byte 0x1f in the method"),
        ):
            self.assertEqual(NotHTTP("not_http", found), HTTPInspector().feed(line))

    def test_unchangeable(self) -> None:
        for answer in (HTTPFound("h2c"), NotHTTP("eof", "")):
            name = fields(answer)[0].name
            self.assertRaises(FrozenInstanceError, setattr, answer, name, "x")

    def test_sooner(self) -> None:
        """
        A byte that no request line holds decides at once.
        """
        for needed, data, detail in SOONER:
            self.check(NotHTTP("not_http", detail), data)
            self.assertEqual(needed, decidedAt(HTTPInspector(), data), data)

    def test_longest(self) -> None:
        """
        Envoy's limit: a line of 65536 bytes is looked at, and the 65536th has to end it.
        """
        head, tail = b"GET /", b" HTTP/1.1\r\n"
        longest = head + b"a" * (MAX_REQUEST_LINE - len(head + tail)) + tail
        self.assertEqual(HTTPFound("http/1.1"), HTTPInspector().feed(longest))
        inspector = HTTPInspector()
        self.assertIsNone(inspector.feed(longest[:-1]))
        tooLarge = NotHTTP("too_large", "no end of line in 65536 bytes")
        self.assertEqual(tooLarge, inspector.feed(b"a"))
        self.assertEqual(tooLarge, inspector.feed(b"\n"))
        self.assertEqual(tooLarge, HTTPInspector().feed(b"A" * 70000 + b"\n"))
        self.assertEqual(tooLarge, inspect(HTTPInspector(), [b"A", b"A" * 70000 + b"\n"]))

    def test_linear(self) -> None:
        """
        The longest line, a byte at a time, costs what its bytes cost.
        """
        inspector = HTTPInspector()
        for _ in range(MAX_REQUEST_LINE - 1):
            self.assertIsNone(inspector.feed(b"A"))
        self.assertEqual(
            NotHTTP("too_large", "no end of line in 65536 bytes"), inspector.feed(b"A")
        )

    def test_maxSize(self) -> None:
        """
        The limit can be set, but an HTTP/2 preface has to fit.
        """
        self.assertEqual(
            NotHTTP("too_large", "no end of line in 24 bytes"),
            inspectEveryWay(self, lambda: HTTPInspector(24), b"A" * 24),
        )
        self.assertEqual(HTTPFound("h2c"), HTTPInspector(24).feed(PREFACE))
        error = self.assertRaises(ValueError, HTTPInspector, 23)
        self.assertEqual("maxSize 23 is less than 24", str(error))

    def test_end(self) -> None:
        """
        The end of the stream and of the time are answers, and say how far it came.
        """
        for seen in (b"", b"GET /", PREFACE[:20]):
            inspector, late = HTTPInspector(), HTTPInspector()
            self.assertEqual((None, None), (inspector.feed(seen), late.feed(seen)))
            what = f"after {len(seen)} bytes of a line"
            self.assertEqual(NotHTTP("eof", f"the stream ended {what}"), inspector.eof())
            self.assertEqual(inspector.eof(), inspector.feed(b" HTTP/1.1\n"))
            self.assertEqual(NotHTTP("timeout", f"the time was over {what}"), late.timeout())

    def test_repr(self) -> None:
        """
        It says how far it is, and then what it found.
        """
        inspector = HTTPInspector()
        inspector.feed(b"GET /")
        self.assertEqual("<HTTPInspector: 5 bytes, no line yet>", repr(inspector))
        inspector.feed(b"\n")
        self.assertEqual("<HTTPInspector: HTTPFound(protocol='http/1.0')>", repr(inspector))

    @given(st.binary(max_size=60))
    def test_anyBytes(self, data: bytes) -> None:
        """
        Any bytes are a value, or too few; and a line's end always decides.
        """
        self.assertIsNotNone(inspectEveryWay(self, HTTPInspector, b"A" + data + b"\n"))
        inspectEveryWay(self, HTTPInspector, data)

    @given(
        st.lists(
            st.sampled_from(
                [b"GET", b"CONNECT", b"PRI * HTTP/2.0\r\n", b" ", b"\t", b"\r", b"/", b"*", b"a://"]
                + [b"h:80", b"@", b"HTTP/1.", b"0", b"1", b"\x80", b'"', b"\n", b"SM\r\n", b"\r\n"]
            ),
            max_size=9,
        ),
        st.lists(st.integers(0, 80), max_size=5),
    )
    def test_anyLine(self, parts: list[bytes], cuts: list[int]) -> None:
        """
        How lines that are nearly HTTP are cut changes nothing.
        """
        data = b"".join(parts)
        whole = inspectEveryWay(self, HTTPInspector, data)
        self.assertEqual(whole, inspect(HTTPInspector(), cutAt(data, cuts)))
