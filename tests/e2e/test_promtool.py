"""
The rules and the dashboard in examples/, as Prometheus reads them.

Keeps: promtool finds nothing wrong with the rules, their unit tests pass, and each of the dashboard's
expressions is one.
"""

from __future__ import annotations

import json

from tests.e2e.mesh import EndToEnd
from tests.e2e.processes import program
from tests.examples.test_monitoring import EXAMPLES, dashboard, expressions


class PromtoolTests(EndToEnd):
    async def promtool(self, *arguments: str) -> str:
        return (await self.run_([program("promtool"), *arguments])).decode()

    async def test_rules(self) -> None:
        rules = str(EXAMPLES / "prometheus" / "mxproxy.rules.yml")
        self.assertIn("SUCCESS", await self.promtool("check", "rules", "--lint-fatal", rules))
        configuration = str(EXAMPLES / "prometheus" / "prometheus.yml")
        await self.promtool("check", "config", configuration)

    async def test_alerts(self) -> None:
        said = await self.promtool(
            "test", "rules", str(EXAMPLES / "prometheus" / "mxproxy.test.yml")
        )
        self.assertIn("SUCCESS", said)

    async def test_dashboard(self) -> None:
        """
        promtool checks rules, so they are written as rules.
        """
        every = [
            expr.replace("$__rate_interval", "5m").replace("$__range", "1h")
            for expr in expressions(dashboard())
        ]
        rules = [{"record": f"x:{number}", "expr": expr} for number, expr in enumerate(every)]
        path = self.directory / "dashboard.yml"
        path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        said = await self.promtool("check", "rules", str(path))
        self.assertIn(f"SUCCESS: {len(every)} rules found", said)
