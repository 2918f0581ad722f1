"""
A server that speaks first, a client that is silent until then: SMTP.

Keeps: whatever the opening and the hold, the banner reaches a client that has not said a byte,
because the outbound sidecar does not wait for the client to send its prefix.  And for clients'
sides that do wait, as Istio's: an eager server opens, and a reply server lets the banner go
bare when the timeout has passed.
"""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.mail.smtp import ESMTP, IMessage, IMessageDelivery, SMTPFactory, User
from zope.interface import implementer

from tests.e2e.mesh import ALPN, DB, WEB, EndToEnd, Sidecar
from tests.e2e.processes import Child

BANNER = b"220 mail.test "
TEXT = "\n".join(f"line {number}" for number in range(5000)) + "\n"


@implementer(IMessage)
class _Message:
    """
    A message that is just coming in.
    """

    def __init__(self, delivered: list[bytes]) -> None:
        self.delivered = delivered
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        self.delivered.append(b"\n".join(self.lines))
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def connectionLost(self) -> None:
        pass


@implementer(IMessageDelivery)
class _Delivery:
    """
    Takes everything.
    """

    def __init__(self, delivered: list[bytes]) -> None:
        self.delivered = delivered

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:
        return b"Received: here"

    def validateFrom(self, helo: object, origin: object) -> object:
        return origin

    def validateTo(self, user: User) -> Any:
        return lambda: _Message(self.delivered)


class _Factory(SMTPFactory):
    """
    A mail server, Twisted's own.
    """

    noisy = False
    domain = b"mail.test"
    protocol = ESMTP

    def __init__(self) -> None:
        super().__init__()
        self.delivered: list[bytes] = []

    def buildProtocol(self, addr: object) -> Any:
        protocol: Any = super().buildProtocol(addr)
        protocol.delivery = _Delivery(self.delivered)
        return protocol


class ServerFirstTests(EndToEnd):
    async def smtp(self) -> tuple[list[bytes], str]:
        """
        A mail server: what it has been given, and the endpoint that leads to it.
        """
        from twisted.internet import reactor

        factory = _Factory()
        port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return factory.delivered, f"tcp:127.0.0.1:{port.getHost().port}"

    async def check(self, *options: str) -> None:
        """
        A silent client gets the banner, and another one delivers a mail.
        """
        delivered, upstream = await self.smtp()
        pair = await self.pair(upstream, options, options)
        silent = await self.connect(pair.port)
        self.assertEqual(await silent.reads(len(BANNER)), BANNER)
        await deferToThread(_send, pair.port)
        self.assertEqual(len(delivered), 1)
        self.assertIn(TEXT.encode().rstrip(b"\n"), delivered[0])
        await silent.close()
        await pair.check(2)

    def test_reply(self) -> Any:
        return self.check("--mx-server-opening", "reply")

    def test_eager(self) -> Any:
        return self.check("--mx-server-opening", "eager")

    def test_replyHoldRead(self) -> Any:
        return self.check("--mx-server-opening", "reply", "--mx-hold", "read")

    def test_eagerHoldRead(self) -> Any:
        return self.check("--mx-server-opening", "eager", "--mx-hold", "read")

    # -- clients' sides that wait

    async def waiting(self, *options: str) -> tuple[Sidecar, Child]:
        """
        A TLS client that has negotiated the exchange and says nothing.

        @return: the sidecar, the client.
        """
        _, upstream = await self.smtp()
        sidecar = await self.inbound(upstream, *options)
        client = self.opensslClient(sidecar.port, self.credential(WEB), "-alpn", ALPN)
        return sidecar, client

    async def test_eagerWaitingClient(self) -> None:
        """
        The server's prefix comes unasked; the client's, sent only then, brings the banner.
        """
        sidecar, client = await self.waiting("--mx-server-opening", "eager")
        self.assertEqual(await client.prints(len(DB.prefix)), DB.prefix)
        client.write(WEB.prefix)
        both = DB.prefix + BANNER
        self.assertEqual((await client.prints(len(both)))[: len(both)], both)
        client.write(b"QUIT\r\n")
        await client.says("221 ")
        await client.ends()
        WEB.logged(await sidecar.close(), "downstream")

    async def test_replyWaitingClient(self) -> None:
        """
        Both wait, until the timeout lets the banner go bare; no prefix is written any more.
        """
        sidecar, client = await self.waiting("--mx-server-opening", "reply", "--mx-timeout", "0.5")
        self.assertEqual((await client.prints(len(BANNER)))[: len(BANNER)], BANNER)
        client.write(b"QUIT\r\n")
        await client.says("221 ")
        await client.ends()
        self.assertNotIn(DB.prefix[:4], client.output)
        line = await sidecar.close()
        self.assertEqual(line["downstream"]["peer_state"], "timeout")
        self.assertEqual(line["downstream"]["principal"], WEB.principal)
        self.assertIsNone(line["downstream"]["peer"])


def _send(port: int) -> None:
    """
    Deliver a mail with Python's own client.
    """
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@mail.test", "b@mail.test", "hello"
    message.set_content(TEXT)
    with smtplib.SMTP("127.0.0.1", port, local_hostname="mail.test", timeout=20) as client:
        client.send_message(message)
