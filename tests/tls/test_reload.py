"""
Renewed files are taken as a whole, at once, for new connections; and if they cannot be, nothing
changes but one line in the log.
"""

from __future__ import annotations

import gc
import os
import re
from datetime import timedelta
from typing import Any, cast

from cryptography import x509
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from mxproxy.pki import Authority
from mxproxy.tls import reload as reloading
from mxproxy.tls.expiry import utcNow
from mxproxy.tls.files import stampsOf
from mxproxy.tls.reload import MAX_RESTLESS_LOOKS, CertificateReloader, TLSContexts
from mxproxy.tls.settings import PEM, ClientTLS, TLSConfigurationError
from tests.tls.directory import Directory, texts
from tests.tls.memory import ALICE, ALICES, BOB, CA, HOUR, OTHER_CA, client, shake

INTERVAL = 5.0

ONE, TWO = CA.issue(BOB), CA.issue(BOB)
SERIALS = {
    x509.load_pem_x509_certificate(credential.cert_pem).serial_number: name
    for name, credential in (("one", ONE), ("two", TWO))
}

_VARYING = re.compile(r"serial [0-9A-F]+|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class ReloadCase(SynchronousTestCase):
    """
    A directory with the files of a server, and a reloader that looks at them.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.counted: list[str] = []
        self.directory = Directory(self.mktemp())
        self.directory.write(texts(ONE, CA))
        self.reloader = CertificateReloader(self.clock, INTERVAL)
        self.server = self.contexts()
        self.reloader.start()
        self.addCleanup(self.reloader.stop)
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)

    def note(self, event: Any) -> None:
        if event["log_namespace"].startswith("mxproxy.tls"):
            self.events.append(event)

    def contexts(self, name: str = "inbound", **more: Any) -> TLSContexts:
        return self.reloader.contexts(self.directory.server(**more), name, self.counted.append)

    def said(self) -> list[str]:
        """
        The log since the last call; serial numbers, dates and the directory are left out.
        """
        lines = [
            cast(str, formatEvent(event)).replace(self.directory.path + "/", "")
            for event in self.events
        ]
        self.events.clear()
        return [_VARYING.sub("*", line) for line in lines]

    def shows(self) -> str:
        """
        Which of the two certificates a new connection shows.
        """
        shown = shake(client(), self.server).client.facts.certificate  # type: ignore[arg-type]
        assert shown is not None
        return SERIALS[shown.get_serial_number()]


class TakenTests(ReloadCase):
    def check(self, way: Any) -> None:
        """
        It is looked at each interval, and taken a second later.
        """
        way(texts(TWO, CA))
        for seconds in (INTERVAL - 0.1, 0.1, 0.9):
            self.clock.advance(seconds)
            self.assertEqual(self.shows(), "one")
        self.clock.advance(0.1)
        self.assertEqual(self.shows(), "two")
        self.assertEqual(
            self.said(),
            [
                f"inbound: renewed: the certificate in 'tls.crt', *, {BOB}, valid until *",
            ],
        )
        self.assertEqual(self.counted, ["server_ssl_socket_factory.ssl_context_update_by_sds"])
        self.clock.pump([1.0] * 20)
        self.assertEqual(self.said(), [])

    def test_inPlace(self) -> None:
        self.check(self.directory.write)

    def test_renamed(self) -> None:
        self.check(self.directory.rename)

    def test_swapped(self) -> None:
        directory = Directory(self.mktemp())
        directory.swap(texts(ONE, CA), "..one")
        self.directory = directory
        self.server = self.contexts()
        self.check(lambda files: directory.swap(files, "..two"))

    def test_shortInterval(self) -> None:
        self.reloader.stop()
        self.reloader = CertificateReloader(self.clock, 0.25)
        self.server = self.contexts()
        self.reloader.start()
        self.directory.rename(texts(TWO))
        self.clock.advance(0.25)
        self.assertEqual(self.shows(), "one")
        self.clock.advance(0.25)
        self.assertEqual(self.shows(), "two")

    def test_now(self) -> None:
        """
        Who asks for it does not wait: neither for the interval nor for a second's rest.
        """
        self.directory.write(texts(TWO))
        self.assertIsNone(self.successResultOf(self.reloader.reloadNow()))
        self.assertEqual(self.shows(), "two")
        self.assertEqual(len(self.said()), 1)
        self.successResultOf(self.reloader.reloadNow())
        self.assertEqual(self.said(), [])

    def test_nowThoughItSeemsUnchanged(self) -> None:
        """
        A file system whose times are coarse may hide a change; not from who asks.
        """
        self.directory.write(texts(TWO))
        (files,) = self.reloader._sets.values()
        files._tried = files._seen = stampsOf(files.paths)
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(self.shows(), "one")
        self.successResultOf(self.reloader.reloadNow())
        self.assertEqual(self.shows(), "two")

    def test_openConnectionsKeepTheirs(self) -> None:
        pair = shake(client(), self.server)  # type: ignore[arg-type]
        self.directory.rename(texts(TWO))
        self.successResultOf(self.reloader.reloadNow())
        pair.client.connection.send(b"ping")
        pair.server.connection.send(b"pong")
        pair.carry()
        self.assertEqual((pair.client.received, pair.server.received), (b"pong", b"ping"))

    def test_oneContextAGeneration(self) -> None:
        """
        Not one a connection; and the old one goes with its last connection.
        """
        old = self.server.context
        self.assertIs(self.server.connection().get_context(), old.connection().get_context())
        self.directory.rename(texts(TWO))
        self.clock.pump([INTERVAL] * 2)
        self.assertIsNot(self.server.context, old)
        self.assertEqual(self.server.connection().get_context(), self.server.context._context)

    def test_authorities(self) -> None:
        self.directory.rename({"ca.crt": OTHER_CA.cert_pem})
        self.clock.pump([INTERVAL] * 2)
        self.assertIn("unknown_ca", shake(client(), self.server).server.why)  # type: ignore[arg-type]
        other = client(OTHER_CA.issue(ALICE))
        self.assertEqual(shake(other, self.server).server.facts.principals, (ALICE,))  # type: ignore[arg-type]
        name = "CN=cluster.local throwaway CA"
        line = f"inbound: renewed: the CA certificate of {name} until * in 'ca.crt'"
        self.assertEqual(self.said(), [line])

    def test_lists(self) -> None:
        """
        Who is revoked while the proxy runs does not get in any more.
        """
        self.directory.write({"ca.crl": CA.revoke()})
        self.server = self.contexts(**self.directory.pems("crl"))
        for crl, why in ((CA.revoke(ALICES), "certificate_revoked: "), (CA.revoke(), "")):
            self.directory.rename({"ca.crl": crl})
            self.clock.pump([INTERVAL] * 2)
            got = shake(client(), self.server).server.why  # type: ignore[arg-type]
            self.assertTrue(got.startswith(why) if why else not got, got)
        self.assertRegex(
            self.said()[0], r"^inbound: renewed: the CRL of CN=.*, 1 revoked, until \*"
        )

    def test_writtenByAndBy(self) -> None:
        """
        A bundle of CAs that is half there is a good bundle: it is left alone until nobody
        writes to it.
        """
        half, whole = OTHER_CA.cert_pem, OTHER_CA.cert_pem + CA.cert_pem
        old = self.server.context
        for end in range(len(half), len(whole) + 1, 100):
            self.directory.write({"ca.crt": whole[:end]})
            self.clock.advance(0.9)
            self.assertIs(self.server.context, old)
        self.directory.write({"ca.crt": whole})
        self.clock.pump([1.0] * 6)
        self.assertIsNot(self.server.context, old)
        self.assertEqual(len(self.said()), 1)


class KeptTests(ReloadCase):
    """
    What is new is not good.
    """

    OLD = f"still in use: the certificate of *, {BOB}, valid until *"

    def kept(self, *lines: str) -> None:
        """
        Nothing has changed, and that was said, once.
        """
        self.clock.pump([INTERVAL] * 5)
        self.assertEqual(self.shows(), "one")
        self.assertEqual(
            self.said(), [f"inbound: not renewed: {line}; {self.OLD}" for line in lines]
        )

    def test_mismatch(self) -> None:
        self.directory.rename({"tls.crt": TWO.cert_pem})
        self.kept(
            "the key in 'tls.key' does not match the first certificate in 'tls.crt': give the "
            "pair that was issued together"
        )
        self.assertEqual(self.counted, ["ssl.key_rotation_failed"])
        self.directory.rename({"tls.key": TWO.key_pem})
        self.clock.pump([INTERVAL] * 2)
        self.assertEqual(self.shows(), "two")
        self.assertEqual(len(self.said()), 1)

    def test_shortMismatch(self) -> None:
        """
        One file after the other, within a second: nothing to complain of.
        """
        self.directory.rename({"tls.key": TWO.key_pem})
        self.clock.advance(INTERVAL)
        self.directory.rename({"tls.crt": TWO.cert_pem})
        self.clock.pump([1.0] * 3)
        self.assertEqual(self.shows(), "two")
        self.assertEqual(len(self.said()), 1)

    def test_missing(self) -> None:
        self.directory.remove("ca.crt")
        self.kept("cannot read the CA certificate file 'ca.crt': No such file or directory")

    def test_empty(self) -> None:
        self.directory.write({"tls.crt": b""})
        self.kept(
            "no PEM certificate in 'tls.crt': it needs a block that begins with "
            "'-----BEGIN CERTIFICATE-----'"
        )

    def test_directoryGone(self) -> None:
        os.rename(self.directory.path, self.directory.path + ".gone")
        self.kept("cannot read the certificate file 'tls.crt': No such file or directory")
        os.rename(self.directory.path + ".gone", self.directory.path)
        self.clock.pump([INTERVAL] * 2)
        self.assertEqual(self.said(), ["inbound: the TLS files are as they were"])

    def test_eachAttemptIsTold(self) -> None:
        for text in (b"one", b"other"):
            self.directory.write({"tls.key": text})
            self.kept(
                "no usable PEM private key in 'tls.key': it needs a block that begins with "
                "'-----BEGIN PRIVATE KEY-----'"
            )

    def test_askedFor(self) -> None:
        self.directory.write({"tls.key": b""})
        self.kept(
            "no usable PEM private key in 'tls.key': it needs a block that begins with "
            "'-----BEGIN PRIVATE KEY-----'"
        )
        self.successResultOf(self.reloader.reloadNow())
        self.assertEqual(len(self.said()), 1)

    def test_writableKey(self) -> None:
        os.chmod(self.directory.file("tls.key"), 0o666)
        self.directory.write({"tls.crt": TWO.cert_pem})
        self.clock.pump([INTERVAL] * 2)
        (line,) = self.said()
        self.assertIn("everybody may write the key file 'tls.key' (mode 0666)", line)

    def test_neverAlone(self) -> None:
        """
        Files that somebody changes all the time are never taken, and that is said.
        """
        for number in range(2 * MAX_RESTLESS_LOOKS):
            self.directory.write({"tls.crt": TWO.cert_pem + b"\n" * (number % 2)})
            self.clock.advance(1.0)
        self.directory.write({"tls.crt": ONE.cert_pem})
        self.assertIn(
            f"inbound: not renewed: the files never stop changing; {self.OLD}", self.said()
        )

    def test_startRefuses(self) -> None:
        self.directory.remove("tls.key")
        reloader = CertificateReloader(self.clock)
        settings = self.directory.server()
        self.assertRaises(TLSConfigurationError, reloader.contexts, settings, "inbound")


class SharedTests(ReloadCase):
    """
    Several chains use the same files.
    """

    def test_together(self) -> None:
        others = [
            self.contexts("other", alpn=("h2",)),
            self.reloader.contexts(self.directory.client(accepted=(BOB,)), "upstream"),
        ]
        self.assertEqual(len(self.reloader._sets), 1)
        before = [each.context for each in (self.server, *others)]
        self.directory.rename(texts(TWO))
        self.clock.pump([INTERVAL] * 2)
        after = [each.context for each in (self.server, *others)]
        self.assertEqual([one is two for one, two in zip(before, after)], [False] * 3)
        self.assertEqual(after[1].settings.alpn, ("h2",))
        self.assertEqual(after[2].settings.accepted, (BOB,))
        (line,) = self.said()
        self.assertTrue(line.startswith("inbound, other, upstream: renewed: "), line)

    def test_allOrNone(self) -> None:
        """
        What is new is good for one chain only.
        """
        wants = self.reloader.contexts(self.directory.client(accepted=(BOB,)), "wants")
        before = wants.context
        real = TLSContexts.build

        def build(contexts: TLSContexts, reading: Any) -> Any:
            if contexts is wants:
                raise TLSConfigurationError("not for me")
            return real(contexts, reading)

        self.patch(TLSContexts, "build", build)
        self.directory.rename(texts(TWO))
        self.clock.pump([INTERVAL] * 2)
        self.assertEqual(self.shows(), "one")
        self.assertIs(wants.context, before)
        (line,) = self.said()
        self.assertIn("inbound, wants: not renewed: not for me; ", line)

    def test_others(self) -> None:
        """
        Another chain's files are looked at each for themselves.
        """
        directory = Directory(self.mktemp())
        directory.write(texts(ca=CA))
        other = self.reloader.contexts(
            ClientTLS(authorities=PEM(directory.file("ca.crt"))), "other"
        )
        before = other.context
        self.directory.remove("tls.key")
        directory.rename(texts(ca=OTHER_CA))
        self.clock.pump([INTERVAL] * 2)
        self.assertIsNot(other.context, before)
        self.assertEqual(len(self.said()), 2)

    def test_nobodyLeft(self) -> None:
        """
        Chains that are gone are not looked after.
        """
        del self.server
        gc.collect()
        self.directory.remove("tls.key")
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(self.said(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.server = self.contextsAgain()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def contextsAgain(self) -> TLSContexts:
        self.directory.write(texts(ONE, CA))
        return self.contexts()

    def test_stopped(self) -> None:
        self.reloader.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_inline(self) -> None:
        """
        Without files there is nothing to look for, but there are dates.
        """
        self.assertEqual(
            [contents.certificate is None for contents in self.reloader.contents()], [False]
        )


class ExpiryTests(ReloadCase):
    """
    It is said before a certificate ends, each time that it has got worse.
    """

    def setUp(self) -> None:
        self.now = utcNow()
        self.patch(reloading, "utcNow", lambda: self.now)
        super().setUp()

    def at(self, left: timedelta) -> list[str]:
        contents = self.reloader.contents()[0].certificate
        assert contents is not None
        self.now = contents.not_valid_after_utc - left
        self.clock.advance(INTERVAL)
        return self.said()

    def test_stages(self) -> None:
        self.directory.write(texts(ca=Authority.create(validity=timedelta(days=3000))))
        self.clock.pump([INTERVAL] * 2)
        self.said()
        line = (
            "inbound: the certificate in 'tls.crt' expires in {}, at *, and is not renewed yet; "
            "from then on: peers will refuse it"
        )
        # It is good for 25 h: a fifth of that is 5 h, a twentieth 1 h 15 min.
        self.assertEqual(self.at(6 * HOUR), [])
        self.assertEqual(self.at(4.75 * HOUR), [line.format("4 h 45 min")])
        self.assertEqual(self.at(2 * HOUR), [])
        self.assertEqual(self.at(1.25 * HOUR), [line.format("1 h 15 min")])
        self.assertEqual(self.at(HOUR), [])
        expired = "inbound: the certificate in 'tls.crt' expired at *: peers will refuse it"
        self.assertEqual(self.at(-HOUR), [expired])
        self.assertEqual(self.at(-2 * HOUR), [])

    def test_atTheStart(self) -> None:
        directory = Directory(self.mktemp())
        directory.write(texts(CA.issue(BOB, validity=-HOUR), CA))
        reloader = CertificateReloader(self.clock)
        contexts = reloader.contexts(directory.server(), "late")
        reloader.start()
        self.addCleanup(reloader.stop)
        self.assertEqual(contexts.context.warnings, ())
        (line,) = self.said()
        self.assertRegex(line, r"^late: the certificate in '.*tls.crt' expired at \*: peers will")

    def test_renewed(self) -> None:
        """
        A renewed one begins anew.
        """
        self.assertEqual(len(self.at(HOUR)), 2)
        self.now = utcNow()
        self.directory.rename(texts(CA.issue(BOB, validity=10 * HOUR)))
        self.clock.pump([INTERVAL] * 2)
        self.assertEqual(len(self.said()), 1)
        self.assertEqual(len(self.at(HOUR)), 1)


@implementer(IReactorThreads)
class Threads(Clock):
    """
    A clock with threads that answer when they are told to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Any] = []

    def getThreadPool(self) -> Any:
        return self

    def callInThreadWithCallback(self, onResult: Any, func: Any, *args: Any, **kw: Any) -> None:
        self.waiting.append((onResult, lambda: func(*args, **kw)))

    def callFromThread(self, func: Any, *args: Any, **kw: Any) -> None:
        func(*args, **kw)

    def answer(self) -> None:
        onResult, func = self.waiting.pop(0)
        onResult(True, func())


class ThreadTests(SynchronousTestCase):
    """
    A file system that does not answer holds up nobody.
    """

    def setUp(self) -> None:
        self.clock = Threads()
        self.directory = Directory(self.mktemp())
        self.directory.write(texts(ONE, CA))
        self.reloader = CertificateReloader(self.clock, INTERVAL)
        self.server = self.reloader.contexts(self.directory.server(), "inbound")
        self.reloader.start()
        self.old = self.server.context

    def test_steps(self) -> None:
        self.directory.rename(texts(TWO))
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.clock.waiting), 1)
        self.clock.advance(10 * INTERVAL)
        self.assertEqual(len(self.clock.waiting), 1, "not asked again while it does not answer")
        self.clock.answer()
        self.clock.advance(1.0)
        self.clock.answer()
        self.assertIs(self.server.context, self.old)
        self.clock.answer()
        self.assertIsNot(self.server.context, self.old)
        self.reloader.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stoppedMeanwhile(self) -> None:
        self.clock.advance(INTERVAL)
        self.reloader.stop()
        self.clock.answer()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_asksWait(self) -> None:
        """
        Two who ask do not read at the same time.
        """
        done: list[str] = []
        for name in ("one", "other"):
            self.reloader.reloadNow().addCallback(lambda _, name=name: done.append(name))
        seen = []
        while self.clock.waiting:
            self.assertEqual(len(self.clock.waiting), 1)
            self.clock.answer()
            seen.append(len(done))
        self.assertEqual(seen, [0, 1, 1, 2])
        self.reloader.stop()

    def test_chainThatComesMeanwhile(self) -> None:
        """
        It is built of what was read before, and gets what is new like the others.
        """
        self.directory.rename(texts(TWO))
        self.reloader.reloadNow()
        self.clock.answer()
        late = self.reloader.contexts(self.directory.server(alpn=("h2",)), "late")
        before = late.context
        self.clock.answer()
        self.assertIsNot(late.context, before)
        self.assertEqual(late.context.settings.alpn, ("h2",))
        self.reloader.stop()

    def test_unexpected(self) -> None:
        """
        What nobody has thought of is in the log, and is not the end of looking.
        """
        self.clock.advance(INTERVAL)
        onResult, _ = self.clock.waiting.pop()
        onResult(False, Failure(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.reloader.stop()


class RealThreadTests(TestCase):
    """
    The same in a reactor's threads.
    """

    async def test_taken(self) -> None:
        from twisted.internet import reactor

        directory = Directory(self.mktemp())
        directory.write(texts(ONE, CA))
        reloader = CertificateReloader(reactor)
        contexts = reloader.contexts(directory.server(), "inbound")
        before = contexts.context
        directory.rename(texts(TWO))
        await reloader.reloadNow()
        self.assertIsNot(contexts.context, before)
