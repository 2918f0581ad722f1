"""
Envoy's configuration files: C{mxproxy.config.envoy}.
"""
