"""
Where connections go: clusters, their hosts, and the way of one connection to one of them.
"""

from __future__ import annotations

from .attempt import Cluster, ConnectFailed, UpstreamChain, setNoDelay

__all__ = ["Cluster", "ConnectFailed", "UpstreamChain", "setNoDelay"]
