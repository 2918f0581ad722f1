"""
For tests of filters, layers and whole proxies, without a socket or a second of waiting.

  - L{MemoryReactor}: time and a network in memory; Twisted's endpoints and whole services run
    on it as they are.
  - L{MemoryTransport}, L{Link}, L{connect}: transports that behave as Twisted's sockets do,
    because they are.
  - L{Application}: a protocol that does as it is told and remembers what became of it.
  - L{Bench}: a filter between a transport and an application, played by a transcript.
  - L{checkFilter}: whether a filter is fit for a chain, tried at every step.
  - L{Sidecars}: two whole sidecars and the applications beside them.
  - L{mustNotBeUsed}: for paths that are never taken.

See docs/filters.md for how a filter is tested with them.
"""

from __future__ import annotations

from .application import Application, ApplicationFactory
from .bench import Bench
from .contract import checkFilter
from .cycles import findCycle
from .network import MemoryPort
from .reactor import MemoryReactor, Restless
from .run import ContractBroken, Conversation
from .sidecars import Proxy, Sidecars
from .sockets import MemorySocket, Pipe
from .transcript import Symbols, Transcript, TranscriptDiffers
from .transport import Link, MemoryTransport, connect
from .unused import mustNotBeUsed

__all__ = [
    "Application",
    "ApplicationFactory",
    "Bench",
    "ContractBroken",
    "Conversation",
    "Link",
    "MemoryPort",
    "MemoryReactor",
    "MemorySocket",
    "MemoryTransport",
    "Pipe",
    "Proxy",
    "Restless",
    "Sidecars",
    "Symbols",
    "Transcript",
    "TranscriptDiffers",
    "checkFilter",
    "connect",
    "findCycle",
    "mustNotBeUsed",
]
