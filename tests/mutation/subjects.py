"""
Which modules are mutated, and which tests have to notice: the module's own first.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

_EXCHANGE = (
    "tests.wire.test_exchange",
    "tests.wire.test_vectors",
    "tests.wire.test_diagram",
    "tests.wire.test_properties",
)
_LAYERS = (
    "tests.layers.test_handshake",
    "tests.layers.test_deliver",
    "tests.filters.test_metadata_exchange",
)

SUBJECTS: dict[str, tuple[str, ...]] = {
    "wire/exchange.py": _EXCHANGE,
    "wire/prefix.py": ("tests.wire.test_prefix", *_EXCHANGE),
    "wire/handshake.py": ("tests.layers.test_handshake", "tests.wire.test_exchange"),
    "wire/peerstate.py": ("tests.wire.test_exchange", "tests.filters.test_metadata_exchange"),
    "wire/metadata.py": (
        "tests.wire.test_metadata",
        "tests.wire.test_vectors",
        "tests.wire.test_annotate",
        "tests.wire.test_properties",
    ),
    "wire/structwire.py": (
        "tests.wire.test_structwire",
        "tests.wire.test_metadata",
        "tests.wire.test_vectors",
        "tests.wire.test_properties",
    ),
    "wire/annotate.py": ("tests.wire.test_annotate",),
    "wire/diagram.py": ("tests.wire.test_diagram",),
    "wire/clienthello.py": ("tests.wire.test_clienthello",),
    "wire/http.py": ("tests.wire.test_http",),
    "wire/proxyprotocol.py": ("tests.wire.test_proxyprotocol",),
    "layers/handshake.py": _LAYERS,
    "layers/deliver.py": ("tests.layers.test_deliver", *_LAYERS, "tests.layers.test_peek"),
}
"""By the module's path below src/mxproxy."""
