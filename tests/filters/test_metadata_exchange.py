"""
The exchange on a connection, in transcripts: every ending of docs/wire.md, on both sides, with
both openings and both holds.

Each ending is played on all eight combinations.  They behave in three ways, and the columns left
of a transcript's lines say in which of them a line belongs:

    F    it speaks first, and holds both directions
    R    it speaks first, and holds reading only
    A    it answers: its prefix is sent when the peer's was read
    .    not in this one
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.filters.metadata_exchange import MetadataExchange, configure
from mxproxy.filters.options import OptionError
from mxproxy.interfaces import IFilter
from mxproxy.testing import Application, Bench
from mxproxy.testing.bench import Wrap
from mxproxy.wire.exchange import ALPN, Hold
from mxproxy.wire.metadata import Node
from mxproxy.wire.prefix import MAGIC_BYTES, encodePrefix

OWN = Node("own~id", {"WORKLOAD_NAME": "ratings"})
PEER = Node("peer~id", {"WORKLOAD_NAME": "reviews", "NAMESPACE": "default"})

SYMBOLS = {
    "own": OWN.prefix(),
    "peer": PEER.prefix(),
    "magic": MAGIC_BYTES,
    "over the cap": MAGIC_BYTES + (65537).to_bytes(4, "big"),
    "empty": encodePrefix(b""),
    "no Struct": encodePrefix(b"\x0a\x03abc"),
    "says nothing": encodePrefix(b"\x0a\x2atype.googleapis.com/google.protobuf.Struct"),
}

#: What each combination of (side, opening, hold) does.  A client's side always speaks first,
#: whatever its server's opening is set to.
COLUMNS = {
    ("upstream", "reply", "both"): "F",
    ("upstream", "reply", "read"): "R",
    ("upstream", "eager", "both"): "F",
    ("upstream", "eager", "read"): "R",
    ("downstream", "reply", "both"): "A",
    ("downstream", "reply", "read"): "A",
    ("downstream", "eager", "both"): "F",
    ("downstream", "eager", "read"): "R",
}


class Ending(NamedTuple):
    """
    @ivar script: a transcript with three columns in front.
    @ivar counted: what is counted beside alpn_protocol_found; metadata_added is when <own> is sent.
    @ivar alpn: what TLS has negotiated.
    """

    script: str
    counted: tuple[str, ...] = ()
    alpn: str | None = ALPN


#: By the first column of the table under "Every ending" in docs/wire.md.
ENDINGS: dict[str, tuple[Ending, ...]] = {
    "a whole prefix was read": (
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <peer> 'hello'
            F R A   found: reviews
            . . A   << <own>
            F . A   app<< connected
            F R A   app<< 'hello'
            F R A   left: metadata_exchange
            F R A   app>> 'welcome'
            F R A   << 'welcome'
            F R A   >> ' again'
            F R A   app<< ' again'
            """
        ),
        Ending(
            """
            # Nothing behind it: the application is connected to and may be the first to speak.
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <peer>
            F R A   found: reviews
            . . A   << <own>
            F . A   app<< connected
            F R A   left: metadata_exchange
            F R A   app>> 'welcome'
            F R A   << 'welcome'
            """
        ),
        Ending(
            """
            # The end of the stream right behind it.
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <peer>
            F R A   found: reviews
            . . A   << <own>
            F . A   app<< connected
            F R A   left: metadata_exchange
            F R A   >> eof
            F R A   app<< eof
            F R A   app>> 'bye'
            F R A   << 'bye'
            F R A   app>> close
            F R A   << close
            F R A   app<< closed: done
            F R A   closed: closed
            """
        ),
        Ending(
            """
            # The application writes and ends before it has been read from.
            . R .   << <own>
            . R .   app<< connected
            . R .   app>> 'early'
            . R .   << 'early'
            . R .   app>> eof
            . R .   << eof
            . R .   >> <peer> 'hello'
            . R .   found: reviews
            . R .   app<< 'hello'
            . R .   left: metadata_exchange
            """
        ),
        Ending(
            """
            # It wants nothing yet: what came with the prefix waits, and the layer with it.
            . R .   << <own>
            . R .   app<< connected
            . R .   app>> pause
            . R .   >> <peer> 'hello'
            . R .   >> eof
            . R .   app>> resume
            . R .   found: reviews
            . R .   app<< 'hello'
            . R .   app<< eof
            . R .   left: metadata_exchange
            """
        ),
    ),
    "whose Struct has no `x-envoy-peer-metadata`": (
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <says nothing> 'hello'
            F R A   found: (says nothing)
            . . A   << <own>
            F . A   app<< connected
            F R A   app<< 'hello'
            F R A   left: metadata_exchange
            """
        ),
    ),
    "N is 0, or the payload is not an Any of a Struct": (
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <empty> 'hello'
            F R A   absent: malformed
            . . A   << <own>
            F . A   app<< connected
            F R A   app<< 'hello'
            F R A   left: metadata_exchange
            """,
            ("header_not_found", "malformed"),
        ),
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <no Struct> 'hello'
            F R A   absent: malformed
            . . A   << <own>
            F . A   app<< connected
            F R A   app<< 'hello'
            F R A   left: metadata_exchange
            """,
            ("header_not_found", "malformed"),
        ),
    ),
    "N is over the cap (`--mx-max-size`, 65536)": (
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <over the cap> 'hello'
            F R A   absent: too_large
            F R A   << reset
            . R .   app<< closed: aborted
            F R A   closed: too_large: announced length 65537 is over the cap of 65536 bytes
            """,
            ("too_large",),
        ),
    ),
    "a byte differs from the magic": (
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> 'G'
            F R A   absent: bad_magic
            F . A   app<< connected
            F R A   app<< 'G'
            F R A   left: metadata_exchange
            F R A   >> 'ET /'
            F R A   app<< 'ET /'
            """,
            ("initial_header_not_found",),
        ),
        Ending(
            """
            # Known at the first byte that differs: the fourth.
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <magic>[:3]
            F R A   >> '!'
            F R A   absent: bad_magic
            F . A   app<< connected
            F R A   app<< '=#\\x04!'
            F R A   left: metadata_exchange
            """,
            ("initial_header_not_found",),
        ),
    ),
    "the stream ends within the magic, or right behind it": (
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <magic>[:1]
            F R A   >> eof
            F R A   absent: closed
            F . A   app<< connected
            F R A   app<< '='
            F R A   app<< eof
            F R A   left: metadata_exchange
            """,
            ("initial_header_not_found",),
        ),
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <magic>
            F R A   >> eof
            F R A   absent: closed
            F . A   app<< connected
            F R A   app<< <magic>
            F R A   app<< eof
            F R A   left: metadata_exchange
            F R A   app>> 'what?'
            F R A   << 'what?'
            """,
            ("initial_header_not_found",),
        ),
    ),
    "the stream ends within the length or the payload": (
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <peer>[:5]
            F R A   >> eof
            F R A   absent: closed
            F . A   app<< connected
            F R A   app<< eof
            F R A   left: metadata_exchange
            """,
            ("initial_header_not_found",),
        ),
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <peer>[:-1]
            F R A   >> eof
            F R A   absent: closed
            F . A   app<< connected
            F R A   app<< eof
            F R A   left: metadata_exchange
            """
        ),
    ),
    "the stream ends without a byte": (
        Ending(
            """
            F R .   << <own>
            . R .   app<< connected
            F R A   >> eof
            F R A   absent: closed
            F . A   app<< connected
            F R A   app<< eof
            F R A   left: metadata_exchange
            F R A   app>> 'bye'
            F R A   << 'bye'
            F R A   app>> close
            F R A   << close
            F R A   app<< closed: done
            F R A   closed: closed
            """,
            ("initial_header_not_found",),
        ),
    ),
    "the time is up": (
        Ending(
            """
            # The hold ends, the parsing does not: a late prefix is taken out all the same.
            F R .   << <own>
            . R .   app<< connected
            F R A   wait 5
            F R A   absent: timeout
            F . A   app<< connected
            F R A   app>> 'bare'
            F R A   << 'bare'
            F R A   >> <peer> 'hello'
            F R A   found: reviews
            F R A   app<< 'hello'
            F R A   left: metadata_exchange
            """,
            ("timeout",),
        ),
        Ending(
            """
            # In the middle of the prefix.
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <peer>[:20]
            F R A   wait 4.9
            F R A   wait 0.1
            F R A   absent: timeout
            F . A   app<< connected
            F R A   >> <peer>[20:] 'hello'
            F R A   found: reviews
            F R A   app<< 'hello'
            F R A   left: metadata_exchange
            """,
            ("timeout",),
        ),
        Ending(
            """
            # What comes late is none.
            F R .   << <own>
            . R .   app<< connected
            F R A   wait 5
            F R A   absent: timeout
            F . A   app<< connected
            F R A   >> 'GET /'
            F R A   app<< 'GET /'
            F R A   left: metadata_exchange
            """,
            ("timeout", "initial_header_not_found"),
        ),
        Ending(
            """
            # The stream ends without one.
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <magic>[:2]
            F R A   wait 5
            F R A   absent: timeout
            F . A   app<< connected
            F R A   >> eof
            F R A   app<< '=#'
            F R A   app<< eof
            F R A   left: metadata_exchange
            """,
            ("timeout", "initial_header_not_found"),
        ),
        Ending(
            """
            # The stream ends within one.
            F R .   << <own>
            . R .   app<< connected
            F R A   wait 5
            F R A   absent: timeout
            F . A   app<< connected
            F R A   >> <peer>[:-1]
            F R A   >> eof
            F R A   app<< eof
            F R A   left: metadata_exchange
            """,
            ("timeout",),
        ),
        Ending(
            """
            # What comes late is malformed: not the application's either.
            F R .   << <own>
            . R .   app<< connected
            F R A   wait 5
            F R A   absent: timeout
            F . A   app<< connected
            F R A   >> <no Struct> 'hello'
            F R A   app<< 'hello'
            F R A   left: metadata_exchange
            """,
            ("timeout", "header_not_found", "malformed"),
        ),
        Ending(
            """
            # What comes late is over the cap.
            F R .   << <own>
            . R .   app<< connected
            F R A   wait 5
            F R A   absent: timeout
            F . A   app<< connected
            F R A   >> <over the cap>
            F R A   << reset
            F R A   app<< closed: aborted
            F R A   closed: too_large: announced length 65537 is over the cap of 65536 bytes
            """,
            ("timeout", "too_large"),
        ),
        Ending(
            """
            # The application is done before anything comes.
            F R .   << <own>
            . R .   app<< connected
            F R A   wait 5
            F R A   absent: timeout
            F . A   app<< connected
            F R A   app>> 'bare'
            F R A   << 'bare'
            F R A   app>> close
            F R A   << close
            F R A   app<< closed: done
            F R A   closed: closed
            """,
            ("timeout",),
        ),
    ),
    "another protocol was negotiated, or none": (
        Ending(
            """
            F R A   absent: alpn_mismatch
            F R A   app<< connected
            F R A   left: metadata_exchange
            F R A   >> <peer> 'hello'
            F R A   app<< <peer> 'hello'
            F R A   app>> 'welcome'
            F R A   << 'welcome'
            """,
            alpn="istio",
        ),
        Ending(
            """
            F R A   absent: alpn_mismatch
            F R A   app<< connected
            F R A   left: metadata_exchange
            F R A   >> 'hello'
            F R A   app<< 'hello'
            F R A   >> eof
            F R A   app<< eof
            """,
            alpn=None,
        ),
    ),
    "a second prefix comes": (
        Ending(
            """
            # In the same read, and in another.
            F R .   << <own>
            . R .   app<< connected
            F R A   >> <peer> <peer>
            F R A   found: reviews
            . . A   << <own>
            F . A   app<< connected
            F R A   app<< <peer>
            F R A   left: metadata_exchange
            F R A   >> <peer>
            F R A   app<< <peer>
            """
        ),
    ),
}

#: Not among the table's rows: the connection breaks, or is never asked for anything.
LOSSES = (
    Ending(
        """
        F R .   << <own>
        . R .   app<< connected
        F R A   >> lost
        F R A   << reset
        . R .   app<< closed: lost
        F R A   absent: closed
        F R A   closed: reset
        """
    ),
    Ending(
        """
        F R .   << <own>
        . R .   app<< connected
        F R A   >> <peer>[:9]
        F R A   >> lost
        F R A   << reset
        . R .   app<< closed: lost
        F R A   absent: closed
        F R A   closed: reset
        """
    ),
    Ending(
        """
        . R .   << <own>
        . R .   app<< connected
        . R .   app>> close
        . R .   << close
        . R .   app<< closed: done
        . R .   absent: closed
        . R .   closed: closed
        """
    ),
    Ending(
        """
        F R .   << <own>
        . R .   app<< connected
        F R A   wait 5
        F R A   absent: timeout
        F . A   app<< connected
        F R A   >> lost
        F R A   << reset
        F R A   app<< closed: lost
        F R A   closed: reset
        """,
        ("timeout",),
    ),
)


def column(script: str, which: str) -> str:
    """
    One of the three transcripts.
    """
    lines = []
    for line in script.splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            marks, text = text[:5], text[5:].strip()
            assert re.fullmatch("[F.] [R.] [A.]", marks), line
            if which in marks:
                lines.append(text)
    return "\n".join(lines)


class EndingTests(SynchronousTestCase):
    """
    Invariant: however the bytes are cut, each ending has one transcript, and it leaves nothing
    behind: no timer, no pause.
    """

    def play(self, ending: Ending, side: str, opening: str, hold: str) -> None:
        script = column(ending.script, COLUMNS[side, opening, hold])
        if not script:
            return
        for chunks in (None, 1, 5):
            bench = Bench(
                MetadataExchange(opening=opening, hold=Hold(hold)),
                side=side,
                node=OWN,
                alpn=ending.alpn,
                symbols=SYMBOLS,
                chunks=chunks,
            )
            bench.play(script)
            expected = list(ending.counted)
            if ending.alpn == ALPN:
                expected.append("alpn_protocol_found")
            else:
                expected.append("alpn_protocol_not_found")
            if "<< <own>" in script:
                expected.append("metadata_added")
            self.assertEqual(
                dict(bench.counts), {f"metadata_exchange.{name}": 1 for name in expected}
            )
            bench.transport.lose()
            self.assertEqual(bench.reactor.getDelayedCalls(), [])
            self.assertEqual(len(bench.application.losses), bench.application.connections)
            self.assertEqual(bench.application.unexpected, [])

    def playAll(self, endings: tuple[Ending, ...]) -> None:
        for combination in COLUMNS:
            for number, ending in enumerate(endings, 1):
                try:
                    self.play(ending, *combination)
                except AssertionError as error:
                    where = ", ".join(combination)
                    raise AssertionError(f"number {number}, {where}: {error}") from None

    def test_losses(self) -> None:
        self.playAll(LOSSES)


def _addTests() -> None:
    for number, (title, endings) in enumerate(ENDINGS.items()):

        def test(self: EndingTests, endings: tuple[Ending, ...] = endings) -> None:
            self.playAll(endings)

        test.__doc__ = title
        words = re.sub("[^A-Za-z]+", " ", title).title().replace(" ", "")
        setattr(EndingTests, f"test_{number:02}{words}", test)


_addTests()


class CompletenessTests(SynchronousTestCase):
    """
    Nothing is missing from the table of this module.
    """

    def test_combinations(self) -> None:
        every = product(("upstream", "downstream"), ("reply", "eager"), ("both", "read"))
        self.assertEqual(set(COLUMNS), set(every))

    def test_columns(self) -> None:
        """
        Each ending is played in each of the three ways.
        """
        for title, endings in ENDINGS.items():
            for which in "FRA":
                self.assertTrue(any(column(e.script, which) for e in endings), (title, which))

    def test_documentedEndings(self) -> None:
        """
        Each row of the documentation's table is played; C{disabled} means that there is no filter.
        """
        text = (Path(__file__).parents[2] / "docs" / "wire.md").read_text("utf-8")
        section = text.partition("## Every ending")[2].partition("\n## ")[0]
        rows = [line.split("|")[1].strip() for line in section.splitlines() if line[:2] == "| "]
        titles = {row.removeprefix("… ") for row in rows[2:]}
        self.assertEqual(titles - {"no exchange is configured"}, set(ENDINGS))


class DisabledTests(SynchronousTestCase):
    def test_noFilter(self) -> None:
        """
        A chain without the filter: the peer is C{disabled}, and not a byte is looked at.
        """
        nothing: Wrap = lambda inner, context: inner  # noqa: E731
        bench = Bench(nothing, alpn="istio", symbols=SYMBOLS)
        bench.play(
            """
            app<< connected
            >> <peer> 'hello'
            app<< <peer> 'hello'
            """
        )
        self.assertEqual(str(bench.peer.peer_state), "disabled")


class SettingsTests(SynchronousTestCase):
    def test_protocol(self) -> None:
        """
        The ALPN that stands for the exchange can be another one.
        """
        filter = configure({"protocol": "mx"})
        self.assertEqual(filter.alpn_protocols, ("mx",))
        bench = Bench(filter, side="upstream", node=OWN, alpn="mx", symbols=SYMBOLS)
        bench.play("<< <own>")

    def test_timeout(self) -> None:
        bench = Bench(configure({"timeout": "0.25"}), alpn=ALPN, node=OWN)
        bench.play(
            """
            wait 0.25
            absent: timeout
            app<< connected
            """
        )

    def test_maxSize(self) -> None:
        bench = Bench(configure({"max_size": "10"}), alpn=ALPN, node=OWN, symbols=SYMBOLS)
        bench.play(
            """
            >> <magic> '\\x00\\x00\\x00\\x0b'
            absent: too_large
            << reset
            closed: too_large: announced length 11 is over the cap of 10 bytes
            """
        )

    def test_additionalLabels(self) -> None:
        """
        They travel in both directions.
        """
        node = Node("x", {"LABELS": {"team": "red", "other": "blue"}})
        bench = Bench(
            configure({"additional_labels": "team, none"}),
            side="upstream",
            node=node,
            alpn=ALPN,
            symbols={"with team": node.prefix(("team",))},
        )
        bench.play(
            """
            << <with team>
            >> <with team>
            found: (says nothing)
            app<< connected
            left: metadata_exchange
            """
        )
        self.assertEqual(dict(bench.peer.metadata.labels), {"team": "red"})

    def test_wrong(self) -> None:
        for options, why in (
            ({"timeout": "0"}, "timeout='0' has to be a number above 0"),
            ({"opening": "shy"}, "opening='shy' has to be one of reply, eager"),
            ({"hold": "none"}, "hold='none' has to be one of both, read"),
            ({"max_size": "x"}, "max_size='x' has to be a number above 0"),
            ({"frobnicate": "1"}, "unknown option frobnicate; there is: protocol, timeout,"),
        ):
            error = self.assertRaises(OptionError, configure, options)
            self.assertIn(why, str(error))

    def test_isAFilter(self) -> None:
        self.assertTrue(IFilter.providedBy(configure({})))


class FactsTests(SynchronousTestCase):
    def test_known(self) -> None:
        """
        When the application is connected, what is known of the peer can be asked for.
        """
        known: list[str] = []
        bench = Bench(MetadataExchange(), node=OWN, alpn=ALPN, symbols=SYMBOLS)

        def made() -> None:
            Application.connectionMade(bench.application)
            known.append(bench.connection.downstream.metadata.workload)

        bench.application.connectionMade = made  # type: ignore[method-assign]
        bench.play(
            """
            >> <peer>
            found: reviews
            << <own>
            app<< connected
            left: metadata_exchange
            """
        )
        self.assertEqual(known, ["reviews"])
        self.assertEqual(bench.peer.metadata.namespace, "default")
