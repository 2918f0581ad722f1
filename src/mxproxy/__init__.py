"""
mxproxy, a metadata-exchanging layer-4 proxy built on Twisted.

This file holds the version and never imports anything: C{twistd --help} loads it,
through the plugin, for every Twisted user of the machine.
"""

__version__ = "0.1.0"
