"""
Looking at the first bytes, and the switch that goes by what was seen.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.filters.tls_inspector import configure
from mxproxy.layers.peek import PeekFactory
from mxproxy.testing import Bench, Conversation, checkFilter, mustNotBeUsed
from mxproxy.testing.bench import Wrap
from mxproxy.testing.sidecars import clientTLS
from mxproxy.tls.context import ClientContext


class FirstWord:
    """
    Recognises the first word; bounded.
    """

    def __init__(self) -> None:
        self._seen = b""

    def feed(self, data: bytes) -> str | None:
        self._seen += data
        word, space, _ = self._seen.partition(b" ")
        if space:
            return word.decode()
        return "long" if len(word) > 8 else None

    def eof(self) -> str:
        return "eof"

    def timeout(self) -> str:
        return "timeout"


def peeking(answers: list[Any] | None = None) -> Wrap:
    def learnt(peer: Any, answer: Any) -> None:
        if answers is not None:
            answers.append(answer)

    return lambda inner, context: PeekFactory(
        inner, context, name="first_word", inspector=FirstWord, learnt=learnt
    )


GOES_ON = {"listener_filters_timeout": 2.0, "continue_on_listener_filters_timeout": True}
CLOSES = {"listener_filters_timeout": 2.0}


class PeekTests(SynchronousTestCase):
    def test_contract(self) -> None:
        for side in ("downstream", "upstream"):
            for context in (GOES_ON, CLOSES):
                conversation = Conversation(b"GET /index HTTP/1.0", context=context)
                checkFilter(peeking(), conversation=conversation, side=side)

    def test_everyAnswer(self) -> None:
        """
        Whatever is recognised, every byte goes on.
        """
        for answer, script in (
            (
                "GET",
                """
                >> 'GE'
                >> 'T /'
                app<< connected
                app<< 'GET /'
                left: first_word
                >> 'index'
                app<< 'index'
                """,
            ),
            (
                "long",
                """
                >> 'abcdefghi'
                app<< connected
                app<< 'abcdefghi'
                left: first_word
                """,
            ),
            (
                "timeout",
                """
                >> 'GE'
                wait 2
                app<< connected
                app<< 'GE'
                left: first_word
                >> 'T'
                app<< 'T'
                """,
            ),
            (
                "timeout",
                """
                wait 2
                app<< connected
                left: first_word
                """,
            ),
        ):
            answers: list[Any] = []
            bench = Bench(peeking(answers), context=GOES_ON)
            bench.play(script)
            self.assertEqual(answers, [answer])
            self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_pausedAtOnce(self) -> None:
        """
        A terminal pauses until it has somewhere to write: what was seen waits.
        """
        bench = Bench(peeking(), context=GOES_ON)
        bench.application.onConnect = bench.application.pause
        bench.play(
            """
            >> 'GET /'
            app<< connected
            >> 'index'
            >> eof
            app>> resume
            app<< 'GET /index'
            app<< eof
            left: first_word
            """
        )

    def test_timeOver(self) -> None:
        """
        Unless it is to go on, it closes: with a reset, if something was said for nothing.
        """
        for said, end in (("wait 1", "<< close"), (">> 'GE'", "<< reset")):
            Bench(peeking(), context=CLOSES).play(
                f"""
                {said}
                wait 2
                {end}
                closed: listener_filters_timeout: first_word has seen too little to decide
                """
            )

    def test_ended(self) -> None:
        """
        A stream that ends before it is known what it is, is closed: nobody is asked to serve it.
        """
        for said, end in (("wait 1", "<< close"), (">> 'GE'", "<< reset")):
            for context in (GOES_ON, CLOSES, {}):
                answers: list[Any] = []
                bench = Bench(peeking(answers), context=context)
                bench.play(
                    f"""
                    {said}
                    >> eof
                    {end}
                    closed: closed: the stream ended while first_word was looking at it
                    """
                )
                self.assertEqual(answers, ["eof"])
                self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """
        What is learnt may be a reason to close.
        """
        wrap: Wrap = lambda inner, context: PeekFactory(  # noqa: E731
            inner,
            context,
            name="first_word",
            inspector=FirstWord,
            learnt=lambda peer, answer: "a long word" if answer == "long" else None,
        )
        Bench(wrap, context=GOES_ON).play(
            """
            >> 'A' * 40
            << reset
            closed: first_word: a long word
            """
        )
        checkFilter(wrap, conversation=Conversation(b"G /", oversize=b"G" * 20, context=CLOSES))

    def test_notWanted(self) -> None:
        wrap: Wrap = lambda inner, context: PeekFactory(  # noqa: E731
            inner,
            context,
            name="first_word",
            inspector=mustNotBeUsed("nobody wants its answer"),
            learnt=mustNotBeUsed("nobody wants its answer"),
            wanted=lambda peer: peer.side != "downstream",
        )
        bench = Bench(wrap, context=GOES_ON)
        bench.play("app<< connected\nleft: first_word\n>> 'G'\napp<< 'G'")
        self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_noTimeout(self) -> None:
        bench = Bench(peeking())
        bench.play("wait 100000\n>> 'a '\napp<< connected\napp<< 'a '\nleft: first_word")

    def test_timeInCommon(self) -> None:
        """
        Two share one deadline; what is left of it is the second's, and nothing once it is up.
        """
        answers: list[Any] = []
        wrap = peeking(answers)
        twice: Wrap = lambda inner, context: wrap(wrap(inner, context), context)  # noqa: E731
        Bench(twice, context=GOES_ON).play(
            """
            wait 2
            app<< connected
            left: first_word
            left: first_word
            """
        )
        self.assertEqual(answers, ["timeout"])
        answers.clear()
        Bench(twice, context=GOES_ON).play(
            """
            >> 'GET'
            wait 1.5
            >> ' /'
            app<< connected
            app<< 'GET /'
            left: first_word
            left: first_word
            """
        )
        self.assertEqual(answers, ["GET", "GET"])
        answers.clear()

        class TwoWords(FirstWord):
            def feed(self, data: bytes) -> str | None:
                self._seen += data
                return "two" if self._seen.count(b" ") == 2 else None

        second: Wrap = lambda inner, context: PeekFactory(  # noqa: E731
            inner,
            context,
            name="two_words",
            inspector=TwoWords,
            learnt=lambda peer, answer: answers.append(answer),
        )
        both: Wrap = lambda inner, context: wrap(second(inner, context), context)  # noqa: E731
        Bench(both, context=GOES_ON).play(
            """
            wait 1.5
            >> 'GET /'
            left: first_word
            wait 0.4
            >> 'in'
            wait 0.1
            app<< connected
            app<< 'GET /in'
            left: two_words
            """
        )
        self.assertEqual(answers, ["GET", "timeout"])

    def test_lost(self) -> None:
        bench = Bench(peeking(), context=GOES_ON)
        bench.play(
            """
            >> 'GE'
            >> lost
            << reset
            closed: reset
            """
        )
        self.assertEqual(bench.reactor.getDelayedCalls(), [])

    def test_contractOfTheClientHello(self) -> None:
        """
        The listener's own: a real ClientHello, at every byte.
        """
        tls = ClientContext(clientTLS(server_name="db.example")).connection()
        try:
            tls.do_handshake()
        except Exception:  # noqa: BLE001 - it wants an answer
            pass
        hello = tls.bio_read(65536)
        peers: list[Any] = []
        checkFilter(
            configure({}),
            conversation=Conversation(hello + b"more", context=GOES_ON, prepare=peers.append),
        )
        names = {(peer.transport_protocol, peer.server_name, peer.alpn_offered) for peer in peers}
        self.assertEqual(names, {("tls", "db.example", ("istio",)), (None, None, ())})
