"""
Which filter chain takes a connection.
"""

from __future__ import annotations

from typing import Any

from tests.sidebyside import headers
from tests.sidebyside.clients import WORD, Client, Send
from tests.sidebyside.harness import SideBySide
from tests.sidebyside.peer import Tls
from tests.sidebyside.test_tcp import ALPHA, BETA, CLOSED, DELTA, GAMMA

FAR = "198.51.100.7", 4001
HERE = "127.0.0.1", 4001


def reached(name: str) -> dict[str, Any]:
    """
    That it was this backend, which tells the chain.
    """
    return {"reached": [name]}


class AddressTests(SideBySide):
    def test_destinationPort(self) -> Any:
        here = "PROXY TCP4 127.0.0.1 127.0.0.1 4001 ${port}\r\n"
        return self.compare(
            "match_destination_port",
            Client("the socket's", sees=BETA),
            Client("a header's", before=headers.v2(FAR, HERE), sees=ALPHA),
            Client("a header's, the same", before=here, sees=BETA),
            Client("a header's, no chain's", (), before=headers.v1(FAR, ("127.0.0.1", 4002))),
        )

    def test_prefixRanges(self) -> Any:
        return self.compare(
            "match_prefix_ranges",
            Client("the wide one", sees=BETA),
            Client("the narrow one", host="127.0.0.2", sees=ALPHA),
            Client("a net", host="127.0.3.77", sees=ALPHA),
            Client("beside the net", host="127.0.4.77", sees=BETA),
        )

    def test_sourcePrefixRanges(self) -> Any:
        return self.compare(
            "match_source_prefix_ranges",
            Client("the wide one", sees=BETA),
            Client("the narrow one", source="127.0.0.2", sees=ALPHA),
            Client("a header's", before=headers.v1(FAR, HERE), sees=ALPHA),
            Client(
                "a header's, IPv6", before=headers.v2(("2001:db8::1", 1), ("::1", 2)), sees=BETA
            ),
            Client("a header's, of no chain", (), before=headers.v2(("192.0.2.9", 1), HERE)),
        )

    def test_directSource(self) -> Any:
        return self.compare(
            "match_direct_source",
            Client("no chain's", sees=GAMMA),
            Client("the socket's", source="127.0.0.2", sees=ALPHA),
            Client("a header does not count", before=headers.v1(FAR, HERE), sees=GAMMA),
            Client("behind a header", source="127.0.0.2", before=headers.v2(FAR, HERE), sees=ALPHA),
        )

    def test_sourcePorts(self) -> Any:
        return self.compare(
            "match_source_ports",
            Client("any", sees=BETA),
            Client("the one", sourcePort="source", sees=ALPHA),
            Client("a header's", before=headers.v1(FAR, HERE), sees=ALPHA),
            Client("another header's", before=headers.v1(("198.51.100.7", 4002), HERE), sees=BETA),
        )

    def test_sourceType(self) -> Any:
        return self.compare(
            "match_source_type",
            Client("loopback", sees=ALPHA),
            # Loopback is 127.0.0.1 and ::1 alone.
            Client("another loopback address", source="127.0.0.2", sees=BETA),
            Client("a header's, far", before=headers.v1(FAR, HERE), sees=BETA),
            Client("a header's, loopback", before=headers.v2(HERE, FAR), sees=ALPHA),
            Client("a header's, 127.0.0.9", before=headers.v2(("127.0.0.9", 1), HERE), sees=BETA),
            Client("a header's, its own", before=headers.v2(FAR, ("198.51.100.7", 5)), sees=ALPHA),
            Client("a header's, IPv6", before=headers.v2(("::1", 1), ("::1", 2)), sees=ALPHA),
        )

    def test_sourceTypeUnix(self) -> Any:
        return self.compare(
            "match_source_type_unix",
            Client("a unix socket's", port="${dir}/listener.sock", sees={"ended": "fin"}),
        )


class NameTests(SideBySide):
    def test_serverNames(self) -> Any:
        def name(sni: str, backend: str) -> Client:
            return Client(sni or "none", tls=Tls(sni), sees=reached(backend))

        return self.compare(
            "match_server_names",
            name("server.test", "alpha"),
            name("www.server.test", "alpha"),
            name("WWW.Server.Test", "alpha"),
            name("ftp.server.test", "beta"),
            name("a.b.server.test", "beta"),
            name("other.test", "gamma"),
            name("a.b.c.test", "gamma"),
            name("test", "delta"),
            name("server.example", "delta"),
            name("xserver.test", "gamma"),
            name("server.test.", "delta"),
            name("", "delta"),
            Client("no TLS", sees=DELTA),
        )

    def test_certificate(self) -> Any:
        word = {"ended": "close_notify, fin", "when": "at once"}
        return self.compare(
            "match_certificate",
            Client("alpha", tls=Tls("alpha.test"), sees={**word, "certificate": "alpha"}),
            Client("beta", tls=Tls("beta.test"), sees={**word, "certificate": "beta"}),
            Client("with 1.2", tls=Tls("beta.test", most="TLS1_2"), sees={"certificate": "beta"}),
            Client("nobody", tls=Tls("nobody.test"), sees={"reached": []}),
        )

    def test_transportProtocol(self) -> Any:
        return self.compare(
            "match_transport_protocol",
            Client(
                "TLS", tls=Tls(), sees={"reached": ["alpha"], "received": "'alpha:hello, world.'"}
            ),
            Client("plaintext", sees=BETA),
        )

    def test_applicationProtocols(self) -> Any:
        def offer(*alpn: str, backend: str, chosen: str) -> Client:
            sees = {"reached": [backend], "alpn": chosen}
            return Client(", ".join(alpn) or "none", tls=Tls(alpn=alpn), sees=sees)

        return self.compare(
            "match_application_protocols",
            offer("h2", backend="alpha", chosen="h2"),
            offer("http/1.1", backend="beta", chosen="http/1.1"),
            offer("h2", "http/1.1", backend="alpha", chosen="h2"),
            offer("http/1.1", "h2", backend="beta", chosen="http/1.1"),
            offer("x", "http/1.1", backend="beta", chosen="http/1.1"),
            offer("x", backend="gamma", chosen="x"),
            offer("y", backend="gamma", chosen=""),
            offer(backend="gamma", chosen=""),
            Client("no TLS", (Send(WORD),), sees={"reached": [], "ended": "reset"}),
        )

    def test_protocolTrap(self) -> Any:
        """
        A chain that says C{tls} and one that says a protocol only: the transport comes first.
        """
        return self.compare(
            "match_protocol_trap",
            Client("h2", tls=Tls(alpn=("h2",)), sees=reached("beta")),
            Client("none", tls=Tls(), sees=reached("beta")),
            Client("plaintext", (Send(WORD),), sees=CLOSED | {"ended": "reset"}),
        )


class PrecedenceTests(SideBySide):
    def test_noWayBack(self) -> Any:
        def hello(name: str, sni: str, *alpn: str, backend: str) -> Client:
            sees = {"reached": [backend] if backend else []}
            return Client(name, tls=Tls(sni, alpn), sees=sees)

        return self.compare(
            "match_no_way_back",
            hello("all", "www.server.test", "h2", backend="alpha"),
            hello("the name alone", "www.server.test", backend=""),
            hello("the name, another protocol", "www.server.test", "http/1.1", backend=""),
            hello("the wider name", "ftp.server.test", "h2", backend="beta"),
            hello("the wider name, a protocol", "ftp.server.test", "http/1.1", backend="beta"),
            hello("another name, a protocol", "other.test", "http/1.1", backend="gamma"),
            hello("another name", "other.test", "h2", backend=""),
        )

    def test_orderOfCriteria(self) -> Any:
        port = headers.v2(("127.0.0.1", 1), ("127.0.0.1", 4001))
        return self.compare(
            "match_order_of_criteria",
            Client("the address before the client", sees=ALPHA),
            Client("the address before the name", tls=Tls("server.test"), sees=reached("alpha")),
            Client("the name", host="127.0.0.2", tls=Tls("server.test"), sees=reached("beta")),
            Client("no way back", (Send(WORD),), host="127.0.0.2", sees={"reached": []}),
            Client("the port before all", before=port, sees=DELTA),
            Client("the client", before=headers.v2(HERE, ("192.0.2.1", 5)), sees=GAMMA),
        )

    def test_default(self) -> Any:
        return self.compare(
            "default_filter_chain",
            Client("a chain's", tls=Tls("alpha.test"), sees=reached("alpha")),
            Client("another name", tls=Tls("nobody.test"), sees=reached("beta")),
            Client("plaintext", sees=BETA),
        )

    def test_noMatch(self) -> Any:
        return self.compare(
            "no_match",
            Client("a chain's", tls=Tls("alpha.test"), sees=reached("alpha")),
            Client("another name", tls=Tls("nobody.test"), sees={"reached": [], "ended": "reset"}),
            Client("no name", tls=Tls(), sees={"reached": [], "ended": "reset"}),
            Client("plaintext", (Send(WORD),), sees={"reached": []}),
        )
