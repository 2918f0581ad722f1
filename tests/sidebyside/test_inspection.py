"""
Listener filters: what is seen of a connection before its chain is picked, and what becomes of the
bytes that were looked at.
"""

from __future__ import annotations

from typing import Any

from tests.sidebyside import headers
from tests.sidebyside.backends import Backend
from tests.sidebyside.clients import TALK, WORD, Client, Finish, Read, Send, Step, Wait
from tests.sidebyside.harness import SideBySide
from tests.sidebyside.peer import Tls, hello
from tests.sidebyside.test_matching import FAR, HERE, reached
from tests.sidebyside.test_tcp import ALPHA, BETA, CLOSED, GAMMA

#: A ClientHello of more than so many KiB is made by what it offers.
_OFFER = 4


def long(kilobytes: int) -> tuple[str, ...]:
    """
    ALPN that makes a ClientHello longer by about so much; the last is C{h2}.
    """
    return *(f"{number:03}" + "x" * 250 for number in range(kilobytes * _OFFER)), "h2"


def after(sees: dict[str, Any]) -> dict[str, Any]:
    """
    The same, but after a second.
    """
    return {**sees, "when": "after 1 s"}


GREETED = {"received": "'beta:'", "ended": "open", "first byte": "after 1 s"}


class TlsInspectorTests(SideBySide):
    def test_hellos(self) -> Any:
        gone = {"reached": [], "ended": "reset"}
        chosen = {"reached": ["alpha"], "alpn": "h2", "received": "'alpha:hello, world.'"}

        def client(name: str, tls: Tls, sees: dict[str, Any]) -> Client:
            return Client(name, tls=tls, sees=sees)

        def shape(name: str, sees: dict[str, Any] = chosen, **shape: Any) -> Client:
            alpn = shape.pop("alpn", ("h2",))
            return client(name, Tls("server.test", alpn, **shape), sees)

        return self.compare(
            "tls_inspector",
            shape("whole"),
            shape("byte by byte", piece=1),
            shape("in pieces of 100", piece=100),
            shape("in records of 64 bytes", record=64),
            shape("in records of 1 byte", record=1),
            shape("in records of 3 bytes, in pieces of 7", record=3, piece=7),
            shape("1.2 only", most="TLS1_2"),
            shape("1.3 only", least="TLS1_3"),
            shape("8 KiB", alpn=long(8)),
            shape("14 KiB", alpn=long(14)),
            shape("14 KiB, in pieces of 1000", alpn=long(14), piece=1000),
            shape("17 KiB", gone, alpn=long(17)),
            shape("40 KiB", gone, alpn=long(40)),
            client("another name", Tls("other.test"), reached("gamma")),
            client("no name", Tls(), reached("gamma")),
        )

    def test_notTls(self) -> Any:
        first = hello(Tls("server.test"))

        def client(name: str, data: bytes, **sees: Any) -> Client:
            steps: tuple[Step, ...] = (Send(data), Read(len(data) + 5), Finish())
            gone = not sees.get("reached")
            return Client(name, steps, after=1 if gone else 0, abrupt=gone, sees=sees)

        gone: dict[str, Any] = {"ended": "closed", "reached": []}
        plain = {"reached": ["beta"], "ended": "fin"}
        return self.compare(
            "tls_inspector_timeout",
            client("a word", WORD, **plain),
            Client("a word in two", (Send(WORD, 6), *TALK[1:]), sees=BETA),
            client("five bytes", b"12345", **plain),
            client("HTTP", b"GET / HTTP/1.1\r\n\r\n", **plain),
            client("server speaks first, almost", b"\r\n\r\n\r\n", **plain),
            client("a record of no hello", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", **plain),
            client("an empty record", b"\x16\x03\x01\x00\x00" * 2, **gone, when="after 1 s"),
            client("an alert", b"\x15\x03\x01\x00\x02\x02\x28", **plain),
            client("application data", b"\x17\x03\x03\x00\x03abc", **plain),
            client("SSL 2", b"\x80\x2e\x01\x00\x02" + bytes(43), **plain),
            client("version 2.0", b"\x16\x02\x00" + first[3:], **plain),
            client("version 3.9", b"\x16\x03\x09" + first[3:]),
            client("a record that is too long", b"\x16\x03\x01\xff\xff" + bytes(100), **plain),
            client("garbage behind the length", first[:9] + bytes(len(first) - 9), **plain),
            client("garbage as extensions", first[:-40] + b"\xff" * 40, **plain),
            client("binary zeros", bytes(20), **plain),
            client("half a hello, and no more", first[:200], **gone, when="after 1 s"),
            client("one byte of a hello", first[:1], **gone, when="after 1 s"),
            client("four bytes of a word", WORD[:4], **gone, when="after 1 s"),
            client("one byte of a word", WORD[:1], **gone, when="after 1 s"),
        )

    def test_endsWhileInspected(self) -> Any:
        """
        A client that has said all that it has to say, in less than an inspector wants to see.
        """
        first = hello(Tls("server.test"))
        gone = {"reached": [], "ended": "reset", "when": "at once"}
        return self.compare(
            "tls_inspector_timeout",
            Client("nothing", (Finish(),), after=1, sees={"reached": [], "ended": "fin"}),
            Client("a short word", (Send(b"hi"), Finish()), after=1, sees=gone),
            Client("half a hello", (Send(first[:200]), Finish()), after=1, sees=gone),
            Client("a word", (Send(WORD), Wait(0.2), Finish()), after=1, sees=BETA),
            variant="the client ends",
        )

    def test_absent(self) -> Any:
        return self.compare(
            "tls_inspector_absent",
            Client("its name", tls=Tls("alpha.test"), sees=reached("beta")),
            Client("no name", tls=Tls(), sees=reached("beta")),
            Client("a word", sees=BETA),
        )

    def test_absentForProtocols(self) -> Any:
        return self.compare(
            "application_protocols_absent",
            Client(
                "HTTP", (Send(b"GET / HTTP/1.1\r\n\r\n"), Read(6), Finish()), sees=reached("beta")
            ),
            Client("ALPN", tls=Tls(alpn=("http/1.1",)), sees=reached("beta")),
            Client("a word", sees=BETA),
        )


class TimeoutTests(SideBySide):
    def test_closes(self) -> Any:
        return self.compare(
            "listener_filters_timeout",
            Client("silent", (), after=1, sees=after(CLOSED)),
            Client("five bytes late", (Wait(0.5), Send(WORD), *TALK[1:]), sees=BETA),
            Client("one byte", (Send(b"x"),), after=1, sees=after({"reached": []})),
            Client("TLS", tls=Tls(), sees=reached("alpha")),
            backends={"beta": Backend(greets=True)},
        )

    def test_continues(self) -> Any:
        greeted = {**BETA, "first byte": "after 1 s"}
        return self.compare(
            "continue_on_timeout",
            Client("silent", (Read(5),), after=1, stays=0.3, sees=GREETED),
            Client("answers", (Read(5), Send(WORD), Read(17), Finish()), after=1, sees=greeted),
            Client("one byte", (Send(b"x"), Read(6), Finish()), after=1, sees=reached("beta")),
            Client("one byte of TLS", (Send(b"\x16"), Read(6), Finish()), after=1),
            Client("at once", after=1, sees={**BETA, "first byte": "at once"}),
            Client("TLS, late", (Read(5), Wait(0.2), *TALK), after=1),
            Client("TLS", tls=Tls(), sees=reached("alpha")),
            backends={"beta": Backend(greets=True)},
        )


class HttpInspectorTests(SideBySide):
    def test_http(self) -> Any:
        def client(name: str, data: bytes, backend: str = "", piece: int = 0) -> Client:
            steps: tuple[Step, ...] = (Send(data, piece), Read(6), Finish())
            sees = {"reached": [backend] if backend else []}
            after = 0 if backend else 1
            return Client(name, steps, after=after, abrupt=not backend, sees=sees)

        get = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        return self.compare(
            "http_inspector",
            client("1.1", get, "alpha"),
            client("1.0", b"GET / HTTP/1.0\r\n\r\n", "alpha"),
            client("a line's end without CR", b"GET / HTTP/1.1\nHost: a\n\n", "alpha"),
            client("2", preface, "beta"),
            client("a third of a preface, and no more", preface[:8]),
            client("0.9", b"GET /\r\n", "alpha"),
            client("2 in a line", b"GET / HTTP/2.0\r\n\r\n", "alpha"),
            client("1.2", b"GET / HTTP/1.2\r\n\r\n", "alpha"),
            client("a method that there is not", b"BREW / HTTP/1.1\r\n\r\n", "alpha"),
            client("in small letters", b"get / HTTP/1.1\r\n\r\n", "alpha"),
            client("a long line", b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n", "alpha"),
            client("a line of 20000", b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n", "alpha"),
            client("half a line, and no more", get[:10]),
            client("a method, and no more", b"GET "),
            client("a word", WORD, "gamma"),
            client("a word with an end", WORD + b"\r\n", "gamma"),
            client("an empty line first", b"\r\n" + get, "gamma"),
            client("binary", bytes(range(128, 160)), "gamma"),
            client("TLS", hello(Tls("server.test"))[:100], "gamma"),
            Client("silent", (), after=1, sees=after(CLOSED)),
        )

    def test_pieces(self) -> Any:
        def client(name: str, data: bytes, backend: str, piece: int) -> Client:
            return Client(name, (Send(data, piece), Read(6), Finish()), sees=reached(backend))

        get = b"GET /index HTTP/1.1\r\nHost: a.test\r\n\r\n"
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        return self.compare(
            "http_inspector_pieces",
            client("1.1, byte by byte", get, "alpha", 1),
            client("1.1, pieces of 5", get, "alpha", 5),
            client("2, byte by byte", preface, "beta", 1),
            client("2, pieces of 10", preface, "beta", 10),
            client("a word, byte by byte", WORD, "gamma", 1),
        )

    def test_both(self) -> Any:
        get = Send(b"GET / HTTP/1.1\r\n\r\n")
        preface = Send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        return self.compare(
            "both_inspectors",
            Client("HTTP over TLS", tls=Tls(alpn=("http/1.1",)), sees=reached("alpha")),
            Client("TLS", tls=Tls(), sees=reached("delta")),
            Client("HTTP over TLS, no ALPN", (get, Read(6), Finish()), tls=Tls()),
            Client("HTTP", (get, Read(6), Finish()), sees=reached("beta")),
            Client("h2c", (preface, Read(6), Finish()), sees=reached("beta")),
            Client("a word", (Send(WORD), Read(6), Finish()), after=1, sees=reached("gamma")),
            Client("a line", (Send(WORD + b"\n"), Read(6), Finish()), after=1),
            Client("silent", (Read(6),), after=1, stays=0.3, sees=reached("gamma")),
            backends={"gamma": Backend(greets=True)},
        )


class ProxyProtocolTests(SideBySide):
    #: What is told to the upstream shows whom the client was taken for.
    FAR = "v1 TCP4 198.51.100.7 4001 > 127.0.0.1 4001"

    def test_required(self) -> Any:
        seen = {**ALPHA, "alpha.header": self.FAR}
        gone = {"reached": [], "ended": "closed", "when": "at once"}

        def client(name: str, before: bytes, sees: dict[str, Any]) -> Client:
            return Client(name, before=before, sees=sees, abrupt=not sees.get("reached"))

        def bad(name: str, before: bytes) -> Client:
            return client(name, before, gone)

        six = ("2001:db8::1", 1), ("2001:db8::2", 2)
        two = headers.v2(FAR, HERE)
        return self.compare(
            "proxy_protocol",
            client("1", headers.v1(FAR, HERE), seen),
            client("1, IPv6", headers.v1(*six), ALPHA),
            client("1, unknown", b"PROXY UNKNOWN\r\n", ALPHA),
            client("1, unknown with more", b"PROXY UNKNOWN 1 2 3\r\n", ALPHA),
            client("2", two, seen),
            client("2, IPv6", headers.v2(*six), ALPHA),
            client("2, TLVs", headers.v2(FAR, HERE, [(1, b"h2"), (0xE0, b"x")]), seen),
            client("2, local", headers.v2(FAR, HERE, command=0), ALPHA),
            client("2, local, nothing", headers.SIGNATURE + b"\x20\0\0\0", ALPHA),
            bad("2, unspecified", headers.SIGNATURE + b"\x21\0\0\0"),
            client("2, datagram", headers.v2(FAR, HERE, transport=2), seen),
            client("2, unix", headers.SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), {}),
            bad("no header", b""),
            bad("a word", b"PROXYHELLO TCP4\r\n"),
            bad("1, a family", b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n"),
            bad("1, an address", b"PROXY TCP4 1.2.3.456 1.2.3.4 1 2\r\n"),
            bad("1, a port", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n"),
            bad("1, too few", b"PROXY TCP4 1.2.3.4 1.2.3.4\r\n"),
            bad("1, IPv6 in TCP4", b"PROXY TCP4 ::1 ::1 1 2\r\n"),
            bad("1, no end", b"PROXY TCP4 " + b"1" * 200),
            bad("2, a version", headers.SIGNATURE + b"\x31" + two[13:]),
            bad("2, a command", headers.SIGNATURE + b"\x22" + two[13:]),
            bad("2, a family", two[:13] + b"\x41" + two[14:]),
            bad("2, too short", two[:15] + b"\x04" + two[16:]),
            bad("2, a TLV too long", headers.v2(FAR, HERE)[:15] + b"\x0f" + two[16:] + b"\1\0\xff"),
        )

    def test_tooLittle(self) -> Any:
        gone = {"reached": [], "when": "after 1 s"}
        two = headers.v2(FAR, HERE)
        return self.compare(
            "proxy_protocol_timeout",
            Client("silent", (), after=1, sees=after(CLOSED)),
            Client("half a header", (Send(two[:10]),), after=1, abrupt=True, sees=gone),
            Client("no TLVs", (Send(two[:15] + b"\x20" + two[16:]),), after=1, sees=gone),
            Client("half of 1", (Send(b"PROXY TCP4 1.2."),), after=1, abrupt=True, sees=gone),
            Client("no CR", (Send(b"PROXY UNKNOWN\n"),), after=1, abrupt=True, sees=gone),
            Client("whole", before=two, sees=ALPHA),
        )

    def test_pieces(self) -> Any:
        seen = {"alpha.header": self.FAR, "received": "'alpha:hello, world.'"}

        def steps(header: bytes, piece: int) -> tuple[Step, ...]:
            return Send(header + WORD, piece), Read(6), Finish()

        return self.compare(
            "proxy_protocol",
            Client("1, byte by byte", steps(headers.v1(FAR, HERE), 1), sees=seen),
            Client("2, byte by byte", steps(headers.v2(FAR, HERE), 1), sees=seen),
            Client("1, pieces of 7", steps(headers.v1(FAR, HERE), 7), sees=seen),
            Client("2, pieces of 13", steps(headers.v2(FAR, HERE), 13), sees=seen),
            Client(
                "1, the end with it", (Send(headers.v1(FAR, HERE)), Wait(0.2), Finish()), sees={}
            ),
            Client("a second header", (Send(headers.v1(FAR, HERE) * 2), Read(6), Finish())),
            variant="in pieces",
        )

    def test_optional(self) -> Any:
        own = {"alpha.header": "v1 TCP4 127.0.0.1 client > 127.0.0.1 port"}

        def client(name: str, data: bytes, sees: dict[str, Any]) -> Client:
            steps: tuple[Step, ...] = (Send(data), Read(6), Finish())
            return Client(name, steps, sees=sees, abrupt=not sees.get("alpha.header"), after=1)

        return self.compare(
            "proxy_protocol_optional",
            client("a word", WORD, own),
            client("1", headers.v1(FAR, HERE) + WORD, {"alpha.header": self.FAR}),
            client("2", headers.v2(FAR, HERE) + WORD, {"alpha.header": self.FAR}),
            client("as a header begins", b"PROXY ways\r\n" + WORD, {"reached": []}),
            client("as a header begins, short", b"PRO" + WORD, own),
            client("as version 2 begins", headers.SIGNATURE[:6] + WORD, own),
            client("two bytes as a header begins", b"PR", {"reached": [], "when": "after 1 s"}),
            client("one byte", b"x", own),
            Client("silent", (), after=1, sees=after(CLOSED)),
        )

    def test_tls(self) -> Any:
        far, near = headers.v2(FAR, HERE), headers.v1(("192.0.2.1", 1), HERE)
        alpha = Tls("alpha.test")
        return self.compare(
            "proxy_protocol_tls",
            Client("both", before=far, tls=alpha, sees={"certificate": "alpha"}),
            Client("another client", (), before=near, tls=alpha, sees={"reached": []}),
            Client("another name", before=far, tls=Tls("x.test"), sees={"certificate": "beta"}),
            Client("byte by byte", before=far, tls=Tls("x.test", piece=1), sees=reached("beta")),
            Client("plaintext", before=far, sees=GAMMA),
            Client("no header", (), tls=alpha, abrupt=True, sees={"reached": []}),
        )

    def test_tlvs(self) -> Any:
        tlvs = [(1, b"h2"), (2, b"a.test"), (0xE0, b"own")]
        return self.compare(
            "proxy_protocol_tlvs",
            Client("with TLVs", before=headers.v2(FAR, HERE, tlvs), sees=ALPHA),
            Client("without", before=headers.v2(FAR, HERE), sees=ALPHA),
            Client("version 1", before=headers.v1(FAR, HERE), sees=ALPHA),
        )
