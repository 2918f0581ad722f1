"""
C{example.preamble}: the machine by itself, then on a connection.
"""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.filters.options import OptionError
from mxproxy.testing import Bench, Conversation, checkFilter
from mxproxy_example_filters.preamble import CALLER, LIMIT, Preamble, PreambleFilter, configure

ACCEPTED = (b"alice open-sesame", b"bob friend")


class MachineTests(SynchronousTestCase):
    """
    No transport, no clock: bytes in, values out.
    """

    def test_everySplit(self) -> None:
        """
        However the bytes come: the caller is known, and what follows the line goes on.
        """
        stream = b"bob friend\r\nhello\n"
        for cut in range(len(stream)):
            machine = Preamble(ACCEPTED)
            outcome = machine.feed(stream[:cut])
            forward = b"" if outcome is None else outcome.forward + stream[cut:]
            if outcome is None:
                outcome = machine.feed(stream[cut:])
                assert outcome is not None
                forward = outcome.forward
            self.assertEqual((outcome.result, forward), ("bob", b"hello\n"), cut)

    def test_refused(self) -> None:
        """
        A wrong secret, an unknown name, half a line, a line without an end.
        """
        for line in (b"alice friend\n", b"carol x\n", b"alice\n", b"\n", b"x" * (LIMIT + 1)):
            outcome = Preamble(ACCEPTED).feed(line)
            assert outcome is not None
            self.assertTrue(outcome.abort.startswith("bad_preamble: "), line)
        self.assertIsNone(Preamble(ACCEPTED).feed(b"x" * LIMIT))


class ConnectionTests(SynchronousTestCase):
    """
    The machine, run by its layer: a script is what is done and what has to happen.
    """

    def setUp(self) -> None:
        self.bench = Bench(PreambleFilter(ACCEPTED, timeout=3.0))

    def test_contract(self) -> None:
        """
        Fit for a chain, whatever happens at whichever byte.
        """
        conversation = Conversation(
            incoming=b"bob friend\nhello",
            delivered=b"hello",
            patience=3.0,
            oversize=b"x" * (LIMIT + 1),
        )
        runs = checkFilter(PreambleFilter(ACCEPTED, timeout=3.0), conversation=conversation)
        self.assertGreater(runs, 100)

    def test_accepted(self) -> None:
        self.bench.play(
            r"""
            >> 'alice open-sesame\nhello'
            app<< connected
            app<< 'hello'
            left: example.preamble
            """
        )
        self.assertEqual(self.bench.connection.get(CALLER), "alice")

    def test_refused(self) -> None:
        """
        The application never hears of it.
        """
        self.bench.play(
            r"""
            >> 'alice please\n'
            << reset
            closed: bad_preamble: nobody has this name and secret
            """
        )

    def test_silent(self) -> None:
        self.bench.play(
            """
            >> 'alice'
            wait 3
            << reset
            closed: no_preamble: none came in time
            """
        )

    def test_ended(self) -> None:
        self.bench.play(
            """
            >> 'alice'
            >> eof
            << reset
            closed: no_preamble: the stream ended within the first line
            """
        )


class OptionTests(SynchronousTestCase):
    """
    What C{--filter} says.
    """

    def test_file(self) -> None:
        path = Path(self.mktemp())
        path.write_text("alice open-sesame\n\n bob friend\r\n")
        self.assertEqual(configure({"file": str(path)}), PreambleFilter(ACCEPTED))
        path.write_text("alice open-sesame\nbob\n")
        self.assertRaises(OptionError, configure, {"file": str(path)})
