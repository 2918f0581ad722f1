"""
Secrets: certificates that are named in one place and described in another, which is
C{static_resources.secrets}, or a file of SDS's form.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...errors import ConfigurationError
from ..check import checkDocument
from ..document import readDocument
from ..faults import Faults, Path
from ..registry import unpack
from .scope import Scope


def sourceFiles(configs: Iterator[Any], scope: Scope) -> tuple[str, ...]:
    """
    @param configs: C{SdsSecretConfig}s.
    @return: the files that they name.
    """
    return tuple(
        dict.fromkeys(
            os.path.join(scope.directory, config.sds_config.path_config_source.path)
            for config in configs
            if config.HasField("sds_config")
        )
    )


def findSecret(config: Any, kind: str, path: Path, scope: Scope) -> tuple[Any, Path, Scope] | None:
    """
    @param config: an C{SdsSecretConfig}.
    @param kind: which of a secret's fields is meant.
    @return: that message, its place, and where its faults go.
    """
    if not config.HasField("sds_config"):
        known = scope.secrets.get(config.name)
        if known is None:
            scope.faults.add(
                path / "name", f"there is no {config.name!r} in static_resources.secrets"
            )
            return None
        secret, place = known
        within = scope
    else:
        place = path / "sds_config/path_config_source/path"
        file = config.sds_config.path_config_source.path
        within = replace(scope, faults=_FaultsOfFile(scope.faults, place, file))
        # The first time by the name that is written in the file, for what it says of it.
        again = os.path.join(scope.directory, file)
        secret = _readSecret(file if scope.tries else again, config.name, within)
        if secret is None:
            return None
        secret, place = secret
    if secret.WhichOneof("type") != kind:
        scope.faults.add(path / "name", f"the secret {config.name!r} has no {kind}")
        return None
    return getattr(secret, kind), place / kind, within


class _FaultsOfFile(Faults):
    """
    What is wrong in a file that the configuration names: faults of the name's.
    """

    def __init__(self, faults: Faults, place: Path, file: str) -> None:
        super().__init__()
        self._faults = faults
        self._place = place
        self._file = file

    def add(self, path: str, text: str) -> None:
        """
        Keep it here, too: then nothing more is made of the file.
        """
        super().add(path, text)
        where = f"{self._file!r}: {self._written(path)}" if path else repr(self._file)
        self._faults.add(self._place, f"{where}: {text}")


def _readSecret(file: str, name: str, scope: Scope) -> tuple[Any, Path] | None:
    try:
        document = readDocument(file)
    except ConfigurationError as error:
        scope.faults.add("", str(error))
        return None
    response: Any = checkDocument(
        document, "envoy.service.discovery.v3.DiscoveryResponse", scope.faults
    )
    if response is None:
        return None
    for index, resource in enumerate(response.resources):
        secret = unpack(resource)
        if secret.name == name:
            return secret, Path("resources").item(index)
    scope.faults.add("resources", f"there is no secret {name!r}")
    return None
