"""
Tests of L{mxproxy.observe.otel}.
"""
