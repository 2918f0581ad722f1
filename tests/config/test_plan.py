"""
What a command line comes to, for each mode and each kind of TLS.
"""

from __future__ import annotations

from mxproxy.config import optionvalues as module
from mxproxy.config.plan import FilterChainPlan, FilterSpec, HostPlan, Limits, Plan
from mxproxy.filters.tcp_proxy import TCPProxy
from mxproxy.socketoptions import keepalive, userTimeout
from mxproxy.timeouts import Timeouts
from mxproxy.tls.settings import PEM, ClientTLS, ServerTLS
from tests.config.commandline import ENDS, INBOUND, OUTBOUND, PLAIN, TLS, CommandLineCase, parse

ISTIO = "istio.metadata_exchange"

EXCHANGE = {
    "protocol": "istio-peer-exchange",
    "timeout": "5",
    "max_size": "65536",
    "opening": "reply",
    "hold": "both",
    "additional_labels": "",
}


TERMINAL = FilterSpec(
    "envoy.filters.network.tcp_proxy",
    settings=TCPProxy("upstream", timeouts=Timeouts(3600, 300)),
)


def beforeTerminal(chain: FilterChainPlan) -> tuple[FilterSpec, ...]:
    """
    A chain's filters; every chain of a sidecar ends by connecting to its only cluster.
    """
    *filters, terminal = chain.filters
    assert terminal == TERMINAL, terminal
    return tuple(filters)


def chains(plan: Plan) -> list[tuple[str, str, bool, list[str]]]:
    """
    Name, match, whether there is TLS, and the filters' last names, of every chain.
    """
    (listener,) = plan.listeners
    return [
        (
            chain.name,
            chain.match.transport_protocol,
            chain.tls is not None,
            [spec.name.rpartition(".")[2] for spec in beforeTerminal(chain)],
        )
        for chain in listener.chains
    ]


class ModeTests(CommandLineCase):
    def pem(self, name: str) -> PEM:
        return PEM(str(self.directory / name))

    def test_inbound(self) -> None:
        plan = parse(INBOUND).plan
        (listener,) = plan.listeners
        self.assertEqual((listener.name, listener.endpoint), ("inbound", "tcp:15006"))
        self.assertEqual(chains(plan), [("tls", "", True, ["metadata_exchange"])])
        (chain,) = listener.chains
        self.assertEqual(
            chain.tls,
            ServerTLS(
                self.pem("db.crt"),
                self.pem("db.key"),
                self.pem("ca.crt"),
                alpn=("istio",),
                require_client_certificate=True,
            ),
        )
        (cluster,) = plan.clusters
        self.assertEqual(
            (cluster.name, cluster.hosts, cluster.tls, cluster.filters),
            ("upstream", (HostPlan("tcp:127.0.0.1:5432"),), None, ()),
        )
        self.assertIsNone(plan.access_log)

    def test_outbound(self) -> None:
        plan = parse(
            [*OUTBOUND, "--upstream", "tcp:b:1", "--upstream-sni", "db.example"]
            + ["--upstream-san", "spiffe://a.b/c", "--upstream-san", "db.example"]
        ).plan
        self.assertEqual(plan.listeners[0].name, "outbound")
        self.assertEqual(chains(plan), [("raw_buffer", "", False, [])])
        (cluster,) = plan.clusters
        self.assertEqual(cluster.hosts, (HostPlan("tcp:127.0.0.1:5432"), HostPlan("tcp:b:1")))
        self.assertEqual(
            cluster.tls,
            ClientTLS(
                self.pem("db.crt"),
                self.pem("db.key"),
                self.pem("ca.crt"),
                alpn=("istio",),
                accepted=("spiffe://a.b/c", "db.example"),
                server_name="db.example",
            ),
        )
        self.assertEqual([dict(spec.options) for spec in cluster.filters], [EXCHANGE])

    def test_permissive(self) -> None:
        """
        Plaintext clients meet the exchange too, and are logged as alpn_mismatch.
        """
        plan = parse(
            [*INBOUND, "--downstream-tls", "permissive", "--inspection-timeout", "3"]
            + ["--mx-alpn", "mx"]
        ).plan
        self.assertEqual(
            chains(plan),
            [
                ("tls", "tls", True, ["metadata_exchange"]),
                ("tls_passthrough", "tls", False, ["metadata_exchange"]),
                ("raw_buffer", "raw_buffer", False, ["metadata_exchange"]),
            ],
        )
        (listener,) = plan.listeners
        self.assertEqual(
            [chain.match.application_protocols for chain in listener.chains],
            [
                ("mx", "istio-peer-exchange", "istio")
                + ("istio-http/1.0", "istio-http/1.1", "istio-h2"),
                (),
                (),
            ],
        )
        (inspector,) = listener.listener_filters
        self.assertEqual(inspector.name, "envoy.filters.listener.tls_inspector")
        self.assertEqual(listener.listener_filters_timeout, 3.0)
        self.assertTrue(listener.continue_on_listener_filters_timeout)

    def test_disable(self) -> None:
        self.assertEqual(chains(parse(PLAIN).plan), [("raw_buffer", "", False, [])])

    def test_simple(self) -> None:
        """
        Outside the mesh: no certificate of ours, no ALPN of the mesh, no exchange.
        """
        for arguments in (("--upstream-sni", "example.com"), ("--tls-ca", "ca.crt")):
            plan = parse(["--mode", "outbound", *ENDS, "--upstream-tls", "simple", *arguments]).plan
            (cluster,) = plan.clusters
            assert cluster.tls is not None
            self.assertEqual(
                (cluster.tls.certificate, cluster.tls.key, cluster.tls.alpn, cluster.filters),
                (None, None, (), ()),
            )

    def test_simpleBesideMutual(self) -> None:
        """
        The certificate is for the downstream side alone.
        """
        plan = parse([*INBOUND, "--upstream-tls", "simple", "--upstream-san", "db.example"]).plan
        tls = plan.clusters[0].tls
        assert tls is not None
        self.assertEqual(
            (tls.certificate, tls.authorities, tls.accepted),
            (None, self.pem("ca.crt"), ("db.example",)),
        )

    def test_bothSides(self) -> None:
        plan = parse([*OUTBOUND, "--downstream-tls", "strict"]).plan
        self.assertEqual(chains(plan), [("tls", "", True, ["metadata_exchange"])])
        (chain,) = plan.listeners[0].chains
        self.assertEqual(plan.clusters[0].filters, beforeTerminal(chain))

    def test_timeouts(self) -> None:
        plan = parse([*INBOUND, "--connect-timeout", "2", "--tls-handshake-timeout", "3"]).plan
        (cluster,) = plan.clusters
        (chain,) = plan.listeners[0].chains
        self.assertEqual(
            (cluster.connect_timeout, cluster.tls_handshake_timeout, chain.tls_handshake_timeout),
            (2.0, 3.0, 3.0),
        )

    def test_afterwards(self) -> None:
        """
        The timeouts of every chain; the sockets' options on both sides.
        """
        plan = parse(
            [*INBOUND, "--downstream-tls", "permissive", "--idle-timeout", "1"]
            + ["--half-closed-timeout", "2", "--max-connection-duration", "3"]
            + ["--tcp-keepalive", "off", "--tcp-user-timeout", "4"]
        ).plan
        (listener,) = plan.listeners
        self.assertEqual(len(listener.chains), 3)
        for chain in listener.chains:
            settings = chain.filters[-1].settings
            self.assertEqual(settings, TCPProxy("upstream", timeouts=Timeouts(1, 2, 3)))
        for found in (listener.socket_options, plan.clusters[0].socket_options):
            self.assertEqual(found, userTimeout(4))
        self.assertEqual(listener.limits, Limits())
        (cluster,) = parse(INBOUND).plan.clusters
        self.assertEqual(cluster.socket_options, keepalive(180, 30, 4))

    def test_limits(self) -> None:
        plan = parse(
            [*INBOUND, "--max-connections", "30", "--max-connections-per-address", "20"]
            + ["--max-handshakes", "10"]
        ).plan
        self.assertEqual((plan.listeners[0].limits, plan.max_handshakes), (Limits(30, 20), 10))


class FilterTests(CommandLineCase):
    def test_exchange(self) -> None:
        """
        Its options are what C{--filter} would give it: texts.
        """
        plan = parse(
            [*INBOUND, "--mx-alpn", "mx-protocol", "--mx-timeout", "0.5", "--mx-max-size", "9"]
            + ["--mx-server-opening", "eager", "--mx-hold", "read"]
            + ["--mx-additional-label", "team", "--mx-additional-label", "tier"]
        ).plan
        (spec,) = beforeTerminal(plan.listeners[0].chains[0])
        self.assertEqual(
            (spec.name, dict(spec.options)),
            (
                "envoy.filters.network.metadata_exchange",
                {
                    "protocol": "mx-protocol",
                    "timeout": "0.5",
                    "max_size": "9",
                    "opening": "eager",
                    "hold": "read",
                    "additional_labels": "team,tier",
                },
            ),
        )

    def test_inOrder(self) -> None:
        """
        After the exchange, in the order given; on the outbound side on the downstream chain.
        Without TLS downstream, the exchange may be put there by hand.
        """
        text = rf"{ISTIO}:protocol=a\:b"
        spec = FilterSpec(ISTIO, {"protocol": "a:b"}, f"--filter {text!r}")
        other = FilterSpec(ISTIO, {}, f"--filter '{ISTIO}'")
        plan = parse([*OUTBOUND, "--filter", text, "--filter", ISTIO]).plan
        self.assertEqual(beforeTerminal(plan.listeners[0].chains[0]), (spec, other))
        self.assertEqual(len(plan.clusters[0].filters), 1)

    def test_afterTheExchange(self) -> None:
        """
        On every chain of the listener.  The plugin is asked once, while parsing, whether it
        takes the options; what it answers is not kept.
        """
        asked: list[object] = []

        class Plugin:
            def configure(self, options: object) -> None:
                asked.append(options)

        self.patch(module, "findFilter", lambda name: Plugin())
        plan = parse([*INBOUND, "--downstream-tls", "permissive", "--filter", "limit:most=5"]).plan
        names = ["metadata_exchange", "limit"]
        self.assertEqual([filters for *_, filters in chains(plan)], [names] * 3)
        self.assertEqual(asked, [{"most": "5"}])

    def test_endpointEscapes(self) -> None:
        """
        Colons of an IPv6 address or a path, escaped as in any endpoint string.
        """
        plan = parse(
            ["--mode", "inbound", "--listen", r"unix:/run/a\:b", "--upstream", r"tcp:\:\:1:80"]
            + ["--upstream", "tcp:host=h:port=1", "--upstream", "unix:path=/a=b", *TLS]
        ).plan
        self.assertEqual(plan.listeners[0].endpoint, r"unix:/run/a\:b")
        self.assertEqual(
            [host.endpoint for host in plan.clusters[0].hosts],
            [r"tcp:\:\:1:80", "tcp:host=h:port=1", "unix:path=/a=b"],
        )
