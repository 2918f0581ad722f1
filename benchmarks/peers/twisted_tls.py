"""
What Twisted itself offers, put together as its manual has it: endpoints, C{TLSMemoryBIOProtocol},
and two protocols that are each other's producer.  What one has without mxproxy.

As a program it is one proxy of the pair: C{SIDE LISTEN UPSTREAM CERTIFICATE KEY AUTHORITY}.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if __name__ != "__main__":
    from .base import IDENTITIES, Peer, Place

    class TwistedTLS(Peer):
        """
        With the interpreter that runs the benchmarks.
        """

        name = "twisted"
        resumes = False

        def version(self) -> str:
            """Of Twisted."""
            import twisted

            return f"{twisted.__version__}"

        def command(self, place: Place) -> list[str | Path]:
            """This file."""
            credentials, side = place.credentials, place.side
            return [
                *(sys.executable, __file__, side, str(place.listen), str(place.upstream)),
                *(credentials.certificate(side), credentials.key(side), credentials.authority),
                IDENTITIES["inbound"][1],
            ]


def main(
    side: str, listen: str, upstream: str, certificate: str, key: str, authority: str, name: str
) -> None:
    """
    Run until SIGTERM.
    """
    from twisted.internet import reactor
    from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, wrapClientTLS
    from twisted.internet.protocol import Factory, Protocol
    from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
    from twisted.protocols.tls import TLSMemoryBIOFactory

    pem = Path(certificate).read_text() + Path(key).read_text()
    own = PrivateCertificate.loadPEM(pem)
    root = Certificate.loadPEM(Path(authority).read_text())

    class Half(Protocol):
        other: Any = None

        def connectionMade(self) -> None:
            self.transport.setTcpNoDelay(True)

        def join(self, other: Any) -> None:
            self.other, other.other = other, self
            self.transport.registerProducer(other.transport, True)
            other.transport.registerProducer(self.transport, True)

        def dataReceived(self, data: bytes) -> None:
            self.other.transport.write(data)

        def connectionLost(self, reason: Any = None) -> None:
            if self.other is not None:
                self.other.transport.loseConnection()

    class Downstream(Half):
        def connectionMade(self) -> None:
            super().connectionMade()
            self.transport.pauseProducing()
            endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", int(upstream))
            if side == "outbound":
                endpoint = wrapClientTLS(
                    optionsForClientTLS(name, trustRoot=root, clientCertificate=own), endpoint
                )
            connected = endpoint.connect(Factory.forProtocol(Half))
            connected.addCallbacks(self._connected, lambda reason: self.transport.loseConnection())

        def _connected(self, upstream: Any) -> None:
            self.join(upstream)
            self.transport.resumeProducing()

    Factory.noisy = False
    factory: Any = Factory.forProtocol(Downstream)
    if side == "inbound":
        factory = TLSMemoryBIOFactory(own.options(root), False, factory)
    TCP4ServerEndpoint(reactor, int(listen), 4096, "127.0.0.1").listen(factory)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
