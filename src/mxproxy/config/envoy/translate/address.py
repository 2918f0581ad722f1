"""
Addresses: Envoy's C{core.v3.Address} as Twisted's endpoint descriptions.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path as File
from typing import Any

from twisted.internet.endpoints import quoteStringArgument

from ...descriptions import BACKLOG
from ..faults import Faults, Path

#: Of Linux's C{sun_path}, 108 bytes with the zero at its end (unix(7)).
LONGEST_PIPE = 107


def serverEndpoint(address: Any, path: Path, faults: Faults, backlog: int = BACKLOG) -> str:
    """
    @return: where to listen; empty, and a fault, where nothing can.
    """
    if address.WhichOneof("address") == "pipe":
        mode = f":mode={address.pipe.mode:03o}" if address.pipe.mode else ""
        return f"unix:{_pipe(address.pipe, path, faults)}{mode}:backlog={backlog}"
    socket, path = address.socket_address, path / "socket_address"
    if not _isAddress(socket.address):
        faults.add(path / "address", f"{socket.address!r} is no IP address")
        return ""
    interface = quoteStringArgument(socket.address)
    return f"tcp:{socket.port_value}:interface={interface}:backlog={backlog}"


def describe(address: Any) -> str:
    """
    An address for people, as Envoy writes it.
    """
    if address.WhichOneof("address") == "pipe":
        return str(address.pipe.path)
    socket = address.socket_address
    host = f"[{socket.address}]" if ":" in socket.address else socket.address
    return f"{host}:{socket.port_value}"


def clientEndpoint(address: Any, path: Path, faults: Faults, names: bool) -> str:
    """
    @param names: whether it may be a name, to be resolved.
    @return: what to connect to; empty, and a fault, where nothing can.
    """
    if address.WhichOneof("address") == "pipe":
        if names:
            faults.add(path / "pipe", "a unix socket in a cluster of the type that asks DNS")
        return f"unix:{_pipe(address.pipe, path, faults)}"
    socket, path = address.socket_address, path / "socket_address"
    if not names and not _isAddress(socket.address):
        faults.add(
            path / "address",
            f"{socket.address!r} is no IP address; a name needs a cluster of the type STRICT_DNS "
            "or LOGICAL_DNS",
        )
    if not socket.port_value:
        faults.add(path / "port_value", "0 cannot be connected to")
    return f"tcp:{quoteStringArgument(socket.address)}:{socket.port_value}"


def _isAddress(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _pipe(pipe: Any, path: Path, faults: Faults) -> str:
    if len(pipe.path.encode()) > LONGEST_PIPE:
        faults.add(
            path / "pipe" / "path",
            f"a unix socket's path has at most {LONGEST_PIPE} bytes, this one"
            f" {len(pipe.path.encode())}",
        )
    # Envoy's @ is the NUL byte that an abstract name begins with.  A path is made absolute:
    # twistd changes the directory (--rundir) before anything is opened.
    if pipe.path.startswith("@"):
        name = "\0" + pipe.path[1:]
    else:
        name = str(File(pipe.path).absolute())
    return str(quoteStringArgument(name))
