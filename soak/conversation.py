"""
What one connection does, drawn at random.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

CLIENT, SERVER = "client", "server"

#: How a connection is killed: by a reset, by close(2) in the middle, or by falling silent
#: for some seconds before a reset.
RESET, CLOSE, VANISH = "reset", "close", "vanish"

KIB, MIB = 1 << 10, 1 << 20

#: Kinds of connections, and how many of a hundred are of each.
KINDS = {
    "short": 50,
    "requests": 22,
    "half_close": 10,
    "bulk_up": 5,
    "bulk_down": 5,
    "bulk_both": 2,
    "slow_reader": 6,
}

#: Of a hundred connections, how many are killed.
KILLED = 2


@dataclass(frozen=True)
class Kill:
    """
    @ivar side: who does it.
    @ivar how: L{RESET}, L{CLOSE} or L{VANISH}.
    @ivar at: when so many bytes have come to or gone from that side.
    """

    side: str
    how: str
    at: int


@dataclass(frozen=True)
class Conversation:
    """
    @ivar up: bytes of the client's.
    @ivar down: bytes of the server's.
    @ivar rounds: into how many requests and answers they are divided; 0: not at all.
    @ivar answers: the server begins when the client has ended.
    @ivar slow: who reads slowly, or nobody.
    """

    number: int
    kind: str
    up: int
    down: int
    rounds: int = 0
    answers: bool = False
    slow: str = ""
    kill: Kill | None = None


def draw(number: int, dice: random.Random) -> Conversation:
    """
    @param number: the connection's, from 0 on.
    """
    kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
    up, down, rounds, answers, slow = 0, 0, 0, False, ""
    if kind == "short":
        up, down, answers = dice.randint(1, 2000), dice.randint(1, 20_000), True
    elif kind == "requests":
        rounds = dice.randint(10, 300)
        up, down = rounds * dice.randint(10, 2000), rounds * dice.randint(10, 8000)
    elif kind == "half_close":
        # The client has nothing to say, or ends while the server has much to.
        up, down, answers = dice.choice([0, 0, 5000]), dice.randint(1, 4 * MIB), dice.random() < 0.5
    elif kind == "slow_reader":
        slow = dice.choice([CLIENT, SERVER])
        up, down = dice.randint(MIB // 2, 2 * MIB), dice.randint(MIB // 2, 2 * MIB)
    else:
        # As many between 1 and 2 MiB as between 32 and 64.
        up = int(MIB * 2 ** dice.uniform(0, 6)) if kind != "bulk_down" else 100
        down = int(MIB * 2 ** dice.uniform(0, 6)) if kind != "bulk_up" else 100
    kill = None
    if dice.random() * 100 < KILLED:
        kill = Kill(
            dice.choice([CLIENT, SERVER]),
            dice.choice([RESET, CLOSE, VANISH]),
            dice.randint(0, up + down),
        )
    return Conversation(number, kind, up, down, rounds, answers, slow, kill)
