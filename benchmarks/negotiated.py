"""
What the two proxies of a pair negotiate: read off the ServerHello of one connection, by a relay
between them.  What is measured has no relay.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from pathlib import Path

from .load import Client, build
from .pair import Pair
from .peers.base import Credentials, Peer
from .processes import Failed

_HANDSHAKE, _SERVER_HELLO = 22, 2
_KEY_SHARE, _SUPPORTED_VERSIONS = 51, 43

#: RFC 8446, section 4.1.3: a ServerHello with this random asks for another ClientHello.
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

_VERSIONS = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
#: https://www.iana.org/assignments/tls-parameters
_SUITES = {
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
}
_GROUPS = {0x0017: "P-256", 0x0018: "P-384", 0x001D: "X25519", 0x11EC: "X25519MLKEM768"}

#: Seconds for one connection.
_PATIENCE = 10.0


def understand(stream: bytes) -> str | None:
    """
    @param stream: what a TLS server has sent.
    @return: version, suite and group of its ServerHello; C{None} without one.
    """
    at = 0
    while len(stream) >= at + 5:
        kind, size = stream[at], int.from_bytes(stream[at + 3 : at + 5], "big")
        record = stream[at + 5 : at + 5 + size]
        at += 5 + size
        if len(record) < size or kind != _HANDSHAKE or size < 44 or record[0] != _SERVER_HELLO:
            continue
        if record[6:38] != _RETRY:
            return _serverHello(record)
    return None


def _serverHello(message: bytes) -> str:
    version, at = int.from_bytes(message[4:6], "big"), 38
    at += 1 + message[at]
    suite = int.from_bytes(message[at : at + 2], "big")
    # Compression, and the length of all extensions.
    at += 5
    group = None
    while at + 4 <= len(message):
        kind = int.from_bytes(message[at : at + 2], "big")
        size = int.from_bytes(message[at + 2 : at + 4], "big")
        value = int.from_bytes(message[at + 4 : at + 6], "big")
        if kind == _SUPPORTED_VERSIONS:
            version = value
        elif kind == _KEY_SHARE:
            group = value
        at += 4 + size
    words = [_VERSIONS.get(version, f"{version:#06x}"), _SUITES.get(suite, f"{suite:#06x}")]
    if group is not None:
        words.append(_GROUPS.get(group, f"{group:#06x}"))
    return " ".join(words)


class _Relay:
    """
    Passes connections on, and keeps what the other side sends.
    """

    def __init__(self, upstream: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.said = b""
        self._upstream = upstream
        self._end = time.monotonic() + 3 * _PATIENCE
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        others: dict[socket.socket, socket.socket] = {}
        servers: set[socket.socket] = set()
        while time.monotonic() < self._end:
            for ready in select.select([self._listener, *others], [], [], 0.1)[0]:
                if ready is self._listener:
                    downstream = ready.accept()[0]
                    try:
                        upstream = socket.create_connection(("127.0.0.1", self._upstream), 5)
                    except OSError:
                        downstream.close()
                        continue
                    others[downstream], others[upstream] = upstream, downstream
                    servers.add(upstream)
                elif ready in others and not self._pass(ready, others[ready], ready in servers):
                    for end in (others.pop(ready), ready):
                        others.pop(end, None)
                        end.close()
        for end in others:
            end.close()
        self._listener.close()

    def _pass(self, end: socket.socket, other: socket.socket, isServer: bool) -> bool:
        try:
            data = end.recv(65536)
            other.sendall(data)
        except OSError:
            return False
        if isServer:
            self.said += data
        return bool(data)

    def stop(self) -> None:
        """And wait for it."""
        self._end = 0.0
        self._thread.join(_PATIENCE)


def negotiated(peer: Peer, credentials: Credentials, directory: Path, server: int) -> str:
    """
    @param server: the port of a server.
    @return: such as C{TLSv1.3 TLS_AES_128_GCM_SHA256 X25519}.
    @raise Failed: no connection came about.
    """
    relays: list[_Relay] = []

    def between(port: int) -> int:
        relays.append(_Relay(port))
        return relays[0].port

    try:
        pair = Pair(peer, directory, credentials, server, between=between)
        try:
            Client(build(), 0.01, 0.0).run("requests", pair.port, 1, request=1, response=1)
        finally:
            pair.stop()
    finally:
        for relay in relays:
            relay.stop()
    found = understand(relays[0].said)
    if found is None:
        raise Failed("no ServerHello was seen")
    return found
