"""
C{mxproxy validate FILE} and C{twistd mxproxy --config FILE}.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock as MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from mxproxy import cli
from mxproxy.config.envoy import readPlan
from mxproxy.config.plan import AccessLogPlan
from mxproxy.service import ProxyService
from tests.config.commandline import CommandLineCase, parse
from tests.config.envoy.files import bootstrap, listener, put, typed
from tests.packaging.test_plugin import modulesAfter

GOOD = bootstrap()
BAD = put(put(GOOD, "foo", 1), "static_resources.listeners[0].name", 2)


class CommandCase(CommandLineCase):
    def setUp(self) -> None:
        super().setUp()
        for name, document in (("good", GOOD), ("bad", BAD)):
            Path(f"{name}.json").write_text(json.dumps(document))

    def run_(self, *arguments: str) -> tuple[object, str, str]:
        """
        @return: exit status, standard output, standard error.
        """
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                status: object = cli.main(["validate", *arguments])
            except SystemExit as stopped:
                status = stopped.code
        return status, stdout.getvalue(), stderr.getvalue()


class ValidateTests(CommandCase):
    def test_good(self) -> None:
        """
        As C{envoy --mode validate} says it.
        """
        self.assertEqual(self.run_("good.json"), (0, "configuration 'good.json' OK\n", ""))

    def test_bad(self) -> None:
        status, stdout, stderr = self.run_("bad.json")
        self.assertEqual((status, stdout), (1, ""))
        self.assertEqual(
            stderr.splitlines(),
            [
                (
                    "bad.json: static_resources.listeners[0].name: the number 2 where text is needed: "
                    "put it in quotes"
                ),
                (
                    "bad.json: foo: unknown field: envoy.config.bootstrap.v3.Bootstrap has none of "
                    "that name"
                ),
            ],
        )

    def test_unreadable(self) -> None:
        self.assertEqual(
            self.run_("none.json"), (1, "", "cannot read 'none.json': No such file or directory\n")
        )
        Path("x.yaml").write_text("a: [\x1b")
        status, stdout, stderr = self.run_("x.yaml")
        self.assertEqual((status, stdout, stderr.count("\n")), (1, "", 1))

    def test_cannotRun(self) -> None:
        """
        What turns out only when everything is built is told, too.
        """

        def refuse(*_: object) -> None:
            raise ValueError("no\nno")

        self.patch(ProxyService, "__init__", refuse)
        self.assertEqual(self.run_("good.json"), (1, "", "good.json: no no\n"))

    def test_usage(self) -> None:
        status, stdout, stderr = self.run_()
        self.assertEqual((status, stdout), (2, ""))
        self.assertIn("FILE", stderr)
        status, stdout, stderr = self.run_("--help")
        self.assertEqual((status, stderr), (0, ""))
        self.assertIn("Envoy", stdout)

    def test_writesNothing(self) -> None:
        """
        An access log is not begun.
        """
        log = typed(
            "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            path="access.log",
        )
        document = bootstrap(listeners=[listener(access_log=[log])])
        Path("log.json").write_text(json.dumps(document))
        before = sorted(os.listdir())
        self.assertEqual(self.run_("log.json")[0], 0)
        self.assertEqual(sorted(os.listdir()), before)


class OptionTests(CommandCase):
    def test_plan(self) -> None:
        """
        The file's plan, and the command line's access log beside it.
        """
        plan = readPlan("good.json")
        self.assertEqual(parse(["--config", "good.json"]).plan, plan)
        options = parse(["--config", "good.json", "--access-log", "x.log"])
        self.assertEqual(options.plan.listeners, plan.listeners)
        self.assertEqual(options.plan.access_log, AccessLogPlan(os.path.abspath("x.log")))

    def test_bad(self) -> None:
        """
        Every fault is a line, and the exit status is 1.
        """
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr):
            stopped = self.assertRaises(SystemExit, parse, ["--config", "bad.json"])
        self.assertEqual(stopped.code, 1)
        here = os.path.abspath("bad.json")
        self.assertEqual(
            [line[: len(here) + 17] for line in stderr.getvalue().splitlines()],
            [f"twistd mxproxy: {here}:"] * 2,
        )

    def test_unreadable(self) -> None:
        status, line = self.refusal(["--config", "none.json"])
        self.assertEqual(
            (status, line),
            (1, f"cannot read {os.path.abspath('none.json')!r}: No such file or directory"),
        )

    def test_run(self) -> None:
        """
        The plan listens where the file says.
        """
        reactor = MemoryReactor()
        service = ProxyService(parse(["--config", "good.json"]).plan, reactor)
        service.privilegedStartService()
        self.assertEqual([server[0] for server in reactor.tcpServers], [15006])
        self.assertEqual([server[3] for server in reactor.tcpServers], ["127.0.0.1"])


class ImportTests(SynchronousTestCase):
    def test_late(self) -> None:
        """
        Envoy's messages are imported where a file is read, and nowhere else.
        """
        code = "import mxproxy.tap, mxproxy.cli, mxproxy.config.envoy"
        names = modulesAfter(code)
        self.assertIn("mxproxy.config.options", names)
        self.assertEqual(
            [name for name in names if name.split(".")[0] in ("envoy", "validate", "xds", "grpc")],
            [],
        )
        self.assertNotIn("mxproxy.config.envoy.check", names)
