"""
What each operator says of a connection, as a value and as text.
"""

from __future__ import annotations

import json
import os
import socket
from datetime import timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from OpenSSL import crypto
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.connection import DYNAMIC_METADATA, Connection, Key, Peer
from mxproxy.observe.operators import LIMIT, OperatorError, Record, bounded, compileOperator
from mxproxy.pki import Authority
from mxproxy.wire.metadata import Absence, Metadata
from mxproxy.wire.peerstate import PeerState

NOON = 1767268800.5

VECTORS = Path(__file__).parent.parent / "vectors" / "mx_vectors.json"

CLIENT = IPv4Address("TCP", "10.0.0.7", 40000)
LISTENER = IPv4Address("TCP", "10.0.0.1", 15006)


class OperatorCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connection = Connection("in", self.clock.seconds, wallClock=lambda: NOON)
        self.downstream = self.connection.downstream

    def both(
        self, name: str, parameters: str | None = None, length: int | None = None
    ) -> tuple[Any, str | None]:
        """
        @return: value and text.
        """
        operator = compileOperator(name, parameters, length)
        record = Record(self.connection, "TcpPeriodic", NOON + 60)
        return operator.value(record), operator.text(record)

    def value(self, name: str, parameters: str | None = None) -> Any:
        return self.both(name, parameters)[0]

    def text(self, name: str, parameters: str | None = None, length: int | None = None) -> Any:
        return self.both(name, parameters, length)[1]

    def values(self, *names: str) -> list[Any]:
        return [self.value(name) for name in names]

    def upstream(self, joined: bool = True) -> Peer:
        peer = self.connection.newUpstream(lambda peer: None)
        if joined:
            self.connection.joined()
        return peer


class PlainTests(OperatorCase):
    def test_numbers(self) -> None:
        """
        Numbers as values, and their digits as text.
        """
        self.downstream.bytes_received, self.downstream.bytes_sent = 1, 2
        upstream = self.upstream()
        upstream.bytes_received, upstream.bytes_sent = 3, 4
        self.clock.advance(1.9999)
        for name, wanted in (
            ("BYTES_RECEIVED", 1),
            ("BYTES_SENT", 2),
            ("DOWNSTREAM_WIRE_BYTES_RECEIVED", 1),
            ("DOWNSTREAM_WIRE_BYTES_SENT", 2),
            ("UPSTREAM_WIRE_BYTES_RECEIVED", 3),
            ("UPSTREAM_WIRE_BYTES_SENT", 4),
            ("DURATION", 1999),
            ("UPSTREAM_REQUEST_ATTEMPT_COUNT", 1),
            ("RESPONSE_CODE", 0),
            ("DOWNSTREAM_HEADER_BYTES_SENT", 0),
            ("BYTES_RETRANSMITTED", 0),
        ):
            self.assertEqual(self.both(name), (wanted, str(wanted)))

    def test_names(self) -> None:
        connection = self.connection
        self.assertEqual(
            self.values("FILTER_CHAIN_NAME", "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW"),
            [None, None, None],
        )
        connection.filter_chain, connection.cluster = "chain", "outbound|80||x"
        self.assertEqual(
            self.values("FILTER_CHAIN_NAME", "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW"),
            ["chain", "outbound|80||x", "outbound|80||x"],
        )
        self.assertEqual(self.values("CONNECTION_ID", "STREAM_ID"), [connection.id] * 2)
        self.assertEqual(self.value("ACCESS_LOG_TYPE"), "TcpPeriodic")
        self.assertEqual(self.value("HOSTNAME"), socket.gethostname())

    def test_uniqueID(self) -> None:
        """
        Another one for each line.
        """
        operator = compileOperator("UNIQUE_ID", None, None)
        record = Record(self.connection, "", NOON)
        self.assertRegex(operator.value(record), "^[0-9a-f]{8}-[0-9a-f-]{27}$")
        self.assertNotEqual(operator.value(record), operator.value(record))

    def test_moments(self) -> None:
        self.assertEqual(self.value("START_TIME"), "2026-01-01T12:00:00.500Z")
        self.assertEqual(self.value("START_TIME", "%s.%1f"), "1767268800.5")
        self.assertEqual(self.value("EMIT_TIME"), "2026-01-01T12:01:00.500Z")
        self.assertRegex(self.value("START_TIME_LOCAL"), r"T\d\d:\d\d:00\.500[+-]\d{4}$")
        self.assertRegex(self.value("EMIT_TIME_LOCAL", "%s"), "^1767268860$")

    def test_environment(self) -> None:
        """
        Read when it is compiled; what is not set is a dash, whatever the form of the line.
        """
        os.environ["MXPROXY_TEST"] = "value"
        operator = compileOperator("ENVIRONMENT", "MXPROXY_TEST", 3)
        del os.environ["MXPROXY_TEST"]
        self.assertEqual(operator.value(Record(self.connection, "", NOON)), "val")
        self.assertEqual(self.both("ENVIRONMENT", "MXPROXY_TEST"), ("-", "-"))
        self.assertEqual(self.both("ENVIRONMENT", "MXPROXY_TEST", 0), ("", ""))

    def test_http(self) -> None:
        """
        What speaks of HTTP is known, and says what it does in Envoy of a TCP connection.
        """
        for name, parameters in (
            ("REQ", ":METHOD"),
            ("RESP", "x"),
            ("TRAILER", "x"),
            ("REQUEST_HEADER", "x"),
            ("RESPONSE_TRAILER", "x"),
            ("PROTOCOL", None),
            ("ROUTE_NAME", None),
            ("GRPC_STATUS", None),
            ("GRPC_STATUS", "NUMBER"),
            ("CONNECTION_TERMINATION_DETAILS", None),
            ("DOWNSTREAM_HANDSHAKE_DURATION", None),
        ):
            self.assertEqual(self.both(name, parameters), (None, None))
        self.assertEqual(self.values("LOCAL_REPLY_BODY", "CUSTOM_FLAGS"), ["", ""])

    def test_serverName(self) -> None:
        """
        What is none is marked, and cannot take another column's place.
        """
        for name, wanted in (
            (None, None),
            ("", None),
            ("db.example", "db.example"),
            ("under_score", "under_score"),
            ('sp ace "q"', "invalid:sp_ace__q_"),
            ("x\n", "invalid:x_"),
            ("é", "invalid:_"),
        ):
            self.downstream.server_name = name
            self.assertEqual(self.both("REQUESTED_SERVER_NAME"), (wanted, wanted))
            self.assertEqual(self.value("REQUESTED_SERVER_NAME", "SNI_ONLY"), wanted)

    def test_endings(self) -> None:
        upstream = self.upstream(joined=False)
        upstream.closing("connect_failed: Connection refused")
        self.downstream.closing("unknown_ca: certificate a is signed by b")
        self.connection.closing("upstream: connect_failed: Connection refused (tcp:h:1)")
        self.assertEqual(
            self.values(
                "RESPONSE_FLAGS",
                "RESPONSE_FLAGS_LONG",
                "RESPONSE_CODE_DETAILS",
                "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
                "UPSTREAM_TRANSPORT_FAILURE_REASON",
                "DOWNSTREAM_DETECTED_CLOSE_TYPE",
            ),
            [
                "UF,URX",
                "UpstreamConnectionFailure,UpstreamRetryLimitExceeded",
                None,
                "unknown_ca:_certificate_a_is_signed_by_b",
                "delayed_connect_error:_Connection_refused",
                "Normal",
            ],
        )

    def test_nothingHappened(self) -> None:
        """
        No flag is a dash, in JSON too; no details and no failure are not known.
        """
        self.assertEqual(self.both("RESPONSE_FLAGS"), ("-", "-"))
        self.assertEqual(self.both("RESPONSE_FLAGS_LONG"), ("-", "-"))
        self.assertEqual(self.both("UPSTREAM_TRANSPORT_FAILURE_REASON"), (None, None))
        self.connection.closing("downstream: no_filter_chain: none takes raw_buffer")
        self.assertEqual(
            self.value("RESPONSE_CODE_DETAILS", "ALLOW_WHITESPACES"), "filter_chain_not_found"
        )

    def test_unknown(self) -> None:
        error = self.assertRaises(OperatorError, compileOperator, "BYTES_SEND", None, None)
        self.assertEqual(str(error), "BYTES_SEND is not a known operator; BYTES_SENT is")


class AddressTests(OperatorCase):
    def three(self, name: str) -> list[Any]:
        return self.values(f"{name}_ADDRESS", f"{name}_ADDRESS_WITHOUT_PORT", f"{name}_PORT")

    def test_forms(self) -> None:
        for address, wanted in (
            (None, [None, None, None]),
            (CLIENT, ["10.0.0.7:40000", "10.0.0.7", 40000]),
            (IPv6Address("TCP", "::1", 80), ["[::1]:80", "::1", 80]),
            (UNIXAddress("/run/a"), ["/run/a", "/run/a", None]),
            (UNIXAddress(b"\0a"), ["@a", "@a", None]),
            (HostnameAddress(b"h", 1), ["HostnameAddress(hostname=b'h', port=1)"] * 2 + [None]),
        ):
            self.downstream.local_address = address
            self.assertEqual(self.three("DOWNSTREAM_DIRECT_LOCAL"), wanted)
            self.assertEqual(self.three("DOWNSTREAM_LOCAL"), wanted)

    def test_text(self) -> None:
        self.downstream.address = CLIENT
        self.assertEqual(self.text("DOWNSTREAM_REMOTE_PORT"), "40000")
        self.assertEqual(self.text("DOWNSTREAM_REMOTE_ADDRESS"), "10.0.0.7:40000")

    def test_direct(self) -> None:
        """
        What a PROXY header or a redirection says, and what the socket does.
        """
        peer = self.downstream
        peer.address, peer.local_address = CLIENT, LISTENER
        self.assertEqual(self.value("DOWNSTREAM_DIRECT_REMOTE_ADDRESS"), "10.0.0.7:40000")
        peer.direct_address = IPv4Address("TCP", "10.9.9.9", 9)
        peer.original_destination = IPv4Address("TCP", "10.8.8.8", 8)
        self.assertEqual(
            self.values(
                "DOWNSTREAM_REMOTE_ADDRESS",
                "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
                "DOWNSTREAM_LOCAL_ADDRESS",
                "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
            ),
            ["10.0.0.7:40000", "10.9.9.9:9", "10.8.8.8:8", "10.0.0.1:15006"],
        )

    def test_unixClient(self) -> None:
        """
        It has no name of its own; Envoy gives it the socket's.
        """
        self.downstream.address = UNIXAddress(None)
        self.downstream.local_address = UNIXAddress("/run/proxy")
        self.assertEqual(self.value("DOWNSTREAM_REMOTE_ADDRESS"), "/run/proxy")
        self.assertEqual(self.value("DOWNSTREAM_DIRECT_REMOTE_ADDRESS"), "/run/proxy")

    def test_upstream(self) -> None:
        names = ("UPSTREAM_HOST", "UPSTREAM_HOST_NAME", "UPSTREAM_HOST_NAME_WITHOUT_PORT")
        ends = ("UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_LOCAL_ADDRESS")
        self.assertEqual(self.values(*names, *ends), [None] * 5)
        peer = self.upstream(joined=False)
        peer.host = "db:5432"
        self.assertEqual(self.values(*names, *ends), ["db:5432", "db:5432", "db", None, None])
        peer.address = IPv4Address("TCP", "10.0.0.9", 5432)
        peer.local_address = IPv4Address("TCP", "10.0.0.1", 50000)
        self.assertEqual(self.values(*names, *ends)[0:4], ["10.0.0.9:5432", "db:5432", "db", None])
        self.connection.joined()
        self.assertEqual(self.values(*ends), ["10.0.0.9:5432", "10.0.0.1:50000"])
        peer.host = None
        self.assertEqual(self.values(*names), ["10.0.0.9:5432", "10.0.0.9:5432", "10.0.0.9"])


class CertificateTests(OperatorCase):
    def setUp(self) -> None:
        super().setUp()
        authority = Authority.create()
        self.peers = self.load(
            authority.issue("spiffe://td/ns/a/sa/b", ("b.test", "c.test"), common_name="b")
        )
        self.ours = self.load(authority.issue("spiffe://td/ns/a/sa/us", ("us.test",)))

    def load(self, credential: Any) -> x509.Certificate:
        return x509.load_pem_x509_certificate(credential.cert_pem)

    def keep(self, peer: Peer, peers: Any, ours: Any) -> None:
        peer.keepCertificates(peers and crypto.X509.from_cryptography(peers), ours)

    def test_names(self) -> None:
        for side, peer in (("DOWNSTREAM", self.downstream), ("UPSTREAM", self.upstream())):
            self.keep(peer, self.peers, self.ours)
            peer.tls_version, peer.tls_cipher = "TLSv1.3", "TLS_AES_256_GCM_SHA384"
            said = {
                name: self.value(f"{side}_{name}")
                for name in (
                    "PEER_URI_SAN",
                    "PEER_DNS_SAN",
                    "PEER_IP_SAN",
                    "PEER_SUBJECT",
                    "PEER_ISSUER",
                    "LOCAL_URI_SAN",
                    "LOCAL_DNS_SAN",
                    "TLS_VERSION",
                    "TLS_CIPHER",
                )
            }
            self.assertEqual(
                said,
                {
                    "PEER_URI_SAN": "spiffe://td/ns/a/sa/b",
                    "PEER_DNS_SAN": "b.test,c.test",
                    "PEER_IP_SAN": None,
                    "PEER_SUBJECT": "CN=b",
                    "PEER_ISSUER": self.peers.issuer.rfc4514_string(),
                    "LOCAL_URI_SAN": "spiffe://td/ns/a/sa/us",
                    "LOCAL_DNS_SAN": "us.test",
                    "TLS_VERSION": "TLSv1.3",
                    "TLS_CIPHER": "TLS_AES_256_GCM_SHA384",
                },
            )

    def test_numbers(self) -> None:
        """
        As Envoy writes them: lower case, whole bytes, without colons.
        """
        self.keep(self.downstream, self.peers, self.ours)
        self.assertEqual(self.value("DOWNSTREAM_LOCAL_SUBJECT"), None)
        serial = self.value("DOWNSTREAM_PEER_SERIAL")
        self.assertEqual((int(serial, 16), len(serial) % 2), (self.peers.serial_number, 0))
        self.assertEqual(
            self.values("DOWNSTREAM_PEER_FINGERPRINT_256", "DOWNSTREAM_PEER_FINGERPRINT_1"),
            [self.peers.fingerprint(SHA256()).hex(), self.peers.fingerprint(SHA1()).hex()],
        )
        self.assertEqual(
            x509.load_pem_x509_certificate(unquote(self.value("DOWNSTREAM_PEER_CERT")).encode()),
            self.peers,
        )
        start, end = self.peers.not_valid_before_utc, self.peers.not_valid_after_utc
        self.assertEqual(
            self.value("DOWNSTREAM_PEER_CERT_V_START"), f"{start:%Y-%m-%dT%H:%M:%S}.000Z"
        )
        self.assertEqual(
            self.value("DOWNSTREAM_PEER_CERT_V_END", "%s"),
            str(int(end.astimezone(timezone.utc).timestamp())),
        )

    def test_serial(self) -> None:
        """
        Whole bytes, whether the number has an even number of digits or not.
        """

        class Certificate:
            serial_number = 0

            def to_cryptography(self) -> Certificate:
                return self

        certificate: Any = Certificate()
        self.downstream.keepCertificates(certificate, None)
        for number, wanted in ((0xABC, "0abc"), (0x1ABC, "1abc")):
            certificate.serial_number = number
            self.assertEqual(self.value("DOWNSTREAM_PEER_SERIAL"), wanted)

    def test_notOfUpstreams(self) -> None:
        """
        What Envoy has no operator for is refused as by Envoy.
        """
        for name in ("PEER_SERIAL", "PEER_FINGERPRINT_1", "PEER_FINGERPRINT_256", "LOCAL_SUBJECT"):
            self.assertRaises(OperatorError, compileOperator, f"UPSTREAM_{name}", None, None)

    def test_none(self) -> None:
        for name in (
            "DOWNSTREAM_PEER_URI_SAN",
            "DOWNSTREAM_LOCAL_URI_SAN",
            "DOWNSTREAM_PEER_CERT",
            "DOWNSTREAM_PEER_CERT_V_END",
            "DOWNSTREAM_TLS_VERSION",
            "UPSTREAM_TLS_CIPHER",
        ):
            self.assertEqual(self.both(name), (None, None))

    def test_unreadable(self) -> None:
        """
        A certificate that cannot be parsed ends no connection.
        """
        broken = crypto.X509()
        self.downstream.keepCertificates(broken, None)
        self.assertEqual(
            self.values(
                "DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_PEER_CERT", "DOWNSTREAM_PEER_CERT_V_END"
            ),
            [None, None, None],
        )

    def test_bounded(self) -> None:
        """
        A certificate may have thousands of names.
        """
        many = self.load(
            Authority.create().issue("spiffe://td/a", [f"{n}.example" for n in range(1000)])
        )
        self.keep(self.downstream, many, None)
        value, text = self.both("DOWNSTREAM_PEER_DNS_SAN")
        self.assertEqual((len(value), value[-1]), (LIMIT, "…"))
        self.assertTrue(text.endswith("\\u2026"))


#: What Istio's filter has set in the reference filter's traces, with what it was told.
def stored() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    found = []
    for vector in json.loads(VECTORS.read_text()):
        for step in vector["steps"]:
            states = {state["key"]: state for state in step.get("filter_state_set", [])}
            for side in ("downstream", "upstream"):
                if f"{side}_peer" in states:
                    struct = states[f"{side}_peer"]["struct"]
                    found.append((side, struct, states[f"{side}_peer_obj"]))
    return found


class PeerTests(OperatorCase):
    def test_asTheReferenceFilter(self) -> None:
        """
        Whole, as Istio's text, and field by field: in each trace what the reference filter has
        set.
        """
        traces = stored()
        self.assertTrue(len(traces) > 50)
        for side, struct, object_ in traces:
            labels = dict(object_["labels"])
            # By a slip, the reference sets the name where there is a cluster, empty or not, and
            # leaves it out where there is none.
            struct.pop("name", None)
            if object_["instance_name"]:
                struct["name"] = object_["instance_name"]
            peer = self.downstream if side == "downstream" else self.connection.upstream
            wanted = struct | ({"labels": labels} if labels else {})
            peer.metadata = Metadata(**wanted)
            self.assertEqual(
                self.value("FILTER_STATE", f"{side}_peer"),
                {
                    key: bounded(text) if isinstance(text, str) else text
                    for key, text in wanted.items()
                },
            )
            for key in (f"{side}_peer", f"{side}_peer_obj"):
                text = self.value("FILTER_STATE", f"{key}:PLAIN")
                if not labels:  # With them, none was recorded.
                    self.assertEqual(text, bounded(object_["serialized_string"]))
            for field in ("workload", "namespace", "app", "availability_zone", "cluster"):
                self.assertEqual(
                    self.value("FILTER_STATE", f"{side}_peer:FIELD:{field}"), struct.get(field)
                )

    def test_text(self) -> None:
        self.downstream.metadata = Metadata(workload="web", name="web-1")
        self.assertEqual(
            self.text("FILTER_STATE", "downstream_peer"), '{"name":"web-1","workload":"web"}'
        )
        self.assertEqual(self.text("FILTER_STATE", "downstream_peer", 8), '{"name":')
        self.assertEqual(
            self.text("FILTER_STATE", "downstream_peer:TYPED"), '{"name":"web-1","workload":"web"}'
        )
        self.assertEqual(self.text("FILTER_STATE", "downstream_peer:FIELD:workload", 2), "we")
        self.assertEqual(self.text("UPSTREAM_FILTER_STATE", "upstream_peer:FIELD:workload"), None)

    def test_labels(self) -> None:
        """
        Behind the fields, as the reference's source has them.
        """
        self.downstream.metadata = Metadata(app="a", labels={"tier": "gold", "role": ""})
        self.assertEqual(
            self.value("FILTER_STATE", "downstream_peer:PLAIN"),
            "app=a,labels[]tier=gold,labels[]role=",
        )
        self.assertEqual(
            self.value("FILTER_STATE", "downstream_peer"),
            {"app": "a", "labels": {"role": "", "tier": "gold"}},
        )

    def test_absent(self) -> None:
        """
        Nobody was found, or a field is empty or none: not known.
        """
        self.downstream.metadata = Absence(PeerState.TIMEOUT)
        for parameters in ("downstream_peer", "downstream_peer:PLAIN", "downstream_peer:FIELD:app"):
            self.assertEqual(self.both("FILTER_STATE", parameters), (None, None))
        self.downstream.metadata = Metadata(workload="web")
        for field in ("app", "nonsense", "labels", "__class__"):
            self.assertEqual(
                self.both("FILTER_STATE", f"downstream_peer:FIELD:{field}"), (None, None)
            )

    def test_hostile(self) -> None:
        """
        Whatever a peer says of itself, text is one bounded line of printable ASCII.
        """
        self.downstream.metadata = Metadata(workload="a\n\x1b[2J\u2028é" + "x" * 5000)
        value, text = self.both("FILTER_STATE", "downstream_peer:FIELD:workload")
        self.assertEqual(len(value), LIMIT)
        self.assertTrue(text.startswith("a\\n\\x1b[2J\\u2028\\xe9xxx"))
        self.assertTrue(text.isascii() and text.isprintable())
        whole = self.text("FILTER_STATE", "downstream_peer")
        self.assertTrue(whole.isascii() and whole.isprintable() and len(whole) < 2 * LIMIT)


class FactTests(OperatorCase):
    def test_filtersOwn(self) -> None:
        """
        A filter's fact by its key's name, if it is one that can be written.
        """
        for value, plain, typed in (
            ("a b", "a b", '"a b"'),
            (7, "7", "7"),
            ({"b": 1, "a": "x"}, '{"b":1,"a":"x"}', '{"a":"x","b":1}'),
        ):
            key: Key[Any] = Key("acme.bucket", type(value))
            self.connection._facts.clear()
            self.connection.set(key, value)
            self.assertEqual(self.value("FILTER_STATE", "acme.bucket"), value)
            self.assertEqual(self.text("FILTER_STATE", "acme.bucket"), typed)
            self.assertEqual(sorted(self.text("FILTER_STATE", "acme.bucket:PLAIN")), sorted(plain))
        self.assertEqual(self.value("FILTER_STATE", "acme.bucket:FIELD:a"), "x")
        self.assertEqual(self.value("FILTER_STATE", "acme.bucket:FIELD:z"), None)
        self.assertEqual(self.value("FILTER_STATE", "acme.other"), None)

    def test_notWritable(self) -> None:
        key: Key[object] = Key("acme.object", object)
        self.connection.set(key, self)
        self.assertEqual(self.both("FILTER_STATE", "acme.object"), (None, None))
        self.assertEqual(self.both("FILTER_STATE", "acme.object:FIELD:x"), (None, None))

    def test_dynamicMetadata(self) -> None:
        self.assertEqual(self.both("DYNAMIC_METADATA", "acme:a"), (None, None))
        self.connection.set(DYNAMIC_METADATA, {"acme": {"a": {"b": "text"}, "n": 5}})
        for operator, prefix in (("DYNAMIC_METADATA", ""), ("METADATA", "DYNAMIC:")):
            self.assertEqual(
                [
                    self.both(operator, prefix + path, 9)
                    for path in ("acme", "acme:a:b", "acme:n", "acme:n:x", "acme:z", "other")
                ],
                [
                    ({"a": {"b": "text"}, "n": 5}, '{"a":{"b"'),
                    ("text", "text"),
                    (5, "5"),
                    (None, None),
                    (None, None),
                    (None, None),
                ],
            )
        self.assertEqual(self.both("METADATA", "ROUTE:acme:a"), (None, None))

    def test_ownMetadata(self) -> None:
        """
        What mxproxy knows and Envoy has no operator for.
        """
        self.downstream.alpn = "istio-peer-exchange"
        self.downstream.alpn_offered = ("istio-peer-exchange", "istio")
        self.downstream.transport_protocol = "tls"
        self.downstream.metadata = Absence(PeerState.BAD_MAGIC)
        self.connection.trail.append("downstream/tls")
        self.connection.closing("downstream: closed")
        self.assertEqual(
            self.value("DYNAMIC_METADATA", "mxproxy"),
            {
                "close_reason": "downstream: closed",
                "connection": self.connection.id,
                "downstream": {
                    "alpn": "istio-peer-exchange",
                    "alpn_offered": ["istio-peer-exchange", "istio"],
                    "application_protocols": [],
                    "close_reason": None,
                    "peer_state": "bad_magic",
                    "transport_protocol": "tls",
                },
                "listener": "in",
                "trail": ["downstream/tls"],
                "upstream": {
                    "alpn": None,
                    "alpn_offered": [],
                    "application_protocols": [],
                    "close_reason": None,
                    "peer_state": "disabled",
                    "transport_protocol": None,
                },
            },
        )
        self.assertEqual(
            self.text("DYNAMIC_METADATA", "mxproxy:downstream:peer_state"), "bad_magic"
        )
