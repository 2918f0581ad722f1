"""
C{mxproxy demo} as its users run it: a process that says what is true, and leaves nothing.

Where something has to go wrong, the demo's own parts are replaced in its process; the
sidecars stay real ones.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]

# Before a test that hangs fails; nothing waits for it otherwise.
PATIENCE = 60

SCRIPT = """
import sys
from mxproxy.demo import main, processes, story
{patch}
sys.exit(main(sys.argv[1:]))
"""


class Run:
    """
    A demo's process, in a process group and with a directory for temporary files of its own.
    """

    def __init__(
        self,
        test: SynchronousTestCase,
        *arguments: str,
        patch: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.test = test
        self.temporary = Path(test.mktemp()).absolute()
        self.temporary.mkdir(parents=True)
        start = ["-c", SCRIPT.format(patch=patch)] if patch else ["-m", "mxproxy", "demo"]
        self.process = subprocess.Popen(
            [sys.executable, *start, *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": "src",
                "PYTHONIOENCODING": "utf-8",
                "TMPDIR": str(self.temporary),
                **(environ or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # What is not read by line is left to communicate().
            bufsize=0,
        )
        self.stdout = self.stderr = ""
        test.addCleanup(self.kill)

    def kill(self) -> None:
        """
        Whatever a failing test has left.
        """
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self.process.wait(PATIENCE)

    def readUntil(self, text: str) -> str:
        """
        What it prints, up to the first line with C{text}.
        """
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = raw.decode("utf-8")
            self.stdout += line
            if text in line:
                return self.stdout
        raise AssertionError(f"{text!r} is not in:\n{self.stdout}{self.end()[2]}")

    def end(self) -> tuple[int, str, str]:
        """
        Wait for its end, and see that nothing is left.

        @return: the exit status and what it has printed.
        """
        stdout, stderr = self.process.communicate(timeout=PATIENCE)
        self.stdout += (stdout or b"").decode("utf-8")
        self.stderr = stderr.decode("utf-8")
        said = f"{self.stdout}{self.stderr}"
        self.test.assertEqual([], os.listdir(self.temporary), said)
        # Nobody is left in its process group.
        with self.test.assertRaises(ProcessLookupError, msg=said):
            os.killpg(self.process.pid, 0)
        return self.process.returncode, self.stdout, self.stderr


class GoodTests(SynchronousTestCase):
    """
    All is as it should be.
    """

    def test_shown(self) -> None:
        """
        It says what was learnt, what is on the wire, and where others end up.
        """
        status, stdout, stderr = Run(self).end()
        self.assertEqual((0, ""), (status, stderr), stdout)
        for expected in (
            r"twistd -n --pidfile= mxproxy --mode inbound \\\n +--listen tcp:\d+:interface=",
            r"twistd -n --pidfile= mxproxy --mode outbound \\\n +--listen tcp:\d+:interface=",
            r"GET / +HTTP/1.0 200 OK: Hello, this is the greeter",
            r"POST 8 MiB +HTTP/1.0 200 OK: the same 8 MiB came back",
            r"workload +web +greeter",
            r"namespace +shop +hello",
            r"principal +spiffe://demo/ns/shop/sa/web +spiffe://demo/ns/hello/sa/greeter",
            r"alpn +istio-peer-exchange +istio-peer-exchange",
            r"0000  3d 23 04 67 +magic",
            r"WORKLOAD_NAME = greeter",
            r"\d+ bytes of the application",
            r"Plaintext\n +✗ refused +downstream: not_tls: ",
            r"TLS without a certificate\n +✗ refused +downstream: no_client_certificate: ",
            r"✓ passed .*HTTP/1.0 200 OK\n +peer_state alpn_mismatch, principal spiffe://demo/ns/sh",
        ):
            self.assertRegex(stdout, expected)
        self.assertNotIn("\33", stdout)
        paths = ("   cd ", "   PATH=")
        long = [x for x in stdout.splitlines() if len(x) > 80 and not x.startswith(paths)]
        self.assertEqual([], long)

    def test_ascii(self) -> None:
        """
        Where the encoding has no more than ASCII, so has the page.
        """
        status, stdout, _ = Run(self, environ={"PYTHONIOENCODING": "ascii"}).end()
        self.assertEqual(0, status, stdout)
        self.assertTrue(stdout.isascii())
        self.assertIn("web -- plain --> outbound == mutual TLS ==> inbound", stdout)

    def test_portTaken(self) -> None:
        """
        When someone else takes a reserved port, others are reserved.
        """
        patch = """
import socket
taken = socket.create_server((story.HOST, 0))
port = taken.getsockname()[1]
reserve = story.reservePorts
def first(count):
    story.reservePorts = reserve
    return [port, *reserve(count - 1)]
story.reservePorts = first
"""
        status, stdout, stderr = Run(self, patch=patch).end()
        self.assertEqual((0, ""), (status, stderr), stdout)


class KeepTests(SynchronousTestCase):
    """
    C{--keep}, and signals.
    """

    def test_keep(self) -> None:
        """
        Its commands do what they say, until a signal comes.
        """
        run = Run(self, "--keep")
        shown = run.readUntil("od -A d -c")
        directory = re.search(r"cd (\S+)", shown)
        assert directory is not None
        self.assertEqual(run.temporary, Path(directory[1]).parent)
        self.assertIn("curl http://127.0.0.1:", shown)
        if shutil.which("openssl"):
            # The last command, without showing bytes as text.
            command = shown[shown.rindex("(cat web.prefix") :].replace("od -A d -c", "cat")
            answer = subprocess.run(
                ["timeout", str(PATIENCE), "sh", "-c", command],
                cwd=directory[1],
                capture_output=True,
                check=True,
            ).stdout
            self.assertEqual(b"\x3d\x23\x04\x67", answer[:4])
            self.assertTrue(answer.endswith(b"Hello, this is the greeter.\n"), answer)
        run.process.send_signal(signal.SIGINT)
        status, stdout, stderr = run.end()
        self.assertEqual((0, ""), (status, stderr))
        self.assertIn(f"{directory[1]} is removed", stdout)

    def test_interrupted(self) -> None:
        """
        In the middle: everything is cleaned up, and the status says so.
        """
        for number in (signal.SIGINT, signal.SIGHUP):
            run = Run(self)
            run.readUntil("2. ")
            run.process.send_signal(number)
            status, _, stderr = run.end()
            self.assertEqual(130, status, stderr)
            self.assertIn("interrupted; everything is stopped and removed", stderr)

    def test_interruptedGroup(self) -> None:
        """
        As a terminal does it: the sidecars get the signal too.
        """
        run = Run(self, "--keep")
        run.readUntil("od -A d -c")
        os.killpg(run.process.pid, signal.SIGINT)
        self.assertEqual((0, ""), run.end()[::2])

    def test_unread(self) -> None:
        """
        Whoever read leaves, as head does: no complaint, and nothing is left.
        """
        run = Run(self)
        run.readUntil("outbound")
        assert run.process.stdout is not None
        run.process.stdout.close()
        run.process.stdout = None
        self.assertEqual((1, ""), run.end()[::2])


class FailureTests(SynchronousTestCase):
    """
    Something is not as it should be: status 1, and why.
    """

    def fails(self, patch: str, *arguments: str) -> str:
        """
        @return: what it prints on standard error.
        """
        status, stdout, stderr = Run(self, *arguments, patch=patch).end()
        self.assertEqual(1, status, stdout + stderr)
        self.assertNotIn("is stopped", stdout)
        self.assertNotIn("Traceback", stderr)
        return stderr

    def test_sidecarDoesNotStart(self) -> None:
        """
        The sidecar's own words are shown.
        """
        stderr = self.fails("story.reservePorts = lambda count: [70000, 70001]")
        self.assertIn("mxproxy demo: the inbound sidecar did not start (status 2)", stderr)
        self.assertIn("--listen 'tcp:70000:interface=127.0.0.1': the port 70000 is not", stderr)

    def test_sidecarEnds(self) -> None:
        """
        While it is kept, a sidecar ends.
        """
        stderr = self.fails(
            "story.Demo._showCommands = lambda self: self.sidecars[1]._signal('KILL')", "--keep"
        )
        self.assertIn("mxproxy demo: the outbound sidecar has ended (signal 9)", stderr)
        self.assertIn("The outbound sidecar's output:", stderr)
        self.assertIn("listening on", stderr)

    def test_otherAnswer(self) -> None:
        """
        An application that is not the greeter.
        """
        stderr = self.fails("story.GREETING = b'Goodbye.'")
        self.assertIn("the greeting through both sidecars: not as it should be: Reply(", stderr)

    def test_noConversation(self) -> None:
        """
        A sidecar that lies about listening, and does not go away when told.
        """
        patch = """
program = '''
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("listening on nothing", flush=True)
while True:
    signal.pause()
'''
story.findTwistd = processes.findTwistd = lambda: [sys.executable, "-c", program]
processes.STOP_TIMEOUT = 0.1
"""
        stderr = self.fails(patch)
        self.assertIn("mxproxy demo: no conversation with port ", stderr)
        self.assertIn("| listening on nothing", stderr)
