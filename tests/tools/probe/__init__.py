"""
Tests of C{mxproxy probe}.
"""
