"""
Two machines on a wire, made of network namespaces: nothing of the real one's network is touched,
and nothing is left of them behind the test.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from tests.e2e.processes import program

#: Addresses of the machines on the wire.
IPV4 = ("10.77.1.1", "10.77.1.2")
IPV6 = ("fd77::1", "fd77::2")

_numbers = count(1)


def _run(command: Sequence[str | Path], input: str = "") -> None:
    done = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(str(word) for word in command)
        raise AssertionError(f"{words}: {done.stderr.strip()}\n{input}")


class Machine:
    """
    One of the two.

    @ivar name: its namespace's.
    @ivar wire: its end of the wire, an interface.
    """

    def __init__(self, addCleanup: Callable[..., Any], number: int) -> None:
        self.ipv4, self.ipv6 = IPV4[number], IPV6[number]
        self.name = f"mxproxy-{os.getpid()}-{next(_numbers)}"
        self.wire = f"wire{number}"
        _run([program("ip"), "netns", "add", self.name])
        addCleanup(_run, [program("ip"), "netns", "delete", self.name])
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> None:
        """
        Run ip(8) in it.
        """
        _run([program("ip"), "-netns", self.name, *words])

    def inside(self, *command: str | Path, group: int = 0) -> list[str | Path]:
        """
        @param group: whose group it is run as; the user stays.
        @return: the command that runs C{command} in it.
        """
        switch: list[str | Path] = []
        if group:
            switch = [program("setpriv"), "--regid", str(group), "--clear-groups"]
        return [program("ip"), "netns", "exec", self.name, *switch, *command]

    def filter(self, rules: str) -> None:
        """
        Have nftables do what C{rules} say.
        """
        _run(self.inside(program("nft"), "--file", "-"), rules)


def wired(addCleanup: Callable[..., Any]) -> tuple[Machine, Machine]:
    """
    @return: two machines that reach each other by IPv4 and IPv6.
    """
    left, right = machines = Machine(addCleanup, 0), Machine(addCleanup, 1)
    left.ip(
        *("link", "add", left.wire, "type", "veth"),
        *("peer", "name", right.wire, "netns", right.name),
    )
    for machine in machines:
        machine.ip("link", "set", machine.wire, "up")
        machine.ip("address", "add", f"{machine.ipv4}/24", "dev", machine.wire)
        # Without the second of waiting for somebody else who might have it.
        machine.ip("address", "add", f"{machine.ipv6}/64", "dev", machine.wire, "nodad")
    return machines
