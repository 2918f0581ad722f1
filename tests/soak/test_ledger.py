"""
Which line of an access log is whose.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.observe.access_log import formatTime
from soak.conversation import Conversation, Kill, draw
from soak.ledger import Ledger
from soak.pair import INBOUND, OUTBOUND
from soak.sides import HEADER, Client


class LedgerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ledger = Ledger()
        self.lines: dict[str, list[dict[str, Any]]] = {OUTBOUND: [], INBOUND: []}
        self.number = 0

    def client(self, port: int, killed: bool = False) -> Client:
        """
        One that is connected.
        """
        self.number += 1
        drawn = vars(draw(self.number, random.Random(0)))
        kill = Kill("client", 7, "reset") if killed else None
        mine = Conversation(**{**drawn, "kill": kill, "up": self.number, "down": 7})
        client = Client(None, mine, self.ledger.began, self.ledger.over)
        client.port = port
        self.ledger.began(client)
        return client

    def closed(
        self, client: Client, begin: float, end: float, counted: tuple[int, int] | None = None
    ) -> None:
        """
        What both sidecars write of it.

        @param counted: bytes received and sent; as it should be if C{None}.
        """
        mine = client.mine
        received, sent = counted or (mine.up + HEADER, mine.down + HEADER)
        between = f"127.0.0.1:{10_000 + mine.number}"
        for mode in (OUTBOUND, INBOUND):
            down = f"127.0.0.1:{client.port}" if mode == OUTBOUND else between
            line = {
                "event": "closed",
                "time": formatTime(1e9 + end),
                "duration_ms": round(1000 * (end - begin)),
                "connection": f"{mode} {mine.number}",
                "downstream": {
                    "address": down,
                    "bytes_received": received,
                    "bytes_sent": sent,
                },
                "upstream": {"local_address": between, "peer_state": "found"},
                "close_reason": "downstream: closed",
            }
            self.lines[mode].append(line)

    def read(self) -> list[str]:
        """
        All that was written, and no more to come.
        """
        for mode, lines in self.lines.items():
            log = Path(self.mktemp())
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))
            self.ledger.read(mode, log)
            self.assertFalse(log.exists())
        self.ledger.close()
        return self.ledger.wrong

    def test_agrees(self) -> None:
        first, second = self.client(1), self.client(2)
        self.ledger.over(second)
        self.closed(second, 1, 2)
        self.closed(first, 0, 3)
        self.ledger.over(first)
        self.assertEqual(self.read(), [])

    def test_otherBytes(self) -> None:
        client = self.client(1)
        self.ledger.over(client)
        self.closed(client, 0, 1, (13, 1))
        (wrong,) = self.read()
        self.assertIn("the log has (13, 1), not (13, 19)", wrong)

    def test_portUsedAgain(self) -> None:
        """
        The line of a connection that was reset may come behind that of the next one from its port.
        """
        killed = self.client(1, killed=True)
        self.ledger.over(killed)
        after = self.client(1)
        self.ledger.over(after)
        self.closed(after, 1, 2)
        self.closed(killed, 0, 3, (1, 2))
        self.assertEqual(self.read(), [])

    def test_missing(self) -> None:
        first, second = self.client(1), self.client(2)
        for client in (first, second):
            self.ledger.over(client)
        self.closed(first, 0, 1)
        self.assertEqual(self.read(), ["port 2: 1 connections, 0 closing lines"])
