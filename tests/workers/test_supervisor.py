"""
Who looks after workers: when they die, when they are to stop, when they are asked.

Processes and their channels are the test's own: it says what they answer, and when they end.
"""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from mxproxy.service import CannotStart
from mxproxy.workers.channel import ChannelError
from mxproxy.workers.messages import FIRST_SOCKET, Start, unpack
from mxproxy.workers.process import DELAYS, WELL_AFTER, Worker
from mxproxy.workers.supervisor import ANSWER_TIMEOUT, KILL_AFTER, Supervisor
from tests.config.commandline import CommandLineCase, parse

PLAIN = ("--mode", "outbound", "--upstream-tls", "disable", "--upstream", "tcp:127.0.0.1:1")


class Wire:
    """
    A channel's transport, and the worker at its other end.
    """

    disconnecting = False

    def __init__(self) -> None:
        self.written = b""
        self.descriptors: list[int] = []

    def write(self, data: bytes) -> None:
        self.written += data

    def sendFileDescriptor(self, descriptor: int) -> None:
        self.descriptors.append(descriptor)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.written.splitlines()]


class Process:
    """
    A process's transport.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.signals: list[Any] = []

    def signalProcess(self, number: Any) -> None:
        self.signals.append(number)


class Reactor(Clock):
    """
    Starts no process, but notes that it should.
    """

    def __init__(self) -> None:
        super().__init__()
        self.protocols: list[Worker] = []
        self.inherited: list[dict[int, Any]] = []
        self.wires: list[Wire] = []
        self.stopped = 0

    def spawnProcess(
        self, protocol: Any, executable: str, args: Any, env: Any, childFDs: Any
    ) -> None:
        self.protocols.append(protocol)
        self.inherited.append(childFDs)
        protocol.makeConnection(Process(100 + len(self.protocols)))

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        self.wires.append(Wire())
        factory.buildProtocol(None).makeConnection(self.wires[-1])

    def callWhenRunning(self, call: Any) -> None:
        call()

    def callFromThread(self, call: Any) -> None:
        call()

    def stop(self) -> None:
        self.stopped += 1


class SupervisorCase(CommandLineCase):
    count = 2

    def setUp(self) -> None:
        super().setUp()
        for number in signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.reactor = Reactor()
        self.exits: list[int] = []
        self.supervisor = self.make("--listen", "tcp:0:interface=127.0.0.1")

    def make(self, *options: str) -> Supervisor:
        self.options = parse([*PLAIN, "--drain-time", "10", *options])
        supervisor = Supervisor(self.options, self.count, self.reactor, self.exits.append)
        self.addCleanup(lambda: [socket.close() for socket in [*supervisor.sockets]])
        return supervisor

    def start(self) -> None:
        self.supervisor.privilegedStartService()
        self.supervisor.startService()
        self.reactor.advance(0)

    @property
    def workers(self) -> list[Worker]:
        return self.supervisor.workers

    def ready(self, wire: Wire) -> None:
        """
        The worker at the other end of C{wire} is.
        """
        place = self.reactor.wires.index(wire)
        channel = self.reactor.protocols[place].channel
        assert channel is not None
        channel.dataReceived(b'{"id": 1, "ask": "ready", "with": null}\n')

    def start_ready(self) -> None:
        self.start()
        for wire in [*self.reactor.wires]:
            self.ready(wire)

    def answer(self, place: int, value: Any) -> None:
        """
        Worker C{place} answers what it was asked last.
        """
        channel = self.workers[place].channel
        assert channel is not None
        asked = [one for one in self.reactor.wires[place].lines if one.get("ask") != "count"]
        number = asked[-1]["id"]
        line = json.dumps({"id": number, "answer": value}).encode()
        channel.dataReceived(line + b"\n")

    def end(self, worker: Worker, code: int = 0, signal: int | None = None) -> None:
        why: Exception = (
            error.ProcessTerminated(code, signal) if code or signal else (error.ProcessDone(0))
        )
        if worker.channel is not None:
            worker.channel.connectionLost()
        worker.processEnded(Failure(why))


class StartTests(SupervisorCase):
    def test_start(self) -> None:
        """
        Each is told the same, and has its own socket.
        """
        self.start()
        starts = [Start.read(wire.written) for wire in self.reactor.wires]
        self.assertEqual([start.number for start in starts], [1, 2])
        for start in starts:
            self.assertEqual(start.arguments, self.options.forWorker())
            self.assertEqual([*start.sockets.values()], [FIRST_SOCKET])
        own = [inherited[FIRST_SOCKET] for inherited in self.reactor.inherited]
        self.assertEqual(len(set(own)), self.count)

    def test_ready(self) -> None:
        self.start()
        ready = self.supervisor.whenReady()
        self.ready(self.reactor.wires[0])
        self.assertNoResult(ready)
        self.ready(self.reactor.wires[1])
        self.successResultOf(ready)

    def test_inUse(self) -> None:
        """
        Sharing a port is for the workers of one proxy.
        """
        self.start()
        port = self.supervisor.sockets[0].host.port
        other = self.make("--listen", f"tcp:{port}:interface=127.0.0.1")
        why = self.assertRaises(CannotStart, other.privilegedStartService)
        self.assertIn(f"tcp:{port}:interface=127.0.0.1: ", str(why))
        self.assertIn("ddress already in use", str(why))

    def test_files(self) -> None:
        """
        The files' contents are those that the parent has read.
        """
        Path("node.json").write_text('{"NAME": "one"}')
        self.supervisor = self.make("--listen", "tcp:0", "--node-metadata", "node.json")
        Path("node.json").write_text("")
        self.start()
        (text,) = unpack(Start.read(self.reactor.wires[0].written).files).values()
        self.assertEqual(text, b'{"NAME": "one"}')


class DeathTests(SupervisorCase):
    def test_again(self) -> None:
        """
        At once, with the same socket.
        """
        self.start_ready()
        first, second = self.workers
        self.end(first, signal=9)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.protocols, [first, second, first])
        inherited = self.reactor.inherited
        self.assertEqual(inherited[0][FIRST_SOCKET], inherited[2][FIRST_SOCKET])
        self.assertFalse(first.ready)
        self.ready(self.reactor.wires[2])
        self.assertTrue(first.ready)

    def test_backOff(self) -> None:
        """
        The next ones are waited for, and then that is enough: the others are stopped.
        """
        self.start_ready()
        first = self.workers[0]
        for delay in DELAYS:
            self.end(first, 1)
            started = len(self.reactor.protocols)
            if delay:
                self.reactor.advance(delay - 0.1)
                self.assertEqual(len(self.reactor.protocols), started)
                self.reactor.advance(0.1)
            else:
                self.reactor.advance(0)
            self.assertEqual(len(self.reactor.protocols), started + 1)
        with capturedLogs() as events:
            self.end(first, 1)
        self.assertEqual(self.exits, [1])
        self.assertEqual(self.reactor.stopped, 1)
        self.assertIn("worker 1 has died 6 times in a row", formatEvent(events[-1]) or "")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_well(self) -> None:
        """
        Deaths that are far from each other are no loop.
        """
        self.start_ready()
        for _ in range(2 * len(DELAYS)):
            self.reactor.advance(WELL_AFTER)
            self.end(self.workers[0], 1)
            self.reactor.advance(0)
        self.assertEqual(self.exits, [])

    def test_cannotBeStarted(self) -> None:
        """
        No memory for another process: it is tried again, and in the end given up.
        """
        self.start_ready()
        first = self.workers[0]

        def exhausted(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

        spawn = self.reactor.spawnProcess
        self.reactor.spawnProcess = exhausted  # type: ignore[method-assign]
        self.end(first, 1)
        with capturedLogs() as events:
            self.reactor.advance(0)
        self.assertIn("worker 1: it could not be started: ", formatEvent(events[0]) or "")
        self.reactor.spawnProcess = spawn  # type: ignore[method-assign]
        self.reactor.advance(DELAYS[1])
        self.assertGreater(first.pid, 0)
        self.reactor.spawnProcess = exhausted  # type: ignore[method-assign]
        self.end(first, 1)
        for _ in DELAYS:
            self.reactor.advance(DELAYS[-1])
        self.assertEqual(self.exits, [1])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_neverReady(self) -> None:
        """
        What cannot be started once is not tried twice.
        """
        self.start()
        self.ready(self.reactor.wires[0])
        with capturedLogs() as events:
            self.end(self.workers[1], 3)
        self.assertIn("worker 2 could not start: exit status 3", formatEvent(events[-1]) or "")
        self.assertEqual((self.exits, self.reactor.stopped), ([1], 1))


class StopTests(SupervisorCase):
    def stop(self) -> Deferred[None]:
        stopping = self.supervisor.stopService()
        self.reactor.advance(0)
        return stopping

    def test_stop(self) -> None:
        """
        All are told, the sockets are closed, and it is over when they have ended.
        """
        self.start_ready()
        stopping = self.stop()
        self.assertEqual([wire.lines[-1]["ask"] for wire in self.reactor.wires], ["stop"] * 2)
        self.assertEqual(self.supervisor.sockets, [])
        self.end(self.workers[0])
        self.assertNoResult(stopping)
        self.end(self.workers[1])
        self.successResultOf(stopping)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(len(self.reactor.protocols), 2)

    def test_dead(self) -> None:
        """
        One that is about to be started again is not.
        """
        self.start_ready()
        self.end(self.workers[0], 1)
        self.reactor.advance(0)
        self.end(self.workers[0], 1)
        stopping = self.stop()
        self.end(self.workers[1])
        self.successResultOf(stopping)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_notReady(self) -> None:
        """
        One that is starting is told as well.
        """
        self.start()
        stopping = self.stop()
        for worker in self.workers:
            self.end(worker)
        self.successResultOf(stopping)
        self.assertEqual(self.exits, [])

    def test_hurry(self) -> None:
        self.start_ready()
        self.stop()
        handler: Any = signal.getsignal(signal.SIGTERM)
        handler(signal.SIGTERM, None)
        self.assertEqual([wire.lines[-1]["ask"] for wire in self.reactor.wires], ["hurry"] * 2)

    def test_kill(self) -> None:
        """
        Who does not end in time is made to.
        """
        self.start_ready()
        stopping = self.stop()
        self.end(self.workers[0])
        self.reactor.advance(10 + KILL_AFTER)
        self.assertEqual(self.workers[0].transport.signals, [])
        self.assertEqual(self.workers[1].transport.signals, [signal.SIGKILL])
        self.successResultOf(stopping)


class CollectTests(SupervisorCase):
    def test_all(self) -> None:
        self.start_ready()
        answers = self.supervisor.collect("stats", {"a": 1})
        for wire in self.reactor.wires:
            self.assertEqual(wire.lines[-1]["with"], {"command": "stats", "arguments": {"a": 1}})
        self.answer(1, "two")
        self.assertNoResult(answers)
        self.answer(0, "one")
        self.assertEqual(self.successResultOf(answers), ["one", "two"])

    def test_late(self) -> None:
        """
        The others' answers are an answer.
        """
        self.start_ready()
        answers = self.supervisor.collect("stats", {})
        self.answer(1, "two")
        self.reactor.advance(ANSWER_TIMEOUT)
        self.assertEqual(self.successResultOf(answers), ["two"])

    def test_dead(self) -> None:
        self.start_ready()
        answers = self.supervisor.collect("stats", {})
        self.end(self.workers[0], 1)
        self.answer(1, "two")
        self.assertEqual(self.successResultOf(answers), ["two"])

    def test_drained(self) -> None:
        """
        Nobody is left waiting in a queue that nobody accepts from.
        """
        self.start_ready()
        answers = self.supervisor.collect("drain_listeners", {"inboundonly": False})
        self.assertEqual(len(self.supervisor.sockets), 1)
        for place in range(self.count):
            self.answer(place, None)
        self.successResultOf(answers)
        self.assertEqual(self.supervisor.sockets, [])

    def test_quit(self) -> None:
        """
        It is the whole that is to end; who ends alone would be replaced.
        """
        self.start_ready()
        self.successResultOf(self.supervisor.collect("quitquitquit", {}))
        self.reactor.advance(0)
        self.assertEqual(self.reactor.stopped, 1)

    def test_none(self) -> None:
        self.start()
        self.failureResultOf(self.supervisor.collect("stats", {}), ChannelError)


class ReloadTests(SupervisorCase):
    def setUp(self) -> None:
        super().setUp()
        Path("node.json").write_text('{"NAME": "one"}')
        self.supervisor = self.make("--listen", "tcp:0", "--node-metadata", "node.json")

    def reload(self, name: str) -> list[str]:
        Path("node.json").write_text(f'{{"NAME": "{name}"}}' if name else "nonsense")
        with capturedLogs() as events:
            self.supervisor.reread()
        return [formatEvent(event) or "" for event in events]

    def test_reload(self) -> None:
        """
        All that are ready are told, with the files; the sockets stay.
        """
        self.start_ready()
        sockets = self.supervisor.sockets
        said = self.reload("two")
        self.assertEqual(len(said), 1)
        self.assertIn("reloaded: the node changed", said[0])
        for place, wire in enumerate(self.reactor.wires):
            line = wire.lines[-1]
            self.assertEqual((line["ask"], line["with"]["sockets"]), ("reload", []))
            self.assertEqual([*unpack(line["with"]["files"]).values()], [b'{"NAME": "two"}'])
            self.answer(place, None)
        self.assertEqual(self.supervisor.sockets, sockets)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_wrong(self) -> None:
        """
        Nobody is told.
        """
        self.start_ready()
        (line,) = self.reload("")
        self.assertTrue(line.startswith("not reloaded: "), line)
        first, second = (wire.lines[1:] for wire in self.reactor.wires)
        ready = {"id": 1, "answer": None}
        self.assertEqual(
            first, [ready, {"id": 1, "ask": "count", "with": "server.reload_rejected"}]
        )
        self.assertEqual(second, [ready])

    def test_later(self) -> None:
        """
        Who is just starting is told when it is ready; who starts later begins with what is new.
        """
        self.start()
        self.ready(self.reactor.wires[0])
        self.reload("two")
        self.assertEqual(len(self.reactor.wires[1].lines), 1)
        self.ready(self.reactor.wires[1])
        line = self.reactor.wires[1].lines[1]
        self.assertEqual([*unpack(line["with"]["files"]).values()], [b'{"NAME": "two"}'])
        self.end(self.workers[0], 1)
        self.reactor.advance(0)
        start = Start.read(self.reactor.wires[2].written)
        self.assertEqual([*unpack(start.files).values()], [b'{"NAME": "two"}'])

    def test_cannot(self) -> None:
        """
        A worker that does not do it is replaced.
        """
        self.start_ready()
        self.reload("two")
        number = self.reactor.wires[0].lines[-1]["id"]
        channel = self.workers[0].channel
        assert channel is not None
        channel.dataReceived(json.dumps({"id": number, "error": "no"}).encode() + b"\n")
        self.answer(1, None)
        self.assertEqual(self.workers[0].transport.signals, [signal.SIGKILL])
        self.assertEqual(self.workers[1].transport.signals, [])

    def test_stopping(self) -> None:
        self.start_ready()
        self.supervisor.stopService()
        self.assertEqual(self.reload("two"), ["not reloaded: the proxy is stopping"])
