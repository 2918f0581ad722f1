"""
The runner of pure handshakes.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.layers.handshake import HandshakeFactory, HandshakeLayer
from mxproxy.testing import Bench, Conversation, checkFilter, mustNotBeUsed
from mxproxy.testing.bench import Wrap
from mxproxy.wire.handshake import Outcome

from .helpers import Greeting, LateGreeting


class Noting(HandshakeLayer):
    """
    Keeps what it learns where a transcript shows it.
    """

    def learnt(self, result: object) -> None:
        self.connection.trail.append(f"{self.peer.side}/learnt {result}")


class Optimistic(Noting):
    def isOptimistic(self) -> bool:
        return True


def running(machine: Any, layer: type[HandshakeLayer] = Noting) -> Wrap:
    return lambda inner, context: HandshakeFactory(inner, context, machine, 5, layer=layer)


class TranscriptTests(SynchronousTestCase):
    def play(self, script: str, machine: Any = Greeting, layer: Any = Noting) -> Bench:
        for chunks in (None, 1):
            bench = Bench(running(machine, layer), chunks=chunks)
            bench.play(script)
            bench.transport.lose()
            self.assertEqual(bench.reactor.getDelayedCalls(), [])
            self.assertEqual(bench.application.unexpected, [])
        return bench

    def test_done(self) -> None:
        """
        Nothing is connected above before the outcome; then the layer is gone.
        """
        bench = self.play(
            """
            << 'HELLO\\n'
            >> 'HI\\nrest'
            << 'THANKS\\n'
            app<< connected
            app<< 'rest'
            left: learnt HI
            left: handshake
            >> ' more'
            app<< ' more'
            """
        )
        self.assertIs(bench.application.transport, bench.transport)

    def test_nothingToDo(self) -> None:
        class Declining(Noting):
            def begin(self) -> None:
                return None

        self.play(
            """
            app<< connected
            left: handshake
            >> 'HI\\n'
            app<< 'HI\\n'
            """,
            layer=Declining,
        )

    def test_aborted(self) -> None:
        self.play(
            """
            << 'HELLO\\n'
            >> 'x' * 31
            << reset
            closed: too_long: a greeting without an end
            left: learnt nothing
            """
        )

    def test_noTimeoutAfterTheAbort(self) -> None:
        """
        The loss is told in a later turn, and the time may be up in between.
        """
        bench = Bench(running(Greeting))
        bench.connect()
        bench.transport.protocol.dataReceived(b"x" * 31)
        self.assertEqual([call.getTime() for call in bench.reactor.getDelayedCalls()], [0.0])

    def test_defaultLayer(self) -> None:
        """
        Who has nothing to say of the result needs no layer of his own.
        """
        bench = Bench(lambda inner, context: HandshakeFactory(inner, context, Greeting, 5))
        bench.play(
            """
            << 'HELLO\\n'
            >> 'HI\\nrest'
            << 'THANKS\\n'
            app<< connected
            app<< 'rest'
            left: handshake
            """
        )

    def test_silence(self) -> None:
        self.play(
            """
            << 'HELLO\\n'
            >> 'H'
            wait 5
            app<< connected
            app<< 'H'
            left: learnt silence
            left: handshake
            """
        )

    def test_late(self) -> None:
        """
        Released, but still listening.
        """
        self.play(
            """
            << 'HELLO\\n'
            >> 'H'
            wait 5
            app<< connected
            left: learnt late
            app>> 'anybody?'
            << 'anybody?'
            >> 'I\\nrest'
            << 'THANKS\\n'
            app<< 'rest'
            left: learnt HI
            left: handshake
            """,
            LateGreeting,
        )

    def test_lateWithBytes(self) -> None:
        """
        An outcome that is not final may have bytes for what is above.
        """

        class Generous(LateGreeting):
            def timeout(self) -> Outcome:
                seen, self._line = self._line, b""
                return Outcome("late", forward=seen, final=False)

        self.play(
            """
            << 'HELLO\\n'
            >> 'abc'
            wait 5
            app<< connected
            app<< 'abc'
            left: learnt late
            >> 'HI\\nrest'
            << 'THANKS\\n'
            app<< 'rest'
            left: learnt HI
            left: handshake
            """,
            Generous,
        )

    def test_moreBehindTheResult(self) -> None:
        """
        What is below need not be a socket: it may deliver more before it learns of a pause.
        """
        made: list[HandshakeLayer] = []

        class Kept(HandshakeLayer):
            def connectionMade(self) -> None:
                made.append(self)
                super().connectionMade()

        bench = Bench(running(Greeting, Kept))
        bench.application.onConnect = bench.application.pause
        bench.connect()
        bench.transport.feed(b"HI\nrest")
        made[0].dataReceived(b" and more")
        made[0].readConnectionLost()
        bench.reactor.advance(10)
        bench.application.resume()
        bench.transcript.check(
            """
            << 'HELLO\\n' 'THANKS\\n'
            app<< connected
            app<< 'rest and more'
            app<< eof
            """.replace("' '", "")
        )

    def test_optimistic(self) -> None:
        """
        What is above may write at once; it does not read yet.
        """
        self.play(
            """
            << 'HELLO\\n'
            app<< connected
            app>> 'quick'
            << 'quick'
            >> 'HI\\nrest'
            << 'THANKS\\n'
            app<< 'rest'
            left: learnt HI
            left: handshake
            """,
            layer=Optimistic,
        )

    def test_silentMachineIsNotOptimistic(self) -> None:
        """
        Nothing is released before something of our own is out.
        """

        class Shy(Greeting):
            def opening(self) -> bytes:
                return b""

        self.play(
            """
            >> 'HI\\n'
            << 'THANKS\\n'
            app<< connected
            left: learnt HI
            left: handshake
            """,
            Shy,
            Optimistic,
        )

    def test_closedWhileOptimistic(self) -> None:
        self.play(
            """
            << 'HELLO\\n'
            app<< connected
            app>> 'never mind'
            << 'never mind'
            app>> close
            << close
            app<< closed: done
            closed: closed
            """,
            layer=Optimistic,
        )

    def test_endIsFinal(self) -> None:
        """
        The end of the stream reaches the application even if the machine would like to go on.
        """

        class Hoping(Greeting):
            def eof(self) -> Outcome:
                return Outcome("hope", final=False)

        self.play(
            """
            << 'HELLO\\n'
            >> eof
            app<< connected
            app<< eof
            left: learnt hope
            left: handshake
            """,
            Hoping,
        )

    def test_endIsToldOnce(self) -> None:
        """
        The end decides, and waits for whoever is connected then.  A socket that is resumed
        behind its end would tell of it again.
        """
        bench = Bench(running(Greeting))
        bench.application.onConnect = bench.application.pause
        bench.play(
            """
            << 'HELLO\\n'
            >> 'half a line'
            >> eof
            app<< connected
            left: learnt nobody
            app>> resume
            app<< 'half a line'
            app<< eof
            left: handshake
            """
        )
        self.assertEqual(bench.application.unexpected, [])

    def test_noResult(self) -> None:
        """
        An outcome without a result teaches nothing.
        """

        class Mute(Greeting):
            def feed(self, data: bytes) -> Outcome:
                return Outcome(forward=data)

        class Deaf(HandshakeLayer):
            learnt = mustNotBeUsed("there was no result")  # type: ignore[assignment]

        self.play(
            """
            << 'HELLO\\n'
            >> 'x'
            app<< connected
            app<< 'x'
            left: handshake
            """,
            Mute,
            Deaf,
        )


class ContractTests(SynchronousTestCase):
    def check(self, machine: Any, layer: type[HandshakeLayer], sent: bytes) -> None:
        for side in ("downstream", "upstream"):
            checkFilter(
                running(machine, layer),
                conversation=Conversation(
                    b"HI THERE\n0123456789",
                    b"0123456789",
                    b"bye",
                    sent,
                    oversize=b"x" * 40,
                ),
                side=side,
            )

    def test_plain(self) -> None:
        self.check(Greeting, HandshakeLayer, b"HELLO\nTHANKS\nbye")

    def test_late(self) -> None:
        self.check(LateGreeting, HandshakeLayer, b"HELLO\nTHANKS\nbye")

    def test_optimistic(self) -> None:
        self.check(LateGreeting, Optimistic, b"HELLO\nTHANKS\nbye")
