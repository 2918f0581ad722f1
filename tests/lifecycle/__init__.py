"""
Tests of L{mxproxy.lifecycle}.
"""
