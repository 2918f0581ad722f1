"""
What twistd calls.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy import tap, transports
from mxproxy.transports import flows


class DataPathTests(SynchronousTestCase):
    def test_chosen(self) -> None:
        """
        It is chosen before anything is built.
        """
        self.addCleanup(transports.use, transports.DIRECT)
        chosen: list[tuple[bool, bool]] = []

        inUse: list[str] = []

        def make(*args: Any, **kwargs: Any) -> None:
            chosen.append((transports.isDirect(), transports.isCompiled()))
            self.patch(flows, "AVAILABLE", True)
            inUse.append(transports.inUse())
            self.patch(flows, "AVAILABLE", False)
            inUse.append(transports.inUse())

        self.patch(tap, "ProxyService", make)
        plain = ["--mode", "inbound", "--downstream-tls", "disable"]
        plain += ["--listen", "tcp:0", "--upstream", "tcp:127.0.0.1:9"]
        for more in ("", "layered", "direct", "python"):
            options = tap.Options()
            options.parseOptions([*plain, *(["--data-path", more] if more else [])])
            tap.makeService(options)
        self.assertEqual(chosen, [(True, True), (False, False), (True, True), (True, False)])
        self.assertEqual(inUse[:2], ["direct", "python"])
        self.assertEqual(inUse[2:4], ["layered", "layered"])
        self.assertEqual(inUse[6:], ["python", "python"])
