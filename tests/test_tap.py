"""
What twistd calls.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mxproxy import tap, transports


class DataPathTests(SynchronousTestCase):
    def test_chosen(self) -> None:
        """
        It is chosen before anything is built.
        """
        self.addCleanup(transports.use, transports.DIRECT)
        chosen: list[bool] = []
        self.patch(tap, "ProxyService", lambda *_, **__: chosen.append(transports.isDirect()))
        plain = ["--mode", "inbound", "--downstream-tls", "disable"]
        plain += ["--listen", "tcp:0", "--upstream", "tcp:127.0.0.1:9"]
        for more in ([], ["--data-path", "layered"], ["--data-path", "direct"]):
            options = tap.Options()
            options.parseOptions([*plain, *more])
            tap.makeService(options)
        self.assertEqual(chosen, [True, False, True])
