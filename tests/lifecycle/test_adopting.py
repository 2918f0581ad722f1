"""
Sockets that somebody else has opened.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from mxproxy.lifecycle.adopting import adopt


class _Hello(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


class AdoptTests(TestCase):
    timeout = 60

    async def check(self, own: socket.socket, where: str) -> None:
        """
        Connections come from it, and it is as before when nobody wants them any more.
        """
        from twisted.internet import reactor

        own.listen()
        factory = Factory.forProtocol(_Hello)
        factory.noisy = False
        for _ in range(2):
            port: Any = adopt(reactor, own.fileno(), factory)
            client = await connectProtocol(clientFromString(reactor, where), _Reading())
            self.assertEqual(await client.done(), b"hello")
            self.assertIsNotNone(port.getHost())
            await port.stopListening()
        # In its queue, though nobody accepts.
        with socket.socket(own.family) as waiting:
            waiting.connect(own.getsockname())
            own.accept()[0].close()

    async def test_unix(self) -> None:
        """
        The name stays where it is, and so do its permissions.
        """
        directory = tempfile.mkdtemp(prefix="mxproxy-")
        self.addCleanup(shutil.rmtree, directory)
        path = str(Path(directory) / "socket")
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(path)
            os.chmod(path, 0o600)
            await self.check(own, f"unix:{path}")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    async def test_tcp(self) -> None:
        with socket.socket() as own:
            own.bind(("127.0.0.1", 0))
            await self.check(own, f"tcp:127.0.0.1:{own.getsockname()[1]}")

    async def test_tcp6(self) -> None:
        with socket.socket(socket.AF_INET6) as own:
            try:
                own.bind(("::1", 0))
            except OSError:
                return  # A machine without IPv6.
            await self.check(
                own, f"tcp:[\\:\\:1]:{own.getsockname()[1]}".replace("[", "").replace("]", "")
            )


class _Reading(Protocol):
    def __init__(self) -> None:
        from twisted.internet.defer import Deferred

        self._data = b""
        self._done: Any = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._data += data

    def connectionLost(self, reason: object = None) -> None:
        self._done.callback(self._data)

    def done(self) -> Any:
        return self._done
