"""
Tests of L{mxproxy.config} and of the two commands.
"""
