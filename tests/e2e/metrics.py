"""
Sidecars with admin interfaces, and who looks at them: over HTTP, and a real Prometheus.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, readBody

from mxproxy.wire.metadata import Node
from tests.e2e.mesh import EndToEnd, Sidecar, Workload
from tests.e2e.processes import MOMENT, program, soon, until
from tests.e2e.streams import Application, Stream
from tests.observe.istio import scenario

ADMIN = ("--admin", "tcp:0")


class IstioWorkload(Workload):
    """
    One of Istio's own.
    """

    @property
    def node(self) -> Node:
        """What its node metadata says."""
        return {"client": scenario.CLIENT_NODE, "server": scenario.SERVER_NODE}[self.name]


CLIENT, SERVER = IstioWorkload("client", "default"), IstioWorkload("server", "default")


class MetricsTestCase(EndToEnd):
    """
    A pair of Istio's workloads, with admin interfaces, before an application of the test's.
    """

    async def watched(
        self, mode: str, workload: Workload, upstream: str, *options: str
    ) -> tuple[Sidecar, str]:
        """
        @return: a sidecar, and where its admin interface is.
        """
        sidecar = await self.sidecar(
            mode, workload, upstream, *ADMIN, "--service", scenario.SERVICE_HOST, *options
        )
        said = await sidecar.child.says(r"admin interface on (127\.0\.0\.1:\d+)\s")
        return sidecar, f"http://{said[1]}"

    async def istioPair(self, *outbound: str) -> None:
        """
        Both sidecars, C{self.client} and C{self.server}, with the addresses C{self.clientAdmin}
        and C{self.serverAdmin}.
        """
        self.application_: Application
        self.application_, upstream = await self.application()
        self.server, self.serverAdmin = await self.watched("inbound", SERVER, upstream)
        self.client, self.clientAdmin = await self.watched(
            "outbound",
            CLIENT,
            f"tcp:127.0.0.1:{self.server.port}",
            *("--upstream-san", SERVER.principal, *outbound),
        )

    async def talk(self) -> tuple[Stream, Stream]:
        """
        One connection of Istio's scenario.

        @return: its two ends, open.
        """
        client = await self.connect(self.client.port)
        client.write(scenario.REQUEST)
        server = await self.application_.accepts()
        self.assertEqual(await server.reads(len(scenario.REQUEST)), scenario.REQUEST)
        server.write(scenario.REPLY)
        self.assertEqual(await client.reads(len(scenario.REPLY)), scenario.REPLY)
        return client, server

    async def hangUp(self, client: Stream, server: Stream) -> None:
        """
        The client ends the connection.
        """
        client.finish()
        await server.readsRest()
        server.finish()
        await client.close()
        await server.close()

    async def fetch(self, url: str, method: str = "GET") -> str:
        """
        Ask an admin interface.
        """
        from twisted.internet import reactor

        agent: Any = Agent(reactor)
        response = await soon(
            agent.request(method.encode(), url.encode()), lambda: f"to answer {url}"
        )
        return (await readBody(response)).decode()

    async def metrics(self, admin: str) -> dict[str, list[tuple[dict[str, str], float]]]:
        """
        What there is of Istio's at an admin interface: by name, label sets with values.
        """
        text = await self.fetch(f"{admin}/stats/prometheus")
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.startswith("istio_"):
                    found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    async def eventually(
        self, ask: Callable[[], Any], right: Callable[[Any], bool], seconds: float = MOMENT
    ) -> Any:
        """
        Ask until the answer is right.
        """
        from twisted.internet import reactor

        clock: Any = reactor
        end = clock.seconds() + seconds
        while True:
            answer = await ask()
            if right(answer):
                return answer
            if clock.seconds() > end:
                raise AssertionError(f"not within {seconds:g} s; the last answer: {answer}")

    async def checkMetrics(self, admin: str) -> None:
        """
        C{promtool check metrics} has nothing to say.
        """
        text = await self.fetch(f"{admin}/stats/prometheus")
        done = await deferToThread(
            subprocess.run,
            [program("promtool"), "check", "metrics"],
            input=text.encode(),
            capture_output=True,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    async def prometheus(self, *admins: str) -> str:
        """
        A Prometheus that looks at admin interfaces every second.

        @return: its address.
        """
        config = self.directory / "prometheus.json"
        config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
                    "scrape_configs": [
                        {
                            "job_name": "mxproxy",
                            "metrics_path": "/stats/prometheus",
                            "static_configs": [
                                {"targets": [admin.removeprefix("http://") for admin in admins]}
                            ],
                        }
                    ],
                }
            )
        )
        child = self.start(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={self.directory / 'prometheus'}",
                "--web.listen-address=127.0.0.1:0",
            ]
        )

        def listens() -> str | None:
            # It says the port that it was told, not the one that it has.
            done = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True)
            found = re.search(rf"127\.0\.0\.1:(\d+) .*pid={child.pid},", done.stdout)
            return None if found is None else f"http://127.0.0.1:{found[1]}"

        return await until(listens, lambda: f"Prometheus to listen\n{child}", 60)

    async def query(self, prometheus: str, expression: str) -> dict[str, float]:
        """
        @param expression: a query whose result is a vector.
        @return: values, by their labels' values; none while Prometheus is still starting.
        """
        url = f"{prometheus}/api/v1/query?{urlencode({'query': expression})}"
        answer = await self.fetch(url)
        if answer.startswith("Service Unavailable"):
            return {}
        result = json.loads(answer)["data"]["result"]
        return {" ".join(one["metric"].values()): float(one["value"][1]) for one in result}
