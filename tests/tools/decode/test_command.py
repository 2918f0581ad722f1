"""
C{mxproxy decode} from its arguments to its last line.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tools import decode
from mxproxy.tools.decode import command
from mxproxy.tools.decode.capture import Capture, CaptureError, Stream
from mxproxy.wire.metadata import Node
from mxproxy.wire.prefix import encodePrefix

PREFIX = Node("n1", {"WORKLOAD_NAME": "db", "NAMESPACE": "data"}).prefix()

#: tests/e2e has real captures.
PCAP = bytes.fromhex("d4c3b2a1")


class Input(io.TextIOWrapper):
    terminal = False

    def isatty(self) -> bool:
        return self.terminal


class CommandTests(SynchronousTestCase):
    def decode(self, *argv: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """
        @return: exit status, standard output, standard error.
        """
        output = io.TextIOWrapper(io.BytesIO(), "utf-8")
        stderr = io.StringIO()
        with (
            patch("sys.stdin", Input(io.BytesIO(stdin))),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(stderr),
        ):
            try:
                status: Any = decode.main(argv)
            except SystemExit as stopped:
                status = stopped.code
        output.flush()
        text = output.buffer.getvalue().decode()  # type: ignore[attr-defined]
        return status, text, stderr.getvalue()

    def file(self, data: bytes) -> str:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(data)
        return path

    def test_found(self) -> None:
        """
        To the letter.
        """
        self.assertEqual(
            self.decode(PREFIX.hex()),
            (
                0,
                """\
✓ db in namespace data

    000000  3d 23 04 67                magic
    000004  00 00 00 a7                length 167
    000008  0a 2a 74 79 70 65 2e 67 …  Any: type.googleapis.com/google.protobuf.Struct
    000034  12 79                      Any.value, 121 bytes: Struct
    000036  0a 55 0a 15 78 2d 65 6e …    x-envoy-peer-metadata: Struct, 58 bytes
    000053  0a 0c 0a 06 4c 41 42 45 …      LABELS: Struct, 0 bytes
    000061  0a 13 0a 09 4e 41 4d 45 …      NAMESPACE = data
    000076  0a 15 0a 0d 57 4f 52 4b …      WORKLOAD_NAME = db
    00008d  0a 20 0a 18 78 2d 65 6e …    x-envoy-peer-metadata-id = n1

  metadata (175 bytes)
    workload     db
    namespace    data
    id           n1
""",
                "",
            ),
        )

    def test_sources(self) -> None:
        """
        From wherever it comes.
        """
        path = self.file(PREFIX + b"GET /")
        for argv, stdin, source in [
            ([path], b"", path),
            ([], PREFIX + b"GET /", "standard input"),
            (["-"], PREFIX + b"GET /", "standard input"),
            ([PREFIX.hex() + b"GET /".hex()], b"", "command line"),
        ]:
            status, output, errors = self.decode(*argv, "--json", stdin=stdin)
            found = json.loads(output)
            self.assertEqual((status, errors, found["source"]), (0, "", source))
            self.assertEqual((found["metadata"]["workload"], found["rest_bytes"]), ("db", 5))

    def test_statuses(self) -> None:
        for data, status, state, fault in [
            (b"GET /", 3, "bad_magic", 0),
            (PREFIX[:3], 4, "closed", 3),
            (PREFIX[:-1], 4, "closed", len(PREFIX) - 1),
            (encodePrefix(b"\x0a\x01\xff"), 4, "malformed", 10),
            (PREFIX[:4] + b"\x7f\0\0\0", 4, "too_large", 4),
        ]:
            path = self.file(data)
            found = self.decode(path, "--format", "raw", "--json")
            self.assertEqual(found[0], status, found)
            described = json.loads(found[1])
            self.assertEqual((described["state"], described["fault_at_byte"]), (state, fault))
            text = self.decode(path, "--format", "raw")[1]
            self.assertIn(f"\n  byte {fault}: ", text)
            self.assertTrue(text.startswith("✗ "), text)

    def test_behind(self) -> None:
        """
        Of what the application says, not much.
        """
        _, text, _ = self.decode((PREFIX + b"secret" * 100).hex())
        self.assertIn("\n  behind it, 600 bytes of the application\n", text)
        self.assertEqual(text.count("secret"), 4)

    def test_all(self) -> None:
        _, text, _ = self.decode(PREFIX.hex(), "--all")
        self.assertIn("          Entry.key = 'LABELS'\n", text)

    def test_maxSize(self) -> None:
        self.assertEqual(self.decode(PREFIX.hex(), "--max-size", "100")[0], 4)

    def test_refused(self) -> None:
        for argv, status, message in [
            (["gone"], 1, "there is no file 'gone', nor is that a prefix in hex or base64"),
            (["3d2", "--format", "hex"], 1, "3 digits make no whole bytes"),
            ([os.curdir], 1, "cannot read '.': Is a directory"),
            (["x", "--keylog", "gone"], 2, "there is no file 'gone'"),
            (["x", "--stream", "a"], 2, "'a' is no number"),
        ]:
            found = self.decode(*argv)
            self.assertEqual((found[0], found[1]), (status, ""), found)
            self.assertIn(f"mxproxy decode: {'error: ' if status == 2 else ''}", found[2])
            self.assertIn(message, found[2])
        found = self.decode("-", stdin=PCAP + bytes(20))
        self.assertEqual((found[0], found[1]), (1, ""))
        self.assertIn("a capture has to be a file", found[2])

    def test_nothing(self) -> None:
        """
        Nobody waits for what a person would have to type.
        """
        self.patch(Input, "terminal", True)
        status, _, errors = self.decode()
        self.assertEqual(status, 2)
        self.assertIn("say FILE, or the prefix itself", errors)

    # -- captures

    def capture(self, *streams: Stream, others: int = 0) -> str:
        """
        A capture of which tshark says this.
        """
        self.read: list[Any] = []

        def readCapture(*arguments: Any) -> Capture:
            self.read.append(arguments)
            return Capture(list(streams), others)

        self.patch(command, "readCapture", readCapture)
        return self.file(PCAP)

    def stream(self, number: int, client: bytes, server: bytes, **changes: Any) -> Stream:
        heads = {"c:1": bytearray(client), "s:2": bytearray(server)}
        heads = {who: head for who, head in heads.items() if head}
        return Stream(number, "c:1", "s:2", heads=heads, **changes)

    def test_capture(self) -> None:
        path = self.capture(
            self.stream(0, b"GET /", b"HTTP/1.1 200 OK"),
            self.stream(1, PREFIX, PREFIX + b"x", tls=True, offered=("a", "b"), negotiated="a"),
            self.stream(2, b"", b"", tls=True, sni="db"),
            others=7,
        )
        status, text, errors = self.decode(path, "--stream", "1", "--max-size", "1000")
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(self.read, [(os.path.abspath(path), 1008, None, [1])])
        for part in (
            "stream 0: c:1 to s:2\n  no prefix; it begins with 'GET /'\n",
            "stream 1: c:1 to s:2, TLS\n  ALPN         a (offered: a, b)\n",
            "\n  ✓ client c:1: db in namespace data\n",
            "\n  ✓ server s:2: db in namespace data\n",
            "  server name  db\n  not decrypted: there are no secrets for it; give them with --keylog\n",
            "\n7 more streams; look at one with --stream N\n",
        ):
            self.assertIn(part, text)

    def test_captureStatuses(self) -> None:
        """
        A broken prefix is told from none at all.
        """
        for streams, status in [
            ([], 3),
            ([self.stream(0, b"GET /", b"")], 3),
            ([self.stream(0, PREFIX, b"")], 0),
            ([self.stream(0, PREFIX, PREFIX[:50])], 4),
        ]:
            self.assertEqual(self.decode(self.capture(*streams))[0], status)

    def test_captureJSON(self) -> None:
        path = self.capture(self.stream(4, PREFIX, b"SSH-2.0", tls=True))
        status, text, _ = self.decode(path, "--json")
        client, server = map(json.loads, text.splitlines())
        self.assertEqual((status, client["stream"], client["state"]), (0, 4, "found"))
        self.assertEqual((client["from"], client["side"]), ("c:1", "client"))
        self.assertEqual((server["from"], server["state"]), ("s:2", "bad_magic"))

    def test_captureFailed(self) -> None:
        def readCapture(*arguments: Any) -> Capture:
            raise CaptureError("tshark has failed: of\nsomething")

        self.patch(command, "readCapture", readCapture)
        found = self.decode(self.file(PCAP))
        self.assertEqual(found, (1, "", "mxproxy decode: tshark has failed: of something\n"))
