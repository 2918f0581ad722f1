"""
Who is at an address: a directory for those whom the exchange does not name.

A file, YAML or JSON, of addresses with what is known of them::

    10.0.0.7: {workload: db-v1, namespace: data, service: db, revision: v1}
    10.0.0.7:5433: {workload: replica, namespace: data}
    10.9.0.0/16: {workload: legacy, namespace: dc1}

An address with its port is looked for first, then the address, then the smallest network that
it is in.  What can be known of an address is L{FIELDS}; values are text.

The file is read again when it has changed.  One that cannot be used any more is said so once,
and what was known stays.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Any

import yaml
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.logger import Logger

from ...config.errors import ConfigurationError, oneLine
from ...wire.metadata import Metadata

#: What a workload may have, called as in the access log.
FIELDS = ("name", "namespace", "workload", "cluster", "service", "revision", "app", "version")

#: A file of more bytes is refused: it would stop the proxy for as long as it is read.
SIZE_LIMIT = 4 << 20

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Directory:
    """
    Workloads, by where they are.
    """

    def __init__(self, workloads: Mapping[str, Metadata]) -> None:
        """
        @param workloads: by address, by address and port, or by network.
        @raise ValueError: one of the keys is none of these; the text says which.
        """
        self._exact: dict[str, Metadata] = {}
        self._networks: list[tuple[Network, Metadata]] = []
        for key, workload in workloads.items():
            if "/" in key:
                self._networks.append((ipaddress.ip_network(key, strict=False), workload))
            else:
                self._exact[_normalize(key)] = workload
        self._networks.sort(key=lambda entry: entry[0].prefixlen, reverse=True)

    def find(self, address: object) -> Metadata | None:
        """
        @param address: an C{IAddress}, or C{None}.
        @return: who is there, or C{None}.
        """
        if not len(self) or not isinstance(address, (IPv4Address, IPv6Address)):
            return None
        host = address.host.partition("%")[0]
        found = self._exact.get(_withPort(host, address.port)) or self._exact.get(host)
        if found is None and self._networks:
            ip = ipaddress.ip_address(host)
            found = next((who for network, who in self._networks if ip in network), None)
        return found

    def __len__(self) -> int:
        return len(self._exact) + len(self._networks)


class DirectoryFile:
    """
    A directory in a file, behind those in the configuration.
    """

    log = Logger()

    def __init__(self, path: str, static: Mapping[str, Metadata] | None = None) -> None:
        """
        @param path: the file's, or empty for none.
        @param static: what is known in any case; it comes before the file.
        @raise ConfigurationError: the file cannot be used.
        """
        self._path = path
        self._static = dict(static or {})
        self._seen: object = None
        self._directory = Directory(self._static)
        if path:
            self._seen = _stamp(path)
            self._read()

    def find(self, address: object) -> Metadata | None:
        """See L{Directory.find}."""
        return self._directory.find(address)

    def refresh(self) -> None:
        """Read the file again, if it has changed."""
        if not self._path:
            return
        try:
            stamp: object = _stamp(self._path)
        except ConfigurationError as error:
            stamp = str(error)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._read()
        except ConfigurationError as error:
            self.log.error("workloads stay as they were: {error}", error=oneLine(str(error)))
        else:
            self.log.info(
                "{count} workloads read from {path}", count=len(self._directory), path=self._path
            )

    def _read(self) -> None:
        self._directory = Directory({**readWorkloads(self._path), **self._static})


def readWorkloads(path: str) -> dict[str, Metadata]:
    """
    @return: by address, by address and port, or by network.
    @raise ConfigurationError: the file cannot be read, or holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read workloads from {path!r}: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path!r} is not UTF-8 text") from error
    if len(text) > SIZE_LIMIT:
        raise ConfigurationError(f"{path!r} is longer than {SIZE_LIMIT} characters")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path!r} is neither YAML nor JSON: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"{path!r} has to be a mapping of addresses to workloads, for instance "
            "{10.0.0.7: {workload: db, namespace: data}}"
        )
    return {key: _workload(path, key, entry) for key, entry in document.items()}


def _workload(path: str, key: Any, entry: Any) -> Metadata:
    if not isinstance(key, str):
        raise ConfigurationError(f"{path!r}: {key!r} is no address: put it in quotes")
    try:
        Directory({key: Metadata()})
    except ValueError as error:
        raise ConfigurationError(
            f"{path!r}: {key!r} is no address, address:port or network: {error}"
        ) from error
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{path!r}: {key}: a workload is a mapping: {', '.join(FIELDS)}")
    for name, value in entry.items():
        if name not in FIELDS:
            raise ConfigurationError(
                f"{path!r}: {key}: {name!r} is not known; there are {', '.join(FIELDS)}"
            )
        if not isinstance(value, str):
            raise ConfigurationError(f"{path!r}: {key}: {name} is not text: put it in quotes")
    return Metadata(**entry)


def _normalize(key: str) -> str:
    """
    @raise ValueError: it is neither an address nor an address with a port.
    """
    try:
        return str(ipaddress.ip_address(key))
    except ValueError as error:
        host, colon, port = key.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65535:
            raise error
        host = host.removeprefix("[").removesuffix("]")
        return _withPort(str(ipaddress.ip_address(host)), int(port))


def _withPort(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read workloads from {path!r}: {error.strerror}"
        ) from error
    return status.st_mtime_ns, status.st_size, status.st_ino
