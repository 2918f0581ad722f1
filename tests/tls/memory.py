"""
Two TLS connections joined by their memory BIOs, for the tests of this folder.

No sockets, no reactor: bytes are carried by hand until neither side has more to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from OpenSSL import SSL

from mxproxy.pki import Authority, Credential
from mxproxy.tls.context import ClientContext, ServerContext, TLSFacts, describe
from mxproxy.tls.explain import explain
from mxproxy.tls.settings import PEM, ClientTLS, ServerTLS, TLSVersion

CA = Authority.create()
OTHER_CA = Authority.create()

ALICE = "spiffe://cluster.local/ns/default/sa/alice"
BOB = "spiffe://cluster.local/ns/default/sa/bob"

ALICES = CA.issue(ALICE)
BOBS = CA.issue(BOB)

HOUR = timedelta(hours=1)
VERSIONS = (TLSVersion.TLS12, TLSVersion.TLS13)


def pem(text: bytes) -> PEM:
    return PEM(text=text)


def server(credential: Credential = BOBS, ca: Authority | None = CA, **more: Any) -> ServerContext:
    settings = ServerTLS(pem(credential.cert_pem), pem(credential.key_pem))
    if ca is not None:
        settings = replace(settings, authorities=pem(ca.cert_pem))
    return ServerContext(replace(settings, **more))


def client(
    credential: Credential | None = ALICES,
    ca: Authority | None = CA,
    version: TLSVersion | None = None,
    **more: Any,
) -> ClientContext:
    settings = ClientTLS()
    if credential is not None:
        settings = ClientTLS(pem(credential.cert_pem), pem(credential.key_pem))
    if ca is not None:
        settings = replace(settings, authorities=pem(ca.cert_pem))
    if version is not None:
        settings = replace(settings, minimum=version, maximum=version)
    return ClientContext(replace(settings, **more))


@dataclass
class Side:
    """
    One end: what it came to, and what it received.
    """

    connection: SSL.Connection
    done: bool = False
    error: Exception | None = None
    received: bytes = b""
    sent: list[bytes] = field(default_factory=list)

    def step(self) -> None:
        """
        Shake hands, or read when that is done.
        """
        if self.error is not None:
            return
        try:
            if not self.done:
                self.connection.do_handshake()
                self.done = True
            self.received += self.connection.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.error = error

    def output(self) -> bytes:
        try:
            data: bytes = self.connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""
        self.sent.append(data)
        return data

    @property
    def facts(self) -> TLSFacts:
        assert self.done
        assert self.error is None, self.error
        return describe(self.connection)

    @property
    def why(self) -> str:
        """
        The failure as explained; empty when there was none.
        """
        return "" if self.error is None else explain(self.error, self.connection)


@dataclass
class Pair:
    """
    A client and a server, after as much of a handshake as they agreed upon.
    """

    client: Side
    server: Side

    def carry(self) -> None:
        """
        Step and carry bytes until both are silent.
        """
        while True:
            self.client.step()
            outgoing = self.client.output()
            if outgoing:
                self.server.connection.bio_write(outgoing)
            self.server.step()
            incoming = self.server.output()
            if incoming:
                self.client.connection.bio_write(incoming)
            if not outgoing and not incoming:
                return


def shake(clientContext: ClientContext, serverContext: ServerContext) -> Pair:
    """
    Have the two shake hands.
    """
    pair = Pair(Side(clientContext.connection()), Side(serverContext.connection()))
    pair.carry()
    return pair


def receive(context: ClientContext | ServerContext, data: bytes) -> Side:
    """
    One side alone, whose peer says C{data} whatever it hears.
    """
    side = Side(context.connection())
    side.step()
    side.connection.bio_write(data)
    side.step()
    return side
