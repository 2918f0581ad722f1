"""
The built-in network filters: one file a filter, its options and its C{wrap()}.
"""
