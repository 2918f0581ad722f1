"""
Tests of L{mxproxy.observe}.
"""
