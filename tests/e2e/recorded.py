"""
What Istio's own filter has said, from C{tests/vectors}, and whom it has said it of.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.mesh import Line

_VECTORS = Path(__file__).parent.parent / "vectors" / "mx_vectors.json"


@dataclass(frozen=True)
class Recorded:
    """
    A workload behind one of Istio's sidecars.

    @ivar prefix: the bytes that its sidecar has sent.
    """

    prefix: bytes
    name: str
    workload: str
    cluster: str
    app: str
    id: str

    def logged(self, line: Line, side: str) -> None:
        """
        Check that a log line's peer on C{side} says to be this one.
        """
        peer = line[side]["peer"]
        assert line[side]["peer_state"] == "found", line
        assert (peer["name"], peer["workload"]) == (self.name, self.workload), line
        assert (peer["cluster"], peer["app"], peer["id"]) == (self.cluster, self.app, self.id), line
        assert (peer["namespace"], peer["type"]) == ("default", "deployment"), line


def _recorded(case: str, *facts: str) -> Recorded:
    (vector,) = (one for one in json.loads(_VECTORS.read_text()) if one["name"] == case)
    prefix = bytes.fromhex("".join(step["injected"] for step in vector["steps"]))
    return Recorded(prefix, *facts)


CLIENT = _recorded(
    "enc_testdata_client",
    *("productpage-v1-84975bc778-pxz2w", "productpage-v1"),
    *("client-cluster", "productpage", "client"),
)
SERVER = _recorded(
    "enc_testdata_server",
    *("ratings-v1-84975bc778-pxz2w", "ratings-v1"),
    *("server-cluster", "ratings", "server"),
)

#: What applications say: long enough for several TLS records and reads.
REQUEST = b"request " + random.Random(1).randbytes(150_000)
REPLY = b"reply " + random.Random(2).randbytes(250_000)
