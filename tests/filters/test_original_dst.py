"""
Where a redirected connection was going.

What a kernel says of a real one is the business of tests.e2e.test_interception.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import (
    FilterChainMatch,
    FilterChainPlan,
    FilterSpec,
    ListenerPlan,
    Plan,
)
from mxproxy.filters.direct_response import DirectResponse
from mxproxy.filters.http_inspector import HTTPInspector
from mxproxy.filters.options import OptionError
from mxproxy.filters.original_dst import OriginalDst, configure, originalDestination
from mxproxy.filters.proxy_protocol import ProxyProtocol
from mxproxy.interfaces import IFilter
from mxproxy.listener import listenerFilters
from mxproxy.testing import (
    Application,
    Bench,
    Conversation,
    MemoryReactor,
    MemoryTransport,
    Proxy,
    checkFilter,
)
from mxproxy.testing.sidecars import dial
from mxproxy.testing.transport import HERE
from mxproxy.wire.metadata import Node

from .listening import GOES_ON, together

#: From linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h.
V4_OPTION = (socket.IPPROTO_IP, 80)
V6_OPTION = (socket.IPPROTO_IPV6, 80)


def sockaddr4(host: str, port: int) -> bytes:
    """
    As ip(7) has it.
    """
    return (
        struct.pack("=H", socket.AF_INET)
        + struct.pack("!H", port)
        + socket.inet_aton(host)
        + bytes(8)
    )


def sockaddr6(host: str, port: int) -> bytes:
    """
    As ipv6(7) has it.
    """
    address = socket.inet_pton(socket.AF_INET6, host)
    return (
        struct.pack("=H", socket.AF_INET6)
        + struct.pack("!HI", port, 7)
        + address
        + struct.pack("=I", 3)
    )


class AskTests(SynchronousTestCase):
    def ask(self, host: Any, options: dict[tuple[int, int], bytes]) -> object:
        transport = MemoryTransport(MemoryReactor(), host=host)
        transport.socket.options.update(options)
        return originalDestination(transport)

    def test_redirected(self) -> None:
        v4 = {V4_OPTION: sockaddr4("10.0.0.9", 443)}
        v6 = {V6_OPTION: sockaddr6("fd00::9", 443)}
        own4, own6 = IPv4Address("TCP", "10.0.0.1", 15006), IPv6Address("TCP", "fd00::1", 15006)
        self.assertEqual(self.ask(own4, v4), IPv4Address("TCP", "10.0.0.9", 443))
        self.assertEqual(self.ask(own6, v6), IPv6Address("TCP", "fd00::9", 443))
        # Each family is asked for in its own way; a v4 client of a v6 socket is a v4 client.
        self.assertEqual((self.ask(own4, v6), self.ask(own6, v4)), (None, None))
        mapped = IPv6Address("TCP", "::ffff:10.0.0.1", 15006)
        self.assertEqual(self.ask(mapped, {**v4, **v6}), IPv4Address("TCP", "10.0.0.9", 443))

    def test_otherPortOrAddress(self) -> None:
        own = IPv4Address("TCP", "10.0.0.1", 15006)
        for host, port in (("10.0.0.1", 443), ("10.0.0.2", 15006)):
            found = self.ask(own, {V4_OPTION: sockaddr4(host, port)})
            self.assertEqual(found, IPv4Address("TCP", host, port))

    def test_notRedirected(self) -> None:
        """
        The kernel names ourselves, or nobody.
        """
        for own, options in (
            (IPv4Address("TCP", "10.0.0.1", 1), {V4_OPTION: sockaddr4("10.0.0.1", 1)}),
            (IPv6Address("TCP", "fd00::1", 1), {V6_OPTION: sockaddr6("fd00::1", 1)}),
            (IPv6Address("TCP", "fe80::1%eth0", 1), {V6_OPTION: sockaddr6("fe80::1", 1)}),
            (IPv6Address("TCP", "::ffff:10.0.0.1", 1), {V4_OPTION: sockaddr4("10.0.0.1", 1)}),
            (IPv4Address("TCP", "10.0.0.1", 1), {}),
            (IPv4Address("TCP", "10.0.0.1", 1), {V4_OPTION: b"short"}),
            (UNIXAddress("/socket"), {V4_OPTION: sockaddr4("10.0.0.9", 443)}),
        ):
            self.assertIsNone(self.ask(own, options), own)

    def test_noSocket(self) -> None:
        class Elsewhere:
            def getHost(self) -> IPv4Address:
                return HERE

        self.assertIsNone(originalDestination(Elsewhere()))

    def test_realSocket(self) -> None:
        """
        One that nobody has redirected: the kernel may know the option or not.
        """

        class Real:
            def __init__(self, handle: socket.socket) -> None:
                self.getHandle = lambda: handle

            def getHost(self) -> IPv4Address:
                return IPv4Address("TCP", *self.getHandle().getsockname())

        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.socket() as client:
                client.connect(server.getsockname())
                accepted, _ = server.accept()
                with accepted:
                    self.assertIsNone(originalDestination(Real(accepted)))


def redirected(filter: Any, **more: Any) -> Bench:
    bench = Bench(filter, **more)
    bench.transport.socket.options[V4_OPTION] = sockaddr4("10.0.0.9", 443)
    return bench


DESTINATION = IPv4Address("TCP", "10.0.0.9", 443)


class OriginalDstTests(SynchronousTestCase):
    def test_kept(self) -> None:
        bench = redirected(OriginalDst())
        bench.play(
            """
            app<< connected
            left: original_dst
            >> 'hello'
            app<< 'hello'
            """
        )
        self.assertEqual(bench.peer.original_destination, DESTINATION)
        self.assertEqual(bench.peer.local_address, HERE)

    def test_notRedirected(self) -> None:
        bench = Bench(OriginalDst())
        bench.play("app<< connected\nleft: original_dst")
        self.assertIsNone(bench.peer.original_destination)

    def test_behindOthers(self) -> None:
        """
        The socket is asked, whatever is between, as long as there is time.
        """
        wrap = together(HTTPInspector(), OriginalDst())
        bench = redirected(wrap, context=GOES_ON)
        bench.connect()
        bench.transport.feed(b"no HTTP\r\n")
        self.assertEqual(bench.peer.original_destination, DESTINATION)
        bench = redirected(wrap, context=GOES_ON)
        bench.play("wait 1\napp<< connected\nleft: http_inspector\nleft: original_dst")
        self.assertIsNone(bench.peer.original_destination)

    def test_laterOneWins(self) -> None:
        """
        A PROXY header names a destination, too.
        """
        header = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"
        named = IPv4Address("TCP", "10.0.0.2", 2)
        for order, expected in (
            ((ProxyProtocol(), OriginalDst()), DESTINATION),
            ((OriginalDst(), ProxyProtocol()), named),
        ):
            bench = redirected(together(*order), context=GOES_ON)
            bench.connect()
            bench.transport.feed(header)
            self.assertEqual(bench.peer.original_destination, expected)

    def test_contract(self) -> None:
        checkFilter(OriginalDst(), conversation=Conversation(b"hello"))

    def test_configure(self) -> None:
        self.assertEqual(configure({}), OriginalDst())
        self.assertTrue(IFilter.providedBy(configure({})))
        self.assertRaises(OptionError, configure, {"x": "y"})


class ListenerTests(SynchronousTestCase):
    """
    C{use_original_dst}.
    """

    def test_last(self) -> None:
        chain = FilterChainPlan("c", (FilterSpec("direct", settings=DirectResponse()),))
        plan = ListenerPlan("listener", "tcp:1", (chain,), listener_filters=(FilterSpec("a"),))
        self.assertEqual(listenerFilters(plan), plan.listener_filters)
        filters = listenerFilters(replace(plan, use_original_dst=True))
        self.assertEqual(filters[:-1], plan.listener_filters)
        self.assertIsInstance(filters[-1].settings, OriginalDst)

    def test_match(self) -> None:
        """
        The chain is picked by where the connection was going.
        """

        def chain(name: str, *networks: str) -> FilterChainPlan:
            answer = DirectResponse(name.encode())
            return FilterChainPlan(
                name,
                (FilterSpec("direct", settings=answer),),
                FilterChainMatch(prefix_ranges=networks),
            )

        for use, expected in ((False, b"here"), (True, b"there")):
            reactor = MemoryReactor()
            listener = ListenerPlan(
                "listener",
                "tcp:1000",
                (chain("here", "127.0.0.0/8"), chain("there", "10.0.0.0/8")),
                use_original_dst=use,
            )
            Proxy(Plan(Node(), (listener,), ()), reactor)
            port = reactor.ports[-1]
            accept = port.accept

            def redirect(transport: Any, accept: Any = accept) -> None:
                transport.socket.options[V4_OPTION] = sockaddr4("10.0.0.9", 443)
                accept(transport)

            port.accept = redirect  # type: ignore[method-assign]
            client = dial(reactor, 1000, Application())
            self.assertEqual(client.received, expected)
