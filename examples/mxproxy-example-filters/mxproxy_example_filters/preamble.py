"""
C{example.preamble}: a connection's first line has to be a known caller's name and secret.

For services without a login of their own.  The machine knows what the line means, the layer
where its result is kept, the filter its options; none knows what the others do.

    --filter example.preamble:file=PATH[:timeout=SECONDS]

The file holds the lines that are accepted, C{NAME SECRET}.  The line is taken out of the
stream; a caller who says anything else, or nothing, is dropped before the upstream is dialled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from mxproxy.connection import Key
from mxproxy.filters.options import OptionError, Options
from mxproxy.interfaces import IChainContext, IFilter, IHandshake
from mxproxy.layers.handshake import HandshakeFactory, HandshakeLayer
from mxproxy.wire.handshake import Outcome

#: Who said the preamble.  Other filters ask for it by C{connection.get(CALLER)}.
CALLER: Key[str] = Key("example.preamble.caller", str)

#: The longest line, in bytes.  A caller cannot make us keep more.
LIMIT = 256


@implementer(IHandshake)
class Preamble:
    """
    The machine: bytes in, values out.
    """

    def __init__(self, accepted: Sequence[bytes]) -> None:
        self._accepted = accepted
        self._read = b""

    def opening(self) -> bytes:
        """We wait for the caller to begin."""
        return b""

    def feed(self, data: bytes) -> Outcome | None:
        """Take the first line."""
        self._read += data
        line, newline, rest = self._read.partition(b"\n")
        if len(line) > LIMIT:
            return Outcome(abort="bad_preamble: the first line is too long")
        if not newline:
            return None
        line = line.removesuffix(b"\r")
        for accepted in self._accepted:
            if compare_digest(line, accepted):
                return Outcome(result=accepted.split()[0].decode(), forward=rest)
        return Outcome(abort="bad_preamble: nobody has this name and secret")

    def eof(self) -> Outcome:
        """Less than a line."""
        return Outcome(abort="no_preamble: the stream ended within the first line")

    def timeout(self) -> Outcome:
        """Too late."""
        return Outcome(abort="no_preamble: none came in time")


class PreambleLayer(HandshakeLayer):
    """
    Runs the machine on a connection.
    """

    name = "example.preamble"

    def learnt(self, result: object) -> None:
        """Keep who it is."""
        self.connection.set(CALLER, result)


@implementer(IFilter)
@dataclass(frozen=True)
class PreambleFilter:
    """
    @ivar accepted: the lines that let a caller in.
    @ivar timeout: seconds that a caller may take.
    """

    accepted: tuple[bytes, ...]
    timeout: float = 5.0

    keys = (CALLER,)

    def wrap(self, inner: IProtocolFactory, context: IChainContext) -> IProtocolFactory:
        """See L{IFilter.wrap}."""
        if context.side != "downstream":
            raise ValueError("it asks who connects to us: it belongs to a listener, no cluster")
        machine = lambda: Preamble(self.accepted)  # noqa: E731
        return HandshakeFactory(inner, context, machine, self.timeout, layer=PreambleLayer)


def configure(options: Mapping[str, str]) -> PreambleFilter:
    """
    What C{--filter example.preamble:...} says.
    """
    read = Options(options)
    lines = read.file("file").splitlines()
    timeout = read.number("timeout", 5.0, above=0)
    read.finish()
    accepted = tuple(line.strip() for line in lines if line.strip())
    for number, line in enumerate(accepted, 1):
        if len(line.split()) != 2 or not line.isascii():
            raise OptionError(f"file={options['file']!r}: entry {number} is not NAME SECRET")
    return PreambleFilter(accepted, timeout)
