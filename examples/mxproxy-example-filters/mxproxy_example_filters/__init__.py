"""
Two filters for mxproxy, as a third party writes them.
"""
