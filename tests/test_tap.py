"""
What twistd calls.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy import tap, transports


class DataPathTests(SynchronousTestCase):
    def test_chosen(self) -> None:
        """
        It is chosen before anything is built.
        """
        self.addCleanup(transports.use, transports.DIRECT)
        chosen: list[tuple[bool, bool]] = []

        def make(*args: Any, **kwargs: Any) -> None:
            chosen.append((transports.isDirect(), transports.isCompiled()))

        self.patch(tap, "ProxyService", make)
        plain = ["--mode", "inbound", "--downstream-tls", "disable"]
        plain += ["--listen", "tcp:0", "--upstream", "tcp:127.0.0.1:9"]
        for more in ("", "layered", "direct", "python"):
            options = tap.Options()
            options.parseOptions([*plain, *(["--data-path", more] if more else [])])
            tap.makeService(options)
        self.assertEqual(chosen, [(True, True), (False, False), (True, True), (True, False)])
