"""
What the access logs say, beside what the ends of the connections know.

Every connection has one closing line with each sidecar; the one's upstream address is the
other's downstream; the bytes are those that were sent and received.  A log is moved away from
time to time, as logrotate does it, and read.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import Any

from .pair import OUTBOUND
from .sides import HEADER, Client


class Ledger:
    """
    @ivar lines: closing lines, by sidecar.
    @ivar reasons: their C{close_reason}s, without details, by sidecar.
    @ivar version: of the server's workload, as the last connection has learnt it.
    @ivar wrong: what does not agree, in words; the first hundred.
    """

    def __init__(self) -> None:
        self.lines: Counter[str] = Counter()
        self.connected: Counter[str] = Counter()
        self.reasons: dict[str, Counter[str]] = defaultdict(Counter)
        self.wrong: list[str] = []
        self.dropped = 0
        self.version = -1
        # A client's port is not used again before its connection is over at both ends.
        self._clients: dict[int, deque[Client]] = defaultdict(deque)
        self._early: dict[int, deque[dict[str, Any]]] = defaultdict(deque)
        self._between: Counter[str] = Counter()
        self._ids: set[str] = set()

    def over(self, client: Client) -> None:
        """A client's connection is gone."""
        if client.port:
            if self._early.get(client.port):
                line = self._early[client.port].popleft()
                self._compare(client, line)
            else:
                self._clients[client.port].append(client)

    def read(self, mode: str, log: Path) -> None:
        """
        @param log: a whole log, which nobody writes to any more; it is removed.
        """
        with log.open("rb") as lines:
            for text in lines:
                try:
                    line = json.loads(text)
                except ValueError:
                    self.complain(f"{mode}: no JSON: {text[:200]!r}")
                    continue
                self._line(mode, line)
        log.unlink()

    def _line(self, mode: str, line: dict[str, Any]) -> None:
        event = line["event"]
        if event == "connected":
            self.connected[mode] += 1
            if mode == OUTBOUND:
                peer = line["upstream"]["peer"] or {}
                self.version = int(peer.get("version") or -1)
        elif event == "dropped":
            self.dropped += line["lines"]
        elif event == "closed":
            self._closed(mode, line)

    def _closed(self, mode: str, line: dict[str, Any]) -> None:
        self.lines[mode] += 1
        reason = ": ".join(line["close_reason"].split(": ")[:2])
        self.reasons[mode][reason] += 1
        if line["connection"] in self._ids:
            self.complain(f"{mode}: a second closing line: {line['connection']}")
        self._ids.add(line["connection"])
        if mode == OUTBOUND:
            if line["upstream"]["local_address"]:
                self._between[line["upstream"]["local_address"]] += 1
            port = int(line["downstream"]["address"].rpartition(":")[2])
            if self._clients.get(port):
                self._compare(self._clients[port].popleft(), line)
            else:
                self._early[port].append(line)
        elif line["downstream"]["address"]:
            self._between[line["downstream"]["address"]] -= 1

    def _compare(self, client: Client, line: dict[str, Any]) -> None:
        conversation = client.mine
        if conversation.kill is not None or client.wrong:
            return
        facts = line["downstream"]
        counted = (facts["bytes_received"], facts["bytes_sent"])
        said = (conversation.up + HEADER, conversation.down + HEADER)
        if counted != said:
            self.complain(f"bytes of {conversation}: the log has {counted}, not {said}")
        states = (line["upstream"]["peer_state"], line["close_reason"].split(": ")[1])
        if states != ("found", "closed"):
            self.complain(f"{conversation}: the log says {states}")

    def complain(self, what: str) -> None:
        """The first hundred are kept."""
        if len(self.wrong) < 100:
            self.wrong.append(what)

    def close(self) -> None:
        """Everything has been read: whatever has no counterpart now will have none."""
        if missing := sum(map(len, self._clients.values())):
            self.complain(f"{missing} clients' connections have no closing line")
        if more := sum(map(len, self._early.values())):
            self.complain(f"{more} closing lines are of no client")
        odd = {address: count for address, count in self._between.items() if count}
        if odd:
            some = [*odd.items()][:5]
            self.complain(f"{len(odd)} connections between the two have one line only: {some}")
        if self.dropped:
            self.complain(f"{self.dropped} lines were dropped")
