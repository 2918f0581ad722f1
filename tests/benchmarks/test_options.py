"""
What can be said on the command line of the benchmarks.
"""

from __future__ import annotations

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.__main__ import arguments, main
from benchmarks.loads import LOADS
from benchmarks.peers.mxproxy import Mxproxy
from benchmarks.summary import METRICS


class OptionTests(SynchronousTestCase):
    def refused(self, *argv: str) -> str:
        """
        @return: what is said of it.
        """
        self.patch(sys, "stderr", errors := io.StringIO())
        raised = self.assertRaises(SystemExit, main, argv)
        return errors.getvalue() + str(raised)

    def test_another(self) -> None:
        """
        Another version is a name, a place and options, quoted as for a shell.
        """
        other = Mxproxy.described("old=/src/old --filter 'a b'")
        self.assertEqual(other.name, "old")
        for text in ("", "old", "old=", "=/src"):
            self.assertRaises(ValueError, Mxproxy.described, text)

    def test_unknown(self) -> None:
        """
        What there is not is said, with what there is.
        """
        self.assertIn(
            "unknown peers: nobody; there are direct envoy", self.refused("--peers=nobody")
        )
        self.assertIn("unknown loads: nothing", self.refused("--peers=direct", "--loads=nothing"))
        self.assertIn("not NAME=PATH", self.refused("--mxproxy=here"))
        self.assertIn("invalid positive number value: '0'", self.refused("--rounds=0"))

    def test_smoke(self) -> None:
        """
        Short, unless something else is said.
        """
        options = arguments(["--smoke", "--seconds=10"])
        self.assertEqual((options.rounds, options.seconds, options.idle), (1, 10, 50))
        options = arguments(["--idle=7"])
        self.assertEqual((options.rounds, options.seconds, options.idle), (3, 3, 7))

    def test_loads(self) -> None:
        """
        Each load is in the table, and each column is of a load.
        """
        self.assertEqual({metric.load for metric in METRICS}, {load.name for load in LOADS})
