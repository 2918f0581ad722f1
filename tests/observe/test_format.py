"""
Formats: each operator is filled in where it stands, whatever cannot be is refused when the
format is compiled, and says where.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.plan import AccessLogPlan
from mxproxy.connection import Connection
from mxproxy.observe.format import (
    ENVOY_TEXT,
    ISTIO_TEXT,
    NAMED,
    FormatError,
    compileFormat,
    compileJSON,
    compileText,
)
from mxproxy.observe.operators import Record

NOON = 1767268800.5


class FormatCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connection = Connection("in", self.clock.seconds, wallClock=lambda: NOON)
        self.connection.downstream.bytes_received = 5
        self.connection.downstream.bytes_sent = 10
        self.clock.advance(0.25)

    @property
    def record(self) -> Record:
        return Record(self.connection, "TcpConnectionEnd", NOON + 1)


class TextTests(FormatCase):
    def text(self, format: str, omitEmpty: bool = False) -> str:
        return compileText(format, omitEmpty)(self.record).decode("utf-8")

    def test_filledIn(self) -> None:
        for format, wanted in (
            ("", ""),
            ("plain é\n", "plain é\n"),
            ("%BYTES_SENT%", "10"),
            ("a %DURATION% b", "a 250 b"),
            ("%BYTES_RECEIVED%%BYTES_SENT%", "510"),
            ("%DURATION()%", "250"),
            ("%%", "%"),
            ("%%DURATION%%", "%DURATION%"),
            ("100%% of %BYTES_SENT%", "100% of 10"),
            ("%PROTOCOL%", "-"),
            ("[%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):3%]", "[-]"),
            ("%START_TIME(%H:%M (x))%", "12:00 (x)"),
        ):
            self.assertEqual(self.text(format), wanted)

    def test_omitEmpty(self) -> None:
        """
        What is not known is nothing; a dash that is a value stays.
        """
        self.assertEqual(self.text("[%PROTOCOL%] [%RESPONSE_FLAGS%]", True), "[] [-]")

    def test_notUTF8(self) -> None:
        """
        A format that cannot be encoded is escaped where it cannot.
        """
        self.assertEqual(self.text("\ud800%BYTES_SENT%"), "\\ud80010")

    def test_refused(self) -> None:
        for format, position, message in (
            ("%", 0, "'%' is no operator; write %% for a percent sign"),
            ("abc %", 4, "'%' is no operator; write %% for a percent sign"),
            ("%START_TIME", 0, "'%START_TIME' is no operator; write %% for a percent sign"),
            ("%duration%", 0, "'%duration%' is no operator; write %% for a percent sign"),
            ("%DURATION%-%", 11, "'%' is no operator; write %% for a percent sign"),
            ("%%%FOO%", 2, "FOO is not a known operator"),
            ("a %DURATIONS%", 2, "DURATIONS is not a known operator; DURATION is"),
            ("%DURATION(x)%", 0, "DURATION takes no parameters"),
            ("%DURATION:3%", 0, "DURATION takes no length"),
            ("%START_TIME(%s):5%", 0, "START_TIME takes no length"),
            ("%START_TIME(%n)%", 0, "START_TIME: a moment cannot contain the end of a line"),
            ("%REQ%", 0, "REQ needs parameters: REQ(NAME)"),
            ("%ENVIRONMENT()%", 0, "ENVIRONMENT needs parameters: ENVIRONMENT(NAME)"),
            (
                "%ENVIRONMENT(a)b%",
                0,
                "'%ENVIRONMENT(a)b%' is no operator; write %% for a percent sign",
            ),
            ("%FILTER_STATE(:PLAIN)%", 0, "FILTER_STATE: the key is empty"),
            ("%FILTER_STATE(a:X)%", 0, "FILTER_STATE: 'X' is neither of PLAIN, TYPED and FIELD"),
            (
                "%FILTER_STATE(a:FIELD)%",
                0,
                "FILTER_STATE: a field's name is given with FIELD, and only with it",
            ),
            (
                "%REQUESTED_SERVER_NAME(X)%",
                0,
                "REQUESTED_SERVER_NAME: 'X' is none of SNI_ONLY, SNI_FIRST and HOST_FIRST",
            ),
            (
                "%METADATA(LISTENER:a)%",
                0,
                "METADATA: 'LISTENER' is not known; DYNAMIC is, and of no use ROUTE and VIRTUAL_HOST",
            ),
        ):
            error = self.assertRaises(FormatError, compileText, format)
            self.assertEqual(error.position, position, format)
            self.assertEqual(str(error), f"position {position}: {message}")

    def test_longTextIsCut(self) -> None:
        """
        The message stays a line that can be read.
        """
        error = self.assertRaises(FormatError, compileText, "%" + "x" * 1000)
        self.assertTrue(len(str(error)) < 120)

    def test_named(self) -> None:
        """
        The formats that proxies have where none is given, as Envoy 1.40 writes them.
        """
        connection = self.connection
        connection.downstream.address = IPv4Address("TCP", "10.0.0.7", 40000)
        connection.downstream.local_address = IPv4Address("TCP", "10.0.0.1", 15006)
        peer = connection.newUpstream(lambda peer: None)
        connection.joined()
        connection.cluster = "inbound|9000||"
        peer.address = IPv4Address("TCP", "127.0.0.1", 9000)
        peer.local_address = IPv4Address("TCP", "127.0.0.1", 50000)
        self.assertEqual(
            self.text(ENVOY_TEXT),
            '[2026-01-01T12:00:00.500Z] "- - -" 0 - 5 10 250 - "-" "-" "-" "-" "127.0.0.1:9000"\n',
        )
        self.assertEqual(
            self.text(ISTIO_TEXT),
            '[2026-01-01T12:00:00.500Z] "- - -" 0 - - - "-" 5 10 250 - "-" "-" "-" "-"'
            ' "127.0.0.1:9000" inbound|9000|| 127.0.0.1:50000 10.0.0.1:15006 10.0.0.7:40000 - -\n',
        )
        self.assertEqual(NAMED, {"envoy": ENVOY_TEXT, "istio": ISTIO_TEXT})


class JSONTests(FormatCase):
    def line(self, format: Any, omitEmpty: bool = False) -> str:
        line = compileJSON(format, omitEmpty)(self.record)
        self.assertTrue(line.endswith(b"\n"))
        return line[:-1].decode("ascii")

    def test_types(self) -> None:
        """
        A lone operator keeps its type; among other text it is text.
        """
        self.assertEqual(
            self.line(
                {
                    "n": "%BYTES_SENT%",
                    "absent": "%PROTOCOL%",
                    "mixed": "%DURATION%ms",
                    "two": "%DURATION%%PROTOCOL%",
                    "text": "x",
                    "empty": "",
                    "percent": "100%%",
                    "b%%": "k",
                }
            ),
            '{"absent":null,"b%%":"k","empty":"","mixed":"250ms","n":10,"percent":"100%",'
            '"text":"x","two":"250-"}',
        )

    def test_constants(self) -> None:
        self.assertEqual(
            self.line({"a": 1.0, "b": 0.1, "c": 7, "d": True, "e": None, "f": 1e30, "g": 2.0**60}),
            '{"a":1,"b":0.1,"c":7,"d":true,"e":null,"f":1e+30,"g":1.152921504606847e+18}',
        )

    def test_nested(self) -> None:
        self.assertEqual(
            self.line({"z": {"b": "%BYTES_SENT%", "a": ["%RESPONSE_CODE%", "x", {}, []]}}),
            '{"z":{"a":[0,"x",{},[]],"b":10}}',
        )

    def test_tuples(self) -> None:
        self.assertEqual(self.line({"a": ("x",)}), '{"a":["x"]}')

    def test_omitEmpty(self) -> None:
        """
        Null is left out, at every level, and so is a mapping that nothing is left of.
        """
        nothing = "%PROTOCOL%"
        self.assertEqual(
            self.line(
                {
                    "a": {"b": nothing},
                    "c": {"d": {"e": nothing}},
                    "l": [{"x": nothing}, nothing],
                    "n": None,
                    "t": f"-{nothing}-",
                    "b": True,
                },
                True,
            ),
            '{"b":true,"l":[],"t":"--"}',
        )
        self.assertEqual(self.line({"a": nothing}, True), "{}")

    def test_escaped(self) -> None:
        """
        One line of ASCII, and the same text again for whoever parses it.
        """
        hostile = 'é\n\x01\u2028\ud800"\\'
        self.connection.cluster = hostile
        line = self.line({hostile.replace("\ud800", ""): "%UPSTREAM_CLUSTER%"})
        self.assertEqual(list(json.loads(line).values()), [hostile])
        self.assertNotIn("\n", line)

    def test_refused(self) -> None:
        """
        The way to what is wrong, and what it is.
        """
        for format, message, position in (
            ({"a": {"b": ["", "x%FOO%"]}}, "json_format.a.b[1]: position 1: FOO is not a known", 1),
            ({"a": object()}, "json_format.a: object is no value of JSON", -1),
            ({"a": [b""]}, "json_format.a[0]: bytes is no value of JSON", -1),
        ):
            error = self.assertRaises(FormatError, compileJSON, format)
            self.assertTrue(str(error).startswith(message), str(error))
            self.assertEqual(error.position, position)


class PlanTests(FormatCase):
    def test_ofAPlan(self) -> None:
        for plan, wanted in (
            (AccessLogPlan("-", text_format="%BYTES_SENT%\n"), b"10\n"),
            (AccessLogPlan("-", json_format={"a": "%BYTES_SENT%"}), b'{"a":10}\n'),
            (AccessLogPlan("-", text_format="%PROTOCOL%", omit_empty_values=True), b""),
            (AccessLogPlan("-", {"a": "%PROTOCOL%"}, omit_empty_values=True), b"{}\n"),
        ):
            render = compileFormat(plan)
            assert render is not None
            self.assertEqual(render(self.record), wanted)

    def test_ownLines(self) -> None:
        self.assertIsNone(compileFormat(AccessLogPlan("-")))
