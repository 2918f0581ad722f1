"""
What the kernel is asked for, on both sides' sockets.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mxproxy.config.plan import (
    ClusterPlan,
    FilterChainPlan,
    FilterSpec,
    HostPlan,
    ListenerPlan,
    Plan,
)
from mxproxy.connection import Connection
from mxproxy.filters.tcp_proxy import TCPProxy
from mxproxy.service import ProxyService
from mxproxy.socketoptions import SocketOption, keepalive, numbered, setOptions, userTimeout
from mxproxy.testing.sidecars import Edges
from mxproxy.wire.metadata import Node


def valuesOf(own: socket.socket, options: Iterable[SocketOption]) -> list[int]:
    return [own.getsockopt(option.level, option.name) for option in options]


class OptionTests(SynchronousTestCase):
    def test_keepalive(self) -> None:
        """
        What is not said is left to the system.
        """
        on = SocketOption(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.assertEqual(keepalive(), (on,))
        tcp = socket.IPPROTO_TCP
        self.assertEqual(
            keepalive(60, 5, 2),
            (
                on,
                SocketOption(tcp, socket.TCP_KEEPIDLE, 60),
                SocketOption(tcp, socket.TCP_KEEPINTVL, 5),
                SocketOption(tcp, socket.TCP_KEEPCNT, 2),
            ),
        )

    def test_refused(self) -> None:
        """
        What the kernel does not take is found before there is a connection.
        """
        for call, arguments in (
            (keepalive, (10**6,)),
            (keepalive, (60, 10**6)),
            (keepalive, (60, 5, 128)),
            (userTimeout, (1e9,)),
            (numbered, (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 0)),
        ):
            error = self.assertRaises(ValueError, call, *arguments)
            self.assertIn("this system does not take", str(error))

    def test_numbered(self) -> None:
        """
        Only what makes sense on a socket that is accepted already.
        """
        self.assertEqual(
            [numbered(*option) for option in keepalive(60, 5, 2)], list(keepalive(60, 5, 2))
        )
        self.assertEqual((numbered(*userTimeout(1.5)[0]),), userTimeout(1.5))
        for level, name in (
            (socket.SOL_SOCKET, socket.SO_REUSEADDR),
            (socket.IPPROTO_TCP, socket.SO_KEEPALIVE),
            (socket.IPPROTO_IP, socket.IP_TOS),
        ):
            error = self.assertRaises(ValueError, numbered, level, name, 1)
            self.assertEqual(
                str(error), f"the option {name} of level {level} is not implemented by mxproxy"
            )

    def test_withoutASocket(self) -> None:
        setOptions(object(), keepalive())

    def test_gone(self) -> None:
        """
        A socket that is gone is somebody else's to notice.
        """

        class Transport:
            def getHost(self) -> IPv4Address:
                return IPv4Address("TCP", "127.0.0.1", 80)

            def getHandle(self) -> socket.socket:
                return own

        own = socket.socket()
        own.close()
        setOptions(Transport(), keepalive(60))


class SocketTests(TestCase):
    """
    Over real sockets.
    """

    async def through(self, listen: str, serve: str, options: Any) -> Connection:
        """
        A connection through a proxy, open.
        """
        from twisted.internet import reactor

        factory = Factory.forProtocol(Protocol)
        port: Any = await serverFromString(reactor, serve).listen(factory)
        self.addCleanup(port.stopListening)
        host = serve
        if serve.startswith("tcp"):
            host = f"tcp:127.0.0.1:{port.getHost().port}"
        chain = FilterChainPlan("chain", (FilterSpec("x", settings=TCPProxy("cluster")),))
        edges = Edges()
        made: Deferred[Connection] = Deferred()
        edges.connected = made.callback  # type: ignore[method-assign]
        service = ProxyService(
            Plan(
                Node(),
                (ListenerPlan("listener", listen, (chain,), socket_options=options),),
                (ClusterPlan("cluster", (HostPlan(host),), socket_options=options),),
            ),
            reactor,
            [edges],
        )
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        where = listen
        if listen.startswith("tcp"):
            (own,) = service.ports
            where = f"tcp:127.0.0.1:{own.getHost().port}"
        client: Any = await clientFromString(reactor, where).connect(factory)
        self.addCleanup(client.transport.abortConnection)
        return await made

    async def test_both(self) -> None:
        """
        Both sides have them, and without being asked for they have none.
        """
        options = (*keepalive(61, 7, 3), *userTimeout(2.5))
        tcp = "tcp:0:interface=127.0.0.1"
        for given, wanted in ((options, [1, 61, 7, 3, 2500]), ((), None)):
            connection = await self.through(tcp, tcp, given)
            for peer in (connection.downstream, connection.upstream):
                found = valuesOf(peer.transport.getHandle(), options)
                if wanted is None:
                    self.assertEqual((found[0], found[4]), (0, 0))
                else:
                    self.assertEqual(found, wanted)

    async def test_unix(self) -> None:
        """
        UNIX sockets know none of this, and work.
        """
        connection = await self.through(
            f"unix:{self.mktemp()}", f"unix:{self.mktemp()}", keepalive(61, 7, 3)
        )
        for peer in (connection.downstream, connection.upstream):
            own = peer.transport.getHandle()
            self.assertEqual(own.family, socket.AF_UNIX)
            self.assertEqual(own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 0)
