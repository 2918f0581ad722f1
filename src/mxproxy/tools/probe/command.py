"""
C{mxproxy probe}'s arguments, and what they come to.

Everything that can be wrong on our side is found here, before a byte is sent.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, serverFromString

from ...config.descriptions import checkServerEndpoint
from ...config.nodemetadata import readNodeMetadata
from ...tls.context import ClientContext, ServerContext
from ...tls.settings import PEM, ClientTLS, ServerTLS
from ...tls.verify import Verifier
from ...wire.exchange import ALPN
from ...wire.metadata import Node
from .looking import Looking

#: What a sidecar offers for TCP, and what one selects from.
DEFAULT_ALPN = f"{ALPN},istio"

#: Who we say that we are: a name that explains itself in the other side's telemetry.
NODE_ID = "mxproxy-probe"
NODE_METADATA = {"NAME": "mxproxy-probe", "WORKLOAD_NAME": "mxproxy-probe"}

_DESCRIPTION = """\
Looks at a sidecar, mxproxy's or Istio's: connects, does the TLS handshake and the metadata exchange
as a client sidecar would, prints what it is, and hangs up without a byte for the application. With
--listen it is the mirror image: it waits for a client sidecar.
"""

_EPILOG = """\
exit status:
  0  found: the peer has said who it is
  1  something is wrong on this side: a file, a port in use
  2  a wrong command line
  3  no exchange: TLS is up, but has not negotiated it (another ALPN protocol, or none)
  4  the exchange has failed: what came is no metadata, or the stream has ended
  5  TLS has failed: a side was refused, or the peer speaks no TLS
  6  no connection
  7  the time was up
  130  interrupted

examples:
  mxproxy probe 10.0.0.7:15006 --cert web.crt --key web.key --ca ca.crt
  mxproxy probe reviews:9080 --insecure --json
  mxproxy probe --listen tcp:15006 --cert db.crt --key db.key --ca ca.crt
"""


@dataclass(frozen=True)
class Request:
    """
    What is to be done.

    @ivar target: whom to look at, or where to listen, as it was typed.
    @ivar context: the TLS context; a L{ServerContext} listens.
    @ivar accepted: the identities of which the peer has to prove one.
    @ivar node: who we say that we are.
    @ivar protocol: the ALPN that stands for the exchange.
    @ivar insecure: go on with anybody.
    @ivar timeout: seconds for a conversation.
    @ivar count: how many clients to wait for.
    """

    target: str
    context: ClientContext | ServerContext
    accepted: tuple[str, ...]
    node: Node
    protocol: str
    insecure: bool
    timeout: float
    count: int
    json: bool

    @property
    def listens(self) -> bool:
        """Whether it waits for clients."""
        return isinstance(self.context, ServerContext)

    def looking(self) -> Looking:
        """TLS for one conversation."""
        return Looking(self.context, self.accepted)

    def clientEndpoint(self, reactor: Any) -> Any:
        """Where to connect to."""
        if self.target.startswith("unix:"):
            return UNIXClientEndpoint(reactor, self.target.removeprefix("unix:"), self.timeout)
        host, port = splitAddress(self.target)
        return HostnameEndpoint(reactor, host, port, self.timeout)

    def serverEndpoint(self, reactor: Any) -> Any:
        """Where to listen."""
        return serverFromString(reactor, self.target)


def parse(argv: Sequence[str]) -> Request:
    """
    @raise SystemExit: the command line is wrong; why is on standard error.
    @raise ValueError: a file that it names is; the text, one line, says which.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    if (given.target is None) == (given.listen is None):
        parser.error("say HOST:PORT, or --listen ENDPOINT, and one of them")
    if given.listen is None and given.count != 1:
        parser.error("--count is for --listen")
    node = Node(
        NODE_ID if given.node_id is None else given.node_id,
        NODE_METADATA if given.node_metadata is None else readNodeMetadata(given.node_metadata),
    )
    node.prefix()
    context = _server(parser, given) if given.listen is not None else _client(given)
    return Request(
        target=given.target or given.listen,
        context=context,
        accepted=_accepted(given),
        node=node,
        protocol=given.mx_alpn,
        insecure=given.insecure,
        timeout=given.timeout,
        count=given.count,
        json=given.json,
    )


def _client(given: argparse.Namespace) -> ClientContext:
    return ClientContext(
        ClientTLS(
            certificate=_pem(given.cert),
            key=_pem(given.key),
            authorities=_pem(given.ca),
            alpn=given.alpn,
            server_name=_serverName(given),
            # The judging is ours, see Looking.
            verify=False,
        )
    )


def _server(parser: argparse.ArgumentParser, given: argparse.Namespace) -> ServerContext:
    if given.cert is None or given.key is None:
        parser.error("--listen needs --cert and --key: a client sidecar wants to know who we are")
    if given.ca is None and not given.insecure:
        parser.error("--listen needs --ca, to verify clients with, or --insecure")
    if given.sni is not None:
        parser.error("--sni is what a client asks for; with --listen it has no meaning")
    return ServerContext(
        ServerTLS(
            certificate=_pem(given.cert),
            key=_pem(given.key),
            authorities=_pem(given.ca),
            alpn=given.alpn,
            require_client_certificate=False,
        )
    )


def _accepted(given: argparse.Namespace) -> tuple[str, ...]:
    """
    Whom a trusted certificate has to be of.
    """
    name = None if given.listen is not None else _serverName(given)
    if given.san or given.ca is not None or name is None:
        return tuple(given.san)
    # Anybody has a certificate that the platform trusts.
    return (name,)


def _serverName(given: argparse.Namespace) -> str | None:
    name = given.sni
    if name is None and not given.target.startswith("unix:"):
        name = splitAddress(given.target)[0]
    return name or None


def _pem(path: str | None) -> PEM | None:
    return None if path is None else PEM(path=path)


# -- the command line ------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mxproxy probe",
        usage="%(prog)s [options] HOST:PORT\n       %(prog)s [options] --listen ENDPOINT",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("target", nargs="?", type=_target, metavar="HOST:PORT", help="or [IPV6]:PORT, unix:PATH")
    add(
        *("--listen",),
        type=_endpoint,
        metavar="ENDPOINT",
        help="wait for a client sidecar here: tcp:PORT[:interface=ADDRESS], unix:PATH",
    )
    add("--count", type=_count, default=1, metavar="N", help="with --listen: for so many (1)")
    add("--cert", metavar="FILE", help="our certificate and its chain, PEM")
    add("--key", metavar="FILE", help="its key, PEM")
    add("--ca", metavar="FILE", help="the CAs to trust, PEM; without, the platform's own")
    add(
        *("--san",),
        action="append",
        type=_identity,
        default=[],
        metavar="ID",
        help="an identity to accept, of several any: spiffe://..., a DNS name, an address; "
        "without, whoever the CA has signed",
    )
    add(
        *("--insecure",),
        action="store_true",
        help="do the exchange also with a peer that is not trusted, and say why it is not",
    )
    add("--sni", metavar="NAME", help="the server name to ask for (HOST, if it is a name)")
    add(
        *("--alpn",),
        type=_alpn,
        default=_alpn(DEFAULT_ALPN),
        metavar="NAMES",
        help=f"what to offer, or to select from, in order ({DEFAULT_ALPN}); '' for nothing",
    )
    add("--mx-alpn", default=ALPN, metavar="NAME", help=f"the one for the exchange ({ALPN})")
    add("--node-id", metavar="ID", help=f"who we say that we are ({NODE_ID})")
    add("--node-metadata", metavar="FILE", help="the same, JSON or YAML: NAME, WORKLOAD_NAME, ...")
    add("--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="for all of it (10)")
    add("--json", action="store_true", help="print an object of JSON, on one line")
    return parser


def splitAddress(text: str) -> tuple[str, int]:
    """
    @param text: C{host:port} or C{[ipv6]:port}.
    @raise ValueError: it is neither.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ip_address(host).version != 6:
            raise ValueError(text)
    elif ":" in host:
        raise ValueError(text)
    if not host or not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(text)
    return host, int(port)


def _target(text: str) -> str:
    if text.startswith("unix:") and len(text) > len("unix:"):
        return text
    try:
        splitAddress(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address: write HOST:PORT, [IPV6]:PORT or unix:PATH"
        ) from None
    return text


def _endpoint(text: str) -> str:
    try:
        checkServerEndpoint(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    return text


def _identity(text: str) -> str:
    try:
        Verifier((text,))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _alpn(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)
