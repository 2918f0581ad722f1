"""
Every fault of a file is found, and told with its place as it is written in the file.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.envoy import BOOTSTRAP, RefusedFile, check, rules, subset
from mxproxy.config.envoy.check import checkDocument
from mxproxy.config.envoy.faults import Faults, Path
from mxproxy.config.envoy.registry import descriptorOf
from mxproxy.config.envoy.subset import SUBSET
from tests.config.envoy.files import (
    ECHO,
    NETWORK,
    SOCKETS,
    TYPES,
    FileCase,
    bootstrap,
    listener,
    put,
    typed,
)

L = "static_resources.listeners[0]"
C = "static_resources.clusters[0]"
F = f"{L}.filter_chains[0].filters[0]"

# place, value, and what is wrong, if not there then where
FAULTS: list[tuple[str, object, str]] = [
    # what there is no such field of
    (
        f"{L}.nmae",
        "x",
        (
            f"{L}.nmae: unknown field: envoy.config.listener.v3.Listener has none of that name; did "
            "you mean name?"
        ),
    ),
    (
        f"{L}.zzzzz",
        1,
        f"{L}.zzzzz: unknown field: envoy.config.listener.v3.Listener has none of that name",
    ),
    # what is not implemented
    (f"{L}.drain_type", "MODIFY_ONLY", f"{L}.drain_type: not implemented by mxproxy"),
    (f"{L}.drainType", "MODIFY_ONLY", f"{L}.drainType: not implemented by mxproxy"),
    (
        f"{C}.type",
        "EDS",
        (
            f"{C}.type: EDS is not implemented by mxproxy; there is: STATIC, STRICT_DNS, "
            "LOGICAL_DNS, ORIGINAL_DST"
        ),
    ),
    (
        f"{L}.bind_to_port",
        False,
        f"{L}.bind_to_port: false is not implemented by mxproxy; there is: true",
    ),
    # wrong types
    (f"{L}.name", 5, f"{L}.name: the number 5 where text is needed: put it in quotes"),
    (
        f"{L}.name",
        True,
        f"{L}.name: the truth value true where text is needed: put it in quotes",
    ),
    (f"{L}.name", [], f"{L}.name: a list where text is needed"),
    (L, 5, f"{L}: the number 5 where a mapping is needed"),
    (L, None, f"{L}: nothing where a mapping is needed"),
    (
        "static_resources.listeners",
        5,
        "static_resources.listeners: the number 5 where a list is needed",
    ),
    (
        f"{L}.use_original_dst",
        "maybe",
        f"{L}.use_original_dst: the text 'maybe' where true or false is needed",
    ),
    (
        f"{L}.use_original_dst",
        1,
        f"{L}.use_original_dst: the number 1 where true or false is needed",
    ),
    (
        f"{L}.tcp_backlog_size",
        1.5,
        f"{L}.tcp_backlog_size: the text '1.5' where a whole number is needed",
    ),
    (
        f"{L}.tcp_backlog_size",
        True,
        f"{L}.tcp_backlog_size: the truth value true where a whole number is needed",
    ),
    (f"{L}.tcp_backlog_size", "x", f"{L}.tcp_backlog_size: the text 'x' where a number is needed"),
    (
        f"{L}.tcp_backlog_size",
        "inf",
        f"{L}.tcp_backlog_size: the text 'inf' where a number is needed",
    ),
    (f"{L}.tcp_backlog_size", {}, f"{L}.tcp_backlog_size: a mapping where a number is needed"),
    (f"{L}.tcp_backlog_size", -1, f"{L}.tcp_backlog_size: -1 is not from 0 to 4294967295"),
    (
        f"{L}.tcp_backlog_size",
        2**32,
        f"{L}.tcp_backlog_size: 4294967296 is not from 0 to 4294967295",
    ),
    (
        f"{L}.traffic_direction",
        "UP",
        f"{L}.traffic_direction: 'UP' is none of UNSPECIFIED, INBOUND, OUTBOUND",
    ),
    (
        f"{L}.traffic_direction",
        7,
        f"{L}.traffic_direction: the number 7 is none of UNSPECIFIED, INBOUND, OUTBOUND",
    ),
    (
        f"{L}.traffic_direction",
        [],
        f"{L}.traffic_direction: a list is none of UNSPECIFIED, INBOUND, OUTBOUND",
    ),
    (
        f"{L}.listener_filters_timeout",
        5,
        f"{L}.listener_filters_timeout: the number 5 where a duration is needed, as in 1.5s",
    ),
    (
        f"{L}.listener_filters_timeout",
        "5ms",
        f"{L}.listener_filters_timeout: the text '5ms' where a duration is needed, as in 1.5s",
    ),
    (f"{L}.listener_filters_timeout", "-5s", f"{L}.listener_filters_timeout: -5s is below 0"),
    (
        f"{L}.listener_filters_timeout",
        "315576000001s",
        f"{L}.listener_filters_timeout: 315576000001s is longer than a duration can be",
    ),
    ("node.metadata", [], "node.metadata: a list where a mapping is needed"),
    (
        f"{C}.metadata.filter_metadata",
        [],
        f"{C}.metadata.filter_metadata: a list where a mapping is needed",
    ),
    (
        f"{C}.common_lb_config.healthy_panic_threshold.value",
        "x",
        (
            f"{C}.common_lb_config."
            "healthy_panic_threshold.value: the text 'x' where a number is needed"
        ),
    ),
    (
        f"{L}.filter_chains[0].transport_socket",
        typed(
            SOCKETS + "tls.v3.DownstreamTlsContext",
            common_tls_context={
                "tls_certificates": [
                    {
                        "certificate_chain": {"inline_bytes": "%%%"},
                        "private_key": {"inline_bytes": 5},
                    }
                ]
            },
        ),
        (
            f"{L}.filter_chains[0].transport_socket.typed_config.common_tls_context."
            "tls_certificates[0].certificate_chain.inline_bytes: not base64, in which bytes are written"
            f"\n{L}.filter_chains[0].transport_socket.typed_config.common_tls_context."
            "tls_certificates[0].private_key.inline_bytes: the number 5 where text is needed: put it "
            "in quotes"
        ),
    ),
    # the messages' own rules
    (f"{L}.address", ..., f"{L}.address: is required"),
    (f"{L}.address", {}, f"{L}.address: one of socket_address, pipe is required"),
    (
        f"{L}.address.pipe",
        {"path": "x"},
        f"{L}.address.pipe: excludes socket_address, which is there, too",
    ),
    (
        f"{L}.address.socket_address.address",
        ...,
        f"{L}.address.socket_address.address: is required",
    ),
    (f"{L}.address.socket_address.address", "", f"{L}.address.socket_address.address: is empty"),
    (
        f"{L}.address.socket_address.port_value",
        ...,
        f"{L}.address.socket_address.port_value: is required",
    ),
    (
        f"{L}.address.socket_address.port_value",
        65536,
        f"{L}.address.socket_address.port_value: has to be at most 65535",
    ),
    (f"{F}.typed_config.stat_prefix", ..., f"{F}.typed_config.stat_prefix: is required"),
    (
        f"{F}.typed_config.cluster",
        ...,
        f"{F}.typed_config: one of cluster, weighted_clusters is required",
    ),
    (
        f"{F}.typed_config.max_connect_attempts",
        0,
        f"{F}.typed_config.max_connect_attempts: has to be at least 1",
    ),
    (
        f"{F}.typed_config.hash_policy",
        [{"source_ip": {}}] * 2,
        f"{F}.typed_config.hash_policy: has to have at most 1",
    ),
    (
        f"{L}.filter_chains[0].filter_chain_match",
        {"source_ports": [1, 0]},
        f"{L}.filter_chains[0].filter_chain_match.source_ports[1]: has to be at least 1",
    ),
    (
        f"{L}.filter_chains[0].filter_chain_match",
        {"source_ports": [1, "x", None]},
        (
            f"{L}.filter_chains[0].filter_chain_match.source_ports[1]: the text 'x' where a number "
            f"is needed\n{L}.filter_chains[0].filter_chain_match.source_ports[2]: nothing where a "
            "number is needed"
        ),
    ),
    (f"{C}.connect_timeout", "0s", f"{C}.connect_timeout: has to be above 0s"),
    (f"{C}.dns_refresh_rate", "0.001s", f"{C}.dns_refresh_rate: has to be above 0.001s"),
    (
        f"{C}.metadata.filter_metadata",
        {"": {}},
        f"{C}.metadata.filter_metadata: the key '' is empty",
    ),
    (
        f"{C}.health_checks",
        [{"timeout": "1s", "interval": "1s", "healthy_threshold": 1}],
        (
            f"{C}.health_checks[0].tcp_health_check: is required\n"
            f"{C}.health_checks[0].unhealthy_threshold: is required"
        ),
    ),
    (
        f"{C}.transport_socket",
        typed(SOCKETS + "tls.v3.UpstreamTlsContext", sni="x" * 256),
        f"{C}.transport_socket.typed_config.sni: has to have at most 255 bytes",
    ),
    (
        f"{C}.transport_socket",
        typed(
            SOCKETS + "tls.v3.UpstreamTlsContext",
            common_tls_context={
                "validation_context": {
                    "match_typed_subject_alt_names": [
                        {"matcher": {"exact": "x"}},
                        {"san_type": "SAN_TYPE_UNSPECIFIED", "matcher": {"prefix": ""}},
                    ]
                }
            },
        ),
        (
            f"{C}.transport_socket.typed_config.common_tls_context.validation_context."
            "match_typed_subject_alt_names[0].san_type: is required\n"
            f"{C}.transport_socket.typed_config.common_tls_context.validation_context."
            "match_typed_subject_alt_names[1].san_type: has to be another one\n"
            f"{C}.transport_socket.typed_config.common_tls_context.validation_context."
            "match_typed_subject_alt_names[1].matcher.prefix: is empty"
        ),
    ),
    # Any
    (f"{F}.typed_config", ..., f"{F}.typed_config: is required"),
    (f"{F}.typed_config", 5, f"{F}.typed_config: the number 5 where a mapping is needed"),
    (f"{F}.typed_config", {}, f"{F}.typed_config.@type: is required: it says what this is"),
    (
        f"{F}.typed_config",
        {"@type": 5},
        f"{F}.typed_config: the number 5 where text is needed: put it in quotes",
    ),
    (
        f"{F}.typed_config",
        {"@type": "envoy.extensions.filters.network.echo.v3.Echo"},
        (
            f"{F}.typed_config.@type: 'envoy.extensions.filters.network.echo.v3.Echo' is not of the "
            "form type.googleapis.com/NAME"
        ),
    ),
    (
        f"{F}.typed_config",
        {"@type": TYPES + "x.Y", "a": 1},
        f"{F}.typed_config.@type: x.Y is not implemented by mxproxy here; there is: "
        + ", ".join(subset.NETWORK_FILTERS),
    ),
    (
        f"{F}.typed_config",
        {"@type": TYPES + "google.protobuf.Struct", "value": 5},
        f"{F}.typed_config: the number 5 where a mapping is needed",
    ),
    # TypedStruct
    (
        f"{F}.typed_config",
        {"@type": TYPES + "udpa.type.v1.TypedStruct", "value": {}},
        f"{F}.typed_config.type_url: is required: it says what this is",
    ),
    (
        f"{F}.typed_config",
        {"@type": TYPES + "udpa.type.v1.TypedStruct", "type_url": TYPES + "x.Y"},
        f"{F}.typed_config.type_url: x.Y is not implemented by mxproxy here; there is: "
        + ", ".join(subset.NETWORK_FILTERS),
    ),
    (
        f"{F}.typed_config",
        {
            "@type": TYPES + "xds.type.v3.TypedStruct",
            "typeUrl": NETWORK + "tcp_proxy.v3.TcpProxy",
            "value": {"statPrefix": 5, "foo": 1},
            "more": 1,
        },
        (
            f"{F}.typed_config.more: unknown field: a TypedStruct has type_url and value\n"
            f"{F}.typed_config.value.statPrefix: the number 5 where text is needed: put it in quotes\n"
            f"{F}.typed_config.value.foo: unknown field: envoy.extensions.filters.network.tcp_proxy."
            "v3.TcpProxy has none of that name\n"
            f"{F}.typed_config.value: one of cluster, weighted_clusters is required"
        ),
    ),
]


class FaultTests(FileCase):
    def test_each(self) -> None:
        for place, value, lines in FAULTS:
            found = self.faults(put(bootstrap(), place, value))
            self.assertEqual(found, lines.split("\n"), (place, value))

    def test_all(self) -> None:
        """
        One file with several faults: all of them are told, in the file's order.
        """
        document = bootstrap(listeners=[listener(foo=1, name=2), {"name": "x"}], clusters=5)
        document["stats_sinks"] = []
        self.assertEqual(
            self.faults(document),
            [
                f"{L}.name: the number 2 where text is needed: put it in quotes",
                f"{L}.foo: unknown field: envoy.config.listener.v3.Listener has none of that name",
                "static_resources.listeners[1].address: is required",
                "static_resources.clusters: the number 5 where a list is needed",
                "stats_sinks: not implemented by mxproxy",
            ],
        )

    def test_noMapping(self) -> None:
        for text, what in (("", "nothing"), ("[]", "a list"), ("x", "the text 'x'")):
            self.assertEqual(self.faults(text), [f"{what} where a mapping is needed"])

    def test_otherFile(self) -> None:
        """
        A file that is something else is not told in full: it may be a private key.
        """
        (fault,) = self.faults("-----BEGIN PRIVATE KEY-----\n" + "x" * 99)
        self.assertEqual(
            fault,
            "the text '-----BEGIN PRIVATE KEY----- " + "x" * 12 + "'... where a mapping is needed",
        )

    def test_spelling(self) -> None:
        """
        A place is told as the file spells it, whichever part of the way is spelt otherwise.
        """
        document = {"staticResources": {"listeners": [listener(filterChains=[{"foo": 1}])]}}
        del document["staticResources"]["listeners"][0]["filter_chains"]
        self.assertEqual(
            self.faults(document),
            [
                (
                    "staticResources.listeners[0].filterChains[0].foo: unknown field: "
                    "envoy.config.listener.v3.FilterChain has none of that name"
                )
            ],
        )

    def test_twice(self) -> None:
        self.assertEqual(
            self.faults(put(bootstrap(), f"{L}.filterChains", [])),
            [f"{L}.filterChains: the same field as filter_chains, which is there, too"],
        )

    def test_lastWord(self) -> None:
        """
        What the checks overlook protobuf refuses: a text that is no Unicode.
        """
        refused = self.assertRaises(
            RefusedFile, self.read, put(bootstrap(), "node.id", "\ud800"), "envoy.json"
        )
        (fault,) = refused.faults
        self.assertIn("id", str(fault))


class LeniencyTests(FileCase):
    """
    What Envoy takes is taken.
    """

    def test_same(self) -> None:
        usual = self.read(
            put(
                bootstrap(
                    listeners=[
                        listener(
                            traffic_direction="INBOUND",
                            tcp_backlog_size=10,
                            use_original_dst=True,
                            listener_filters_timeout="1s",
                        )
                    ]
                ),
                "node.id",
                "x",
            )
        )
        other = {
            "node": {"id": "x", "cluster": None},
            "staticResources": {
                "listeners": listener(
                    trafficDirection="inbound",
                    tcpBacklogSize="10",
                    useOriginalDst="true",
                    listenerFiltersTimeout="1.000s",
                ),
                "clusters": bootstrap()["static_resources"]["clusters"],
            },
        }
        self.assertEqual(self.read(other), usual)
        for value in (1, "1"):
            self.assertEqual(self.listener(traffic_direction=value).traffic_direction, "INBOUND")
        for size in (10.0, "10.0", "1e1"):
            self.assertIn(":backlog=10", self.listener(tcp_backlog_size=size).endpoint)

    def test_typedStruct(self) -> None:
        for name in subset.TYPED_STRUCTS:
            wrapped = {
                "name": "x",
                "typed_config": {
                    "@type": TYPES + name,
                    "type_url": NETWORK + "direct_response.v3.Config",
                    "value": {"response": {"inlineString": "hi"}},
                },
            }
            (found,) = self.filters(wrapped)
            self.assertEqual(found.body, b"hi")  # type: ignore[attr-defined]
        wrapped["typed_config"] = {
            "@type": TYPES + name,
            "type_url": NETWORK + "direct_response.v3.Config",
        }
        (found,) = self.filters(wrapped)
        self.assertEqual(found.body, b"")  # type: ignore[attr-defined]

    def test_bytes(self) -> None:
        text = base64.b64encode(b"hi?").decode()
        (found,) = self.filters(
            typed(NETWORK + "direct_response.v3.Config", response={"inline_bytes": text})
        )
        self.assertEqual(found.body, b"hi?")  # type: ignore[attr-defined]

    def test_anotherHost(self) -> None:
        """
        What stands in front of a type's name counts for nothing.
        """
        echo = put(
            ECHO, "typed_config.@type", "example.com/x/" + NETWORK.split("/")[1] + "echo.v3.Echo"
        )
        self.assertEqual(len(self.filters(echo)), 1)


class TableTests(SynchronousTestCase):
    """
    The table of what is implemented is about messages that there are, and is whole.
    """

    def fields(self) -> Iterator[tuple[str, FieldDescriptor]]:
        for name, fields in SUBSET.items():
            descriptor = descriptorOf(name)
            for field in fields:
                yield name, descriptor.fields_by_name[field]

    def test_whole(self) -> None:
        """
        A message in an implemented field is in the table, too, and each in it is used.
        """
        used = {BOOTSTRAP, "envoy.service.discovery.v3.DiscoveryResponse"}
        for name, field in self.fields():
            used |= set(SUBSET[name][field.name].types)
            kind = field.message_type
            if kind is not None and kind.GetOptions().map_entry:
                kind = kind.fields_by_name["value"].message_type
            if kind is not None and not kind.full_name.startswith("google.protobuf."):
                used.add(kind.full_name)
        self.assertEqual(used - {subset.STRUCT}, set(SUBSET))

    def test_only(self) -> None:
        """
        A value that is said to be the only one is one.
        """
        for name, field in self.fields():
            for value in SUBSET[name][field.name].only:
                if field.enum_type is not None:
                    self.assertIn(value, field.enum_type.values_by_name, name)

    def test_rules(self) -> None:
        """
        All rules that Envoy's messages have for these fields are understood.
        """

        def names(found: Any) -> Iterator[str]:
            for kind, detail in found.ListFields():
                for rule, value in detail.ListFields():
                    if rule.name in ("items", "keys", "values"):
                        yield from names(value)
                    elif kind.name not in ("message", "map"):
                        yield rule.name

        for name, field in self.fields():
            for rule in names(rules.rulesOf(field)):
                self.assertIn(rule, rules._RULES, f"{name}.{field.name}")

    def test_wellKnown(self) -> None:
        """
        Protobuf's own messages in these fields are those that are read.
        """
        known = {*check._WELL_KNOWN, *check._WRAPPERS, "google.protobuf.Any"}
        for name, field in self.fields():
            kind = field.message_type
            if kind is not None and kind.full_name.startswith("google.protobuf."):
                self.assertIn(kind.full_name, known, f"{name}.{field.name}")


class RuleTests(SynchronousTestCase):
    """
    Rules that no field of the table has today.
    """

    def test_each(self) -> None:
        for rule, bound, good, bad in (
            ("const", 1, 1, 2),
            ("lt", 2, 1, 2),
            ("in", [1], 1, 2),
            ("max_len", 1, "a", "ab"),
            ("min_items", 2, "ab", "a"),
        ):
            right, text = rules._RULES[rule]
            self.assertEqual((right(good, bound), right(bad, bound)), (True, False), rule)
            self.assertIn(str(bound), text.format(bound))


class FaultsTests(SynchronousTestCase):
    def test_spelling(self) -> None:
        """
        What is spelt otherwise is so in all that is in it, and nowhere else.
        """
        faults = Faults()
        faults.spelt("a_b", "aB")
        faults.spelt("a_b.c_d", "a_b.cD")
        faults.spelt("x", "x")
        for path in ("a_b", "a_b[0].c_d", "a_b.c_d[1].e", "a_bc", "c_d", ""):
            faults.add(path, "-")
        self.assertEqual(
            [fault.path for fault in faults], ["aB", "aB[0].c_d", "aB.cD[1].e", "a_bc", "c_d", ""]
        )

    def test_path(self) -> None:
        path = (Path() / "a/b").item(2) / "c"
        self.assertEqual(path, "a.b[2].c")
        self.assertEqual(list(path.each("xy")), ["a.b[2].c[0]", "a.b[2].c[1]"])

    def test_once(self) -> None:
        faults = Faults()
        self.assertFalse(faults)
        for _ in range(2):
            faults.add("a", "wrong\n indeed")
        self.assertEqual(repr(faults), "<Faults ['a: wrong indeed']>")

    def test_others(self) -> None:
        """
        Only what was expected is a fault.
        """
        faults = Faults()
        with faults.at("a"):
            raise ValueError("wrong")
        with self.assertRaises(KeyError), faults.at("a"):
            raise KeyError("x")
        self.assertEqual(list(map(str, faults)), ["a: wrong"])

    def test_valueErrorOfProtobuf(self) -> None:
        """
        Whatever protobuf raises is a fault, and not a traceback.
        """

        def refuse(*_: object) -> None:
            raise json_format.ParseError("no")

        self.patch(json_format, "ParseDict", refuse)
        faults = Faults()
        self.assertIsNone(checkDocument({}, BOOTSTRAP, faults))
        self.assertEqual(list(map(str, faults)), ["no"])
