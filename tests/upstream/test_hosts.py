"""
Where hosts are, and how they are spoken to.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.testing import MemoryReactor
from mxproxy.upstream.hosts import Host, addressPlace, describedPlace, nameAndPort
from mxproxy.upstream.sockets import UpstreamChain, UpstreamSocket, socketFor


class PlaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactor()

    def test_keys(self) -> None:
        """
        A key is an address as Envoy writes it.
        """
        for description, key, kind in (
            ("tcp:10.0.0.1:80", "10.0.0.1:80", TCP4ClientEndpoint),
            (r"tcp:\:\:1:80", "[::1]:80", TCP6ClientEndpoint),
            ("tcp:host=10.0.0.1:port=80", "10.0.0.1:80", TCP4ClientEndpoint),
            ("TCP:10.0.0.1:port=80", "10.0.0.1:80", TCP4ClientEndpoint),
            ("tcp:10.0.0.1:80:timeout=3", "10.0.0.1:80", TCP4ClientEndpoint),
            ("tcp:db.example:80", "db.example:80", TCP4ClientEndpoint),
            ("unix:/run/x", "/run/x", UNIXClientEndpoint),
            ("unix:path=/run/x", "unix:path=/run/x", UNIXClientEndpoint),
        ):
            place = describedPlace(self.reactor, description)
            self.assertEqual((place.description, place.key), (description, key))
            self.assertIsInstance(place.endpoint, kind, description)

    def test_noTimeoutOfItsOwn(self) -> None:
        """
        An attempt has a timer; there is no other, but one that is asked for.
        """
        self.reactor.silent.add(("10.0.0.1", 80))
        for place in (
            describedPlace(self.reactor, "tcp:10.0.0.1:80"),
            addressPlace(self.reactor, "10.0.0.1", 80),
        ):
            place.endpoint.connect(Factory())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        describedPlace(self.reactor, "tcp:10.0.0.1:80:timeout=3").endpoint.connect(Factory())
        self.assertEqual([call.getTime() for call in self.reactor.getDelayedCalls()], [3])

    def test_address(self) -> None:
        for host, description, key in (
            ("10.0.0.1", "tcp:10.0.0.1:80", "10.0.0.1:80"),
            ("::1", r"tcp:\:\:1:80", "[::1]:80"),
        ):
            place = addressPlace(self.reactor, host, 80)
            self.assertEqual((place.description, place.key), (description, key))
            self.assertEqual(describedPlace(self.reactor, description).key, key)

    def test_names(self) -> None:
        self.assertEqual(nameAndPort("tcp:db.example:80"), ("db.example", 80))
        self.assertEqual(nameAndPort("tcp:port=80:host=db"), ("db", 80))

    def test_noNames(self) -> None:
        for wrong in ("unix:/run/x", "tcp:db", "tcp:db:http", "tcp::80", "tcp"):
            error: Any = self.assertRaises(ValueError, nameAndPort, wrong)
            self.assertEqual(str(error), f"{wrong!r} is not of the form tcp:HOST:PORT")


class HostTests(SynchronousTestCase):
    def test_repr(self) -> None:
        socket = UpstreamSocket(UpstreamChain(Factory(), False))
        host = Host(addressPlace(MemoryReactor(), "10.0.0.1", 80), socket)
        self.assertEqual(repr(host), "<Host 10.0.0.1:80 healthy, 0 connections>")
        host.failedCheck = host.ejected = host.unlisted = True
        host.active = 2
        self.assertEqual(
            repr(host), "<Host 10.0.0.1:80 failed its check, ejected, unlisted, 2 connections>"
        )


class SocketTests(SynchronousTestCase):
    def test_firstThatMatches(self) -> None:
        """
        A host has to have all that is asked for; and what nothing is asked for takes any.
        """
        chain = UpstreamChain(Factory(), False)
        mutual, both, default = (
            UpstreamSocket(chain, match=match)
            for match in ({"tlsMode": "istio"}, {"tlsMode": "x", "n": 1.0}, {"never": "looked at"})
        )
        for metadata, expected in (
            ({"tlsMode": "istio"}, mutual),
            ({"tlsMode": "istio", "other": 1}, mutual),
            ({"tlsMode": "disabled"}, default),
            ({}, default),
            ({"tlsMode": "x"}, default),
            ({"tlsMode": "x", "n": 1}, both),
            ({"tlsMode": "x", "n": True}, default),
        ):
            self.assertIs(socketFor([mutual, both, default], metadata), expected, metadata)
        everyone = UpstreamSocket(chain)
        self.assertIs(socketFor([everyone, mutual], {}), everyone)
