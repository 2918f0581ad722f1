"""
Tests of C{mxproxy decode}.
"""
