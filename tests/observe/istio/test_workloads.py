"""
The directory of workloads: by address, in a file that changes.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.config.errors import ConfigurationError
from mxproxy.observe.istio.workloads import Directory, DirectoryFile, readWorkloads
from mxproxy.wire.metadata import Metadata


def at(host: str, port: int = 80) -> IPv4Address | IPv6Address:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


class DirectoryTests(SynchronousTestCase):
    """
    L{Directory}.
    """

    def test_find(self) -> None:
        """
        The port first, then the address, then the smallest network.
        """
        names = [
            "10.0.0.0/8",
            "10.0.0.7",
            "10.0.0.7:5433",
            "10.0.0.0/24",
            "FD00::1",
            "[fd00::1]:81",
            "fd00::/16",
        ]
        directory = Directory({name: Metadata(workload=name) for name in names})
        self.assertEqual(len(directory), 7)
        for address, expected in (
            (at("10.0.0.7", 5433), "10.0.0.7:5433"),
            (at("10.0.0.7", 5432), "10.0.0.7"),
            (at("10.0.0.8"), "10.0.0.0/24"),
            (at("10.1.0.8"), "10.0.0.0/8"),
            (at("fd00::1", 81), "[fd00::1]:81"),
            (at("fd00::1", 82), "FD00::1"),
            (at("fd00::2%eth0"), "fd00::/16"),
        ):
            found = directory.find(address)
            assert found is not None, address
            self.assertEqual(found.workload, expected)
        for nobody in (at("192.168.0.1"), at("::1"), UNIXAddress("/x"), None):
            self.assertIsNone(directory.find(nobody))

    def test_noAddress(self) -> None:
        for wrong in ("db", "10.0.0.256", "10.0.0.1:port", "10.0.0.1:99999", "10.0.0.0/99", ""):
            self.assertRaises(ValueError, Directory, {wrong: Metadata()})


class FileTests(SynchronousTestCase):
    """
    L{readWorkloads} and L{DirectoryFile}.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def write(self, text: str, time: int = 0) -> None:
        self.path.write_text(text)
        os.utime(self.path, (time, time))

    def test_read(self) -> None:
        """
        YAML, and so JSON.
        """
        self.write("10.0.0.7: {workload: db-v1, namespace: data}\n10.9.0.0/16: {app: legacy}\n")
        expected = {
            "10.0.0.7": Metadata(workload="db-v1", namespace="data"),
            "10.9.0.0/16": Metadata(app="legacy"),
        }
        self.assertEqual(readWorkloads(str(self.path)), expected)
        self.write('{"10.0.0.7": {"workload": "db-v1", "namespace": "data"}}')
        self.assertEqual(readWorkloads(str(self.path)), {"10.0.0.7": expected["10.0.0.7"]})
        self.write("# nobody\n")
        self.assertEqual(readWorkloads(str(self.path)), {})

    def test_refused(self) -> None:
        """
        What is wrong is said, and where.
        """
        for text, words in (
            ("[1, 2]", "has to be a mapping"),
            ("{", "neither YAML nor JSON"),
            ("1: {}", "put it in quotes"),
            ("db: {workload: db}", "'db' is no address"),
            ("10.0.0.1: db", "10.0.0.1: a workload is a mapping"),
            ("10.0.0.1: {wrkload: db}", "'wrkload' is not known; there are name,"),
            ("10.0.0.1: {version: 1.10}", "version is not text"),
        ):
            self.write(text)
            error = self.assertRaises(ConfigurationError, readWorkloads, str(self.path))
            self.assertIn(words, str(error))
            self.assertIn(str(self.path), str(error))
        error = self.assertRaises(ConfigurationError, readWorkloads, "/nonexistent")
        self.assertIn("No such file", str(error))

    def found(self, directory: DirectoryFile) -> str:
        workload = directory.find(at("10.0.0.7"))
        return "" if workload is None else workload.workload

    def test_reloaded(self) -> None:
        """
        A changed file is read again; one that is broken or gone changes nothing, and is said
        once.
        """
        self.write("10.0.0.7: {workload: old}", time=1)
        directory = DirectoryFile(str(self.path))
        self.assertEqual(self.found(directory), "old")
        with capturedLogs() as logs:
            directory.refresh()
            self.assertEqual(logs, [])
            self.write("10.0.0.7: {workload: new}", time=2)
            directory.refresh()
            self.assertEqual(self.found(directory), "new")
            self.write("10.0.0.7: [", time=3)
            directory.refresh()
            directory.refresh()
            self.path.unlink()
            directory.refresh()
            directory.refresh()
            self.assertEqual(self.found(directory), "new")
            self.write("", time=4)
            directory.refresh()
            self.assertEqual(self.found(directory), "")
        said = [formatEvent(event) for event in logs]
        self.assertEqual([line.split()[0] for line in said], ["1", "workloads", "workloads", "0"])
        self.assertIn("stay as they were", said[1])

    def test_static(self) -> None:
        """
        What the configuration says comes before the file; without a file nothing is looked at.
        """
        static = {"10.0.0.7": Metadata(workload="static")}
        self.write("10.0.0.7: {workload: file}\n10.0.0.8: {workload: file}")
        directory = DirectoryFile(str(self.path), static)
        self.assertEqual(self.found(directory), "static")
        self.assertIsNotNone(directory.find(at("10.0.0.8")))
        alone = DirectoryFile("", static)
        alone.refresh()
        self.assertEqual(self.found(alone), "static")
