"""
What the access logs say, beside what the ends of the connections know.

Every connection has one closing line with each sidecar; the one's upstream address is the
other's downstream; the bytes are those that were sent and received.  A log is moved away from
time to time, as logrotate does it, and read.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import datetime
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
        # By port, which may be another client's before the line of the first is written: after a
        # reset it is free at once, and the sidecar's other side may still have something to read.
        self._clients: dict[int, list[Client]] = defaultdict(list)
        self._open: Counter[int] = Counter()
        self._lines: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._between: Counter[str] = Counter()
        self._ids: set[str] = set()

    def began(self, client: Client) -> None:
        """A client is connected."""
        self._clients[client.port].append(client)
        self._open[client.port] += 1

    def over(self, client: Client) -> None:
        """A client's connection is gone, if there ever was one."""
        if client.port:
            self._open[client.port] -= 1
            self._settle(client.port)

    def _settle(self, port: int) -> None:
        """Once there is a line for each connection of the port's, they are of the same order."""
        clients, lines = self._clients.get(port, ()), self._lines.get(port, ())
        if self._open[port] or len(clients) != len(lines):
            return
        for client, line in zip(clients, sorted(lines, key=_begin), strict=True):
            self._compare(client, line)
        del self._clients[port], self._lines[port], self._open[port]

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
            self._lines[port].append(line)
            self._settle(port)
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
        for port in {*self._clients, *self._lines}:
            clients, lines = len(self._clients[port]), len(self._lines[port])
            self.complain(f"port {port}: {clients} connections, {lines} closing lines")
        odd = {address: count for address, count in self._between.items() if count}
        if odd:
            some = [*odd.items()][:5]
            self.complain(f"{len(odd)} connections between the two have one line only: {some}")
        if self.dropped:
            self.complain(f"{self.dropped} lines were dropped")


def _begin(line: dict[str, Any]) -> float:
    """
    @return: when the line's connection was accepted, seconds since the epoch.
    """
    end = datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()
    return float(end - line["duration_ms"] / 1000)
