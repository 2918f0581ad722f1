"""
The C{mxproxy} command, and what twistd is given.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from types import ModuleType
from unittest.mock import patch

from twisted.application.service import IService
from twisted.trial.unittest import SynchronousTestCase

from mxproxy import __version__, cli, tap
from tests.config.commandline import INBOUND, PLAIN, CommandLineCase, parse


class CommandTests(SynchronousTestCase):
    def run_(self, *argv: str) -> tuple[object, str, str]:
        """
        @return: exit status, standard output, standard error.
        """
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                status: object = cli.main(argv)
            except SystemExit as stopped:
                status = stopped.code
        return status, stdout.getvalue(), stderr.getvalue()

    def test_version(self) -> None:
        for word in ("version", "--version"):
            self.assertEqual(self.run_(word), (0, f"mxproxy {__version__}\n", ""))

    def test_versionOfWhat(self) -> None:
        status, stdout, stderr = self.run_("version", "--of", "x")
        self.assertEqual((status, stdout), (2, ""))
        self.assertTrue(stderr.endswith("mxproxy: error: version takes no arguments: --of x\n"))

    def test_nothing(self) -> None:
        status, stdout, stderr = self.run_()
        self.assertEqual((status, stdout, stderr[:14]), (2, "", "usage: mxproxy"))

    def test_unknown(self) -> None:
        status, stdout, stderr = self.run_("dance")
        self.assertEqual((status, stdout), (2, ""))
        self.assertIn("'dance'", stderr)

    def test_help(self) -> None:
        status, stdout, stderr = self.run_("--help")
        self.assertEqual((status, stderr), (0, ""))
        for command in cli.COMMANDS:
            self.assertIn(command.help, stdout)

    def test_demo(self) -> None:
        """
        A command's module gets what follows its word; nothing returned is success.
        """
        demo = ModuleType("mxproxy.demo")
        seen: list[list[str]] = []
        demo.main = seen.append  # type: ignore[attr-defined]
        with patch.dict(sys.modules, {"mxproxy.demo": demo}):
            self.assertEqual(self.run_("demo", "--keep", "--help"), (0, "", ""))
            self.assertEqual(seen, [["--keep", "--help"]])
            demo.main = lambda argv: 3  # type: ignore[attr-defined]
            self.assertEqual(self.run_("demo")[0], 3)

    def test_argumentsOfTheProcess(self) -> None:
        self.patch(sys, "argv", ["mxproxy", "version"])
        stdout = io.StringIO()
        with contextlib.redirect_stdout(stdout):
            self.assertEqual(cli.main(), 0)


class ServiceTests(CommandLineCase):
    def test_made(self) -> None:
        service = tap.makeService(parse(INBOUND))
        self.assertTrue(IService.providedBy(service))

    def test_refused(self) -> None:
        """
        What only shows when the chains are built is said in one line as well.
        """

        def refuse(plan: object, reactor: object, **more: object) -> None:
            raise ValueError("two filters\nkeep one fact")

        self.patch(tap, "ProxyService", refuse)
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr):
            stopped = self.assertRaises(SystemExit, tap.makeService, parse(INBOUND))
        self.assertEqual(
            (stopped.code, stderr.getvalue()), (1, "twistd mxproxy: two filters keep one fact\n")
        )


class ProcessTests(CommandLineCase):
    """
    The same, said by processes: what a shell sees.
    """

    def process(self, *command: str) -> tuple[int, str, str]:
        path = os.pathsep.join(filter(None, sys.path))
        done = subprocess.run(
            [sys.executable, *command],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    def twistd(self, *arguments: str) -> tuple[int, str, str]:
        code = "from twisted.scripts.twistd import run; run()"
        return self.process("-c", code, "-n", "--pidfile=", "mxproxy", *arguments)

    def test_usage(self) -> None:
        line = "twistd mxproxy: --mode is missing: say --mode inbound or --mode outbound"
        self.assertEqual(self.twistd(), (2, "", f"{line} (try --help)\n"))

    def test_file(self) -> None:
        status, stdout, stderr = self.twistd(*PLAIN, "--node-metadata", "gone")
        self.assertEqual((status, stdout), (1, ""))
        self.assertIn("twistd mxproxy: cannot read the node metadata file ", stderr)
        self.assertEqual(stderr.count("\n"), 1)

    def test_twist(self) -> None:
        """
        Twisted's other runner answers the same.
        """
        status, stdout, stderr = self.process("-m", "twisted", "mxproxy", *PLAIN, "more")
        line = "twistd mxproxy: 'more' belongs to no option (try --help)\n"
        self.assertEqual((status, stdout, stderr), (2, "", line))

    def test_twistdVersion(self) -> None:
        status, stdout, stderr = self.twistd("--version")
        self.assertEqual((status, stdout.split()[:2], stderr), (0, ["mxproxy", __version__], ""))

    def test_module(self) -> None:
        self.assertEqual(
            self.process("-m", "mxproxy", "version"), (0, f"mxproxy {__version__}\n", "")
        )
