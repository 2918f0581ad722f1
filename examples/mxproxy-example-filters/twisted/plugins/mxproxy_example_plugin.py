"""
Tells mxproxy of the filters.  The modules named here are imported when they are used.
"""

from mxproxy.plugins import LazyFilter

preamble = LazyFilter(
    "example.preamble",
    "Lets a connection in when its first line is a known name and its secret.",
    "mxproxy_example_filters.preamble",
)
meter = LazyFilter(
    "example.meter",
    "Logs who connects and how many bytes are carried; limits them.",
    "mxproxy_example_filters.meter",
)
