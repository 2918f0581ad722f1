"""
What C{tshark} says, understood; tests/e2e has the real one.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tools.decode import capture
from mxproxy.tools.decode.capture import CaptureError, readCapture

CLIENT, SERVER = "10.0.0.1:4000", "10.0.0.2:15006"


def packet(number: int, stream: int, back: bool = False, flags: int = 0x18, **fields: str) -> str:
    ends = ["10.0.0.1", "", "4000"], ["10.0.0.2", "", "15006"]
    source, target = reversed(ends) if back else ends
    tls = [fields.get(name, "") for name in ("record", "message", "alpn", "sni")]
    size = "0" if flags & 0x02 else "10"
    what = [f"0x{flags:04x}", size, *tls]
    return "\t".join([str(number), str(stream), *source, *target, *what]) + "\n"


def answer(*said: tuple[int, int, bytes]) -> list[str]:
    """
    An answer to C{follow}: packet, peer, bytes.
    """
    lines = ["peers:\n", "  - peer: 0\n", "    host: 10.0.0.2\n", "    port: 15006\n"]
    lines += ["  - peer: 1\n", "    host: \n", "    port: 0\n", "packets:\n"]
    for number, peer, data in said:
        lines += [f"  - packet: {number}\n", f"    peer: {peer}\n", "    timestamp: 1.5\n"]
        lines += ["    data: !!binary |\n"]
        lines += [f"      {line}\n" for line in base64.encodebytes(data).decode().splitlines()]
    return lines


class CaptureTests(SynchronousTestCase):
    def tshark(self, packets: list[str], *answers: list[str]) -> None:
        """
        Answer like this; what was asked is kept.
        """
        self.asked: list[list[str]] = []

        def run(command: Sequence[str]) -> Iterator[str]:
            self.asked.append(list(command))
            if len(self.asked) == 1:
                return iter(packets)
            return iter([line for one in answers for line in one])

        self.patch(capture, "_run", run)
        self.patch(capture, "_find", lambda: "tshark")

    def test_plain(self) -> None:
        """
        Who is who is told by the SYN; what was said, by the packets, in whatever order the
        answers come.
        """
        self.tshark(
            [packet(1, 0, flags=0x02), packet(2, 0, back=True, flags=0x12), packet(3, 0)]
            + [packet(4, 0, back=True), packet(5, 1, back=True, flags=0x12), packet(6, 1)],
            answer((6, 0, b"two")),
            answer((4, 0, b"server"), (3, 1, b"cli"), (3, 1, b"ent")),
        )
        found = readCapture("/c", 100)
        first, second = found.streams
        self.assertEqual((first.client, first.server), (CLIENT, SERVER))
        self.assertEqual((first.head(CLIENT), first.head(SERVER)), (b"client", b"server"))
        self.assertEqual((second.client, second.head(CLIENT)), (CLIENT, b"two"))
        self.assertTrue(first.decrypted)
        self.assertEqual(
            self.asked[1],
            ["tshark", "-n", "-r", "/c", "-q"]
            + ["-z", "follow,tcp,yaml,0", "-z", "follow,tcp,yaml,1"],
        )

    def test_tls(self) -> None:
        """
        What is said in the clear of a handshake; and that there are no secrets for it.
        """
        self.tshark(
            [
                packet(1, 0, record="22", message="1", alpn="istio-peer-exchange,istio", sni="db"),
                packet(2, 0, back=True, record="22,20", message="2,8", alpn="istio"),
            ],
            answer(),
        )
        (stream,) = readCapture("/c", 100, keylog="/k").streams
        self.assertEqual(stream.offered, ("istio-peer-exchange", "istio"))
        self.assertEqual((stream.negotiated, stream.sni), ("istio", "db"))
        self.assertEqual((stream.tls, stream.decrypted), (True, False))
        self.assertEqual(self.asked[0][4:6], ["-o", "tls.keylog_file:/k"])
        self.assertIn("follow,tls,yaml,0", self.asked[1])

    def test_bounded(self) -> None:
        """
        Of what was said, as much as was asked for; of the streams, so many.
        """
        self.patch(capture, "MAX_STREAMS", 2)
        self.tshark([packet(n, n) for n in range(5)], answer((0, 0, b"x" * 1000)))
        found = readCapture("/c", 150)
        self.assertEqual((len(found.streams), found.others), (2, 3))
        self.assertEqual(len(found.streams[0].head(CLIENT)), 150)

    def test_named(self) -> None:
        self.tshark([packet(n, n) for n in range(5)], answer())
        found = readCapture("/c", 10, numbers=[3])
        self.assertEqual([one.number for one in found.streams], [3])
        self.tshark([packet(1, 0)], answer())
        error = self.assertRaises(CaptureError, readCapture, "/c", 10, None, [7])
        self.assertEqual(str(error), "'/c' has no TCP stream 7: it has 1, from 0")

    def test_silent(self) -> None:
        """
        Scans and health checks are not in the way.
        """
        self.tshark([packet(n, n, flags=0x02) for n in range(200)] + [packet(201, 7)], answer())
        found = readCapture("/c", 10)
        self.assertEqual([one.number for one in found.streams], [7])
        self.assertEqual((found.others, found.silent), (0, 199))

    def test_empty(self) -> None:
        """
        No streams, no second question.
        """
        self.tshark(["\t" * 13 + "\n"])
        self.assertEqual(readCapture("/c", 10).streams, [])
        self.assertEqual(len(self.asked), 1)

    def test_missing(self) -> None:
        self.patch(os, "environ", {"PATH": "/nowhere"})
        error = self.assertRaises(CaptureError, readCapture, "/c", 10)
        self.assertIn("tshark, which is not installed (Debian: apt-get install tshark)", str(error))

    def test_failed(self) -> None:
        """
        Its own words, without the warning that it always has for root.
        """
        said = "Running as user root. This could be dangerous.\ntshark: no such file\n"
        command = ["/bin/sh", "-c", f"echo out; printf '{said}' >&2; exit 2"]
        lines = capture._run(command)
        self.assertEqual(next(lines), "out\n")
        error = self.assertRaises(CaptureError, next, lines)
        self.assertEqual(str(error), "tshark has failed: tshark: no such file")
