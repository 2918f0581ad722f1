"""
The files of a configuration, read once and then once more.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.files import readFile, recording, replaying
from tests.config.commandline import INBOUND, CommandLineCase, parse


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(b"old")

    def test_record(self) -> None:
        with recording() as files:
            self.assertEqual(readFile(str(self.path)), b"old")
            self.assertRaises(OSError, readFile, "nowhere")
        readFile(__file__)
        self.assertEqual(files, {str(self.path): b"old"})

    def test_replay(self) -> None:
        """
        Whatever is in the file now; other files are what they are.
        """
        with replaying({str(self.path): b"kept"}):
            self.path.unlink()
            self.assertEqual(readFile(str(self.path)), b"kept")
            self.assertEqual(readFile(__file__), Path(__file__).read_bytes())
        self.assertRaises(OSError, readFile, str(self.path))

    def test_recordingGoesOn(self) -> None:
        """
        Into what there is already.
        """
        files = {"other": b"1"}
        with recording(files):
            readFile(str(self.path))
        self.assertEqual(files, {"other": b"1", str(self.path): b"old"})


class CommandLineTests(CommandLineCase):
    def test_again(self) -> None:
        """
        A command line's plan can be made again, elsewhere, when its files are gone.
        """
        Path("node.json").write_text('{"NAME": "db"}')
        arguments = [*INBOUND, "--node-metadata", "node.json", "--workers", "2"]
        options = parse(arguments)
        again = options.forWorker()
        self.assertNotIn("--workers", again)
        for name in "node.json", "db.crt", "db.key", "ca.crt":
            Path(name).unlink()
        with replaying(options.files):
            self.assertEqual(parse(again).plan, options.plan)

    def test_relative(self) -> None:
        again = parse([*INBOUND, "--access-log", "-"]).forWorker()
        values = dict(zip(again[::2], again[1::2], strict=True))
        self.assertEqual(values["--tls-cert"], str(self.directory / "db.crt"))
        self.assertEqual(values["--access-log"], "-")
        self.assertEqual(values["--listen"], "tcp:15006")
