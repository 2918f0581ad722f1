"""
The heads of the TCP streams in a capture, decrypted where its secrets are known.

Wireshark's C{tshark} reads the file, puts the streams together and decrypts TLS; it knows every
form of captures, encapsulations, losses and versions.  It is asked twice: which streams there
are, and then for those that matter, what was said in them.  What of a stream is kept is bounded
by what a prefix may have; nothing else of it is.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

#: How many streams are looked at, unless some are named.
MAX_STREAMS: Final = 100

# tshark's own fields, in this order.
_FIELDS: Final = (
    "frame.number",
    "tcp.stream",
    "ip.src",
    "ipv6.src",
    "tcp.srcport",
    "ip.dst",
    "ipv6.dst",
    "tcp.dstport",
    "tcp.flags",
    "tcp.len",
    "tls.record.content_type",
    "tls.handshake.type",
    "tls.handshake.extensions_alpn_str",
    "tls.handshake.extensions_server_name",
)
_SYN, _ACK = 0x02, 0x10
# Where a client offers protocols, and where a server says which (TLS 1.2, and 1.3).
_CLIENT_HELLO, _SERVER_HELLO, _ENCRYPTED_EXTENSIONS = "1", "2", "8"

# Frames of a stream by which its two ends are told apart.
_MAX_FRAMES: Final = 256


class CaptureError(Exception):
    """
    A capture cannot be read; the text, one line, says why and what to do.
    """


@dataclass
class Stream:
    """
    A TCP connection in a capture.

    @ivar number: Wireshark's, C{tcp.stream}.
    @ivar client: who has opened it, C{ip:port}; by the SYN, a ClientHello, or who spoke first.
    @ivar server: the other one.
    @ivar tls: whether TLS was spoken.
    @ivar offered: the protocols of the ClientHello, as far as it was in the clear.
    @ivar negotiated: which of them was chosen; empty where that is not known.
    @ivar sni: the server name in it.
    @ivar spoke: whether any byte was sent.
    @ivar heads: what each side has said first, at most C{limit} bytes of it.
    """

    number: int
    client: str
    server: str
    tls: bool = False
    offered: tuple[str, ...] = ()
    negotiated: str = ""
    sni: str = ""
    spoke: bool = False
    heads: dict[str, bytearray] = field(default_factory=dict)
    sources: dict[int, str] = field(default_factory=dict)
    certain: bool = False

    @property
    def decrypted(self) -> bool:
        """Whether something is known of what was said inside TLS."""
        return not self.tls or bool(self.heads)

    def head(self, who: str) -> bytes:
        """What C{who} has said first."""
        return bytes(self.heads.get(who, b""))


@dataclass
class Capture:
    """
    What was found.

    @ivar streams: those that were looked at.
    @ivar others: how many there are besides, of which there is something to look at.
    @ivar silent: how many there are in which nothing was said.
    """

    streams: list[Stream]
    others: int
    silent: int = 0


def readCapture(
    path: str, limit: int, keylog: str | None = None, numbers: Sequence[int] = ()
) -> Capture:
    """
    @param limit: bytes to keep of each side of a stream.
    @param keylog: a file with TLS secrets; pcapng files may have them inside.
    @param numbers: which streams; none: the first L{MAX_STREAMS} in which something was said.
    @raise CaptureError: it cannot be read.
    """
    tshark = [_find(), "-n", "-r", path]
    if keylog is not None:
        tshark += ["-o", f"tls.keylog_file:{keylog}"]
    every = _findStreams(tshark)
    chosen = [one for one in every.values() if (one.number in numbers if numbers else one.spoke)]
    missing = sorted(set(numbers) - set(every))
    if missing:
        raise CaptureError(f"{path!r} has no TCP stream {missing[0]}: it has {len(every)}, from 0")
    streams = chosen if numbers else chosen[:MAX_STREAMS]
    if streams:
        _follow(tshark, streams, limit)
    silent = sum(not one.spoke for one in every.values())
    return Capture(streams, len(chosen) - len(streams), silent)


def _find() -> str:
    path = shutil.which("tshark")
    if path is None:
        raise CaptureError(
            "captures are read with Wireshark's tshark, which is not installed (Debian: apt-get "
            "install tshark); without it, follow the stream in Wireshark and save it as raw data"
        )
    return path


def _run(command: Sequence[str]) -> Iterator[str]:
    """
    The lines that a command prints.

    @raise CaptureError: it has failed.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        try:
            yield from process.stdout
            errors = process.stderr.read()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        # Running as root, it begins with a warning.
        lines = [line for line in errors.splitlines() if line and "could be dangerous" not in line]
        raise CaptureError(f"tshark has failed: {' '.join(lines) or process.returncode}")


# -- which streams there are -----------------------------------------------------------------


def _findStreams(tshark: Sequence[str]) -> dict[int, Stream]:
    fields = [word for name in _FIELDS for word in ("-e", name)]
    options = ["-Y", "tcp", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", *fields]
    streams: dict[int, Stream] = {}
    for line in _run([*tshark, *options]):
        values = dict(zip(_FIELDS, line.rstrip("\n").split("\t"), strict=False))
        # Of packets inside of packets, the innermost.
        last = {name: value.rpartition(",")[2] for name, value in values.items()}
        if last.get("tcp.stream", "").isdecimal():
            _note(streams, values, last)
    return streams


def _note(streams: dict[int, Stream], values: dict[str, str], last: dict[str, str]) -> None:
    """
    What a packet tells of its stream.
    """
    number = int(last["tcp.stream"])
    source = _address(last["ip.src"] or last["ipv6.src"], last["tcp.srcport"])
    target = _address(last["ip.dst"] or last["ipv6.dst"], last["tcp.dstport"])
    stream = streams.setdefault(number, Stream(number, source, target))
    flags = int(last["tcp.flags"] or "0", 16)
    messages = values["tls.handshake.type"].split(",")
    hello = _CLIENT_HELLO in messages
    if not stream.certain and (flags & _SYN or hello):
        client = target if flags & _SYN and flags & _ACK else source
        stream.client, stream.server = client, target if client == source else source
        stream.certain = True
    if last["tcp.len"] not in ("", "0"):
        stream.spoke = True
        if len(stream.sources) < _MAX_FRAMES:
            stream.sources[int(last["frame.number"])] = source
    if values["tls.record.content_type"]:
        stream.tls = True
    alpn = values["tls.handshake.extensions_alpn_str"]
    if hello:
        stream.offered = tuple(filter(None, alpn.split(",")))
        stream.sni = values["tls.handshake.extensions_server_name"]
    elif alpn and (_SERVER_HELLO in messages or _ENCRYPTED_EXTENSIONS in messages):
        stream.negotiated = alpn


def _address(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# -- what was said ---------------------------------------------------------------------------


def _follow(tshark: Sequence[str], streams: Sequence[Stream], limit: int) -> None:
    """
    Fill in the heads: C{-z follow,PROTOCOL,yaml,NUMBER}, as
    U{https://www.wireshark.org/docs/man-pages/tshark.html} has it.

    An answer does not say which stream it is of, and of its peers' addresses not all are right; but
    the packets are, and whose they are is known.
    """
    packets = {frame: (one, who) for one in streams for frame, who in one.sources.items()}
    asked = [f"follow,{'tls' if one.tls else 'tcp'},yaml,{one.number}" for one in streams]
    options = [word for question in asked for word in ("-z", question)]
    # What an answer calls its peers, and who they are.
    speakers: dict[str, tuple[Stream, str]] = {}
    packet, speaker = 0, ""
    for line in _run([*tshark, "-q", *options]):
        if line.startswith("peers:"):
            speakers = {}
        elif line.startswith("  - packet: "):
            packet = int(line.rpartition(" ")[2])
        elif line.startswith("    peer: "):
            speaker = line.rpartition(" ")[2]
            if packet in packets:
                speakers.setdefault(speaker, packets[packet])
        elif line.startswith("      ") and speaker in speakers:
            stream, who = speakers[speaker]
            head = stream.heads.setdefault(who, bytearray())
            if len(head) < limit:
                head += base64.b64decode(line.strip())[: limit - len(head)]
