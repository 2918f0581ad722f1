"""
Tells mxproxy of the filter; this folder's parent of parents is on the path when it is measured.
"""

from mxproxy.plugins import LazyFilter

finished = LazyFilter("bench.finished", "Has nothing to do, and leaves.", "bench_filters")
