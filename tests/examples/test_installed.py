"""
The example distribution, installed as anybody's would be, in real C{twistd mxproxy} processes
that run in another directory.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.mesh import WEB, EndToEnd, Sidecar
from tests.e2e.processes import Child
from tests.examples.installed import copyExample, installed
from tests.packaging.environment import Environment
from tests.packaging.test_install import requirements

#: A listener's plugin of somebody else, who has had the same idea of a name.
RIVAL = """
from twisted.plugin import IPlugin
from zope.interface import implementer
from mxproxy.connection import Key
from mxproxy.interfaces import IFilter, IFilterPlugin

@implementer(IPlugin, IFilterPlugin, IFilter)
class Rival:
    name = "rival.filter"
    description = "Keeps a fact under a name that is taken."
    keys = (Key("example.preamble.caller", str),)

    def configure(self, options):
        return self

    def wrap(self, inner, context):
        return inner

rival = Rival()
"""


class InstalledCase(EndToEnd):
    """
    Everything runs in the environment, and only with what is in it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.environment = installed()
        self.python = self.environment.python
        self.callers = self.directory / "callers"
        self.callers.write_text("alice open-sesame\nbob friend\n")

    def start(self, command: object, environment: dict[str, str] | None = None) -> Child:
        """
        Without the checkout's modules.
        """
        return super().start(command, {"PYTHONPATH": "", **(environment or {})})  # type: ignore[arg-type]

    def twistd(self, *options: str) -> Child:
        """
        The environment's C{twistd}.
        """
        twistd = self.environment.directory / "bin" / "twistd"
        return self.start([twistd, "--nodaemon", "--pidfile=", "mxproxy", *options])

    async def plain(self, upstream: str, *filters: str) -> Sidecar:
        """
        An inbound sidecar without TLS, with these filters.
        """
        log = self.directory / "access.log"
        options = [word for filter in filters for word in ("--filter", filter)]
        child = self.twistd(
            *("--mode", "inbound", "--downstream-tls", "disable", "--access-log", str(log)),
            *("--listen", "tcp:0:interface=127.0.0.1", "--upstream", upstream, *options),
        )
        sidecar = Sidecar(child, WEB, log)
        self.addCleanup(sidecar.stop)
        await sidecar.listens()
        return sidecar

    async def refused(self, *filters: str) -> str:
        """
        What a sidecar says that cannot be started with these filters.
        """
        options = [word for filter in filters for word in ("--filter", filter)]
        child = self.twistd(
            *("--mode", "inbound", "--downstream-tls", "disable"),
            *("--listen", "tcp:0", "--upstream", "tcp:127.0.0.1:1", *options),
        )
        status = await child.ends()
        self.assertIn(status, (1, 2), str(child))
        lines = child.text.splitlines()
        self.assertEqual(len(lines), 1, str(child))
        self.assertTrue(lines[0].startswith("twistd mxproxy: "), lines[0])
        return lines[0]


class FilterTests(InstalledCase):
    async def test_together(self) -> None:
        """
        Both filters, by C{--filter}: the line is taken out, the caller named, the bytes
        counted, half-close passed on.
        """
        application, upstream = await self.application()
        sidecar = await self.plain(
            upstream, f"example.preamble:file={self.callers}:timeout=3", "example.meter"
        )
        client = await self.connect(sidecar.port)
        client.write(b"alice open-sesame\r\nhello")
        client.finish()
        server = await application.accepts()
        self.assertEqual(await server.readsRest(), b"hello")
        server.write(b"goodbye")
        server.finish()
        self.assertEqual(await client.readsRest(), b"goodbye")
        line = await sidecar.close()
        self.assertEqual(line["trail"], ["downstream/example.preamble"])
        self.assertEqual(line["downstream"]["bytes_received"], 5)
        await sidecar.child.says("alice connected")
        await sidecar.child.says("alice: 5 bytes received, 7 sent")
        await sidecar.stop()

    async def test_stranger(self) -> None:
        """
        A wrong secret: the application is not even connected to.
        """
        application, upstream = await self.application()
        sidecar = await self.plain(upstream, f"example.preamble:file={self.callers}")
        client = await self.connect(sidecar.port)
        client.write(b"alice please\nhello")
        self.assertEqual(await client.readsRest(), b"")
        line = await sidecar.close()
        reason = "downstream: bad_preamble: nobody has this name and secret"
        self.assertEqual(line["close_reason"], reason)
        self.assertEqual(application.streams, [])
        await sidecar.stop()

    async def test_limit(self) -> None:
        """
        The stock filter ends a connection, and the access log says why.
        """
        application, upstream = await self.application()
        sidecar = await self.plain(upstream, "example.meter:limit=10")
        client = await self.connect(sidecar.port)
        client.write(b"hello")
        server = await application.accepts()
        self.assertEqual(await server.reads(5), b"hello")
        client.write(b"hello!")
        self.assertEqual(await server.readsRest(), b"")
        line = await sidecar.close()
        reason = "downstream: over_limit: more than 10 bytes"
        self.assertEqual(line["close_reason"], reason)
        await sidecar.stop()

    async def test_peer(self) -> None:
        """
        Between two sidecars: a filter has the peer's principal and its metadata when it is
        connected.
        """
        application, upstream = await self.application()
        pair = await self.pair(upstream, inbound=["--filter", "example.meter"])
        client = await self.connect(pair.port)
        client.write(b"hello")
        server = await application.accepts()
        self.assertEqual(await server.reads(5), b"hello")
        await pair.inbound.child.says(f"{WEB.principal}, {WEB.name} connected")
        client.finish()
        self.assertEqual(await server.readsRest(), b"")
        server.finish()
        await pair.inbound.child.says(f"{WEB.name}: 5 bytes received, 0 sent")
        await pair.check(1)


class RefusalTests(InstalledCase):
    """
    One line that says what is wrong, and nothing is started.
    """

    async def test_options(self) -> None:
        wrong = {
            "example.preamble": "file is missing: give file=...",
            "example.preamble:file=none": "file='none' cannot be read: No such file or directory",
            f"example.preamble:file={self.callers}:timeout=0": "timeout='0' has to be a number above 0",
            f"example.preamble:file={self.callers}:time=1": "unknown option time; there is: file, timeout",
            "example.meter:limit=many": "limit='many' has to be a whole number above 0",
            "example.mter": "example.meter",
        }
        for text, why in wrong.items():
            said = await self.refused(text)
            self.assertIn(text, said)
            self.assertIn(why, said)

    async def test_clash(self) -> None:
        """
        Two distributions keep a fact of the same name: only one of them can be used.
        """
        rival = self.environment.packages / "twisted" / "plugins" / "rival.py"
        rival.write_text(RIVAL)
        self.addCleanup(rival.unlink)
        said = await self.refused(f"example.preamble:file={self.callers}", "rival.filter")
        self.assertIn("--filter 'rival.filter': keeps a fact named 'example.preamble.caller'", said)
        self.assertIn("only one of the two can be used", said)


class InstallTests(InstalledCase):
    async def test_ownTests(self) -> None:
        """
        The distribution's own tests, with nothing but what it requires.
        """
        trial = [self.python, "-m", "twisted.trial", "mxproxy_example_filters"]
        output = await self.run_(trial)
        self.assertIn(b"PASSED", output)

    def test_editable(self) -> None:
        """
        C{pip install -e .} gives the same filters, from any directory.
        """
        environment = Environment(self.directory / "editable")
        environment.link([*requirements(), "setuptools"])
        (mxproxy,) = self.environment.packages.glob("mxproxy.pth")
        (environment.packages / mxproxy.name).write_text(mxproxy.read_text())
        environment.install("--editable", str(copyExample(self.directory / "source")))
        script = "from mxproxy.plugins import findFilter; print(findFilter('example.meter'))"
        output = environment.run("python", "-c", script, cwd=Path("/"))
        self.assertEqual(output, "<LazyFilter example.meter>\n")
