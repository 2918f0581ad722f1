"""
Tests of L{mxproxy.tls}: real handshakes, in memory.
"""
