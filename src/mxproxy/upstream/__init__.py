"""
Where connections go: clusters, their hosts, and the way of one connection to one of them.
"""

from __future__ import annotations

from .attempt import ConnectFailed, setNoDelay
from .cluster import Cluster
from .sockets import UpstreamChain, UpstreamSocket

__all__ = ["Cluster", "ConnectFailed", "UpstreamChain", "UpstreamSocket", "setNoDelay"]
