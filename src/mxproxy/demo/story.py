"""
The order of events: start two sidecars, talk through them, look, come without one, end.

Everything that is started or written is L{Demo}'s, which ends and removes it in one place,
L{Demo.cleanUp}, when the reactor stops: after the last step, after a failure, and on a
signal at any moment.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure

from ..pki import Authority
from ..tools.dissect import condense
from ..tools.page import Page, nobodyReads
from ..wire.annotate import annotate
from ..wire.exchange import ALPN
from ..wire.metadata import Node
from ..wire.peerstate import PeerState
from ..wire.prefix import MAGIC_BYTES
from . import EXIT_INTERRUPTED
from .clients import GREETING, HOST, ClientTLS, Reply, get, makeApplication, post, talk
from .processes import DemoFailed, Sidecar, findClosed, findTwistd, reservePorts

TRUST_DOMAIN: Final = "demo"


@dataclass(frozen=True)
class Workload:
    """
    Who takes part.
    """

    name: str
    namespace: str

    @property
    def principal(self) -> str:
        """
        What its certificate proves.
        """
        return f"spiffe://{TRUST_DOMAIN}/ns/{self.namespace}/sa/{self.name}"


CLIENT: Final = Workload("web", "shop")
SERVER: Final = Workload("greeter", "hello")

# How often the kernel is asked for other ports.
_ATTEMPTS: Final = 5

# What is sent up and down: more than fits in the sockets on its way.
_BULK: Final = 8 * 1024 * 1024

# How many bytes of a line of the prefix are shown.
_HEX: Final = 6

# Seconds between a failure and its being believed.
_GRACE: Final = 0.2

# How much is said of what is not as it should be, in characters.
_SEEN: Final = 300

# How much of a sidecar's output is shown when something has failed, in lines.
_TAIL: Final = 20


def run(keep: bool, stdout: TextIO, stderr: TextIO) -> int:
    """
    Run the demo.

    @param keep: do not end before a signal comes.
    @return: the exit status.
    """
    demo = Demo(Page(stdout), keep)
    with suppress(SystemExit):
        react(demo.main)
    if demo.unread:
        nobodyReads(stdout)
        return 1
    if demo.failure:
        _explain(demo, Page(stderr))
        return 1
    if not demo.finished:
        Page(stderr).line("\nmxproxy demo: interrupted; everything is stopped and removed")
        return EXIT_INTERRUPTED
    demo.page.line()
    if keep:
        demo.page.line(f"All of it is stopped, {demo.directory} is removed.")
    else:
        demo.page.line(f"All of it is stopped and removed, after {demo.seconds:.1f} seconds.")
        demo.page.line(f"To leave it running and play with it: {_program()} demo --keep")
    return 0


def _program() -> str:
    """
    What to call this by: in an environment that is not activated, the name alone is nobody's.
    """
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m mxproxy"
    return called.name if shutil.which(called.name) else sys.argv[0]


def _explain(demo: Demo, page: Page) -> None:
    """
    Say what has failed.
    """
    page.line(page.style(f"mxproxy demo: {demo.failure}", "bold", "red"))
    for sidecar, output in zip(demo.sidecars, demo.outputs):
        page.line(f"\nThe {sidecar.mode} sidecar's output:")
        page.line()
        page.command(["twistd", *sidecar.arguments])
        for line in output.decode("utf-8", "backslashreplace").splitlines()[-_TAIL:]:
            page.line(f"   | {line}")


class Demo:
    """
    One run.

    @ivar directory: where everything is written.
    @ivar sidecars: the inbound one and the outbound one, once they are started.
    @ivar finished: whether the story came to its end.
    @ivar failure: what was not as it should be, one line and perhaps a traceback; or empty.
    @ivar outputs: what each sidecar had printed by then.
    @ivar unread: whether nobody reads what is printed.
    @ivar seconds: how long it took.
    """

    def __init__(self, page: Page, keep: bool) -> None:
        self.page = page
        self.keep = keep
        self.directory = Path()
        self.sidecars: list[Sidecar] = []
        self.finished = False
        self.failure = ""
        self.outputs: list[bytes] = []
        self.unread = False
        self.seconds = 0.0
        self._reactor: Any = None
        self._began = 0.0
        self._stopping = False
        self._story: Deferred[None] = Deferred()
        self._nodes: dict[str, Node] = {}
        self._ports = (0, 0, 0)

    # -- from the first moment to the last

    async def main(self, reactor: Any) -> None:
        """
        For C{react}: everything, the cleaning up too, which C{react} waits for.
        """
        self._reactor = reactor
        self._began = reactor.seconds()
        # Before that, the reactor has not taken over the signals.
        await deferLater(reactor, 0)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            # A terminal that is closed.
            signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(reactor.stop))
        reactor.addSystemEventTrigger("before", "shutdown", self.cleanUp)
        self._story = Deferred.fromCoroutine(self.tell())
        try:
            await self._story
            self.finished = True
        except BrokenPipeError:
            self.unread = True
        except Exception as error:  # noqa: BLE001 - whatever it is has to be said
            traceback = Failure().getTraceback()
            if not self._stopping:
                # Ctrl-C ends the sidecars too, and that may be seen first.
                await deferLater(reactor, _GRACE)
            # Once it is stopping, an error is only what that looks like from in here.
            if not self._stopping:
                expected = isinstance(error, DemoFailed)
                self._fail(str(error) if expected else f"this should not happen\n{traceback}")

    def _fail(self, why: str) -> None:
        if not self.failure:
            self.failure = why
            self.outputs = [sidecar.output for sidecar in self.sidecars]

    def cleanUp(self) -> Deferred[None]:
        """
        End the story, the sidecars and the directory.
        """
        self._stopping = True
        self._story.cancel()
        return Deferred.fromCoroutine(self._cleanUp())

    async def _cleanUp(self) -> None:
        for sidecar, (_, gently) in zip(
            self.sidecars,
            await DeferredList([sidecar.stop(self._reactor) for sidecar in self.sidecars]),
        ):
            if not gently:
                self._fail(f"the {sidecar.mode} sidecar had to be killed")
        try:
            if self.directory.name:
                shutil.rmtree(self.directory)
        except OSError as error:
            self._fail(f"cannot remove {self.directory}: {error}")
        self.seconds = self._reactor.seconds() - self._began

    # -- the story

    async def tell(self) -> None:
        """
        The steps in their order.

        @raise DemoFailed: something was not as it should be.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="mxproxy-demo-"))
        self._writeFiles()
        await self._start()
        self._showSidecars()
        await self._showTraffic()
        await self._showPrefix()
        await self._showOthers()
        if self.keep:
            self._showCommands()
            self.finished = True
            await self._untilOneEnds()

    def _writeFiles(self) -> None:
        """
        The CA, and for each workload its certificate, key, metadata and prefix.
        """
        authority = Authority.create(TRUST_DOMAIN)
        authority.write(self.directory, "ca")
        for workload in (CLIENT, SERVER):
            name, namespace = workload.name, workload.namespace
            authority.issue(workload.principal).write(self.directory, name)
            metadata = {
                "NAME": f"{name}-1",
                "NAMESPACE": namespace,
                "WORKLOAD_NAME": name,
                "LABELS": {"app": name, "version": "v1"},
            }
            node = self._nodes[name] = Node(id=f"{name}-1.{namespace}", metadata=metadata)
            (self.directory / f"{name}.json").write_text(json.dumps(metadata, indent=2) + "\n")
            (self.directory / f"{name}.prefix").write_bytes(node.prefix())

    async def _start(self) -> None:
        """
        The application and the two sidecars, all listening.
        """
        reactor = self._reactor
        endpoint = TCP4ServerEndpoint(reactor, 0, interface=HOST)
        application = (await endpoint.listen(makeApplication())).getHost().port
        for attempt in range(1, _ATTEMPTS + 1):
            inbound, outbound = reservePorts(2)
            self._ports = (outbound, inbound, application)
            self.sidecars = [
                self._sidecar("inbound", inbound, application, SERVER),
                self._sidecar("outbound", outbound, inbound, CLIENT, SERVER.principal),
            ]
            for sidecar in self.sidecars:
                sidecar.start(reactor, str(self.directory))
            waits = [sidecar.listening for sidecar in self.sidecars]
            results: Any = await DeferredList(waits, consumeErrors=True)
            failures = [result.value for good, result in results if not good]
            if not failures:
                return
            outputs = b"".join(sidecar.output for sidecar in self.sidecars)
            if attempt == _ATTEMPTS or b"Address already in use" not in outputs:
                raise failures[0]
            await DeferredList([sidecar.stop(reactor) for sidecar in self.sidecars])

    def _sidecar(
        self, mode: str, port: int, upstream: int, workload: Workload, *accepted: str
    ) -> Sidecar:
        """
        @param accepted: the identities that the upstream may have.
        """
        name = workload.name
        options = {
            "--listen": f"tcp:{port}:interface={HOST}",
            "--upstream": f"tcp:{HOST}:{upstream}",
            "--tls-cert": f"{name}.crt",
            "--tls-key": f"{name}.key",
            "--tls-ca": "ca.crt",
            "--node-id": self._nodes[name].id,
            "--node-metadata": f"{name}.json",
            "--access-log": f"{mode}.log",
        }
        words = [word for option in options.items() for word in option]
        return Sidecar(mode, words + [word for san in accepted for word in ("--upstream-san", san)])

    def _showSidecars(self) -> None:
        page = self.page
        self._draw()
        page.heading("1. Two sidecars, as they were started")
        page.shell(f"cd {shlex.quote(str(self.directory))}")
        twistd = findTwistd()
        if len(twistd) == 1:
            directory, _ = os.path.split(twistd[0])
            if shutil.which("twistd") != twistd[0]:
                page.shell(f"PATH={shlex.quote(directory)}:$PATH")
            twistd = ["twistd"]
        for sidecar in self.sidecars:
            page.line()
            page.command([*twistd, *sidecar.arguments])

    def _draw(self) -> None:
        """
        Who connects to whom, and the ports below those who listen.
        """
        names = (CLIENT.name, "outbound", "inbound", SERVER.name)
        arrows = (" ── plain ──▶ ", " ══ mutual TLS ══▶ ", " ── plain ──▶ ", "")
        above, below, width = "   ", "", 3
        for name, arrow, port in zip(names, arrows, (0, *self._ports)):
            below = below.ljust(width) + (f":{port}" if port else "")
            above += self.page.style(name, "bold") + arrow
            width += len(name + arrow)
        self.page.line()
        self.page.line(above)
        self.page.line(self.page.style(below, "dim"))

    async def _showTraffic(self) -> None:
        """
        Traffic through both sidecars, and what they wrote of it.
        """
        page, (outbound, _, _) = self.page, self._ports
        page.heading(f"2. {CLIENT.name} speaks plain HTTP to its own sidecar")
        greeting = await self._talk(outbound, get())
        _require(greeting.body == GREETING, "the greeting through both sidecars", greeting)
        page.line(f"   GET /        {greeting.status}: {greeting.body.decode().strip()}")
        content = os.urandom(_BULK)
        echo = await self._talk(outbound, post(content))
        _require(echo.body == content, "the echo through both sidecars", echo.status)
        size = f"{_BULK >> 20} MiB"
        page.line(f"   POST {size}   {echo.status}: the same {size} came back")
        near = await self._closed("outbound", greeting.address)
        far = await self._closed("inbound", near["upstream"]["local_address"])
        self._showLearnt(far["downstream"], near["upstream"])

    def _showLearnt(self, client: dict[str, Any], server: dict[str, Any]) -> None:
        """
        @param client: what the inbound sidecar's log says of its downstream.
        @param server: what the outbound sidecar's log says of its upstream.
        """
        page = self.page
        page.heading("3. What each sidecar has learnt of the other, from their access logs")
        for peer, workload in ((client, CLIENT), (server, SERVER)):
            known = peer["peer"] or {}
            _require(
                (peer["peer_state"], peer["alpn"], peer["principal"])
                == (PeerState.FOUND.value, ALPN, workload.principal)
                and (known["workload"], known["namespace"]) == (workload.name, workload.namespace),
                f"what is known of {workload.name}",
                peer,
            )
        rows = [("", "inbound.log, downstream", "outbound.log, upstream")]
        rows += [(k, client["peer"][k], server["peer"][k]) for k in ("workload", "namespace")]
        rows += [(k, client[k], server[k]) for k in ("principal", "alpn", "tls_version")]
        for key, left, right in rows:
            colour = "green" if key else "dim"
            values = (page.style(f"{left:29}", colour), page.style(right, colour))
            page.line(f"   {key:11}  {'  '.join(values)}")
        page.line()
        page.line("   Workload and namespace are what the peer says of itself in the metadata")
        page.line("   exchange; the principal is what its certificate proves.")

    async def _showPrefix(self) -> None:
        """
        A client with its own TLS that takes part in the exchange.
        """
        page, (_, inbound, _) = self.page, self._ports
        page.heading("4. How they learn it: what the inbound sidecar sends first, inside TLS")
        request = self._nodes[CLIENT.name].prefix() + get()
        reply = await self._talk(inbound, request, self._mutual(ALPN))
        known = reply.data.startswith(MAGIC_BYTES) and reply.body == GREETING
        _require(known, "the prefix and the greeting", reply)
        for offset, data, depth, text, _ in condense(annotate(reply.data)):
            shown = data[:_HEX].hex(" ") + (" ..." if len(data) > _HEX else "")
            columns = (
                page.style(f"{offset:04x}", "dim"),
                page.style(f"{shown:{_HEX * 3 + 3}}", "cyan"),
                "  " * depth + text,
            )
            page.line(f"   {'  '.join(columns)}")

    async def _showOthers(self) -> None:
        """
        Clients that have no sidecar.
        """
        page, (_, inbound, _) = self.page, self._ports
        page.heading(f"5. Without a sidecar, straight to :{inbound}, and what inbound.log says")
        refused = page.style("✗ refused", "red")
        for who, tls in (
            ("Plaintext", None),
            ("TLS without a certificate", ClientTLS(self.directory / "ca.crt")),
        ):
            reply = await self._talk(inbound, get(), tls)
            entry = await self._closed("inbound", reply.address)
            _require(not reply.data and entry["close_reason"], f"{who} is refused", reply)
            page.line(f"   {who}")
            page.line(f"     {refused}  {entry['close_reason']}")
        reply = await self._talk(inbound, get(), self._mutual("istio"))
        peer = (await self._closed("inbound", reply.address))["downstream"]
        _require(
            reply.body == GREETING and peer["peer_state"] == PeerState.ALPN_MISMATCH.value,
            "mutual TLS without the exchange passes",
            reply,
        )
        page.line(
            f"   Mutual TLS with {CLIENT.name}'s certificate, and {peer['alpn']} as its only ALPN"
        )
        page.line(
            f"     {page.style('✓ passed', 'green')}   untouched, without a prefix: {reply.status}"
        )
        page.line(f"                peer_state {peer['peer_state']}, principal {peer['principal']}")

    def _showCommands(self) -> None:
        """
        What to try by hand.
        """
        page, (outbound, inbound, _) = self.page, self._ports
        page.heading("All of it stays up until Ctrl-C. To try in another terminal:")
        page.shell(f"cd {shlex.quote(str(self.directory))}")
        tls = "-cert web.crt -key web.key -CAfile ca.crt"
        for what, *lines in (
            ("what the sidecars log", "tail -f inbound.log outbound.log"),
            ("through both sidecars", f"curl http://{HOST}:{outbound}/"),
            ("plaintext", f"curl http://{HOST}:{inbound}/"),
            ("TLS without a certificate", f"curl -k https://{HOST}:{inbound}/"),
            (
                "mutual TLS without the exchange",
                f"curl -k --cert web.crt --key web.key https://{HOST}:{inbound}/",
            ),
            (
                "the exchange by hand: web's prefix goes there, greeter's comes back",
                "(cat web.prefix; printf 'GET / HTTP/1.0\\r\\n\\r\\n') | openssl s_client -quiet \\",
                f"    -connect {HOST}:{inbound} -alpn {ALPN} \\",
                f"    {tls} | od -A d -c",
            ),
        ):
            page.line(f"   {page.style(f'# {what}', 'dim')}")
            for line in lines:
                page.shell(line)

    async def _untilOneEnds(self) -> None:
        """
        @raise DemoFailed: a sidecar has ended.
        """
        ended: Deferred[str] = Deferred()

        def tell(how: str, mode: str) -> str:
            if not ended.called:
                ended.callback(f"the {mode} sidecar has ended ({how})")
            return how

        for sidecar in self.sidecars:
            sidecar.ended.addCallback(tell, sidecar.mode)
        raise DemoFailed(await ended)

    # -- what the steps need

    async def _talk(self, port: int, request: bytes, tls: ClientTLS | None = None) -> Reply:
        try:
            return await talk(self._reactor, port, request, tls)
        except (ConnectError, TimeoutError) as error:
            raise DemoFailed(
                f"no conversation with port {port}: {type(error).__name__} {error}"
            ) from error

    async def _closed(self, mode: str, address: str) -> dict[str, Any]:
        return await findClosed(self._reactor, self.directory / f"{mode}.log", address)

    def _mutual(self, alpn: str) -> ClientTLS:
        own = self.directory / f"{CLIENT.name}.crt", self.directory / f"{CLIENT.name}.key"
        return ClientTLS(self.directory / "ca.crt", own, alpn)


def _require(true: bool, what: str, seen: object) -> None:
    if not true:
        raise DemoFailed(f"{what}: not as it should be: {str(seen)[:_SEEN]}")
