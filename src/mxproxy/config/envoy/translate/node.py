"""
Who we are: Envoy's C{core.v3.Node}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....wire.metadata import FIELD_KEYS, LABELS_KEY, OWNER_KEY, Node
from ..check import describe
from ..faults import Faults, Path
from .scope import structValues


def translateNode(message: Any, path: Path, faults: Faults) -> Node:
    """
    @return: the node; its metadata is what the exchange tells peers, so what travels has to
        be text.
    """
    metadata = structValues(message.metadata)
    path = path / "metadata"
    for key in (*FIELD_KEYS.values(), OWNER_KEY):
        _checkText(metadata.get(key, ""), path / key, faults)
    labels = metadata.get(LABELS_KEY, {})
    if isinstance(labels, Mapping):
        for key, value in labels.items():
            _checkText(value, Path(f"{path / LABELS_KEY}[{key!r}]"), faults)
    else:
        faults.add(path / LABELS_KEY, f"{describe(labels)} where a mapping of texts is needed")
    return Node(
        id=message.id,
        metadata=metadata,
        cluster=message.cluster,
        region=message.locality.region,
        zone=message.locality.zone,
    )


def _checkText(value: object, path: Path, faults: Faults) -> None:
    if not isinstance(value, str):
        faults.add(path, f"{describe(value)} where text is needed: peers are told only text")
