"""
Chains as Istio writes them, for clients of every kind on one port.
"""

from __future__ import annotations

from typing import Any

from tests.sidebyside import headers
from tests.sidebyside.backends import Backend
from tests.sidebyside.clients import WORD, Client, Finish, Read, Send
from tests.sidebyside.harness import SideBySide
from tests.sidebyside.peer import Tls
from tests.sidebyside.test_downstream_tls import refused
from tests.sidebyside.test_matching import FAR, reached
from tests.sidebyside.test_tcp import BETA, DELTA

MESH = ("istio-peer-exchange", "istio")


class PermissiveTests(SideBySide):
    def test_permissive(self) -> Any:
        mesh = {"reached": ["alpha"], "certificate": "server"}
        own = Tls("app.test", ("h2",))
        get, preface = b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        greeted = {"first byte": "after 1 s", "ended": "open"}
        return self.compare(
            "istio_permissive",
            Client("mesh", tls=Tls("x", MESH, "client"), sees={**mesh, "alpn": MESH[0]}),
            Client("mesh, no exchange", tls=Tls("x", ("istio",), "client"), sees=mesh),
            Client("mesh, HTTP", tls=Tls("x", ("istio", "h2"), "client"), sees={"alpn": "h2"}),
            Client("mesh, stranger", tls=Tls("x", MESH, "stranger"), sees=refused("unknown_ca")),
            Client(
                "mesh, no certificate", tls=Tls("x", MESH), sees=refused("certificate_required")
            ),
            Client("its own TLS", tls=own, sees={"reached": ["gamma"], "certificate": "gamma"}),
            Client("its own TLS, no ALPN", tls=Tls("app.test"), sees=reached("gamma")),
            Client("HTTP", (Send(get), Read(6), Finish()), sees=reached("beta")),
            Client("h2c", (Send(preface), Read(6), Finish()), sees=reached("beta")),
            Client("TCP", (Send(WORD), Read(18), Finish()), after=1, sees=reached("delta")),
            Client("binary", (Send(bytes(9)), Read(15), Finish()), after=1, sees=reached("delta")),
            Client("server first", (Read(6),), after=1, stays=0.3, sees=greeted),
            backends={
                "gamma": Backend(tls=Tls(certificate="gamma", alpn=("h2",))),
                "delta": Backend(greets=True),
            },
        )

    def test_inbound(self) -> Any:
        def to(port: int) -> bytes:
            return headers.v2(FAR, ("127.0.0.1", port))

        mesh = Tls("x", MESH, "client")
        return self.compare(
            "istio_inbound",
            Client("8080, mesh", before=to(8080), tls=mesh, sees={"alpn": MESH[0]}),
            Client("8080, plain", before=to(8080), sees=BETA),
            Client("9090, mesh", before=to(9090), tls=mesh, sees={"alpn": "istio"}),
            Client("9090, plain", (Send(WORD),), before=to(9090), abrupt=True),
            Client("7070, plain", before=to(7070), sees=DELTA),
            Client("7070, TLS", before=to(7070), tls=mesh, abrupt=True, sees={"reached": []}),
            Client("no header", sees=DELTA),
        )
