"""
Secrets, for who has asked for them.
"""

from __future__ import annotations

import os

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tls.keylog import keyLogger
from tests.tls import memory
from tests.tls.memory import VERSIONS


class KeyLogTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """
        In NSS's form, for both versions of TLS and either side, one after the other.
        """
        path = self.mktemp()
        for version in VERSIONS:
            client = memory.client(version=version, key_log=path)
            memory.shake(client, memory.server())
            memory.shake(memory.client(version=version), memory.server(key_log=path))
        with open(path) as file:
            labels = [line.split()[0] for line in file]
        self.assertEqual(labels.count("CLIENT_RANDOM"), 2)
        self.assertEqual(labels.count("CLIENT_TRAFFIC_SECRET_0"), 2)
        self.assertEqual(labels.count("SERVER_TRAFFIC_SECRET_0"), 2)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    def test_warned(self) -> None:
        """
        Loudly, and before anything is written.
        """
        path = self.mktemp()
        (warning,) = memory.server(key_log=path).warnings
        self.assertIn(f"TLS SECRETS ARE WRITTEN to {path!r}", warning)
        self.assertFalse(os.path.exists(path))
        self.assertEqual(memory.server().warnings, ())

    def test_environment(self) -> None:
        """
        The variable alone does nothing.
        """
        path = os.path.abspath(self.mktemp())
        self.patch(os, "environ", {**os.environ, "SSLKEYLOGFILE": path})
        memory.shake(memory.client(), memory.server())
        self.assertFalse(os.path.exists(path))

    def test_unwritable(self) -> None:
        """
        Said once; the connection is not hindered.
        """
        said: list[object] = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        directory = self.mktemp()
        os.mkdir(directory)
        pair = memory.shake(memory.client(), memory.server(key_log=directory))
        self.assertTrue(pair.server.done and pair.client.done)
        write = keyLogger(directory)
        write(pair.client.connection, b"x")
        write(pair.client.connection, b"x")
        self.assertEqual(len([one for one in said if "TLS secrets" in str(one)]), 2)
