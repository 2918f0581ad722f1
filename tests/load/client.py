"""
Peers of an inbound proxy: honest ones, that finish, and others.
"""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass
from pathlib import Path

from mxproxy.wire.metadata import Node
from mxproxy.wire.prefix import HEADER, HEADER_SIZE

ALPN = "istio-peer-exchange"

#: Seconds for everything that takes a moment.
PATIENCE = 60.0

#: Source addresses: an address has 28,000 ports for what it dials.
SOURCES = 8

_NODE = Node("load~id", {"NAME": "load-1", "NAMESPACE": "default", "WORKLOAD_NAME": "load"})


@dataclass(frozen=True)
class Files:
    """
    What a peer shows, and whom it trusts.
    """

    certificate: Path
    key: Path
    authority: Path

    def context(self) -> ssl.SSLContext:
        """
        For a client in the mesh.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.authority)
        context.load_cert_chain(self.certificate, self.key)
        context.set_alpn_protocols([ALPN])
        return context


def dial(port: int, number: int = 0) -> socket.socket:
    """
    A TCP connection.

    @param number: which one it is; they come from several addresses.
    """
    own = socket.socket()
    own.settimeout(PATIENCE)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own.bind((f"127.0.0.{2 + number % SOURCES}", 0))
    own.connect(("127.0.0.1", port))
    return own


def join(port: int, context: ssl.SSLContext, number: int = 0) -> ssl.SSLSocket:
    """
    A connection whose TLS handshake and exchange are done.
    """
    tls = context.wrap_socket(dial(port, number), server_hostname="db.example")
    tls.sendall(_NODE.prefix())
    magic, size = HEADER.unpack(_exactly(tls, HEADER_SIZE))
    assert magic == struct.unpack(">I", _NODE.prefix()[:4])[0], hex(magic)
    _exactly(tls, size)
    return tls


def ask(tls: ssl.SSLSocket, request: bytes) -> None:
    """
    Have the application send something back.

    @raise AssertionError: it is something else.
    """
    tls.sendall(request)
    answer = _exactly(tls, len(request))
    assert answer == request, (request, answer)


def _exactly(tls: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = tls.recv(size - len(data))
        if not more:
            raise ConnectionError(f"the stream ended after {len(data)} of {size} bytes")
        data += more
    return data


def clientHello(context: ssl.SSLContext) -> bytes:
    """
    What a client says first.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="db.example")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()
