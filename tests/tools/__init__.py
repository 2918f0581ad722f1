"""
Tests of L{mxproxy.tools}.
"""
