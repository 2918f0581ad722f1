"""
A set's files are read as they were at one moment, or not at all.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.tls import files
from mxproxy.tls.files import (
    Unsettled,
    firstReading,
    pathsOf,
    stampsOf,
    takeReading,
)
from mxproxy.tls.settings import (
    PEM,
    ClientTLS,
    Discovered,
    TLSConfigurationError,
    TLSSettings,
)
from tests.tls.directory import Directory, texts
from tests.tls.memory import ALICE, ALICES, BOBS, CA, OTHER_CA


class StampTests(SynchronousTestCase):
    """
    Each way of replacing a file shows.
    """

    def setUp(self) -> None:
        self.directory = Directory(self.mktemp())
        self.files = texts(BOBS, CA)
        self.directory.swap(self.files, "..one")
        self.path = self.directory.file("tls.crt")

    def changes(self) -> bool:
        before, self.before = self.before, stampsOf([self.path])
        return before != self.before

    def test_ways(self) -> None:
        self.before = stampsOf([self.path])
        self.assertFalse(self.changes())
        self.directory.swap(self.files, "..two")
        self.assertTrue(self.changes(), "a swapped link, with the same file behind it")
        real = Directory(os.path.dirname(os.path.realpath(self.path)))
        times = (1e9, 1e9)
        os.utime(self.path, times)
        self.assertTrue(self.changes(), "other times")
        real.write({"new": self.files["tls.crt"]})
        os.utime(real.file("new"), times)
        os.rename(real.file("new"), real.file("tls.crt"))
        self.assertTrue(self.changes(), "another file of the same size and times")
        with open(self.path, "ab") as file:
            file.write(b"\n")
        os.utime(self.path, times)
        self.assertTrue(self.changes(), "a longer file, whose times were put back")
        real.remove("tls.crt")
        self.assertTrue(self.changes(), "no file")
        self.assertFalse(self.changes())

    def test_impossible(self) -> None:
        self.assertEqual(stampsOf(["\0"]), {"\0": (-1,)})


class ReadingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Directory(self.mktemp())
        self.directory.write(texts(BOBS, CA))
        self.settings = self.directory.server()

    def between(self, number: int, change: Any) -> None:
        """
        Have something happen before the file number C{number} is read.
        """
        real, count = files.read, iter(range(100))

        def read(source: PEM, what: str) -> bytes:
            if next(count) == number:
                change()
            return real(source, what)

        self.patch(files, "read", read)

    def test_whole(self) -> None:
        reading = takeReading(self.settings)
        self.assertIsNone(reading.error)
        loaded = reading.applied(self.settings)
        self.assertEqual(
            [loaded.certificate, loaded.key, loaded.authorities],
            [
                PEM(self.directory.file("tls.crt"), BOBS.cert_pem),
                PEM(self.directory.file("tls.key"), BOBS.key_pem),
                PEM(self.directory.file("ca.crt"), CA.cert_pem),
            ],
        )
        self.assertEqual(set(reading.stamps), set(pathsOf(self.settings)))
        self.assertNotIn("PRIVATE", repr(reading))

    def test_inline(self) -> None:
        settings = ClientTLS(authorities=PEM(text=CA.cert_pem), accepted=(ALICE,))
        reading = takeReading(settings)
        self.assertEqual(reading.stamps, {})
        self.assertEqual(reading.applied(settings), settings)

    def test_changedBetween(self) -> None:
        """
        The certificate is read, then both files are replaced, then the key is read.
        """
        for way in (self.directory.write, self.directory.rename):
            self.between(1, lambda way=way: way(texts(ALICES)))
            reading = takeReading(self.settings)
            self.assertIsInstance(reading.error, Unsettled)
            self.assertEqual(reading.values, {})
            self.directory.write(texts(BOBS))

    def test_swappedBetween(self) -> None:
        directory = Directory(self.mktemp())
        directory.swap(texts(BOBS, CA), "..one")
        self.between(1, lambda: directory.swap(texts(ALICES, CA), "..two"))
        self.assertIsInstance(takeReading(directory.server()).error, Unsettled)
        self.assertIsNone(takeReading(directory.server()).error)

    def test_goneBetween(self) -> None:
        """
        A file that is being replaced is not a file that is missing.
        """
        self.between(1, lambda: self.directory.remove("tls.key"))
        self.assertIsInstance(takeReading(self.settings).error, Unsettled)
        error = takeReading(self.settings).error
        self.assertIn("tls.key': No such file", str(error))
        self.assertNotIsInstance(error, Unsettled)

    def test_first(self) -> None:
        """
        At the start a swap is not a reason to refuse, but a missing file is.
        """
        self.between(1, lambda: self.directory.rename(texts(ALICES)))
        self.assertIsNone(firstReading(self.settings).error)
        self.directory.remove("ca.crt")
        self.assertRaises(TLSConfigurationError, firstReading, self.settings)

    def test_firstNeverSettles(self) -> None:
        real, numbers = files.read, iter(range(100))

        def read(source: PEM, what: str) -> bytes:
            self.directory.write({"tls.crt": b"%d" % next(numbers)})
            return real(source, what)

        self.patch(files, "read", read)
        self.assertRaises(Unsettled, firstReading, self.settings)

    def test_same(self) -> None:
        before = takeReading(self.settings)
        self.directory.rename(texts(BOBS))
        self.assertTrue(takeReading(self.settings).sameAs(before))
        self.directory.rename(texts(ALICES))
        self.assertFalse(takeReading(self.settings).sameAs(before))


class DiscoveredTests(SynchronousTestCase):
    """
    Another file says where they are.
    """

    def setUp(self) -> None:
        self.directory = Directory(self.mktemp())
        self.directory.write({**texts(BOBS, CA), "where": b"ca.crt", "other.crt": b"other"})
        self.settings = ClientTLS(
            authorities=PEM(self.directory.file("ca.crt")),
            server_name="db.test",
            discovered=Discovered((self.directory.file("where"),), self.read),
        )

    def read(self) -> TLSSettings:
        with open(self.directory.file("where")) as file:
            name = file.read()
        if not name:
            raise TLSConfigurationError("nowhere")
        return ClientTLS(authorities=PEM(self.directory.file(name)), accepted=(name,))

    def names(self, stamps: Any) -> set[str]:
        return {os.path.basename(path) for path in stamps}

    def test_elsewhere(self) -> None:
        self.directory.write({"where": b"other.crt"})
        reading = takeReading(self.settings)
        self.assertEqual(self.names(reading.stamps), {"where", "other.crt"})
        found = reading.applied(self.settings)
        assert isinstance(found, ClientTLS)
        assert found.authorities is not None
        self.assertEqual(found.authorities.text, b"other")
        self.assertEqual(found.accepted, ("other.crt",))
        self.assertEqual(found.server_name, "db.test")

    def test_missing(self) -> None:
        """
        What is not there yet belongs to the set: it may come.
        """
        self.directory.write({"where": b"absent.crt"})
        reading = takeReading(self.settings)
        self.assertEqual(self.names(reading.stamps), {"where", "absent.crt"})
        self.assertIn("No such file", str(reading.error))

    def test_unreadable(self) -> None:
        """
        Nobody says where, for now: the files of before are the ones to look at.
        """
        self.directory.write({"where": b""})
        reading = takeReading(self.settings, [self.directory.file("other.crt")])
        self.assertEqual(self.names(reading.stamps), {"where", "other.crt"})
        self.assertEqual(str(reading.error), "nowhere")


class SharedTests(SynchronousTestCase):
    def test_ownIdentities(self) -> None:
        """
        Two chains with the same files accept different peers.
        """
        directory = Directory(self.mktemp())
        directory.write(texts(BOBS, OTHER_CA))
        reading = takeReading(directory.server())
        for accepted in ((), (ALICE,)):
            settings = directory.server(accepted=accepted)
            self.assertEqual(reading.applied(settings).accepted, accepted)
