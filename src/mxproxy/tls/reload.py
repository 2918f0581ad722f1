"""
Certificates that are renewed while the proxy runs.

A chain's TLS layer asks a L{TLSContexts} for each of its connections, and gets one of the
context that is current: that of the newest I{generation} of certificate, key, CA certificates
and CRLs which was good as a whole.  A L{CertificateReloader}, one for the whole proxy, looks
whether the files have changed, and exchanges the contexts of all chains that use them, at
once.  Connections keep the context that they began with; it is gone with the last of them.

Theory of operation.  Every C{interval} seconds, what all paths lead to is compared with what
it was (C{os.stat}, some microseconds a file).  A set in which something has changed is left
alone until nothing has changed in it for a second, or for C{interval} where that is less;
then it is read, and contexts are built, one for each chain (a millisecond or so).  If
anything is wrong with it, nothing is exchanged, one line says what, and the set is left alone
until it changes again.  All of that happens in a thread where the reactor has threads: a file
system that does not answer holds up nobody.  What the thread has found is taken over in the
reactor's.

Files are looked at, not watched: that works for each way of replacing them and on each file
system, network ones included, and certificates are not renewed in seconds.
"""

from __future__ import annotations

import socket as sockets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakSet

from OpenSSL import SSL
from twisted.internet.defer import Deferred, DeferredLock, execute
from twisted.internet.interfaces import IDelayedCall, IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mxproxy.tls.contents import Contents, contentsOf
from mxproxy.tls.context import ClientContext, ServerContext
from mxproxy.tls.expiry import utcNow
from mxproxy.tls.files import Reading, Unsettled, firstReading, stampsOf, takeReading
from mxproxy.tls.settings import PEMS, ServerTLS, TLSConfigurationError, TLSSettings

T = TypeVar("T")

#: Seconds for which nothing may have changed in a set before it is read.
SETTLED_AFTER = 1.0

#: A set that is never left alone for so many looks is complained of.
MAX_RESTLESS_LOOKS = 60

#: How often is looked, in seconds, unless told otherwise.
INTERVAL = 5.0

Context = ServerContext | ClientContext


class TLSContexts:
    """
    What a chain makes its connections with.

    @ivar name: the chain's, for the log.
    @ivar settings: what it is told of TLS, with the paths of files.
    @ivar context: the current one.
    """

    def __init__(
        self,
        name: str,
        settings: TLSSettings,
        reading: Reading,
        count: Callable[[str], None] = lambda name: None,
        resumption: bool = False,
    ) -> None:
        """
        @param count: counts events of the chain's.
        @param resumption: resume sessions, each context its own.
        @raise TLSConfigurationError: the settings cannot be used.
        """
        self._resumption = resumption
        self.name = name
        self.settings = settings
        self._count = count
        self.context = self.build(reading)

    def connection(self, socket: sockets.socket | None = None) -> SSL.Connection:
        """
        A new connection of the current context, over memory or over C{socket}.
        """
        return self.context.connection(socket)

    def build(self, reading: Reading) -> Context:
        """
        @raise TLSConfigurationError: the settings cannot be used with what was read.
        """
        settings = reading.applied(self.settings)
        if isinstance(settings, ServerTLS):
            return ServerContext(settings, self._resumption)
        return ClientContext(settings, self._resumption)  # type: ignore[arg-type]

    def exchange(self, context: Context) -> None:
        """
        Connections made from now on are of this context.
        """
        self.context = context
        # Envoy's names, in a listener's statistics and in a cluster's.
        if isinstance(context, ServerContext):
            self._count("server_ssl_socket_factory.ssl_context_update_by_sds")
        else:
            self._count("client_ssl_socket_factory.ssl_context_update_by_sds")

    def failed(self) -> None:
        """
        There was something new, and it was not good.
        """
        self._count("ssl.key_rotation_failed")


@dataclass(frozen=True)
class Renewal:
    """
    What was found when a set was read again.

    @ivar contents: what is in it; C{None} if that is of no use, or nothing new.
    @ivar contexts: what follows from it.
    """

    reading: Reading
    contents: Contents | None = None
    contexts: Mapping[TLSContexts, Context] = field(default_factory=dict)


class _Set:
    """
    Files that are only good together, and whoever uses them.
    """

    log = Logger(namespace="mxproxy.tls.reload")

    def __init__(self, settings: TLSSettings, reading: Reading) -> None:
        self.settings = settings
        self.users: WeakSet[TLSContexts] = WeakSet()
        self.reading = reading
        self.contents = contentsOf(reading.applied(settings))
        self.paths: tuple[str, ...] = tuple(reading.stamps)
        self._tried = self._seen = dict(reading.stamps)
        self._restlessLooks = 0
        self._complained = False
        self._told = [0] * len(self.contents.lifetimes)

    # -- what to do with it

    @property
    def restless(self) -> bool:
        """Whether something has changed that has not been tried."""
        return self._seen != self._tried

    def look(self, stamps: dict[str, tuple[int, ...]]) -> bool:
        """
        @param stamps: of all paths.
        @return: whether there is something new, which has settled.
        """
        now = {path: stamps[path] for path in self.paths}
        settled = now == self._seen
        self._seen = now
        if self._restlessLooks == MAX_RESTLESS_LOOKS:
            self.complain(Unsettled("the files never stop changing"))
        self._restlessLooks = 0 if not self.restless else self._restlessLooks + 1
        return settled and self.restless

    def read(self, users: Sequence[TLSContexts]) -> Renewal:
        """
        Read it, and build what follows from it.  This is what runs in a thread; it changes
        nothing.
        """
        reading = takeReading(self.settings, self.paths)
        if reading.error is not None or reading.sameAs(self.reading):
            return Renewal(reading)
        try:
            contents = contentsOf(reading.applied(self.settings))
            return Renewal(reading, contents, {user: user.build(reading) for user in users})
        except TLSConfigurationError as error:
            return Renewal(Reading(reading.stamps, error=error))

    def take(self, renewal: Renewal) -> None:
        """
        Take over what L{read} has found.
        """
        reading, contents = renewal.reading, renewal.contents
        if isinstance(reading.error, Unsettled):
            self._seen = {}
            return
        self.paths = tuple(reading.stamps)
        self._tried = self._seen = dict(reading.stamps)
        if reading.error is not None:
            self.complain(reading.error)
            return
        if contents is None:
            if self._complained:
                self.log.info("{users}: the TLS files are as they were", users=self._names())
            self._complained = False
            return
        # Chains may have come while the files were read.  Before anything is called renewed: to
        # build may fail.
        contexts = {user: renewal.contexts.get(user) or user.build(reading) for user in self.users}
        before, self.contents, self.reading = self.contents, contents, reading
        self._complained = False
        for user, context in contexts.items():
            user.exchange(context)
        self.log.info(
            "{users}: renewed: {what}", users=self._names(), what=contents.insteadOf(before)
        )
        for warning in dict.fromkeys(one for each in contexts.values() for one in each.warnings):
            self.log.warn("{users}: {warning}", users=self._names(), warning=warning)  # noqa: G010
        self._told = [0] * len(self.contents.lifetimes)

    def complain(self, error: TLSConfigurationError) -> None:
        """
        Say what is wrong with the new files.
        """
        self._complained = True
        for user in list(self.users):
            user.failed()
        self.log.warn(  # noqa: G010
            "{users}: not renewed: {error}; still in use: {old}",
            users=self._names(),
            error=error,
            old=self.contents.inUse(),
        )

    def warn(self) -> None:
        """
        Say what is about to expire, or has, each time that it has got worse.
        """
        stages = self._stages()
        for index, (before, stage) in enumerate(zip(self._told, stages, strict=True)):
            if stage > before:
                line = self.contents.lifetimes[index].line(utcNow())
                self.log.warn("{users}: {line}", users=self._names(), line=line)  # noqa: G010
        self._told = stages

    def _stages(self) -> list[int]:
        now = utcNow()
        return [one.stage(now) for one in self.contents.lifetimes]

    def _names(self) -> str:
        return ", ".join(sorted({user.name for user in self.users})) or "nobody"


class CertificateReloader:
    """
    Looks after the certificates of a proxy.
    """

    log = Logger()

    def __init__(self, clock: Any, interval: float = INTERVAL, resumption: bool = False) -> None:
        """
        @param clock: an L{IReactorTime<twisted.internet.interfaces.IReactorTime>}; if it is an
            L{IReactorThreads}, too, files are read in its threads.
        @param interval: how often to look, in seconds.
        @param resumption: resume sessions (L{mxproxy.tls.resumption}).
        """
        self._resumption = resumption
        self._clock = clock
        self._interval = interval
        self._sets: dict[object, _Set] = {}
        self._lock = DeferredLock()
        self._running = False
        self._timer: IDelayedCall | None = None

    def contexts(
        self,
        settings: TLSSettings,
        name: str,
        count: Callable[[str], None] = lambda name: None,
    ) -> TLSContexts:
        """
        The contexts of a chain.  They are looked after for as long as somebody has them.

        @param name: the chain's, for the log.
        @param count: counts events of the chain's.
        @raise TLSConfigurationError: the settings cannot be used.
        """
        key = (*(getattr(settings, name) for name in PEMS), settings.discovered)
        files = self._sets.get(key)
        if files is None:
            files = _Set(settings, firstReading(settings))
        contexts = TLSContexts(name, settings, files.reading, count, self._resumption)
        files.users.add(contexts)
        self._sets[key] = files
        if self._running and self._timer is None and not self._lock.locked:
            self._schedule()
        return contexts

    def contents(self) -> Sequence[Contents]:
        """
        What is in use now, one for each set of files.
        """
        return [files.contents for files in self._sets.values() if files.users]

    def start(self) -> None:
        """
        Look from now on.
        """
        self._running = True
        self._warn()
        if self._sets:
            self._schedule()

    def stop(self) -> None:
        """
        Look no more.
        """
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reloadNow(self) -> Deferred[None]:
        """
        Read all files now, whether they seem to have changed or not, and without waiting for
        them to settle: somebody says that they are complete.

        @return: fires when that is done; what was wrong is in the log.
        """
        return self._lock.run(lambda: Deferred.fromCoroutine(self._look(force=True)))

    # -- looking

    def _schedule(self) -> None:
        delay = self._interval
        if any(files.restless for files in self._sets.values()):
            delay = min(delay, SETTLED_AFTER)
        self._timer = self._clock.callLater(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        looked = self._lock.run(lambda: Deferred.fromCoroutine(self._look()))
        looked.addErrback(lambda failure: self.log.failure("looking at TLS files", failure))
        looked.addCallback(lambda _: self._schedule() if self._running and self._sets else None)

    async def _look(self, force: bool = False) -> None:
        # Nobody has a connection to make with what nobody keeps.
        self._sets = {key: files for key, files in self._sets.items() if files.users}
        sets = list(self._sets.values())
        stamps = await self._run(stampsOf, _every(files.paths for files in sets))
        for files in sets:
            if files.look(stamps) or force:
                files.take(await self._run(files.read, list(files.users)))
        self._warn()

    def _warn(self) -> None:
        for files in self._sets.values():
            files.warn()

    def _run(self, call: Callable[..., T], *arguments: Any) -> Deferred[T]:
        if IReactorThreads.providedBy(self._clock):
            pool = self._clock.getThreadPool()
            return deferToThreadPool(self._clock, pool, call, *arguments)
        return execute(call, *arguments)


def _every(paths: Iterable[Sequence[str]]) -> Sequence[str]:
    return list(dict.fromkeys(path for some in paths for path in some))
