"""
docs/filters.md and README's "A filter in twenty lines" are executed, so that they stay true.

A block of code says in its first line (README's in its last) which file it is.  One that names
a file of examples/ is quoted: each of its lines stands there.
"""

from __future__ import annotations

import ast
import inspect
import re
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass

from mxproxy.filters.options import Options
from mxproxy.interfaces import IChainContext, IConnection, IPeer
from mxproxy.layers.deliver import HoldingLayer
from mxproxy.testing import Conversation, checkFilter
from mxproxy.wire.handshake import Outcome
from tests.e2e.processes import Child
from tests.examples.test_installed import InstalledCase
from tests.packaging.environment import ROOT

DOCS = (ROOT / "docs" / "filters.md").read_text()
README = (ROOT / "README.md").read_text()


class Block(NamedTuple):
    """
    @ivar path: what it says it is.
    """

    path: str
    text: str


def blocks() -> list[Block]:
    """
    docs/filters.md's, in order.
    """
    found = []
    for indent, text in re.findall(r"(?ms)^( *)```(?:python|ini)\n(.*?)^ *```$", DOCS):
        lines = [line.removeprefix(indent) for line in text.splitlines()]
        found.append(Block(lines[0].removeprefix("# "), "\n".join(lines) + "\n"))
    return found


def readme() -> Block:
    """
    The indented lines of README's section.
    """
    section = README.split("## A filter in twenty lines\n")[1].split("\n## ")[0]
    code = re.match(r"\n((?:    .*\n|\n)+)", section)
    assert code is not None
    lines = [line.removeprefix("    ") for line in code[1].rstrip().splitlines()]
    return Block(lines[-1].partition("# ")[2], "\n".join(lines) + "\n")


def tables() -> dict[str, list[str]]:
    """
    The names of each table's first column, by its head.
    """
    found: dict[str, list[str]] = {}
    for head, rows in re.findall(r"(?m)^\| (.*?) \|.*\n\| ---.*\n((?:\|.*\n)+)", DOCS):
        cells = [row.split(" | ")[0] for row in rows.splitlines()]
        found[head.strip("`")] = [
            name for cell in cells for name in re.findall(r"`(\w+)(?:\([^`]*\))?`", cell)
        ]
    return found


class DocumentTests(SynchronousTestCase):
    """
    What can be told by reading.
    """

    def test_blocks(self) -> None:
        """
        There are as many blocks as there should be, each a file or a quotation.
        """
        self.assertEqual(
            [block.path for block in blocks()],
            [
                "twisted/plugins/acme_idle.py",
                "twisted/plugins/acme_speaks.py",
                "twisted/plugins/acme_tenant.py",
                "test_acme_tenant.py",
                "examples/mxproxy-example-filters/setup.cfg",
                "examples/mxproxy-example-filters/twisted/plugins/mxproxy_example_plugin.py",
            ],
        )
        self.assertEqual(readme().path, "twisted/plugins/greeter.py")

    def test_quoted(self) -> None:
        for block in blocks():
            if block.path.startswith("examples/"):
                rest = [line.strip() for line in (ROOT / block.path).read_text().splitlines()]
                for line in block.text.splitlines()[1:]:
                    self.assertIn(line.strip(), rest, f"{block.path} has not, or not here")
                    rest = rest[rest.index(line.strip()) + 1 :]

    def test_twentyLines(self) -> None:
        """
        README's is as short as it says: lines of code.
        """
        lines = [line for line in readme().text.splitlines() if line.strip()]
        self.assertLessEqual(len(lines), 20)

    def test_facts(self) -> None:
        """
        The tables have each name of the interfaces, and no other.
        """
        interfaces: tuple[InterfaceClass, ...] = (IConnection, IPeer, IChainContext)
        for interface in interfaces:
            self.assertEqual(
                sorted(tables()[interface.__name__]), sorted(interface.names(all=True))
            )

    def test_outcome(self) -> None:
        self.assertEqual(sorted(tables()["Outcome"]), sorted(Outcome.__dataclass_fields__))

    def test_options(self) -> None:
        public = [name for name in vars(Options) if not name.startswith("_")]
        self.assertEqual(sorted(tables()["Options"]), sorted(public))

    def test_calls(self) -> None:
        """
        A layer has what the table says that it can call, with the parameters that it says.
        """
        (rows,) = re.findall(r"(?m)^\| call \| to \|\n\| ---.*\n((?:\|.*\n)+)", DOCS)
        cells = "".join(row.split(" | ")[0] for row in rows.splitlines())
        calls = re.findall(r"`(\w+)\((.*?)\)`", cells)
        self.assertEqual(len(calls), 10, calls)
        for name, given in calls:
            parameters = inspect.signature(getattr(HoldingLayer, name)).parameters.values()
            takes = [parameter.name for parameter in parameters][1:]
            if given:
                self.assertEqual([word.partition("=")[0] for word in given.split(", ")], takes)

    def test_links(self) -> None:
        for link in re.findall(r"\]\(([^)#]+)\)", DOCS):
            self.assertTrue((ROOT / "docs" / link).exists(), link)

    def test_parses(self) -> None:
        """
        On the oldest Python, too: nothing newer than its grammar.
        """
        for block in (*blocks(), readme()):
            if block.path.endswith(".py"):
                ast.parse(block.text, block.path, feature_version=(3, 10))


class ContractTests(SynchronousTestCase):
    """
    What the document shows is itself fit for a chain.
    """

    def run_(self, name: str, options: dict[str, str], conversation: Conversation) -> None:
        (text,) = (block.text for block in blocks() if block.path.endswith(f"{name}.py"))
        module = {"__name__": name}
        exec(compile(text, name, "exec"), module)
        checkFilter(module["configure"](options), conversation=conversation)  # type: ignore[operator]

    def test_idle(self) -> None:
        self.run_("acme_idle", {"seconds": "1e9"}, Conversation(incoming=b"hello"))

    def test_speaks(self) -> None:
        self.run_("acme_speaks", {"seconds": "2"}, Conversation(incoming=b"hello", patience=2))

    def test_greeter(self) -> None:
        module = {"__name__": "greeter", "print": lambda text: None}
        exec(compile(readme().text, "greeter", "exec"), module)
        greeter = module["greeter"].configure({})  # type: ignore[attr-defined]
        checkFilter(greeter, conversation=Conversation(incoming=b"hello"))


class ExecutedTests(InstalledCase):
    """
    The files in a directory of their own, as the document has it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.project = self.directory / "project"
        for block in (*blocks(), readme()):
            if not block.path.startswith("examples/"):
                path = self.project / block.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)

    def start(self, command: object, environment: dict[str, str] | None = None) -> Child:
        """
        With the project on the path.
        """
        return super().start(command, {"PYTHONPATH": str(self.project), **(environment or {})})

    async def test_tests(self) -> None:
        """
        The document's own tests pass.
        """
        command = [self.python, "-m", "twisted.trial", "test_acme_tenant"]
        self.assertIn(b"PASSED (successes=4)", await self.run_(command))

    async def test_all(self) -> None:
        """
        All of them in one chain, and README's.
        """
        application, upstream = await self.application()
        sidecar = await self.plain(
            upstream,
            *("acme.speaks:seconds=20", "acme.tenant", "acme.idle:seconds=2", "example.greeter"),
        )
        client = await self.connect(sidecar.port)
        client.write(b"blue\nhello")
        server = await application.accepts()
        self.assertEqual(await server.reads(5), b"hello")
        server.write(b"goodbye")
        self.assertEqual(await client.reads(7), b"goodbye")
        # Nothing more is said.
        self.assertEqual(await client.readsRest(), b"")
        line = await sidecar.close()
        self.assertEqual(line["trail"], ["downstream/acme.speaks", "downstream/acme.tenant"])
        await sidecar.child.says(r"somebody: disabled")
        await sidecar.stop()

    async def test_silent(self) -> None:
        """
        The layer keeps a silent client away from the application.
        """
        application, upstream = await self.application()
        sidecar = await self.plain(upstream, "acme.speaks:seconds=0.1")
        client = await self.connect(sidecar.port)
        self.assertEqual(await client.readsRest(), b"")
        line = await sidecar.close()
        self.assertEqual(line["close_reason"], "downstream: silent: the client has said nothing")
        self.assertEqual(application.streams, [])
        await sidecar.stop()

    async def test_refused(self) -> None:
        for text in ("acme.idle:seconds=never", "acme.tenant:x=1"):
            self.assertIn(text, await self.refused(text))

    async def test_brokenPlugin(self) -> None:
        """
        A module that cannot be imported: why stands above the line that it is unknown.
        """
        (self.project / "twisted/plugins/acme_broken.py").write_text("import nothing_like_it\n")
        child = self.twistd("--mode", "inbound", "--filter", "acme.broken")
        self.assertEqual(await child.ends(), 2)
        traceback, _, last = child.text.rpartition("twistd mxproxy: ")
        self.assertIn("No module named 'nothing_like_it'", traceback)
        self.assertIn("no filter 'acme.broken' is installed", last)
