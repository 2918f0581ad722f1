"""
A key that others can read is warned of, with the remedy; one that they can write is refused.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tls import keyfile
from mxproxy.tls.context import ServerContext
from mxproxy.tls.keyfile import keyFileToWatch, refuseWritable
from mxproxy.tls.settings import PEM, TLSConfigurationError
from tests.tls.directory import Directory, texts
from tests.tls.memory import BOBS, CA

ROOT, SOMEBODY = 0, 1000


class KeyFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Directory(self.mktemp())
        self.directory.write(texts(BOBS, CA))
        self.key = PEM(self.directory.file("tls.key"))

    def mode(self, mode: int, owner: int = SOMEBODY) -> None:
        """
        The key's file is of this mode and owner.
        """
        assert self.key.path is not None
        os.chmod(self.key.path, mode)
        values = list(os.stat(self.key.path))
        values[4] = owner
        status = os.stat_result(values)
        self.patch(keyfile, "_status", lambda source: status)

    def check(self, mode: int, owner: int, line: str) -> None:
        self.mode(mode, owner)
        expected = () if not line else (f"{line}: chmod 600 {self.key.path}",)
        refuseWritable(self.key)
        self.assertEqual(keyFileToWatch(self.key), expected)

    def test_warned(self) -> None:
        file = f"the key file '{self.key.path}'"
        for mode, owner, line in (
            (0o600, SOMEBODY, ""),
            (0o400, SOMEBODY, ""),
            (0o700, SOMEBODY, ""),
            (0o640, SOMEBODY, f"its group may read {file} (mode 0640)"),
            (0o640, ROOT, ""),
            (0o440, ROOT, ""),
            (0o660, ROOT, f"its group may write {file} (mode 0660)"),
            (0o620, SOMEBODY, f"its group may write {file} (mode 0620)"),
            (0o644, SOMEBODY, f"everybody may read {file} (mode 0644)"),
            (0o644, ROOT, f"everybody may read {file} (mode 0644)"),
            (0o604, ROOT, f"everybody may read {file} (mode 0604)"),
        ):
            self.check(mode, owner, line)

    def test_refused(self) -> None:
        for mode in (0o666, 0o602, 0o777):
            self.mode(mode)
            error = self.assertRaises(TLSConfigurationError, refuseWritable, self.key)
            self.assertEqual(
                str(error),
                f"everybody may write the key file '{self.key.path}' (mode {mode:04o}): chmod 600 "
                f"{self.key.path}, and have the key issued anew if it was so for long",
            )

    def test_context(self) -> None:
        """
        A proxy says so when it starts, or does not start.
        """
        assert self.key.path is not None
        self.assertEqual(ServerContext(self.directory.server()).warnings, ())
        os.chmod(self.key.path, 0o644)
        (line,) = ServerContext(self.directory.server()).warnings
        self.assertIn("(mode 0644): chmod 600 ", line)
        os.chmod(self.key.path, 0o666)
        self.assertRaises(TLSConfigurationError, ServerContext, self.directory.server())

    def test_link(self) -> None:
        """
        What counts is the file that a link leads to, whose own mode is always 0777.
        """
        os.symlink("tls.key", self.directory.file("link"))
        self.assertEqual(keyFileToWatch(PEM(self.directory.file("link"))), ())

    def test_quoted(self) -> None:
        odd = Directory(os.path.join(self.directory.path, "it's a key"))
        odd.write(texts(BOBS))
        os.chmod(odd.file("tls.key"), 0o644)
        (line,) = keyFileToWatch(PEM(odd.file("tls.key")))
        self.assertTrue(line.endswith("it'\"'\"'s a key/tls.key'"), line)

    def test_none(self) -> None:
        for source in (PEM(text=b"key"), PEM("absent", b"read before it was removed")):
            refuseWritable(source)
            self.assertEqual(keyFileToWatch(source), ())
