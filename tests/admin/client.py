"""
Asks an admin interface in memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from mxproxy.config.plan import Plan
from mxproxy.testing import Application, MemoryReactor
from mxproxy.testing.sidecars import dial

#: Where it listens.
ADMIN = 15000


@dataclass(frozen=True)
class Response:
    """
    @ivar headers: by their names in small letters.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def watched(plan: Plan, port: int = ADMIN, **changes: Any) -> Plan:
    """
    The same plan, with an admin interface.
    """
    return replace(plan, admin=f"tcp:{port}:interface=127.0.0.1", **changes)


def request(
    path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    fields = {"Host": "127.0.0.1", "Connection": "close", **(headers or {})}
    if body:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def parse(data: bytes) -> Response:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Response(int(first.split()[1]), headers, body)


def ask(
    reactor: MemoryReactor,
    path: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    port: int = ADMIN,
) -> Response:
    """
    One request on a connection of its own.
    """
    client = dial(reactor, port, Application())
    client.write(request(path, method, headers, body))
    reactor.settle()
    return parse(client.received)
