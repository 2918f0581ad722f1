"""
Transparent interception: applications that know nothing of a proxy, on two machines.

Each machine is a network namespace that the test makes, with nftables rules that redirect TCP to
its sidecar, as Istio's do; the sidecars go where the connection was going (C{SO_ORIGINAL_DST}).

Keeps: the original destination is found for IPv4, for IPv6, and for IPv4 on an IPv6 socket, and
none where nobody has redirected; Redis's own client reaches Redis's own server, by both families,
through both sidecars, who have told each other who they are; whoever goes past its sidecar is let
in by nobody.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.e2e.mesh import DB, WEB, EndToEnd, Pair, Sidecar, Workload
from tests.e2e.namespaces import Machine, wired
from tests.e2e.processes import Child, program

OUTBOUND, INBOUND, REDIS = 15001, 15006, 6379

#: The group of the sidecars, whose own connections are not redirected.
GROUP = 1337

#: What a machine's own programs send goes to the outbound sidecar.
REDIRECT_OUTPUT = f"""
table inet mxproxy {{
    chain output {{
        type nat hook output priority -100
        oifname "lo" accept
        meta skgid {GROUP} accept
        meta l4proto tcp redirect to :{OUTBOUND}
    }}
}}
"""

#: What comes to a machine goes to the inbound sidecar.
REDIRECT_INPUT = f"""
table inet mxproxy {{
    chain prerouting {{
        type nat hook prerouting priority -100
        iifname "lo" accept
        meta l4proto tcp redirect to :{INBOUND}
    }}
}}
"""

#: Listens where it is told to, and says of each connection where it was going.
LISTENER = """
import sys
from twisted.internet import endpoints, protocol, reactor
from mxproxy.filters.original_dst import originalDestination

class Saying(protocol.Protocol):
    def connectionMade(self):
        said = originalDestination(self.transport)
        text = said and f"{said.host} {said.port}"
        self.transport.write(f"{text}\\n".encode())
        self.transport.loseConnection()

listening = endpoints.serverFromString(reactor, sys.argv[1])
listening.listen(protocol.Factory.forProtocol(Saying))
reactor.callWhenRunning(print, "listening", flush=True)
reactor.run()
"""

#: Connects, and prints what it is told.
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as connection:
    sys.stdout.buffer.write(connection.recv(100))
"""

#: A sidecar as an Envoy bootstrap.  The two sides ask for the original destination in the two
#: ways that there are.
BOOTSTRAP = """
node: {node}
static_resources:
  listeners:
  - name: {mode}
    address: {{socket_address: {{address: "::", port_value: {port}, ipv4_compat: true}}}}
    {listener}
    filter_chains:
    - name: {mode}
      {downstream}
      filters:
      {exchangeBelow}
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: {mode}
          cluster: passthrough
  clusters:
  - name: passthrough
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    connect_timeout: 10s
    {upstream}
    {exchangeAbove}
"""

_EXCHANGE = """- name: envoy.filters.network.metadata_exchange
        typed_config:
          "@type": type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange
          protocol: istio-peer-exchange"""

_ORIGINAL_DST = """listener_filters:
    - name: envoy.filters.listener.original_dst
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"""

_SOCKET = """transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}
    {more}
    common_tls_context:
      tls_certificates:
      - certificate_chain: {{filename: {certificate}}}
        private_key: {{filename: {key}}}
      validation_context:
        trusted_ca: {{filename: {ca}}}
        {peer}"""

_PEER = """match_typed_subject_alt_names:
        - san_type: URI
          matcher: {{exact: "{principal}"}}"""


class InterceptionTests(EndToEnd):
    if os.geteuid():
        skip = "making network namespaces and redirecting connections takes root"

    def setUp(self) -> None:
        super().setUp()
        self.client, self.server = wired(self.addCleanup)

    # -- the kernel

    async def listens(self, machine: Machine, where: str) -> Child:
        """
        Run L{LISTENER}.
        """
        child = self.start(machine.inside(sys.executable, "-c", LISTENER, where))
        await child.says("listening")
        return child

    async def told(self, machine: Machine, host: str, port: int) -> str:
        """
        @return: where L{LISTENER} says that a connection to there was going.
        """
        command = machine.inside(sys.executable, "-c", CLIENT, host, str(port))
        return (await self.run_(command)).decode().strip()

    async def test_whereItWasGoing(self) -> None:
        """
        From one machine to the other.
        """
        self.server.filter(REDIRECT_INPUT)
        ipv4, ipv6 = self.server.ipv4, self.server.ipv6
        for where, addresses in (
            (f"tcp:{INBOUND}:interface=0.0.0.0", (ipv4,)),
            (f"tcp:{INBOUND}:interface=\\:\\:", (ipv4, ipv6)),
        ):
            listener = await self.listens(self.server, where)
            for host in addresses:
                self.assertEqual(await self.told(self.client, host, 80), f"{host} 80")
                # Who comes straight here was going nowhere else.
                self.assertEqual(await self.told(self.client, host, INBOUND), "None")
            self.assertEqual(await self.told(self.server, "127.0.0.1", INBOUND), "None")
            await listener.stop()

    async def test_whereItWasGoingFromHere(self) -> None:
        """
        From a machine's own program, to a machine that need not even be there.
        """
        self.client.filter(REDIRECT_OUTPUT)
        await self.listens(self.client, f"tcp:{OUTBOUND}:interface=\\:\\:")
        for host in ("10.77.1.99", "fd77::99"):
            self.assertEqual(await self.told(self.client, host, 80), f"{host} 80")

    # -- both sidecars

    async def intercepting(
        self, machine: Machine, mode: str, workload: Workload, peer: Workload
    ) -> Sidecar:
        """
        A sidecar of C{machine}, run from a bootstrap.
        """
        certificate, key = self.credential(workload)
        inbound = mode == "inbound"
        tls = _SOCKET.format(
            kind="DownstreamTlsContext" if inbound else "UpstreamTlsContext",
            more="require_client_certificate: true" if inbound else "",
            certificate=certificate,
            key=key,
            ca=self.ca,
            peer="" if inbound else _PEER.format(principal=peer.principal).replace("\n", "\n  "),
        )
        node = {"id": workload.node.id, "metadata": dict(workload.node.metadata)}
        text = BOOTSTRAP.format(
            mode=mode,
            node=json.dumps(node),
            port=INBOUND if inbound else OUTBOUND,
            listener=_ORIGINAL_DST if inbound else "use_original_dst: true",
            downstream=tls.replace("\n", "\n      ") if inbound else "",
            upstream="" if inbound else tls.replace("\n", "\n    "),
            exchangeBelow=_EXCHANGE if inbound else "",
            exchangeAbove="" if inbound else f"filters:\n      {_EXCHANGE}",
        )
        file = self.directory / f"{mode}.yaml"
        file.write_text(text)
        log = self.directory / f"{mode}.log"
        twistd = Path(sys.executable).parent / "twistd"
        options = ("--nodaemon", "--pidfile=", "mxproxy", "--config", file, "--access-log", log)
        child = self.start(machine.inside(twistd, *options, group=GROUP))
        sidecar = Sidecar(child, workload, log)
        self.addCleanup(sidecar.stop)
        await child.says(r"listening on \S+:150\d\d\s")
        return sidecar

    async def pairOfMachines(self) -> Pair:
        """
        The sidecars, and Redis on the server.
        """
        server = self.start(
            self.server.inside(
                *(program("redis-server"), "--port", str(REDIS), "--bind", "0.0.0.0", "::"),
                *("--protected-mode", "no", "--save", ""),
            )
        )
        await server.says(r"Ready to accept connections")
        self.server.filter(REDIRECT_INPUT)
        self.client.filter(REDIRECT_OUTPUT)
        return Pair(
            await self.intercepting(self.client, "outbound", WEB, DB),
            await self.intercepting(self.server, "inbound", DB, WEB),
        )

    def redis(self, host: str, *words: str, group: int = 0) -> list[str | Path]:
        """
        The command of Redis's client that connects to the server's address.
        """
        command = (program("redis-cli"), "-h", host, "-p", str(REDIS), *words)
        return self.client.inside(*command, group=group)

    async def test_throughBoth(self) -> None:
        """
        Neither Redis's server nor its client is told of a proxy.
        """
        pair = await self.pairOfMachines()
        big = b"v" * 300_000
        for host in (self.server.ipv4, self.server.ipv6):
            said = await self.run_(self.redis(host, "-x", "SET", host), big)
            self.assertEqual(said, b"OK\n")
            self.assertEqual(await self.run_(self.redis(host, "GET", host)), big + b"\n")
        for number, (out, into) in enumerate(await pair.check(4)):
            host = (self.server.ipv4, f"[{self.server.ipv6}]")[number // 2]
            self.assertEqual(out["upstream"]["address"], f"{host}:{REDIS}")
            self.assertEqual(into["upstream"]["address"], f"{host}:{REDIS}")

    async def test_pastTheSidecar(self) -> None:
        """
        A client that is not redirected meets the server's sidecar, and is refused.
        """
        pair = await self.pairOfMachines()
        child = self.start(self.redis(self.server.ipv4, "PING", group=GROUP))
        await child.ends()
        self.assertNotIn("PONG", child.text)
        line = await pair.inbound.close()
        self.assertTrue(line["close_reason"].startswith("downstream: not_tls"), line)
        self.assertIsNone(line["upstream"]["address"])
        self.assertEqual(pair.outbound.lines(), [])
