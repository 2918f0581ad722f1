"""
All that can be named on the command line.
"""

from __future__ import annotations

from .base import Peer
from .envoy import Envoy
from .haproxy import Haproxy
from .mxproxy import Mxproxy
from .nginx import Nginx
from .stunnel import Stunnel
from .twisted_tls import TwistedTLS

#: The ceiling: no proxy at all.
DIRECT = "direct"

#: In the order of the table.
ALL: list[Peer] = [
    Envoy(),
    Nginx(),
    Haproxy(),
    Stunnel(),
    TwistedTLS(),
    Mxproxy("mxproxy-python", options=["--data-path", "python"]),
    Mxproxy(),
]
