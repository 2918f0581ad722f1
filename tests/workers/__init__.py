"""
Tests of L{mxproxy.workers}.
"""
